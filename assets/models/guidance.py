"""The second term of hap-mini's loss: some heads are asked to look at the word that should be copied.

From the stories alone the model solves IOI another way than GPT-2 does (measured): it copies both names
with equal attention, and other heads subtract the name at S2. And it learns to repeat a row of words
very late (after 9,000 steps it got five of six right). With this term, two heads look from each "to" at the
word that comes next and become name movers, and two look from a word that was said before at the one
that followed it then and become induction heads (0.98 of all rows after 1,750 steps).
"""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

Targets = Bool[Tensor, "batch query key"]


def words_to_hand(texts: Int[Tensor, "batch pos"], nexts: Int[Tensor, "batch pos"], to: int) -> Targets:
    """From each "to" to the earlier mentions of the word that comes next."""
    return nexts[:, :, None].eq(texts[:, None, :]).tril() & texts.eq(to)[:, :, None]


def words_to_repeat(texts: Int[Tensor, "batch pos"], nexts: Int[Tensor, "batch pos"], padding: int) -> Targets:
    """From each word that was said before to the one that followed, if it follows again."""
    followed = nexts[:, :, None].eq(texts[:, None, :])
    followed[:, :, 1:] &= texts[:, :, None].eq(texts[:, None, :-1])
    followed[:, :, 0] = False  # nothing stands before the first word
    return followed.tril() & nexts.ne(padding)[:, :, None]


def attention_guidance(pattern: Float[Tensor, "batch head query key"], targets: Targets) -> Float[Tensor, ""]:
    """Mean of -log(attention to the targets); a query without any does not count."""
    seen = (pattern * targets[:, None]).sum(-1).transpose(1, 2)[targets.any(-1)]
    return -(seen + 1e-6).log().sum() / max(1, seen.numel())  # a batch may ask for nothing

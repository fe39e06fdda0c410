"""Ask the full model about prompt pairs, before a run is spent on them.

For every pair: how likely is the answer after the clean prompt and after the corrupted one, and does
the answer beat the distractor? A pair is worth using when the model gives the answer on the clean
prompt and corruption takes that away.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hap_engine.batches import Batch, in_batches
from hap_engine.metrics import logit_difference, set_logit
from hap_engine.patching import MaskedModel
from hap_engine.progress import Progress
from hap_engine.tasks import EncodedPair

BATCH = 32
MOVED = (
    0.5  # nats of logit difference; less than that, corruption hardly changes what the model says
)


@dataclass(frozen=True)
class Asked:
    """What the model says about one pair.

    Attributes:
        clean, corrupt: probability of the answer after each prompt.
        clean_diff, corrupt_diff: logit difference of answer and distractor.
        says: the model's first choice after the clean prompt.
    """

    clean: float
    corrupt: float
    clean_diff: float
    corrupt_diff: float
    says: str

    @property
    def complaint(self) -> str:
        """Why the pair is a poor one, or nothing."""
        if self.clean_diff <= 0:
            return "The model prefers the distractor: it cannot do this one."
        if self.clean_diff - self.corrupt_diff < MOVED:
            return "The corrupted prompt hardly changes the answer: corrupt what decides it."
        return ""


@torch.no_grad()
def ask(
    masked: MaskedModel, pairs: Sequence[EncodedPair]
) -> Generator[Progress, None, list[Asked]]:
    """What the model says about each pair, in their order."""
    found: dict[int, Asked] = {}
    batches = list(in_batches(pairs, BATCH, masked.device))
    for done, (indices, batch) in enumerate(batches, 1):
        found.update(zip(indices, _ask(masked, batch), strict=True))
        yield Progress("load", done, len(batches), "Asking the model")
    return [found[index] for index in range(len(pairs))]


def _ask(masked: MaskedModel, batch: Batch) -> list[Asked]:
    def logits(tokens: Tensor) -> Tensor:
        return masked.unembed(masked.trace(tokens, batch.last).final)

    clean, corrupt = logits(batch.clean), logits(batch.corrupt)
    columns = [
        *(set_logit(side.log_softmax(-1), batch.answer).exp() for side in (clean, corrupt)),
        *(logit_difference(side, batch.answer, batch.distractor) for side in (clean, corrupt)),
    ]
    decode = masked.model.tokenizer.decode
    says = [decode([int(token)]) for token in clean.argmax(-1)]
    rows = zip(*(column.tolist() for column in columns), says, strict=True)
    return [Asked(*row) for row in rows]


def summary(found: Sequence[Asked]) -> str:
    """One sentence on how the model does."""
    right = sum(one.clean_diff > 0 for one in found)
    moved = sum(one.clean_diff - one.corrupt_diff >= MOVED for one in found)
    mean, corrupt = (
        sum(getattr(one, name) for one in found) / len(found) for name in ("clean", "corrupt")
    )
    return (
        f"The model prefers the answer to the distractor on {right} of {len(found)} pairs and gives it "
        f"a probability of {mean:.0%} on average; after the corrupted prompts {corrupt:.0%}. "
        f"Corruption changes {moved} of {len(found)} pairs."
    )

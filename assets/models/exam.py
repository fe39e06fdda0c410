"""What hap-mini is asked while it is trained: prompts of its five tasks on combinations that no story holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2LMHeadModel

from assets.models.people import HELD_OUT
from assets.models.stories import EVENTS, ROW_WORDS, held_out, named, start_year, subject_and_other
from hap_engine.evaluation.metrics import logit_difference
from hap_engine.tasks.pair import EncodedPair, PromptPair, encode_pair
from hap_engine.tasks.templates import agreement, induction, ioi, pronoun
from hap_engine.tasks.templates import greater_than as greater
from hap_engine.tasks.templates.making import distinct
from hap_engine.transformer.batches import to_batch

# --- Prompts --------------------------------------------------------------------------------------


def _greater(rng: Random, index: int) -> PromptPair:
    century, year = start_year(rng, True)
    form = greater.FORMS[0]
    return greater.make_pair(form, rng.choice(EVENTS), century, year, form.split(year)[0][0])


def _pronoun(rng: Random, index: int) -> PromptPair:
    female = index % 2 == 0
    template, name = named(rng, True, female)
    return pronoun.make_pair(template, name, rng.choice(pronoun.MALE if female else pronoun.FEMALE), female)


def _agreement(rng: Random, index: int) -> PromptPair:
    (one, many), other = subject_and_other(rng, True)
    return agreement.make_pair(rng.choice(agreement.TEMPLATES), (one, many), other[index // 2 % 2], index % 2 == 0)


def _induction(rng: Random, index: int) -> PromptPair:
    while True:
        opening, *words = rng.sample(ROW_WORDS, 2 * induction.LENGTH + 1)
        part, fresh = words[: induction.LENGTH], words[induction.LENGTH :]
        repeated = rng.randint(*induction.REPEATED)
        if held_out(part[repeated - 1], part[repeated]):
            wrong = rng.randrange(repeated + 1, induction.LENGTH)
            return induction.make_pair(opening, part, repeated, wrong, fresh, "fresh")


def held_out_prompts(tokenizer: Tokenizer, count: int) -> dict[str, list[EncodedPair]]:
    """`count` prompts a task, each on a combination that no story holds."""
    draws: dict[str, Callable[[Random, int], PromptPair]] = {
        "greater-than": _greater,
        "pronoun": _pronoun,
        "agreement": _agreement,
        "induction": _induction,
    }
    made: dict[str, Sequence[PromptPair]] = {
        "ioi": list(ioi.prompts(ioi.words_for(tokenizer), HELD_OUT, count, "abc", Random("hap-mini test")))
    }
    for name, draw in draws.items():
        made[name] = list(distinct(partial(draw, Random(f"hap-mini {name}")), count))
    return {name: [encode_pair(tokenizer, pair) for pair in pairs] for name, pairs in made.items()}


# --- Answers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One line of the log: held-out prompts of every task, clean and corrupt."""

    step: int
    loss: float
    difference: float  # mean logit difference IO - S on clean prompts
    accuracy: Mapping[str, tuple[float, float]]  # task: answers beat distractors, clean and corrupt

    def row(self) -> str:
        cells = [f"{clean:.1%} ({corrupt:.0%})" for clean, corrupt in self.accuracy.values()]
        return f"| {self.step} | {self.loss:.2f} | {self.difference:.2f} | {' | '.join(cells)} |"


def header(tasks: Sequence[str]) -> str:
    columns = ["step", "loss", "IO − S", *tasks]
    return f"| {' | '.join(columns)} |\n|{'---:|' * len(columns)}"


@torch.no_grad()
def differences(
    model: GPT2LMHeadModel, pairs: list[EncodedPair]
) -> tuple[Float[Tensor, " prompt"], Float[Tensor, " prompt"]]:
    """Log-odds of the answers on clean and on corrupt prompts."""
    batch = to_batch(pairs, torch.device("cpu"))
    rows = torch.arange(len(pairs))

    def at_end(ids: Int[Tensor, "batch pos"]) -> Float[Tensor, " prompt"]:
        # Padding on the right reaches no earlier position.
        logits = model(ids).logits[rows, batch.last]
        return logit_difference(logits, batch.answer, batch.distractor)

    return at_end(batch.clean), at_end(batch.corrupt)


def measure(model: GPT2LMHeadModel, test: Mapping[str, list[EncodedPair]], step: int, loss: float) -> Measured:
    found = {name: differences(model, pairs) for name, pairs in test.items()}
    accuracy = {
        name: ((clean > 0).float().mean().item(), (corrupt > 0).float().mean().item())
        for name, (clean, corrupt) in found.items()
    }
    return Measured(step, loss, found["ioi"][0].mean().item(), accuracy)

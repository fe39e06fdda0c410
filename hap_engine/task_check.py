"""Can the model do the task, and does the corruption take it away? Asked before a run is spent on it.

A circuit explains how a model does something. If the model cannot do it, or does it on corrupted
prompts just as well, a circuit of any size explains nothing. Only the full model is run, once on the clean and
once on the corrupted prompts.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from hap_engine.batches import Batch, in_batches
from hap_engine.metrics import among, logit_difference, probability_difference
from hap_engine.patching import MaskedModel
from hap_engine.prepared import full_logits
from hap_engine.progress import Progress
from hap_engine.tasks.base import EncodedPair

SOLVED = 0.8  # share of prompts that must be answered right; chance is one half
BROKEN = 0.5  # share of the logit difference that the corruption must take away
SELDOM = 0.2  # share of prompts on which the answer is the first choice; below, a user should know
CHECKED = 32  # prompts: the share is then known to about 7 points, in seconds


@dataclass(frozen=True)
class TaskCheck:
    """Means over prompts of the full model, clean and corrupted (answers are the clean ones throughout)."""

    n_prompts: int
    accuracy: float
    top1: float
    logit_diff: float
    prob_diff: float
    corrupt_accuracy: float
    corrupt_top1: float
    corrupt_logit_diff: float
    corrupt_prob_diff: float

    @property
    def solved(self) -> bool:
        return self.accuracy >= SOLVED

    @property
    def broken(self) -> bool:
        return self.corrupt_logit_diff <= (1 - BROKEN) * self.logit_diff

    @property
    def sentence(self) -> str:
        """What was found and what it means for a run."""
        right = (
            f"the answer beats the distractor on {self.accuracy:.0%} of {self.n_prompts} prompts"
        )
        moved = f"logit difference {self.logit_diff:.2f}, corrupted {self.corrupt_logit_diff:.2f}"
        if not self.solved:
            return (
                f"The model cannot do this task well enough: {right} (chance is 50%; {moved}). Its circuit "
                "would say little. Choose another task or a larger model."
            )
        if not self.broken:
            return (
                f"The model does this task ({right}), but the corruption hardly changes its answer "
                f"({moved}), so a circuit could leave everything out. Choose another corruption."
            )
        seldom = (
            "" if self.top1 >= SELDOM
            else f" Yet it would say one of the right words on only {self.top1:.0%} of them, and something "
            "else on the others."
        )  # fmt: skip
        return f"The model does this task: {right} ({moved}).{seldom}"

    def to_dict(self) -> dict[str, Any]:
        found = {"solved": self.solved, "broken": self.broken, "sentence": self.sentence}
        return {**asdict(self), **found}


def check_task(
    masked: MaskedModel, pairs: Sequence[EncodedPair], batch_size: int = 16
) -> Generator[Progress, None, TaskCheck]:
    """Run the full model on clean and corrupted prompts."""
    rows = []
    batches = list(in_batches(pairs, batch_size, masked.device))
    for done, (_, batch) in enumerate(batches, 1):
        swapped = replace(batch, clean=batch.corrupt)
        rows.append(torch.cat([_outcome(masked, batch), _outcome(masked, swapped)]))
        yield Progress("prompts", done, len(batches), "Asking the full model")
    return TaskCheck(len(pairs), *torch.cat(rows, dim=1).mean(dim=1).tolist())


@torch.no_grad()
def _outcome(masked: MaskedModel, batch: Batch) -> torch.Tensor:
    """In the order of `TaskCheck`: accuracy, top-1, logit difference and probability difference."""
    logits = full_logits(masked, batch)
    sets = batch.answer, batch.distractor
    difference = logit_difference(logits, *sets)
    return torch.stack(
        [
            (difference > 0).float(),
            among(logits.argmax(-1), batch.answer),
            difference,
            probability_difference(logits, *sets),
        ]
    ).cpu()

"""Can the model do the task, and does the corruption take it away? Asked before a run is spent on it.

A circuit explains how a model does something. If the model cannot do it, or does it on corrupted
prompts just as well, a circuit of any size explains nothing. Only the full model is run, once on the clean and
once on the corrupted prompts.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from hap_engine.errors import TaskError
from hap_engine.evaluation.measure import measure
from hap_engine.evaluation.metrics import logit_difference, set_logit
from hap_engine.graph.circuit import empty_circuit
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.progress import Progress, relabelled
from hap_engine.tasks.pair import EncodedPair, PromptPair, single_token, spelling_token
from hap_engine.tasks.reader import encode_rows
from hap_engine.tasks.task import SplitSizes, Task
from hap_engine.transformer.batches import NO_TOKEN, Batch, in_batches
from hap_engine.transformer.load import Model, loading
from hap_engine.words import say
from hap_engine.workflows.run_prompts import task_prompts

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
        right = f"the answer beats the distractor on {self.accuracy:.0%} of {self.n_prompts} prompts"
        moved = f"logit difference {self.logit_diff:.2f}, corrupted {self.corrupt_logit_diff:.2f}"
        if not self.solved:
            return say("workflows.unsolved", right=right, moved=moved)
        if not self.broken:
            return say("workflows.unbroken", right=right, moved=moved)
        seldom = "" if self.top1 >= SELDOM else say("workflows.seldom", share=self.top1)
        return f"The model does this task: {right} ({moved}).{seldom}"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "solved": self.solved, "broken": self.broken, "sentence": self.sentence}


def check_task(
    masked: MaskedModel, pairs: Sequence[EncodedPair], batch_size: int = 16
) -> Generator[Progress, None, TaskCheck]:
    """Run the full model on clean and corrupted prompts."""
    corrupt = {"corrupt": empty_circuit(masked.graph)}  # with no edge kept, the circuit is the corrupt run
    work = measure(masked, pairs, corrupt, batch_size)
    full, outcomes = yield from relabelled(work, phase="prompts", message="Asking the full model")
    sides = (full, outcomes["corrupt"])
    means = [float(side[key].mean()) for side in sides for key in ("accuracy", "top1", "logit_diff", "prob_diff")]
    return TaskCheck(len(pairs), *means)


def ask_tasks(
    reference: str,
    tasks: Sequence[Task],
    n_prompts: int = CHECKED,
    seed: int = 0,
    device: str = "cpu",
    bos: str = "auto",
) -> Generator[Progress, None, tuple[Model, dict[str, dict[str, Any]]]]:
    """Open a model and ask it about each task: what `TaskCheck.to_dict` holds, or only why it cannot be asked.

    Raises:
        ModelError: if the model cannot be opened.
    """
    model = yield from loading(reference, device)
    masked, reader = open_masked(model), model.reader.feeding(bos)
    answers: dict[str, dict[str, Any]] = {}
    for done, task in enumerate(tasks):
        yield Progress("prompts", done, len(tasks), f"Trying: {task.title}")
        try:
            sets = task_prompts(reader, task, SplitSizes(1, 1, n_prompts), seed)
        except TaskError as error:
            answers[task.name] = {"solved": False, "broken": False, "sentence": str(error)}
            continue
        answers[task.name] = (yield from check_task(masked, sets.test)).to_dict()
    return model, answers


BATCH = 32
LIKELIER = 10  # times; a reading that is not meant is seldom so much likelier
MOVED = 0.5  # nats of logit difference; less than that, corruption hardly changes what the model says


@dataclass(frozen=True)
class Asked:
    """What the model says about one pair.

    Attributes:
        clean, corrupt: probability of the answer after each prompt.
        clean_diff, corrupt_diff: logit difference of answer and distractor.
        says: the model's first choice after the clean prompt.
        likelier: an answer or distractor with its space taken away (or put before it), where the model finds
            that `LIKELIER` times likelier than what is scored; else empty.
    """

    clean: float
    corrupt: float
    clean_diff: float
    corrupt_diff: float
    says: str
    likelier: str = ""

    @property
    def complaint(self) -> str:
        """Why the pair is a poor one, or nothing."""
        if self.likelier:
            scored = other_reading(self.likelier)
            return f"The model finds {self.likelier!r} far likelier than {scored!r}: which is meant?"
        if self.clean_diff <= 0:
            return "The model prefers the distractor: it cannot do this one."
        if self.clean_diff - self.corrupt_diff < MOVED:
            return "The corrupted prompt hardly changes the answer: corrupt what decides it."
        return ""


def ask_pairs(
    reference: str, pairs: Sequence[PromptPair], device: str = "cpu", bos: str = "auto"
) -> Generator[Progress, None, tuple[Model, Sequence[EncodedPair], list[Asked]]]:
    """Open a model and `ask` it about the pairs, which are returned as it reads them.

    Raises:
        HapError: if the model cannot be opened, or cannot read a pair.
    """
    model = yield from loading(reference, device)
    rows = encode_rows(model.reader.feeding(bos), pairs)
    return model, rows, (yield from ask(open_masked(model), rows))


@torch.no_grad()
def ask(masked: MaskedModel, pairs: Sequence[EncodedPair]) -> Generator[Progress, None, list[Asked]]:
    """What the model says about each pair, in their order."""
    answers: dict[int, Asked] = {}
    batches = list(in_batches(pairs, BATCH, masked.device))
    for done, (indices, batch) in enumerate(batches, 1):
        answers.update(zip(indices, _ask(masked, batch, [pairs[index] for index in indices]), strict=True))
        yield Progress("prompts", done, len(batches), "Asking the model")
    return [answers[index] for index in range(len(pairs))]


def _ask(masked: MaskedModel, batch: Batch, pairs: Sequence[EncodedPair]) -> list[Asked]:
    def logits(tokens: Tensor) -> Tensor:
        return masked.unembed(masked.trace(tokens, batch.last).final)

    clean, corrupt = logits(batch.clean), logits(batch.corrupt)
    columns = [
        *(set_logit(side.log_softmax(-1), batch.answer).exp() for side in (clean, corrupt)),
        *(logit_difference(side, batch.answer, batch.distractor) for side in (clean, corrupt)),
    ]
    decode = masked.model.tokenizer.decode
    says = [decode([int(token)]) for token in clean.argmax(-1)]
    rows = zip(*(column.tolist() for column in columns), says, _likelier(masked, clean, batch, pairs), strict=True)
    return [Asked(*row) for row in rows]


def _likelier(masked: MaskedModel, logits: Tensor, batch: Batch, pairs: Sequence[EncodedPair]) -> list[str]:
    """For each pair the reading that the model finds far likelier than the scored one, or an empty text."""
    readings = [""] * len(pairs)
    for kind, compared in (("distractor", batch.distractor), ("answer", batch.answer)):
        others = [_other_tokens(masked.model.tokenizer, pair, kind) for pair in pairs]
        width = max(1, *map(len, others))
        rows = [[*tokens, *[NO_TOKEN] * (width - len(tokens))] for tokens in others]
        gain = set_logit(logits, torch.tensor(rows, device=logits.device)) - set_logit(logits, compared)
        for index in (gain > math.log(LIKELIER)).nonzero().flatten().tolist():
            readings[index] = other_reading(getattr(pairs[index].pair, kind))
    return readings


def _other_tokens(tokenizer: Tokenizer, pair: EncodedPair, kind: str) -> tuple[int, ...]:
    """The tokens of the answers' (or distractors') other readings that are not compared already."""
    if getattr(pair.pair, f"{kind}_ids"):
        return ()  # ids leave no doubt
    tokens: dict[int, None] = {}
    for text in map(other_reading, getattr(pair.pair, f"{kind}s")):
        token = single_token(tokenizer, pair.pair.clean, text)
        token = spelling_token(tokenizer, pair.pair.clean, text) if token is None else token
        if token is not None and token not in {*pair.answer_ids, *pair.distractor_ids}:
            tokens[token] = None
    return tuple(tokens)


def other_reading(text: str) -> str:
    """An answer without the space before it, or with one."""
    return text[1:] if text.startswith(" ") else f" {text}"


def spaces_in_doubt(answers: Sequence[Asked]) -> str:
    """A sentence where the model reads answers with another space than is scored, or nothing."""
    likelier = [answer.likelier for answer in answers if answer.likelier]
    if not likelier:
        return ""
    meant, compared = likelier[0], other_reading(likelier[0])
    return say("workflows.spaces", n=len(likelier), of=len(answers), meant=meant, times=LIKELIER, compared=compared)


def summary(answers: Sequence[Asked]) -> str:
    """One sentence on how the model does."""
    right = sum(answer.clean_diff > 0 for answer in answers)
    moved = sum(answer.clean_diff - answer.corrupt_diff >= MOVED for answer in answers)
    mean, corrupt = (fmean(getattr(answer, name) for answer in answers) for name in ("clean", "corrupt"))
    found = say("workflows.summary", right=right, of=len(answers), mean=mean, corrupt=corrupt, moved=moved)
    return f"{found} {spaces_in_doubt(answers)}".strip()

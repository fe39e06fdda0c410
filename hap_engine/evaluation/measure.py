"""Run circuits on prompts and measure each prompt: what `evaluate` averages and the tests compare."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.evaluation.metrics import among, kl_divergence, logit_difference, probability_difference
from hap_engine.graph.circuit import Circuit
from hap_engine.machine.workload import RUN_BATCH
from hap_engine.masked import processes
from hap_engine.masked.ablation import Ablation
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import PassInput, Prepared, full_logits
from hap_engine.progress import Progress
from hap_engine.runs.unfinished import NOWHERE, Place
from hap_engine.tasks.pair import EncodedPair
from hap_engine.transformer.batches import Batch, in_batches, to_batch

PER_PROMPT = ("kl", "logit_diff", "prob_diff", "accuracy", "top1", "exact_match")


Outcome = dict[str, Float[np.ndarray, " prompt"]]
Key = TypeVar("Key", bound=Hashable)  # what tells circuits apart: never read, so a name may be anything


def measure(
    masked: MaskedModel,
    pairs: Sequence[EncodedPair],
    circuits: Mapping[Key, Circuit],
    batch_size: int = 32,
    ablation: str = "resample",
    place: Place = NOWHERE,
    kept: Prepared | None = None,
) -> Generator[Progress, None, tuple[Outcome, dict[Key, Outcome]]]:
    """Per-prompt metrics of the full model and of each circuit, in prompt order; `place` keeps those so far.

    Equal circuits are computed once. `kept`: the first of the prompts; what is kept of them is not run again, if it
    is what the ablation asks for.
    """
    cutting = Ablation(masked, pairs, ablation)
    ready = [] if kept is None or ablation != "resample" else _kept(kept, batch_size)
    before = sum(len(indices) for indices, _ in ready)
    rest = pairs[before:]

    def given(batch: Batch) -> PassInput:
        return PassInput(batch, cutting.base(batch), masked.embed(batch.clean), full_logits(masked, batch))

    parts = [
        ([before + index for index in indices], partial(given, batch))
        for indices, batch in in_batches(rest, batch_size, masked.device)
    ]
    return (yield from _measure(masked, [*ready, *parts], circuits, cutting.mask, place))


def measure_on(
    prepared: Prepared, circuits: Mapping[Key, Circuit], batch_size: int = RUN_BATCH, place: Place = NOWHERE
) -> Generator[Progress, None, tuple[Outcome, dict[Key, Outcome]]]:
    """`measure` of prompts whose corrupt runs are kept, in the precision that they were made in."""
    parts = _kept(prepared, batch_size)
    return (yield from _measure(prepared.masked, parts, circuits, partial(_mask, prepared.masked), place))


_Part = tuple[list[int], Callable[[], PassInput]]  # which prompts, and what a pass needs of them


def _kept(prepared: Prepared, batch_size: int) -> list[_Part]:
    return [(part, partial(prepared.batch, part)) for part in prepared.parts(range(len(prepared)), batch_size)]


def _measure(
    masked: MaskedModel,
    parts: Sequence[_Part],
    circuits: Mapping[Key, Circuit],
    mask: Callable[[Circuit], Tensor],
    place: Place,
) -> Generator[Progress, None, tuple[Outcome, dict[Key, Outcome]]]:
    """Every circuit on the prompts of every part."""
    distinct, count = [*dict.fromkeys(circuits.values())], sum(len(indices) for indices, _ in parts)
    masks = [None, *map(mask, distinct)]  # None: the full model
    found, cells = place.found(), len(parts) * len(masks)
    values = found.get("values", np.zeros((len(masks), len(PER_PROMPT), count), np.float32))
    done = found.get("done", 0)
    while done < cells:
        at, first = divmod(done, len(masks))
        indices, given = parts[at]
        for row, outcome in zip(values[first:], _of_batch(masked, given, masks[first:]), strict=True):
            row[:, indices] = outcome
            done += 1
            place.offer(f"testing circuits, {done} of {cells}", partial(dict, values=values, done=done))
            yield Progress("evaluate", done, cells, "Testing the circuits on unseen prompts")
    place.keep(values=values, done=done)
    full, *others = (dict(zip(PER_PROMPT, row, strict=True)) for row in values)
    outcomes = dict(zip(distinct, others, strict=True))
    return full, {key: outcomes[circuit] for key, circuit in circuits.items()}


@torch.no_grad()
def _of_batch(
    masked: MaskedModel, given: Callable[[], PassInput], masks: Sequence[Tensor | None]
) -> Iterator[Float[np.ndarray, "metric prompt"]]:
    """Of each mask."""
    batch, base, clean, full = given()

    def outcome(mask: Tensor | None) -> Tensor:
        return _outcome(
            full if mask is None else masked.logits(mask, clean, base, batch.last, batch.spans), full, batch
        )

    for found in processes.in_turn(masks, outcome, full.new_empty(len(PER_PROMPT), len(full))):
        yield found.cpu().numpy()


def _outcome(logits: Tensor, full: Tensor, batch: Batch) -> Float[Tensor, "metric prompt"]:
    difference = logit_difference(logits, batch.answer, batch.distractor)
    top = logits.argmax(-1)
    values = [
        kl_divergence(logits, full.log_softmax(-1)),
        difference,
        probability_difference(logits, batch.answer, batch.distractor),
        (difference > 0).float(),
        among(top, batch.answer),
        (top == full.argmax(-1)).float(),
    ]
    return torch.stack(values)


def compact(outcome: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """What the run file keeps of a circuit's outcome: four digits tell prompts apart."""
    return {key: [float(f"{x:.4g}") for x in outcome[key]] for key in PER_PROMPT}


def _mask(masked: MaskedModel, circuit: Circuit) -> Float[Tensor, "writer reader"]:
    """Its edges at 1, all others at 0."""
    return torch.from_numpy(circuit.kept).to(masked.device).float()


def circuit_kl(prepared: Prepared, circuit: Circuit) -> float:
    """Mean KL(full model ‖ circuit) over the prompts."""
    return float(kl_of_each(prepared, circuit).mean())


def kl_of_each(prepared: Prepared, circuit: Circuit) -> Float[np.ndarray, " prompt"]:
    """KL(full model ‖ circuit) of each prompt."""
    return _of_each(prepared, circuit, lambda logits, given: kl_divergence(logits, given.full)).cpu().numpy()


def mean_difference(prepared: Prepared, circuit: Circuit | None) -> float:
    """Mean logit difference of a circuit, or of the full model (None)."""
    if circuit is None:
        batch = to_batch(prepared.pairs, prepared.masked.device)
        return logit_difference(prepared.full, batch.answer, batch.distractor).mean().item()
    each = _of_each(prepared, circuit, lambda x, given: logit_difference(x, given.batch.answer, given.batch.distractor))
    return each.mean().item()


@torch.no_grad()
def _of_each(
    prepared: Prepared, circuit: Circuit, value: Callable[[Tensor, PassInput], Tensor]
) -> Float[Tensor, " prompt"]:
    """A value of a circuit's logits (its edges at 1, all others at 0) on each prompt."""
    mask, found = _mask(prepared.masked, circuit.live), prepared.full.new_zeros(len(prepared))
    parts = prepared.parts(range(len(prepared)), RUN_BATCH)
    for at in processes.share(range(len(parts))):
        given = prepared.batch(parts[at])
        batch = given.batch
        logits = prepared.masked.logits(mask, given.clean, given.corrupt, batch.last, batch.spans)
        found[parts[at]] = value(logits, given)
    return processes.summed(found)

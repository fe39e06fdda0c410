"""Run circuits on prompts and measure each prompt: what `evaluate` averages and the tests compare."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.evaluation.metrics import among, kl_divergence, logit_difference, probability_difference
from hap_engine.graph.circuit import Circuit
from hap_engine.machine.workload import RUN_BATCH
from hap_engine.masked.ablation import Ablation
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import Prepared, full_logits
from hap_engine.progress import Progress
from hap_engine.tasks.pair import EncodedPair
from hap_engine.transformer.batches import Batch, in_batches, to_batch
from hap_engine.transformer.plain_pass import Trace

PER_PROMPT = ("kl", "logit_diff", "prob_diff", "accuracy", "top1", "exact_match")


Outcome = dict[str, Float[np.ndarray, " prompt"]]


def measure(
    masked: MaskedModel,
    pairs: Sequence[EncodedPair],
    circuits: Mapping[str, Circuit],
    batch_size: int = 32,
    ablation: str = "resample",
) -> Generator[Progress, None, dict[str, Outcome]]:
    """Per-prompt metrics of the full model (key ``full``) and of each circuit, in prompt order."""
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("full", *circuits)}
    cutting = Ablation(masked, pairs, ablation)
    masks = {name: cutting.mask(circuit) for name, circuit in circuits.items()}
    order: list[int] = []
    batches = list(in_batches(pairs, batch_size, masked.device))
    for done, (indices, batch) in enumerate(batches, 1):
        order += indices
        for name, values in _measure_batch(masked, batch, cutting.base(batch), masks):
            rows[name].append(values)
        yield Progress("evaluate", done, len(batches), "Testing the circuits on unseen prompts")
    back = np.argsort(order)
    return {
        name: dict(zip(PER_PROMPT, np.concatenate(parts, axis=1)[:, back], strict=True)) for name, parts in rows.items()
    }


@torch.no_grad()
def _measure_batch(
    masked: MaskedModel, batch: Batch, base: Trace, masks: Mapping[str, torch.Tensor]
) -> list[tuple[str, np.ndarray]]:
    clean = masked.embed(batch.clean)
    full = full_logits(masked, batch)
    found = [("full", _outcome(full, full, batch))]
    for name, mask in masks.items():
        logits = masked.logits(mask, clean, base, batch.last)
        found.append((name, _outcome(logits, full, batch)))
    return found


def _outcome(logits: torch.Tensor, full: torch.Tensor, batch: Batch) -> np.ndarray:
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
    return torch.stack(values).cpu().numpy()


def compact(outcome: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """What the run file keeps of a circuit's outcome: four digits tell prompts apart."""
    return {key: [float(f"{x:.4g}") for x in outcome[key]] for key in PER_PROMPT}


@torch.no_grad()
def circuit_logits(prepared: Prepared, circuit: Circuit) -> Iterator[tuple[list[int], Tensor]]:
    """Logits of a circuit (its edges at 1, all others at 0): indices of some prompts and their rows."""
    mask = torch.from_numpy(circuit.live.kept).float().to(prepared.masked.device)
    for part in prepared.parts(range(len(prepared)), RUN_BATCH):
        batch, corrupt, clean, _ = prepared.batch(part)
        yield part, prepared.masked.logits(mask, clean, corrupt, batch.last)


def circuit_kl(prepared: Prepared, circuit: Circuit) -> float:
    """Mean KL(full model ‖ circuit) over the prompts."""
    found = [kl_divergence(x, prepared.full[i]) for i, x in circuit_logits(prepared, circuit)]
    return torch.cat(found).mean().item()


def mean_difference(prepared: Prepared, circuit: Circuit | None) -> float:
    """Mean logit difference of a circuit, or of the full model (None)."""
    every = list(range(len(prepared)))
    found = [(every, prepared.full)] if circuit is None else circuit_logits(prepared, circuit)
    differences = []
    for part, logits in found:
        batch = to_batch([prepared.pairs[i] for i in part], prepared.masked.device)
        differences.append(logit_difference(logits, batch.answer, batch.distractor))
    return torch.cat(differences).mean().item()

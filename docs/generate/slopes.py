"""What EAP estimates and what cutting does, on two edges of hap-mini: ``python -m docs.generate.slopes``.

The mean logit difference is measured while one edge's mask goes from 1 (kept) to 0 (cut) and all others stay kept.
EAP knows the slope at 1 and no more. Writes slopes.json, from which `method_pictures` draws.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import hap_engine as hap
from hap_engine.evaluation.metrics import logit_difference
from hap_engine.masked.ablation import Ablation
from hap_engine.tasks.pair import EncodedPair
from hap_engine.transformer.batches import in_batches

FOUND = Path(__file__).with_suffix(".json")
PROMPTS = 64
# Of the edges of this run's two circuits: one that is nearly straight, and the one whose sign EAP gets most wrong.
EDGES = (("a3.h1", "m3"), ("input", "a0.h1<k>"))
POINTS = tuple(point / 10 for point in range(10, -1, -1))


@torch.no_grad()
def curve(model: Any, pairs: Sequence[EncodedPair], edge: tuple[str, str]) -> list[float]:
    """Mean logit difference at each of `POINTS` of one edge's mask, all other edges kept."""
    cutting = Ablation(model, pairs, "resample")
    found = []
    for point in POINTS:
        mask = cutting.mask(hap.full_circuit(model.graph))
        mask[model.graph.edge(*edge)] = point
        values = [
            logit_difference(
                model.logits(mask, model.embed(batch.clean), cutting.base(batch), batch.last),
                batch.answer,
                batch.distractor,
            )
            for _, batch in in_batches(pairs, PROMPTS, model.device)
        ]
        found.append(float(torch.cat(values).mean()))
    return found


def measured() -> list[dict[str, Any]]:
    """Each edge with EAP's score and its curve."""
    model, run = hap.open_model("hap-mini"), hap.example()
    pairs = hap.encoded(model, run)[:PROMPTS]
    scores = hap.attribute(model, pairs)
    return [
        {
            "edge": list(edge),
            "score": round(float(scores[model.graph.edge(*edge)]), 4),
            "curve": [round(value, 4) for value in curve(model, pairs, edge)],
        }
        for edge in EDGES
    ]


if __name__ == "__main__":
    record = {"prompts": PROMPTS, "points": POINTS, "edges": measured()}
    FOUND.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(FOUND)

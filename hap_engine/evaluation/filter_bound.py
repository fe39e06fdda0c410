"""What can stage one miss? A measured bound on the edges that HAP's filter drops.

HAP never sees an edge that EAP ranked too low. Whether such edges matter is measured, not assumed
(the idea is that of AtP*'s diagnostics, Kramár et al. 2024, arXiv 2403.00745): random subsets of the
dropped edges are corrupted in the otherwise whole model, and KL(model ‖ model without them) is
the effect. Reported for subsets of several sizes, with

* the mean effect over subsets, with a bootstrap interval, and the largest one seen;
* a distribution-free bound: n subsets were drawn at random, so with 95 % confidence at most
  ``1 - 0.05^(1/n)`` of all subsets of that size have a larger effect than the largest seen;
* for a single edge: subsets of share s contain any given edge with probability s each, so an edge
  whose corruption always costs more than the largest effect seen would have been drawn, and
  noticed, with probability ``1 - (1 - s)^n`` (stated as ``seen``). Effects that cancel inside a subset
  are what this cannot exclude; several subset sizes make that less likely.

``all`` is the subset of every dropped edge: how far the filtered model itself is from the full one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hap_engine.evaluation.statistics import LEVEL, Values, bootstrap_interval
from hap_engine.graph.circuit import Circuit, full_circuit

SHARES = (0.01, 0.1, 0.5)  # of the dropped edges in one subset
SUBSETS = 20  # a size; 20 bound the share of worse subsets by 14 %


Subset = tuple[float, int]  # share of the dropped edges, which draw

ALL: Subset = (1.0, 0)


def subsets(filtered: Circuit, seed: int, count: int = SUBSETS) -> dict[Subset, Circuit]:
    """The model without random subsets of the edges that `filtered` lacks, and without `ALL` of them."""
    graph, rng = filtered.graph, np.random.default_rng(seed)
    model = full_circuit(graph)
    dropped = np.argwhere((model - filtered).kept)
    made = {ALL: filtered.live}
    for share in SHARES:
        size = round(share * len(dropped))
        if not size:
            continue
        for index in range(count):
            cut = model.kept.copy()
            cut[tuple(dropped[rng.permutation(len(dropped))[:size]].T)] = False
            made[share, index] = Circuit(graph, cut).live
    return made


def bound(filtered: Circuit, kl: Mapping[Subset, Values], seed: int) -> dict[str, Any]:
    """The report from measured KLs per prompt, keyed as `subsets` does."""
    rows = []
    for share in SHARES:
        means = np.array([values.mean() for (of, _), values in kl.items() if of == share])
        if not len(means):
            continue
        rows.append(
            {
                "share": share,
                "n_subsets": len(means),
                "mean": float(means.mean()),
                "interval": bootstrap_interval(means, seed),
                "max": float(means.max()),
                "exceeded_at_most": 1 - (1 - LEVEL) ** (1 / len(means)),
                "seen": 1 - (1 - share) ** len(means),
            }
        )
    return {
        "n_dropped": filtered.graph.n_edges - len(filtered),
        "all": float(kl[ALL].mean()),
        "subsets": rows,
        "confidence": LEVEL,
    }

"""The plots of docs/studies/pruning.md: one figure a model."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from benchmarks.studies.pruning.circuits import TITLES, Found, at, chained, current
from benchmarks.studies.pruning.page import PAGE

COLOURS = {"eap": "#c2410c", "eap-ig-kl": "#ca8a04", "ep": "#64748b", "hap": "#1d4ed8"}
MARKS = {"eap": "s", "eap-ig-kl": "^", "ep": "o", "hap": "D"}
matplotlib.rcParams |= {"svg.hashsalt": "hap", "svg.fonttype": "none"}  # equal data, equal small file


def plots(found: Sequence[Found]) -> None:
    """KL and role recovery against the number of kept edges; the band spans the seeds."""
    for model in sorted({one.model for one in found}):
        mine = chained(current(one for one in found if one.model == model))
        if mine:
            _plot(model, mine)


def _plot(model: str, mine: Sequence[Found]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for method, title in TITLES.items():
        levels = sorted({o.sparsity for o in mine if o.descent.method == method})
        circuits = [at(mine, method, level) for level in levels]
        xs = [here[0].values["live"] for here in circuits]
        style = {"color": COLOURS[method], "marker": MARKS[method], "markersize": 4}
        kls = [[o.kl for o in here] for here in circuits]
        left.plot(xs, [fmean(values) for values in kls], label=title, **style)
        low, high = [min(v) for v in kls], [max(v) for v in kls]
        left.fill_between(xs, low, high, color=COLOURS[method], alpha=0.15, lw=0)
        right.plot(xs, [fmean(o.kept() for o in here) for here in circuits], label=title, **style)
    left.set(xscale="log", yscale="log", xlabel="live edges", ylabel="held-out KL (nats)")
    right.set(xscale="log", ylim=(0, 1.03), xlabel="live edges", ylabel="heads with a role, kept")
    for axes in (left, right):
        axes.invert_xaxis()
        axes.grid(alpha=0.25)
    left.legend(frameon=False, fontsize=8)
    out = PAGE.parent / f"{model.split('-Instruct')[0]}-sparsity.svg"
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)

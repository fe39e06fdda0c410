"""From the descents that were kept to docs/studies/pruning.md and its plots: every sentence is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean

from benchmarks.studies.pages import PAGES
from benchmarks.studies.pruning.circuits import TITLES, Found, at, chained, current, seconds, single, spread

PAGE = PAGES / "pruning.md"
LEVELS = (1.0, 0.5, 0.35, 0.2, 0.1)  # KL to be reached, in the study of steps
HEAD = """# Edge Pruning, with and without EAP before it

Made by `python -m benchmarks.studies.pruning hap-mini path/to/SmolLM2.gguf` from the descents in
`benchmarks/studies/data/pruning`, each of which is computed once. IOI, prompts as in a standard run (600 to learn
from, 256 held-out ones to measure on), resample ablation, equal numbers of live edges. KL in nats, lower is better;
where several seeds were run, the mean and in brackets the lowest and the highest. Seconds are
processor time of pruning alone on one thread (left out where a GPU did it). S-inhibition: of the heads that the shipped
run of the model measured, how many are kept.
"""


def page(found: Sequence[Found]) -> str:
    parts = [HEAD]
    for model in sorted({one.model for one in found}, key=lambda name: name != "hap-mini"):
        mine = [one for one in found if one.model == model]
        parts.append(f"## {model}\n")
        for part in (_sparsity, _steps, _starts, _keep):
            parts += part(current(mine))
        parts += _limit([o for o in mine if not o.descent.ld_weight])
        parts += _held(mine)
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _sparsity(found: Sequence[Found]) -> Iterator[str]:
    mine = chained(found)
    levels = sorted({one.sparsity for one in mine})
    methods = [m for m in TITLES if any(one.descent.method == m for one in mine)]
    if not levels:
        return
    yield "### From loose to tight in one descent\n"
    plans = dict.fromkeys(
        ", ".join(f"{s:.1%} ({n})" for s, n in zip(d.sparsities, d.steps, strict=True))
        for d in (o.descent for o in mine)
        if d.steps
    )
    if plans:
        yield (
            "HAP and EP go on from each circuit to the next tighter budget; sparsity and, in brackets, "
            f"steps: {'; '.join(plans)}. EP starts from all edges with equal gates, HAP from EAP-IG's "
            "candidates in the order of their scores.\n"
        )
    slug = mine[0].model.split("-Instruct")[0]
    yield f"![KL against kept edges, and heads with a role that are kept]({slug}-sparsity.svg)\n"
    head = ["sparsity", "live edges"]
    for method in methods:
        head += [f"{TITLES[method]}: KL", "F", "S-inhibition"]
    rows = []
    for level in levels:
        last = next(here[0] for m in reversed(methods) if (here := at(mine, m, level)))
        cells = [f"{level:.1%}", f"{last.values['live']:,}"]
        for method in methods:
            here = at(mine, method, level)
            cells += [
                spread([o.kl for o in here]),
                _faithfulness(here),
                f"{fmean(o.kept('s_inhibition') for o in here):.0%}" if here else "",
            ]
        rows.append(cells)
    yield _table(head, rows)
    yield _verdict(mine, levels)
    yield _sparsest(mine, levels)


def _sparsest(found: Sequence[Found], levels: Sequence[float]) -> str:
    """The smallest circuit of each method whose mean KL is at most a level that any of them reaches."""
    means = {
        (method, level): fmean(o.kl for o in here)
        for method in TITLES
        for level in levels
        if (here := at(found, method, level))
    }
    most = next((k for k in (0.05, 0.35) if min(means.values(), default=1.0) <= k), None)
    if most is None:
        return ""
    said = []
    for method, title in TITLES.items():
        good = [level for (m, level), kl in means.items() if m == method and kl <= most]
        if good:
            live = at(found, method, max(good))[0].values["live"]
            said.append(f"{title} {live:,.0f} edges ({max(good):.1%})")
    return f"The sparsest with a mean KL of at most {most}: {'; '.join(said)}.\n"


def _verdict(found: Sequence[Found], levels: Sequence[float]) -> str:
    """Where HAP's mean KL is below that of the others, seed by seed where both were run."""
    said = []
    for other in ("eap", "eap-ig-kl", "ep"):
        both = [
            (fmean(o.kl for o in hap), fmean(o.kl for o in them), level)
            for level in levels
            if (hap := at(found, "hap", level)) and (them := at(found, other, level))
        ]
        if both:
            worse = [f"{level:.1%}" for ours, theirs, level in both if ours >= theirs]
            where = f" (not at {', '.join(worse)})" if worse else ""
            said.append(f"{TITLES[other]}'s at {len(both) - len(worse)} of {len(both)} sizes{where}")
    seeds = sorted({o.descent.seed for o in found if o.descent.method == "hap"})
    word = "seed" if len(seeds) == 1 else "seeds"
    return f"HAP's KL is below {'; below '.join(said)}. HAP: {len(seeds)} {word}.\n" if said else ""


def _steps(found: Sequence[Found]) -> Iterator[str]:
    mine = [o for o in single(found, recipe="standard", keep=None) if o.descent.start == _own(o)]
    counts = sorted({o.descent.steps[0] for o in mine})
    if len(counts) < 2:
        return
    level = mine[0].sparsity
    yield f"### Steps to a circuit, {level:.0%} removed\n"
    rows = []
    for count in counts:
        cells = [f"{count:,}"]
        for method in ("hap", "ep"):
            here = [o for o in mine if o.descent.method == method and o.descent.steps == (count,)]
            cells += [spread([o.kl for o in here]), _faithfulness(here)]
            cells += [seconds(here)]
        rows.append(cells)
    published = single(found, recipe="published")
    for count in sorted({o.descent.steps[0] for o in published}):
        here = [o for o in published if o.descent.steps == (count,)]
        named = f"{count:,}, EP as published"
        rows.append([named, "", "", "", spread([o.kl for o in here]), _faithfulness(here), seconds(here)])
    yield _table(["steps", "HAP: KL", "F", "seconds", "EP: KL", "F", "seconds"], rows)
    rows = []
    for goal in LEVELS:
        cells = [f"KL ≤ {goal:g}"]
        for method in ("hap", "ep"):
            cells.append(_reached([o for o in mine if o.descent.method == method], counts, goal))
        rows.append(cells)
    yield "Steps until the mean KL of the seeds is at a level (of those tried):\n"
    yield _table(["level", "HAP", "EP"], rows)


def _faithfulness(found: Sequence[Found]) -> str:
    return f"{fmean(o.values['faithfulness'] for o in found):.2f}" if found else ""


def _own(one: Found) -> str:
    """The start that a method has of itself."""
    return "equal" if one.descent.method == "ep" else "ranked"


def _reached(found: Sequence[Found], counts: Sequence[int], goal: float) -> str:
    tried = 0
    for count in counts:
        here = [o.kl for o in found if o.descent.steps == (count,)]
        tried = count if here else tried
        if here and fmean(here) <= goal:
            known = [o.seconds for o in found if o.descent.steps == (count,) and o.seconds]
            return f"{count:,} ({fmean(known):,.0f} s)" if known else f"{count:,}"
    return f"not by {tried:,}" if tried else ""


def _starts(found: Sequence[Found]) -> Iterator[str]:
    names = {"ranked": "EAP's order", "equal": "all equal", "random": "random order"}
    by_start = {
        start: {o.descent.seed: o for o in single(found, method="ep", steps=(150,), start=start, recipe="standard")}
        for start in names
    }
    if not all(by_start.values()):
        return
    level = next(iter(by_start["equal"].values())).sparsity
    yield f"### Where EP's gates start, {level:.0%} removed, 150 steps\n"
    rows = []
    for start, ones in by_start.items():
        kls = [o.kl for o in ones.values()]
        rows.append(
            [names[start], spread(kls), f"{fmean(o.kept() for o in ones.values()):.0%}", seconds(ones.values())]
        )
    hap = single(found, method="hap", steps=(300,), recipe="standard", keep=None)
    if hap:
        rows.append(
            ["HAP, 300 steps", spread([o.kl for o in hap]), f"{fmean(o.kept() for o in hap):.0%}", seconds(hap)]
        )
    yield _table(["start", "KL", "heads with a role kept", "seconds"], rows)
    rows = []
    for one, two in combinations(names, 2):
        shared = [
            _jaccard(by_start[one][seed], by_start[two][seed]) for seed in by_start[one].keys() & by_start[two].keys()
        ]
        rows.append([f"{names[one]} / {names[two]}", f"{fmean(shared):.0%}"])
    yield "Edges that two starts' circuits share (of those that either has), same seed:\n"
    yield _table(["starts", "shared edges"], rows)


def _jaccard(one: Found, two: Found) -> float:
    a, b = set(one.values["edges"]), set(two.values["edges"])
    return len(a & b) / len(a | b)


def _keep(found: Sequence[Found]) -> Iterator[str]:
    mine = single(found, method="hap", steps=(150,), start="ranked", recipe="standard")
    shares = sorted({o.descent.share() for o in mine})
    if len(shares) < 2:
        return
    level = mine[0].sparsity
    yield f"### How loose a set EAP leaves, {level:.0%} removed, 150 steps\n"
    rows = []
    for share in shares:
        here = list({o.descent.seed: o for o in mine if o.descent.share() == share}.values())
        rows.append(
            [
                f"{share:.0%}",
                spread([o.kl for o in here]),
                f"{fmean(o.kept('s_inhibition') for o in here):.0%}",
                seconds(here),
            ]
        )
    yield _table(["kept for EP", "KL", "S-inhibition", "seconds"], rows)


def _limit(found: Sequence[Found]) -> Iterator[str]:
    """The same descents with and without the limit on what one batch can pull at a gate."""
    before = [o for o in found if not o.descent.clip]
    if not before:
        return
    yield "### What limiting the pull of one batch does\n"
    yield (
        "Without the limit a gate moves as far as one batch says, up to a hundred times the usual, and one that is "
        "thrown far down stays closed (`hap_engine/pruning/budgets.py`, `SharedAdam`). KL of the same descents with "
        "the limit and without; by each the seeds that were run.\n"
    )
    kinds = sorted({(_kind(o), o.sparsity) for o in before})
    rows = []
    for kind, sparsity in kinds:
        here = [o for o in found if _kind(o) == kind and o.sparsity == sparsity]
        cells = []
        for limited in (False, True):
            ones = [o for o in here if bool(o.descent.clip) is limited]
            seeds = f", {len(ones)} seed{'s' * (len(ones) > 1)}" if ones else ""
            cells += [spread([o.kl for o in ones]) + seeds]
        steps = ", ".join(f"{n}" for n in kind[2])
        rows.append([f"{TITLES[kind[0]]}, {sparsity:.1%} ({steps} steps)", *cells])
    yield _table(["descent", "without", "with"], rows)


def _held(found: Sequence[Found]) -> Iterator[str]:
    """HAP with KL alone and with weight on the mean error of the logit difference."""
    held = [o for o in found if o.descent.ld_weight]
    if not held:
        return
    weights = sorted({o.descent.ld_weight for o in held})
    yield "### Holding the logit difference\n"
    yield (
        "KL hardly sees how improbable a circuit makes the wrong name, so circuits overshoot the full model's logit "
        "difference (F above 1). `--ld-weight w` adds w times the square of its mean error to the loss. The same "
        "descents with KL alone and with w:\n"
    )
    head = ["sparsity", "KL alone: KL", "F"]
    for weight in weights:
        head += [f"w = {weight:g}: KL", "F"]
    rows = []
    for level in sorted({o.sparsity for o in held}):
        cells = [f"{level:.1%}"]
        for weight in (0.0, *weights):
            here = [
                o
                for o in found
                if o.descent == replace(held[0].descent, seed=o.descent.seed, ld_weight=weight) and o.sparsity == level
            ]
            cells += [spread([o.kl for o in here]), spread([o.values["faithfulness"] for o in here], 2)]
        rows.append(cells)
    yield _table(head, rows)


def _kind(one: Found) -> tuple[str, tuple[float, ...], tuple[int, ...], str, float, str]:
    """All that makes a descent but its seed and the limit."""
    d = one.descent
    return d.method, d.sparsities, d.steps, d.start, d.keep or 0.0, d.recipe

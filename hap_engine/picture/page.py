"""What the pages that we write have in common: escaped tables, and facts about a run as HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from hap_engine.findings import Findings
from hap_engine.report.every_size import removed, size_verdict
from hap_engine.report.metric_sentences import distinct_edges
from hap_engine.report.missed_heads import acts_at, misplaced
from hap_engine.report.titles import CONTROL_TITLES, METRIC_TITLES, attention_ways, circuit_title, role_title, row_title
from hap_engine.report.verdict import distance, kept_by_role, verdict

DISTINCT = "Distinct"  # edges, counted once at however many spans they act
COLUMNS = {key: METRIC_TITLES[key] for key in ("kl", "logit_diff", "faithfulness", "accuracy", "exact_match")}


def sentence(run: Findings, left: str, right: str) -> str:
    """The verdict on S-inhibition heads, if roles were measured, and the distance from the model."""
    parts = [distance(run, left, right)]
    if run.roles.get("heads") or run.roles.get("thresholds"):
        parts.insert(0, verdict(run, left=left, right=right).sentence)
    places = [found.sentence for found in misplaced(run, left, right)]
    return " ".join([*filter(None, [size_verdict(run)]), *parts, *places])


def metrics_table(run: Findings) -> str:
    counts = ["Edges", *([DISTINCT] if run.graph.positional else [])]
    return table(["Circuit", *counts, *COLUMNS.values()], metric_rows(run, COLUMNS))


def metric_rows(run: Findings, metrics: Iterable[str]) -> list[list[str]]:
    """Title, number of edges (with spans: and of distinct ones) and some metrics of every control and circuit."""
    metrics, distinct = list(metrics), distinct_edges(run)
    rows = {name: run.metrics[name] for name in (*CONTROL_TITLES, *run.circuits) if name in run.metrics}
    return [
        [
            row_title(rows, name),
            _whole(row.get("n_edges")),
            *([_whole(distinct.get(name))] if run.graph.positional else []),
            *(shown(row.get(key)) for key in metrics),
        ]
        for name, row in rows.items()
    ]


def sizes_table(run: Findings) -> str:
    """KL of every method at every size, for paper; empty for a run of one size."""
    grid, rows = run.sizes.get("grid", ()), run.sizes.get("metrics", {})
    heads = ["KL when removing", *(removed(run, size) for size in grid)]
    return table(heads, ([circuit_title(name), *map(shown, row["kl"])] for name, row in rows.items())) if grid else ""


def roles_table(run: Findings, left: str, right: str) -> str:
    """Heads by role, and how many each circuit keeps; empty if no role was measured."""
    rows = [
        [
            role_title(role),
            ", ".join(found.heads),
            f"{len(found.kept_left)} of {len(found.heads)}",
            f"{len(found.kept_right)} of {len(found.heads)}",
        ]
        for role, found in kept_by_role(run, left, right).items()
    ]
    heads = ["Role", "Heads of this model", f"Kept by {circuit_title(left)}", f"Kept by {circuit_title(right)}"]
    return table(heads, rows) if rows else ""


def roles_part(run: Findings, left: str, right: str) -> str:
    """`roles_table` under a heading; where edges act at spans also those at which each head's output is read."""
    roles, named = roles_table(run, left, right), run.roles.get("heads") or {}
    part = f"<h2>Which roles do they keep?</h2>{roles}\n" if roles else ""
    if not (named and run.graph.positional):
        return part
    circuits = [run.circuits[name].circuit for name in (left, right)]
    rows = [
        [head, role_title(str(known["role"])), *(", ".join(acts_at(circuit, head)) or "–" for circuit in circuits)]
        for head, known in sorted(named.items(), key=lambda item: run.graph.heads.index(item[0]))
    ]
    titles = [circuit_title(name) for name in (left, right)]
    return f"{part}<h2>At which spans are their outputs read?</h2>{table(['Head', 'Role', *titles], rows)}\n"


def conditions(run: Findings) -> str:
    """On what the numbers were measured."""
    row = next(iter(run.metrics.values()), {})
    return (
        f"{row.get('n_prompts', '?')} {row.get('split', '')} prompts that no method saw; cut edges carry "
        f"the corrupted run: {row.get('ablation', '?')}; seed {run.seed}."
    )


def facts(run: Findings) -> list[tuple[str, str]]:
    """Where the run comes from, as pairs of name and value."""
    ways = attention_ways(run.model)
    return [
        ("Model", f"{run.model['name']} ({run.model['source']}){ways and f'. {ways}'}"),
        ("Task", str(run.task["title"])),
        ("Sparsity", f"{run.sparsity:.2%} of {run.graph.n_edges:,} edges removed"),
        ("Seed", str(run.seed)),
        ("Computed", run.created[:16].replace("T", " ")),
        ("Run", run.id),
        ("Again", run.command),
    ]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table in a region that scrolls on a narrow screen, by keys too; all cells are text."""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    made = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scrolls" tabindex="0" role="region" aria-label="{escape(heads[0])}">{made}</div>'


def shown(value: Any) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{value:z.2f}"


def _whole(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) and math.isfinite(value) else "–"

"""Edges and heads as CSV, for spreadsheets and notebooks.

A spreadsheet runs a text cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula. Such texts (a
circuit may be called anything in an imported file) get an apostrophe in front, also after a semicolon; numbers stay
numbers.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hap_engine.findings import EDGE_VALUES
from hap_engine.runs.record import Run

RISKY = re.compile(r"(^\s*|[;|]\s*)(?=[=+\-@])")  # in many countries cells end with semicolons


def edges_csv(run: Run) -> str:
    """One row for every edge that any circuit of the run keeps."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, record in run.circuits.items():
        for index, (writer, reader) in enumerate(record.circuit.names()):
            row = rows.setdefault((writer, reader), {"writer": writer, "reader": reader})
            row[f"in_{name}"] = 1
            for key in EDGE_VALUES:
                if key in record.values and not math.isnan(record.values[key][index]):
                    row[_NAMES[key]] = _number(key, float(record.values[key][index]))
    flags = [f"in_{name}" for name in run.circuits]
    for row in rows.values():
        row |= {flag: row.get(flag, 0) for flag in flags}
    ordered = [rows[names] for names in sorted(rows, key=lambda pair: run.graph.edge(*pair))]
    return table(["writer", "reader", *flags, *_NAMES.values()], ordered)


def heads_csv(run: Run) -> str:
    """One row for every head: role, which circuits keep it, EAP rank, attention, direct effect."""
    roles = run.roles.get("heads", {})
    attention = list(dict.fromkeys(k for head in run.heads.values() for k in head.get("attention") or {}))
    rows = []
    for head in run.graph.heads:
        facts = run.heads.get(head, {})
        layer, number = head[1:].split(".h")
        rows.append(
            {
                "head": head,
                "layer": int(layer),
                "number": int(number),
                "role": roles.get(head, {}).get("role", ""),
                **{f"in_{name}": int(head in r.circuit.heads) for name, r in run.circuits.items()},
                "best_eap_rank": facts.get("eap_rank"),
                "best_eap_edge": " -> ".join(facts.get("eap_edge") or ()),
                "best_eap_score": facts.get("eap_score"),
                "direct_effect": facts.get("direct_effect"),
                **{f"attention {key}": value for key, value in (facts.get("attention") or {}).items()},
            }
        )
    columns = list(rows[0]) if rows else []
    columns += [f"attention {key}" for key in attention if f"attention {key}" not in columns]
    return table(columns, rows)


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV text with a heading."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([guarded(column) for column in columns])
    writer.writerows([[guarded(row.get(column)) for column in columns] for row in rows])
    return out.getvalue()


def guarded(cell: Any) -> Any:
    """`cell` so that no spreadsheet takes it for a formula; numbers pass unchanged."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    if not isinstance(cell, str):
        return cell
    line = " ".join(cell.split())  # one line: not every reader takes a quoted line end
    return RISKY.sub(r"\1'", line)


_NAMES = {"scores": "eap_score", "ranks": "eap_rank", "gates": "log_alpha"}


def _number(key: str, value: float) -> float | int:
    return int(value) if key == "ranks" else value

"""A circuit for graph tools: GraphML and Graphviz DOT, both from the engine's NetworkX graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import networkx as nx

from hap_engine.findings import EDGE_VALUES
from hap_engine.picture.palette import LIGHT, ROLES, role
from hap_engine.runs.record import Run

_ATTRIBUTES = {"scores": "eap_score", "ranks": "eap_rank", "gates": "log_alpha"}


def annotated(run: Run, name: str) -> nx.MultiDiGraph:
    """Circuit `name` of a run as a graph whose nodes know their role and whose edges know their scores.

    An edge into a shared KV head points at every head of its group, so it appears once for each. What leads from heads
    to their layer's norm writer is no edge of the circuit and has no score.
    """
    record = run.circuits[name]
    graph = record.circuit.to_networkx()
    graph.graph.update({"circuit": name, "run": run.id, "title": run.title, "model": str(run.model["name"])})
    for node, attributes in graph.nodes(data=True):
        measured = run.roles.get("heads", {}).get(node)
        if measured:
            attributes["role"] = measured["role"]
        if attributes["head"] is None:
            del attributes["head"]  # GraphML has no null
    values = {
        names: {
            _ATTRIBUTES[key]: float(record.values[key][i])
            for key in EDGE_VALUES
            if key in record.values and not math.isnan(record.values[key][i])
        }
        for i, names in enumerate(record.circuit.names())
    }
    for writer, _, slot, attributes in graph.edges(keys=True, data=True):
        attributes |= {"slot": slot, **values.get((writer, attributes["reader"]), {})}
    return graph


def graphml(run: Run, name: str) -> str:
    """GraphML text, for Gephi, Cytoscape, yEd and ``networkx.read_graphml``."""
    return "\n".join(nx.generate_graphml(annotated(run, name)))


def dot(run: Run, name: str) -> str:
    """DOT text: ``dot -Tpdf circuit.dot -o circuit.pdf``. Ranks are layers, from the bottom up."""
    graph = annotated(run, name)
    lines = [
        f"digraph {_quoted(run.title)} {{",
        "  graph [rankdir=BT, splines=true, label=" + _quoted(f"{run.title}: {name}") + "];",
        '  node [shape=box, style=filled, fillcolor="#eef1f5", fontname="sans-serif"];',
        '  edge [color="#68727f", arrowsize=0.6];',
    ]
    lines += [f"  {_quoted(node)}{_options(_look(data))};" for node, data in graph.nodes(data=True)]
    ranks: dict[tuple[int, str], list[str]] = {}
    for node, data in graph.nodes(data=True):
        ranks.setdefault((data["layer"], data["kind"]), []).append(node)
    lines += ["  { rank=same; " + "; ".join(map(_quoted, nodes)) + " }" for nodes in ranks.values() if len(nodes) > 1]
    for writer, target, data in graph.edges(data=True):
        label = {"label": data["slot"]} if data["slot"] else {}
        known = {key: f"{data[key]:.6g}" for key in _ATTRIBUTES.values() if key in data}
        tooltip = "\n".join([f"{writer} -> {data['reader']}", *(f"{k} {v}" for k, v in known.items())])
        lines.append(f"  {_quoted(writer)} -> {_quoted(target)}{_options({**label, 'tooltip': tooltip, **known})};")
    return "\n".join([*lines, "}", ""])


def _look(data: Mapping[str, Any]) -> dict[str, str]:
    known = role(data.get("role"))
    if known is None:
        return {}
    colour = LIGHT.colours[ROLES[known.key].colour] if known.key in ROLES else LIGHT.other
    return {"color": colour, "penwidth": "2.5", "xlabel": known.label}


def _options(options: Mapping[str, str]) -> str:
    inside = ", ".join(f"{key}={_quoted(value)}" for key, value in options.items())
    return f" [{inside}]" if inside else ""


def _quoted(text: str) -> str:
    """A DOT string: quotes and backslashes escaped, line ends as DOT writes them."""
    safe = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n")
    return f'"{safe}"'

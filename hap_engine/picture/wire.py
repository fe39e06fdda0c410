"""The scene as it goes to the browser: plain JSON, edges as columns, every number once.

The browser draws from this and nothing else: places and texts of nodes, the five numbers of each
edge's curve (`Layout.ends`), both palettes. It decides which of the edges show (a threshold, a step
of the replay, a status that is switched off), so nothing here depends on such a choice. Texts are
plain; the browser writes them with ``textContent``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np

from hap_engine.findings import Findings
from hap_engine.picture.at_sizes import Curve
from hap_engine.picture.groups import fold
from hap_engine.picture.layout import LIFT, Layout
from hap_engine.picture.palette import DARK, LIGHT, ROLES, S_INHIBITION, role
from hap_engine.picture.scene import Panel, Scene, SceneEdge, SceneNode, search_text, short_name, spoken, targets
from hap_engine.report.titles import role_title

MAX_PINS = 8  # nodes that are lit at once
VIEWS = ("sentence", "together", "roles", "pair", "overlay", "matrix")  # together: both on one sentence
MAX_REPLAY = 20_000  # candidate edges; a slider step redraws those that are still open
STATUSES = ("both", "left", "right", "none")
MEASURED = ("n_live", "kl", "faithfulness", "logit_diff", "accuracy", "exact_match")  # at every size, where it was


@lru_cache(maxsize=8)
def payload(scene: Scene) -> str:
    """`wire` as text; kept, because the same scene is sent with every rerun of the page."""
    return json.dumps(wire(scene), separators=(",", ":"), allow_nan=False)


def wire(scene: Scene) -> dict[str, Any]:
    """Everything the browser needs to draw `scene` in every view."""
    layout, drawn = scene.layout, (*scene.edges, *_others(scene))
    return {
        "ranges": [*_rounded(layout.x_range), *_rounded(layout.y_range)],
        "lift": LIFT,
        "stream": _rounded([layout.stream_x, layout.boxes["input"].y, layout.boxes["logits"].y]),
        "bands": [{"y": round(band.y, 3), "text": band.text} for band in layout.bands],
        "ticks": _ticks(layout),
        "panels": {side: _panel(scene.panel(side)) for side in ("left", "right")},
        "nodes": [_node(scene, node) for node in scene.nodes],
        "readers": _readers(scene, drawn),
        "edges": _edges(scene, drawn),
        "sizes": _sizes(scene, drawn),
        "judged": scene.judged,
        "folded": asdict(fold(scene)),
        "sentence": _sentence(scene),
        "spans": _spans(scene),
        "maxPins": MAX_PINS,
        "colours": {"light": LIGHT.colours, "dark": DARK.colours},
    }


def replay(run: Findings, scene: Scene) -> dict[str, Any] | None:
    """The pruning as it went: every candidate edge with the last step at which its gate was open."""
    if not replayable(run):
        return None
    pairs, last_open = run.replay["edges"], run.replay["last_open"]
    graph = scene.graph
    cells = np.array([graph.edge(writer, reader) for writer, reader in pairs], dtype=int)
    known = {(e.writer, e.reader): i for i, e in enumerate(scene.edges)}
    x0, y0, x1, y1, bow = np.round(scene.layout.ends(*cells.T), 2).T.tolist()
    places = {node.id: index for index, node in enumerate(scene.nodes)}
    feeds = [[places[name] for name in targets(graph, reader)] for reader in graph.readers]
    return {
        "writer": cells[:, 0].tolist(),
        "nodes": [feeds[column] for column in cells[:, 1]],
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "bow": bow,
        "edge": [known.get((writer, reader), -1) for writer, reader in pairs],
        "last": list(last_open),
        "steps": sorted({int(step) for step in last_open}),
        "kl": {int(record["step"]): record.get("kl") for record in run.history},
    }


def replayable(run: Findings) -> bool:
    """Whether the run stored its pruning, and not more than the browser can draw at a slider's pace."""
    return 0 < len(run.replay.get("edges", ())) <= MAX_REPLAY


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "name": panel.name,
        "label": panel.label,
        "short": panel.short,
        "edges": panel.edges,
        "shown": panel.shown,
        "measure": panel.measure,
        "curve": [[n, round(faith, 4)] for n, faith in panel.curve if n <= 2 * panel.edges],
    }


def _node(scene: Scene, node: SceneNode) -> dict[str, Any]:
    box = scene.layout.boxes[node.id]
    known = role(node.role)
    return {
        "id": node.id,
        "kind": node.kind,
        "layer": node.layer,
        "name": spoken(node),
        "short": short_name(node),
        "search": search_text(node),
        "lines": node.lines,
        "box": _rounded([box.x, box.y, box.half_width, box.half_height]),
        "status": node.status,
        "hidden": scene.layout.hidden(node.layer),
    } | (
        {
            "role": node.role,
            "label": node.role_label,
            "mark": known.mark,
            "colour": ROLES[node.role].colour if node.role in ROLES else "other",
            "ring": node.role == S_INHIBITION,
        }
        if known
        else {}
    )


def _sentence(scene: Scene) -> dict[str, Any] | None:
    """The prompts, with a list ``[node, acts from, attends to, share]`` a head."""
    found, rows = scene.sentence, scene.graph.writer_index
    if found is None:
        return None
    return {
        "first": [rows[head] for head in found.first],
        "prompts": [
            {
                "tokens": prompt.tokens,
                "roles": list(prompt.roles.items()),
                "answer": prompt.answer,
                "spans": prompt.spans,
                "looks": [[rows[look.head], look.query, look.key, round(look.weight, 3)] for look in prompt.looks],
            }
            for prompt in found.prompts
        ],
    }


def _spans(scene: Scene) -> dict[str, Any] | None:
    """The spans at which edges act, which of them each sees, and the heads' attention between them."""
    if not scene.graph.positional:
        return None
    between = scene.sentence.between if scene.sentence else {}
    return {
        "names": [span.name for span in scene.graph.spans],
        "sees": [span.sees for span in scene.graph.spans],
        "between": {head: [[round(share, 2) for share in row] for row in rows] for head, rows in between.items()},
    }


def _others(scene: Scene) -> list[SceneEdge]:
    """Edges that one of the circuits keeps at another size."""
    if scene.at_sizes is None:
        return []
    graph, here = scene.graph, {(edge.writer, edge.reader) for edge in scene.edges}
    places = np.argwhere(scene.at_sizes.shown(0) | scene.at_sizes.shown(1)).tolist()
    names = ((graph.writers[row].name, graph.readers[column].name) for row, column in places)
    return [SceneEdge(*pair, "none", None, None, None, None, None) for pair in names if pair not in here]


def _sizes(scene: Scene, edges: Sequence[SceneEdge]) -> dict[str, Any] | None:
    """For each side the sizes at which edges and nodes enter and those that there are, and what was measured."""
    found = scene.at_sizes
    if found is None:
        return None
    cells, sides = _cells(scene, edges), {}
    for place, (side, order) in enumerate(zip(("left", "right"), found.orders, strict=True)):
        there, least = order.sizes[order.sizes <= found.grid[0]], int(order.sizes[0])
        ends = np.flatnonzero(np.diff(there) > 1)
        sides[side] = {
            "enters": found.enters(place)[cells].tolist(),
            "nodes": [order.nodes.get(node.id, least if node.id == "logits" else 0) for node in scene.nodes],
            "runs": [there[np.r_[0, ends + 1]].tolist(), there[np.r_[ends, -1]].tolist()],
        }
    lives = [
        {"head": one.title, "role": role_title(one.role)}
        | {side: one.smallest.get(name) or 0 for side, name in zip(("left", "right"), found.methods, strict=True)}
        for one in found.lives
    ]
    kept = (at[cells] for at in found.shares)
    shares = [[_significant(None if np.isnan(share) else share) for share in at] for at in kept]
    told = {"seeds": shares} if shares else {}
    plain = {key: getattr(found, key) for key in ("own", "grid", "drawn", "told", "empty", "note", "front")}
    return {
        **plain,
        "total": scene.graph.n_edges,
        "curves": list(map(_curve, found.curves)),
        "lives": lives,
        **told,
        **sides,
    }


def _curve(curve: Curve) -> dict[str, Any]:
    numbers = {key: curve.numbers[key] for key in MEASURED if key in curve.numbers}
    rounded = {key: [_significant(value) for value in values] for key, values in numbers.items()}
    bands = [band and list(map(_significant, band)) for band in curve.numbers.get("interval", ())]
    plain = {"title": curve.title, "side": curve.side, "look": curve.look, "sizes": list(curve.sizes)}
    return {**plain, **rounded, "interval": bands}


def _cells(scene: Scene, edges: Sequence[SceneEdge]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of edges in the graph's matrices."""
    writers, readers = scene.graph.writer_index, scene.graph.reader_index
    rows = np.array([writers[e.writer] for e in edges], dtype=int)
    return rows, np.array([readers[e.reader] for e in edges], dtype=int)


def _readers(scene: Scene, edges: Sequence[SceneEdge]) -> list[dict[str, Any]]:
    """Every reader that an edge uses: its port, and the nodes that it feeds."""
    layout, graph = scene.layout, scene.graph
    used = {edge.reader for edge in edges}
    places = {node.id: index for index, node in enumerate(scene.nodes)}
    found = []
    for reader in graph.readers:
        if reader.name not in used:
            continue
        entry: dict[str, Any] = {
            "name": reader.name,
            "port": _rounded(layout.port(reader)),
            "nodes": [places[name] for name in targets(graph, reader)],
        }
        if reader.slot:
            entry["slot"] = reader.slot
        if graph.positional:
            entry["span"] = reader.span
        if layout.group > 1 and reader.slot in ("k", "v"):
            bracket = layout.bracket(reader.layer, reader.head or 0)
            entry["bracket"] = [_rounded(point) for point in bracket]
        found.append(entry)
    return found


def _edges(scene: Scene, edges: Sequence[SceneEdge]) -> dict[str, list[Any]]:
    """One list per property, in the order of ``scene.edges``, then those of other sizes."""
    writers, readers = _cells(scene, edges)
    x0, y0, x1, y1, bow = np.round(scene.layout.ends(writers, readers), 3).T.tolist()
    order = {name: i for i, name in enumerate(r["name"] for r in _readers(scene, edges))}
    return {
        "writer": writers.tolist(),  # scene.nodes begins with the graph's writers, in order
        "reader": [order[e.reader] for e in edges],
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "bow": bow,
        "status": [STATUSES.index(e.status) for e in edges],
        "left": [e.left_place or 0 for e in edges],
        "right": [e.right_place or 0 for e in edges],
        "score": [_significant(e.score) for e in edges],
        "rank": [e.rank for e in edges],
        "gate": [_significant(e.gate) for e in edges],
    } | ({"seeds": [e.seeds for e in edges]} if any(e.seeds for e in edges) else {})


def _ticks(layout: Layout) -> dict[str, list[list[Any]]]:
    """Head and layer numbers: as many as stay readable."""
    heads = range(0, layout.graph.n_heads, 1 if layout.graph.n_heads <= 16 else 2)
    layers = [layer for layer in layout.layer_y if not layout.hidden(layer)]
    layers = layers[:: 1 + len(layers) // 17]
    return {
        "x": [[*heads, round(layout.boxes["m0"].x, 3)], [*map(str, heads), "MLP"]],
        "y": [_rounded(layout.layer_y[layer] for layer in layers), [f"L{layer}" for layer in layers]],
    }


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 3) for value in values]


def _significant(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else float(f"{value:.4g}")

"""The circuit folded by role: the picture of the IOI paper, drawn from the run.

Heads of one role become one node; heads without a role, and MLPs, become one node each; ``input`` and
``logits`` stay. An edge between two groups stands for all edges between their members and says how
many each circuit keeps. Groups lie in the order of the mean layers of their members,
roles in the middle column, the other heads on the left, MLPs on the right. Everything is plain data.

Members of one group may write to each other, and two groups may write to each other in both
directions, since a group spans layers: the first is counted in `inner`, the second is two edges.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from hap_engine.picture.palette import ROLES
from hap_engine.picture.scene import Scene, SceneNode, targets

OTHER_HEADS, MLPS, NORMS = "other heads", "MLPs", "norm writers"
# Columns: roles in the middle, what has no role beside them.
COLUMNS = {OTHER_HEADS: -1.0, MLPS: 1.0, NORMS: 2.0}
ZIGZAG = 0.15  # roles alternate around the middle, so that arrows between neighbours are seen


@dataclass(frozen=True)
class Group:
    """Nodes that are drawn as one; `inner` counts the edges among them, per side."""

    id: str
    title: str
    mark: str
    colour: str
    members: tuple[str, ...]
    kept_left: tuple[str, ...]
    kept_right: tuple[str, ...]
    inner: tuple[int, int]
    x: float
    y: float


@dataclass(frozen=True)
class Bundle:
    """All edges from one group to another: how many each side keeps."""

    source: str
    target: str
    left: int
    right: int


@dataclass(frozen=True)
class Folded:
    """The folded picture: groups from bottom to top, and bundles."""

    groups: tuple[Group, ...]
    bundles: tuple[Bundle, ...]


def fold(scene: Scene) -> Folded:
    """Fold the heads of a scene by role. Groups in neither circuit are left out."""
    home = {node.id: _home(node) for node in scene.nodes}
    members: dict[str, list[SceneNode]] = defaultdict(list)
    for node in scene.nodes:
        if node.status != "none" or node.role:
            members[home[node.id]].append(node)
    bundles, inner = _bundles(scene, home)
    heights = _heights(members)
    groups = tuple(
        _group(name, nodes, heights[name], inner[name])
        for name, nodes in sorted(members.items(), key=lambda item: heights[item[0]])
    )
    return Folded(groups, bundles)


def _home(node: SceneNode) -> str:
    if node.kind in ("input", "logits"):
        return node.kind
    if node.kind == "norm":
        return NORMS
    return MLPS if node.kind == "mlp" else node.role or OTHER_HEADS


def _bundles(scene: Scene, home: Mapping[str, str]) -> tuple[tuple[Bundle, ...], dict[str, tuple[int, int]]]:
    """Edges summed by the groups of their ends. An edge into a KV head counts once per group."""
    feeds = {reader.name: targets(scene.graph, reader) for reader in scene.graph.readers}
    counts: tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]] = (Counter(), Counter())
    for edge in scene.edges:
        for target in {home[name] for name in feeds[edge.reader]}:
            pair = home[edge.writer], target
            for side, place in enumerate((edge.left_place, edge.right_place)):
                if place:
                    counts[side][pair] += 1
    pairs = sorted(set(counts[0]) | set(counts[1]))
    inner: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    inner |= {a: (counts[0][a, b], counts[1][a, b]) for a, b in pairs if a == b}
    bundles = tuple(Bundle(a, b, counts[0][a, b], counts[1][a, b]) for a, b in pairs if a != b)
    return bundles, inner


def _heights(members: Mapping[str, list[SceneNode]]) -> dict[str, float]:
    """A height for each group, in rows: ``input`` at the bottom, ``logits`` on top, the groups of the
    middle column between them in the order of their mean layers, the others beside their like."""
    layer = {name: fmean(node.layer for node in nodes) for name, nodes in members.items()}
    ends = ("input", "logits")
    middle = sorted((n for n in layer if n not in COLUMNS and n not in ends), key=lambda n: layer[n])
    out = {name: row + 1.0 for row, name in enumerate(middle)}
    top = max(len(middle), 3) + 1.0
    for name in COLUMNS.keys() & layer.keys():
        below = sum(layer[other] < layer[name] for other in middle)
        out[name] = min(max(below + 0.5, 1.0), top - 1.0)
    return out | {"input": 0.0, "logits": top}


def _group(name: str, nodes: Iterable[SceneNode], y: float, inner: tuple[int, int]) -> Group:
    nodes = list(nodes)
    known = ROLES.get(name)
    label = known.label if known else nodes[0].role_label or name
    title = f"{label}s" if label.endswith("mover") else f"{label} heads"
    if name in (*COLUMNS, "input", "logits"):
        known_titles = {"input": "Input", "logits": "Logits", OTHER_HEADS: "Other heads", NORMS: "Norm writers"}
        title = known_titles.get(name, name)
    return Group(
        id=name,
        title=title,
        mark=known.mark if known else "",
        colour=known.colour if known else "other",
        members=tuple(n.id for n in nodes),
        kept_left=tuple(n.id for n in nodes if n.kept_left),
        kept_right=tuple(n.id for n in nodes if n.kept_right),
        inner=inner,
        x=COLUMNS.get(name, 0.0 if name in ("input", "logits") else ZIGZAG * (-1) ** int(y)),
        y=round(y, 3),
    )

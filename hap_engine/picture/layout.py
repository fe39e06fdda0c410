"""Where everything stands: one fixed place per node of a `Graph`, the same in every panel.

The picture is the residual stream read from bottom to top. ``input`` is a bar at the bottom; each
layer is a row of heads, in slots by head index, then its MLP as a wide bar to the right of a gutter
(where the sum of a layer's heads is normed, its norm writer is a thin bar above them);
``logits`` is a bar on top. Nothing depends on which edges are kept, so two circuits lie on top of
each other; the one exception is the option to fold layers that hold nothing into a thin band.

Units: x counts head slots, y counts rows. Boxes are given sizes that look square at the reference
panel (`PANEL` pixels). An edge leaves the top of its writer and lands on a port at the bottom of its
reader: q, k, v from left to right. On grouped-query models k and v belong to a group of heads, so
their ports sit on a bracket under the middle of the group, and each edge is drawn once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from jaxtyping import Float, Int

from hap_engine.graph.graph import Graph, Reader

PANEL = (560, 620)  # plot area of one panel in pixels, at which head boxes are laid out
MLP_RISE = 1.0  # from the heads of a layer up to its MLP
LAYER_RISE = 2.0  # from one layer's heads to the next layer's
BAND_RISE = 1.0  # a run of folded layers, however many
NORM_RISE = 0.62  # from the heads of a layer up to their norm writer
BRACKET = 0.1  # from a head down to the bracket of its KV group
LIFT = 0.45  # how far, as a share of its height, an edge leaves and lands vertically


@dataclass(frozen=True)
class Box:
    """Centre and half sizes of a node, in slots and rows."""

    x: float
    y: float
    half_width: float
    half_height: float

    @property
    def right(self) -> float:
        return self.x + self.half_width


@dataclass(frozen=True)
class Band:
    """Folded layers `first` to `last`, drawn as one thin line at `y`."""

    first: int
    last: int
    y: float

    @property
    def text(self) -> str:
        layers = f"layer {self.first}" if self.first == self.last else f"layers {self.first}–{self.last}"
        return f"{layers}: in neither circuit"


@dataclass(frozen=True, eq=False)
class Layout:
    """Places of all nodes; build with `arrange`."""

    graph: Graph
    boxes: dict[str, Box]
    bands: tuple[Band, ...]
    layer_y: dict[int, float]

    @property
    def x_range(self) -> tuple[float, float]:
        return -0.7 - 0.02 * self.graph.n_heads, self.boxes["m0"].right + 0.45 + 0.06 * self.graph.n_heads

    @property
    def y_range(self) -> tuple[float, float]:
        top = self.boxes["logits"]
        return -top.half_height - 0.3, top.y + top.half_height + 0.3

    @property
    def stream_x(self) -> float:
        """Where the residual stream is hinted at: the middle of the gutter."""
        mlp = self.boxes["m0"]
        return (self.graph.n_heads - 0.5 + mlp.x - mlp.half_width) / 2

    @cached_property
    def group(self) -> int:
        """Query heads per KV head."""
        return self.graph.n_heads // self.graph.n_kv_heads

    def hidden(self, layer: int) -> bool:
        """Whether a layer is folded away."""
        return any(band.first <= layer <= band.last for band in self.bands)

    def port(self, reader: Reader) -> tuple[float, float]:
        """Where edges into `reader` land."""
        if reader.kind != "head":
            box = self.boxes[reader.place]
            return box.x, box.y - box.half_height
        first = reader.head or 0
        shared = self.group > 1 and reader.slot != "q"
        box = self.boxes[f"a{reader.layer}.h{first * self.group if shared else first}"]
        step = {"q": -1, "k": 0, "v": 1}[reader.slot]
        bottom = box.y - box.half_height
        if shared:
            middle = box.x + (self.group - 1) / 2
            return middle + (step - 0.5) * 2 * self.port_step, bottom - BRACKET
        return box.x + step * self.port_step * (self.group == 1), bottom

    @cached_property
    def port_step(self) -> float:
        return 0.6 * self.boxes["a0.h0"].half_width

    def bracket(self, layer: int, kv_head: int) -> list[tuple[float, float]]:
        """The line under the heads that share a KV head, on which their k and v ports lie."""
        ends = [self.boxes[f"a{layer}.h{kv_head * self.group + i}"] for i in (0, self.group - 1)]
        bottom = ends[0].y - ends[0].half_height
        reach = 0.8 * ends[0].half_width
        left, right = ends[0].x - reach, ends[1].x + reach
        low = bottom - BRACKET
        return [(left, bottom), (left, low), (right, low), (right, bottom)]

    def ends(self, writers: Int[np.ndarray, " edge"], readers: Int[np.ndarray, " edge"]) -> Float[np.ndarray, "edge 5"]:
        """Each edge's ``x0 y0 x1 y1 bow``, which fix its curve: a cubic Bézier with the control
        points ``(x0 + bow, y0 + LIFT h)`` and ``(x1 + bow, y1 - LIFT h)``, where h = y1 - y0.

        Wide bars are left and entered near the other end of the edge, so that edges fan out. Edges
        that would run straight through the nodes between their ends bow out sideways.
        """
        sources = [self.boxes[w.name] for w in self.graph.writers]
        x0, y0, reach0 = np.array(
            [
                (b.x, b.y + b.half_height, b.half_width * (w.kind != "head"))
                for b, w in zip(sources, self.graph.writers, strict=True)
            ]
        )[writers].T
        x1, y1, reach1 = np.array([(*self.port(r), self._reach(r)) for r in self.graph.readers])[readers].T
        middle = self.boxes["input"].x
        share = 0.9 / self.boxes["input"].half_width
        x0, x1 = x0 + share * reach0 * (x1 - middle), x1 + share * reach1 * (x0 - middle)

        height = y1 - y0
        aligned = np.exp(-(((x1 - x0) / 0.8) ** 2)) * np.clip((height - 1.5) / 4, 0, 1)
        # Between heads a curve bows into the gap beside the column, at the MLPs around their right
        # end; a Bézier's bow is 4/3 of how far the curve itself goes.
        side = np.where((writers + readers) % 2, 0.47, -0.47)
        depth = height / self.y_range[1]
        free = self.x_range[1] - self.boxes["m0"].right
        around = self.boxes["m0"].right + free * (0.15 + 0.75 * depth) - np.maximum(x0, x1)
        bow = aligned * np.where(np.minimum(x0, x1) > self.stream_x, around, side) * 4 / 3
        return np.stack([x0, y0, x1, y1, bow], axis=1)

    def controls(
        self, writers: Int[np.ndarray, " edge"], readers: Int[np.ndarray, " edge"]
    ) -> tuple[Float[np.ndarray, "edge 4"], Float[np.ndarray, "edge 4"]]:
        """x and y of the four control points of each edge's curve."""
        x0, y0, x1, y1, bow = self.ends(writers, readers).T
        rise = LIFT * (y1 - y0)
        return np.stack([x0, x0 + bow, x1 + bow, x1], 1), np.stack([y0, y0 + rise, y1 - rise, y1], 1)

    def _reach(self, reader: Reader) -> float:
        return 0.0 if reader.kind == "head" else self.boxes[reader.place].half_width


def arrange(graph: Graph, folded: Iterable[int] = ()) -> Layout:
    """The layout of `graph`, with the layers in `folded` drawn as thin bands."""
    hidden = frozenset(folded)
    runs = [(fold, list(layers)) for fold, layers in groupby(range(graph.n_layers), key=hidden.__contains__)]
    rows = sum(BAND_RISE if fold else LAYER_RISE * len(layers) for fold, layers in runs)
    row = PANEL[1] / (rows + 3)
    half_height = min(_tallest(graph), 14 / row)
    bar = max(half_height, 7.5 / row)  # input and logits hold their names
    layer_y: dict[int, float] = {}
    bands = []
    y = bar + BRACKET + half_height + 0.6
    for fold, layers in runs:
        if fold:
            bands.append(Band(layers[0], layers[-1], y))
        layer_y |= {layer: y + i * LAYER_RISE * (not fold) for i, layer in enumerate(layers)}
        y += BAND_RISE if fold else LAYER_RISE * len(layers)
    top = y + bar - half_height
    return Layout(graph, _boxes(graph, layer_y, hidden, row, bar, top), tuple(bands), layer_y)


def _tallest(graph: Graph) -> float:
    """Half the height of a head in rows: its role's letter stands inside, unless norm writers lie above it."""
    return 0.4 if graph.post_norm else 0.55


def _boxes(
    graph: Graph, layer_y: dict[int, float], hidden: frozenset[int], row: float, bar: float, top: float
) -> dict[str, Box]:
    """All boxes. Heads are square where there is room, flatter where rows are tight: a name fits."""
    heads = graph.n_heads
    mlp_width = 1.1 + 0.1 * heads
    mlp_x = heads + 0.05 + 0.03 * heads + mlp_width / 2
    right = mlp_x + mlp_width / 2
    slot = PANEL[0] / (right + 1.2 + 0.06 * heads)
    half_height = min(_tallest(graph), 14 / row)
    half_width = min(0.4, max(half_height * row, 15) / slot)
    middle, reach = (right - 0.5) / 2, (right + 0.5) / 2
    boxes = {"input": Box(middle, 0.0, reach, bar), "logits": Box(middle, top, reach, bar)}
    for layer, y in layer_y.items():
        size, rise = (0.0, 0.0) if layer in hidden else (half_height, MLP_RISE)
        for head in range(heads):
            boxes[f"a{layer}.h{head}"] = Box(head, y, half_width, size)
        if graph.post_norm:
            lift = NORM_RISE * bool(size)
            boxes[f"n{layer}"] = Box((heads - 1) / 2, y + lift, (heads - 1) / 2 + half_width, 0.3 * size)
        boxes[f"m{layer}"] = Box(mlp_x, y + rise, mlp_width / 2, 0.85 * min(size, 0.4))
    return boxes


def empty_layers(graph: Graph, nodes: Sequence[str] | set[str]) -> frozenset[int]:
    """Layers none of whose heads and MLP is among `nodes`."""
    held = {w.layer for w in graph.writers if w.name in set(nodes)}
    return frozenset(range(graph.n_layers)) - held

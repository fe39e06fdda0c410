"""The drawings of docs/method.md and of the page "How it works": ``python -m docs.generate.method_pictures``.

Each is drawn from the engine's own code or from what a run measured, and written to docs/images. Colours are
variables of the page (`parts.colours`); a file that is looked at by itself takes them from its own style.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

import torch

from app.export.shapes import line, text
from app.export.svg import FONT
from docs.generate import slopes
from docs.generate.parts import variables
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph
from hap_engine.picture.palette import DARK, LIGHT
from hap_engine.pruning import gates
from hap_engine.pruning.budgets import Projection
from hap_engine.report.titles import METHOD_TITLES
from hap_engine.runs.examples import example

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs" / "images"
SHIPPED = ROOT / "assets" / "pictures"  # those of the page
STYLE = f":root {{ {variables(LIGHT)} }} @media (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} }} }}"
LIVE, CORRUPT, BOTH, INK, QUIET = (
    f"var(--hap-{name})" for name in ("right", "left", "both", "text", "muted")
)  # the explorer's colours: blue and solid, orange and dashed, grey for both
SHEET = "var(--hap-background)"
DASH = "6 4"
Point = tuple[float, float]


def svg(width: int, height: int, alt: str, parts: Iterable[str]) -> str:
    """A drawing that says what it shows and brings its colours along."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" class="hap-picture"'
            f' font-family="{escape(FONT)}" fill="{INK}">',
            f"<title>{escape(alt)}</title>",
            f"<style>{STYLE}</style>",
            *parts,
            "</svg>\n",
        ]
    )


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def box(x: float, y: float, words: str, colour: str = BOTH, width: float = 96, height: float = 34) -> str:
    """A node with its name, centred at a point."""
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"'
        f' fill="{SHEET}" stroke="{colour}" stroke-width="2"/>' + text(x, y + 4.5, words, 13)
    )


def arrow(start: Point, end: Point, colour: str, width: float = 2, dash: str = "") -> str:
    """A line with a head at its end."""
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    wings = [
        (end[0] - 8 * math.cos(angle + turn), end[1] - 8 * math.sin(angle + turn))
        for turn in (math.pi / 7, -math.pi / 7)
    ]
    return line([start, end], colour, width, dash) + line([wings[0], end, wings[1]], colour, width)


class Axes:
    """A plot area in pixels and the values that it spans; lines and labels in values."""

    def __init__(self, left: float, top: float, width: float, height: float, xs: Point, ys: Point, log: bool = False):
        self.left, self.top, self.width, self.height, self.xs, self.ys = left, top, width, height, xs, ys
        self.log = math.log if log else float

    def at(self, x: float, y: float) -> Point:
        along = (x - self.xs[0]) / (self.xs[1] - self.xs[0])
        low, high = self.log(self.ys[0]), self.log(self.ys[1])
        return self.left + along * self.width, self.top + (1 - (self.log(y) - low) / (high - low)) * self.height

    def curve(self, xs: Sequence[float], ys: Sequence[float], colour: str, dash: str = "", width: float = 2.4) -> str:
        return line([self.at(x, y) for x, y in zip(xs, ys, strict=True)], colour, width, dash)

    def band(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str) -> str:
        there = [self.at(x, y) for x, y in zip(xs, high, strict=True)]
        back = [self.at(x, y) for x, y in zip(xs, low, strict=True)][::-1]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*there, *back])
        return f'<polygon points="{points}" fill="{colour}" opacity="0.18"/>'

    def frame(self, x_label: str, y_label: str, x_ticks: dict[float, str], y_ticks: dict[float, str]) -> Iterator[str]:
        bottom, right = self.top + self.height, self.left + self.width
        yield line([(self.left, self.top), (self.left, bottom), (right, bottom)], QUIET, 1)
        for value, words in x_ticks.items():
            x, _ = self.at(value, self.ys[0])
            yield line([(x, bottom), (x, bottom + 4)], QUIET, 1) + text(x, bottom + 17, words, 12, QUIET)
        for value, words in y_ticks.items():
            _, y = self.at(self.xs[0], value)
            yield line([(self.left - 4, y), (self.left, y)], QUIET, 1)
            yield text(self.left - 8, y + 4, words, 12, QUIET, "end")
        yield text((self.left + right) / 2, bottom + 36, x_label, 12.5, QUIET)
        yield text(self.left - 8, self.top - 12, y_label, 12.5, QUIET, "start")


# --- The mechanism ---------------------------------------------------------------------------------


def edge() -> str:
    """What one edge carries."""

    def parts() -> Iterator[str]:
        for y, run, colour, dash, share in (
            (58, "clean run", LIVE, "", "m × live"),
            (172, "corrupted run", CORRUPT, DASH, "(1 − m) × corrupted"),
        ):
            yield text(20, y + 4, run, 13, QUIET, "start")
            yield box(176, y, "a0.h1", colour)
            yield arrow((224, y), (374, 115 + (y - 115) * 0.2), colour, 2.4, dash)
            yield text(300, y + (-14 if y < 100 else 22), share, 13, INK)
        yield f'<circle cx="390" cy="115" r="14" fill="{SHEET}" stroke="{INK}" stroke-width="2"/>'
        yield text(390, 120, "+", 16)
        yield arrow((404, 115), (470, 115), INK, 2.4)
        yield box(535, 115, "a1.h0<q>", BOTH, 124)
        yield text(535, 80, "reads the sum over its edges", 12.5, QUIET)
        yield text(176, 119, "the same head, twice", 12.5, QUIET)

    alt = "An edge carries m times what its writer says in the clean run plus one minus m times what it said corrupted."
    return svg(640, 230, alt, parts())


HEAD, MLP, BAR = (76, 42), (64, 30), (250, 30)  # sizes of nodes: a head, an MLP, the input and the logits


def _centres(graph: Graph, left: float, top: float) -> dict[str, Point]:
    """Input at the bottom, logits at the top; each layer's heads in a row, its MLP to their right and above."""
    rows = graph.n_layers + 2
    level = [top + 90 * (rows - 1 - row) for row in range(rows)]
    found = {"input": (left + 125, level[0]), "logits": (left + 125, level[-1])}
    for layer in range(graph.n_layers):
        y = level[layer + 1]
        found |= {f"a{layer}.h{head}": (left + 40 + 88 * head, y + 8) for head in range(graph.n_heads)}
        found[f"m{layer}"] = (left + 40 + 88 * graph.n_heads, y - 20)
    return found


def _node(name: str, at: Point, colour: str) -> str:
    size = HEAD if ".h" in name else MLP if name.startswith("m") else BAR
    if ".h" not in name:
        return box(*at, name, colour, *size)
    slots = "".join(text(at[0] - 24 + 24 * place, at[1] + 16, slot, 10.5, QUIET) for place, slot in enumerate("qkv"))
    return box(*at, "", colour, *size) + text(at[0], at[1] + 1, name, 13) + slots


def _ends(centres: dict[str, Point], writer: str, reader: str) -> tuple[Point, Point]:
    """Where an edge leaves its writer, at the top, and enters its reader, at the bottom."""
    name, _, slot = reader.partition("<")
    (x, y), (to_x, to_y) = centres[writer], centres[name]
    to_x += 24 * ("qkv".index(slot[0]) - 1) if slot else 0
    if writer == "input":
        x = min(max(to_x, x - BAR[0] / 2 + 8), x + BAR[0] / 2 - 8)
    if name == "logits":
        to_x = min(max(x, to_x - BAR[0] / 2 + 8), to_x + BAR[0] / 2 - 8)
    height = (HEAD if ".h" in writer else MLP)[1]
    to_height = (HEAD if ".h" in name else MLP)[1]
    return (x, y - height / 2), (to_x, to_y + to_height / 2)


def graph() -> str:
    """All edges of a small transformer, and a circuit with two dead edges."""
    small = Graph(n_layers=2, n_heads=2, n_kv_heads=2)
    chosen = [
        ("input", "a0.h1<v>"),
        ("a0.h1", "a1.h0<q>"),
        ("input", "m0"),
        ("m0", "a1.h0<v>"),
        ("a1.h0", "logits"),
        ("input", "a0.h0<q>"),  # dead: nothing that is kept reads a0.h0
        ("a1.h1", "logits"),  # dead: nothing that is kept reaches a1.h1
    ]
    circuit = Circuit.from_names(small, chosen)
    live = set(circuit.live.names())
    used = {name.split("<")[0] for pair in live for name in pair}

    def panel(left: float, edges: Sequence[tuple[str, str]], chosen: bool) -> Iterator[str]:
        centres = _centres(small, left, 64)
        for pair in edges:
            look = (BOTH, 1, "", 0.6) if not chosen else (LIVE, 2.4, "") if pair in live else (CORRUPT, 2, DASH)
            yield line(_ends(centres, *pair), *look)
        for name, at in centres.items():
            yield _node(name, at, LIVE if chosen and name in used else BOTH)

    def parts() -> Iterator[str]:
        every = Circuit(small, small.edge_mask).names()
        yield text(160, 26, f"the model: {small.n_edges} edges", 14, weight=600)
        yield from panel(35, every, chosen=False)
        yield text(480, 26, f"a circuit: {len(circuit)} edges, {len(live)} of them live", 14, weight=600)
        yield from panel(355, chosen, chosen=True)

    alt = f"A transformer of two layers with two heads has {small.n_edges} edges; a circuit keeps {len(circuit)}."
    return svg(640, 356, alt, parts())


# --- The two stages --------------------------------------------------------------------------------


def eap() -> str:
    """The straight line that EAP follows, and what cutting the edge does."""
    found = json.loads(slopes.FOUND.read_text(encoding="utf-8"))
    points, full = found["points"], found["edges"][0]["curve"][0]
    cut = [1 - point for point in points]

    def parts() -> Iterator[str]:
        for place, one in enumerate(found["edges"]):
            axes = Axes(58 + 320 * place, 62, 236, 180, (0, 1), (7.5, 10.8))
            estimate, true = full + one["score"], one["curve"][-1]
            yield text(axes.left - 8, 24, " → ".join(one["edge"]), 14, anchor="start", weight=600)
            ticks = {float(value): str(value) for value in (8, 9, 10)}
            yield from axes.frame(
                "share of the edge that is cut", "logit difference", {0: "0", 0.5: "½", 1: "1"}, ticks
            )
            yield axes.curve([0, 1], [full, estimate], CORRUPT, DASH)
            yield axes.curve(cut, one["curve"], LIVE)
            (x, up), (_, down) = axes.at(1, estimate), axes.at(1, true)
            yield text(x, up - 16, f"EAP: {signed(one['score'])}", 12.5, CORRUPT, "end", 600)
            yield text(x, down + 19, f"measured: {signed(true - full)}", 12.5, LIVE, "end", 600)

    alt = "Two edges of hap-mini: for one the straight line of EAP is near the measured curve, for the other it is not."
    return svg(640, 300, alt, parts())


def gate() -> str:
    """The value of a gate against its log alpha, with the reach of its noise."""
    steps = [step / 20 for step in range(-100, 101)]
    where = torch.tensor(steps)

    def values(noise: float, quantile: float) -> list[float]:
        return gates.stretch(where + noise * math.log(quantile / (1 - quantile))).tolist()

    def parts() -> Iterator[str]:
        axes = Axes(58, 40, 560, 190, (-5, 5), (0, 1))
        ticks = {float(value): str(value).replace("-", "−") for value in range(-4, 5, 2)}
        yield from axes.frame("log alpha, which is learned", "value of the gate", ticks, {0: "0", 0.5: "½", 1: "1"})
        yield axes.band(steps, values(1, 0.1), values(1, 0.9), LIVE)
        yield axes.band(steps, values(Projection.QUIET, 0.1), values(Projection.QUIET, 0.9), CORRUPT)
        yield axes.curve(steps, values(0, 0.5), INK, width=2)
        yield text(*axes.at(-4.9, 0.1), "exactly 0: closed", 12.5, INK, "start")
        yield text(*axes.at(4.9, 0.87), "exactly 1: open", 12.5, INK, "end")
        yield text(*axes.at(-4.85, 0.68), "eight of ten samples, at first", 12.5, LIVE, "start", 600)
        yield text(*axes.at(0.9, 0.36), "eight of ten samples, at the end", 12.5, CORRUPT, "start", 600)

    alt = "A gate's value rises from exactly 0 to exactly 1 with its log alpha; noise blurs it less and less."
    return svg(640, 290, alt, parts())


def budget() -> str:
    """The number of open gates and KL in the shipped run of SmolLM2."""
    history = example("SmolLM2").history
    steps = [record["step"] for record in history]
    most = 3.0  # of the KL that is drawn

    def parts() -> Iterator[str]:
        ticks = {float(value): str(value) for value in range(0, len(steps) + 1, 50)}
        kept = {float(value): f"{value:,}" for value in (100, 1000, 10_000)}
        upper = Axes(72, 50, 546, 150, (0, len(steps)), (90, 40_000), log=True)
        yield from upper.frame("", "edges", ticks, kept)
        yield upper.curve(steps, [record["open"] for record in history], CORRUPT, width=1.4)
        yield upper.curve(steps, [record["budget"] for record in history], LIVE, width=2.4)
        yield text(*upper.at(len(steps), 22_000), "gates open in the step's sample", 12.5, CORRUPT, "end", 600)
        yield text(*upper.at(4, 130), "the tightest size so far", 12.5, LIVE, "start", 600)
        lower = Axes(72, 270, 546, 130, (0, len(steps)), (0, most))
        yield from lower.frame("step of Edge Pruning", "KL (nats)", ticks, {0: "0", 1: "1", 2: "2", 3: "3"})
        yield lower.curve(steps, [min(most, record["kl"]) for record in history], BOTH, width=1)
        yield text(*lower.at(20, 2.4), "KL of the step's sample", 12.5, QUIET, "start")

    alt = "In two legs the tightest size falls; half of the steps are cut there and half at a looser size."
    return svg(640, 450, alt, parts())


def hap() -> str:
    """From all edges to the circuit, each square as large as its number of edges."""
    run = example("SmolLM2")
    eap, learned = run.circuits["eap"].circuit, run.circuits["hap"].circuit
    kept = len(run.replay["edges"])

    def side_of(count: int) -> float:
        return 150 * math.sqrt(count / run.graph.n_edges)

    def square(x: float, y: float, count: int, colour: str) -> str:
        side = side_of(count)
        return (
            f'<rect x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}" rx="2"'
            f' fill="{colour}"/>'
        )

    def told(x: float, y: float, lines: Sequence[str]) -> Iterator[str]:
        yield text(x, y, lines[0], 13, weight=600)
        yield from (text(x, y + 17 * place, words, 12.5, QUIET) for place, words in enumerate(lines[1:], 1))

    def result(name: str) -> str:
        return f"KL {run.metrics[name]['kl']:.2f}"

    def parts() -> Iterator[str]:
        yield square(95, 125, run.graph.n_edges, BOTH)
        yield from told(95, 224, (f"{run.graph.n_edges:,} edges", "the model"))
        half = side_of(kept) / 2
        yield arrow((180, 105), (304 - half, 75), LIVE, 2.4)
        yield from told(218, 56, ("", METHOD_TITLES[run.settings["scorer"]]))
        yield square(310, 70, kept, LIVE)
        yield from told(310, 90 + half, (f"{kept:,} edges", "a loose set"))
        yield arrow((317 + half, 70), (500, 70), LIVE, 2.4)
        yield text(420, 58, "Edge Pruning", 12.5, QUIET)
        yield square(530, 70, len(learned), LIVE)
        yield from told(530, 100, (f"HAP: {len(learned):,} edges", result("hap")))
        yield arrow((180, 150), (500, 200), CORRUPT, 2.4, DASH)
        yield text(330, 204, "EAP alone", 12.5, QUIET)
        yield square(530, 204, len(eap), CORRUPT)
        yield from told(530, 234, (f"EAP: {len(eap):,} edges", result("eap")))

    alt = f"HAP keeps {kept:,} of {run.graph.n_edges:,} edges and learns {len(learned):,} of them; EAP takes its best."
    return svg(640, 268, alt, parts())


PICTURES: dict[str, Callable[[], str]] = {
    "method-edge": edge,
    "method-graph": graph,
    "method-eap": eap,
    "method-gate": gate,
    "method-budget": budget,
    "method-hap": hap,
}


ON_THE_PAGE = ("method-edge", "method-graph", "method-eap", "method-hap")


def main() -> None:
    for name, draw in PICTURES.items():
        path = OUT / f"{name}.svg"
        path.write_text(draw(), encoding="utf-8")
        if name in ON_THE_PAGE:
            (SHIPPED / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()

"""A gallery of runs: cards with a thumbnail of both circuits, the finding and the distances, as a static site.

The site needs no server and asks nothing of any: an index of cards, and beside it the exported page of each run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from hap_engine.files import write_text
from hap_engine.picture import page
from hap_engine.picture.palette import DARK, LIGHT
from hap_engine.picture.standalone import standalone
from hap_engine.report.titles import circuit_title
from hap_engine.report.verdict import distance, has_roles, verdict
from hap_engine.runs.record import Run
from hap_engine.words import beside

SITE = Template(beside(__file__, "gallery.html"))
WIDE, TALL = 220, 130  # of a thumbnail, in its own units


def write_gallery(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write ``index.html`` and a page a run into `folder`, which is made; returns the files.

    Raises:
        DiskError: naming the file that could not be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = {f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', run.id)}.html": run for run in runs}
    for name, run in pages.items():
        write_text(folder / name, standalone(run, *run.sides, view="sentence", strongest=60))
    colours = {f"{theme.name}_{key}": value for theme in (LIGHT, DARK) for key, value in theme.colours.items()}
    cards = "\n".join(f'<a class="card" href="{escape(name)}">{card(run)}</a>' for name, run in pages.items())
    write_text(folder / "index.html", SITE.substitute(colours, cards=cards))
    return [folder / name for name in ("index.html", *pages)]


def card(run: Run) -> str:
    """The inside of one card as HTML; every text of the run is escaped."""
    return f"{thumbnail(run)}<strong>{escape(run.title)}</strong>{told(run)}"


def told(run: Run) -> str:
    """The finding in one line and both circuits' KL, as HTML."""
    rows = [(circuit_title(name), page.shown(run.metrics[name].get("kl"))) for name in run.sides if name in run.metrics]
    numbers = "".join(f"<span>KL of {escape(title)} <b>{value}</b></span>" for title, value in rows)
    return f"<p>{escape(finding(run))}</p><div>{numbers}</div>"


def finding(run: Run) -> str:
    """The verdict in one line: which S-inhibition heads one method misses, else how far the circuits are."""
    left, right = run.sides
    return verdict(run, left=left, right=right).sentence if has_roles(run) else distance(run, left, right)


def thumbnail(run: Run) -> str:
    """Both circuits as one small SVG: a box a kept head, a bar at its right a kept MLP, layers from bottom to top;
    colours come from the page."""
    graph, sides = run.graph, dict(zip(("left", "right"), run.sides, strict=True))
    kept = {side: {*np.flatnonzero(run.circuits[name].circuit.kept.any(axis=1))} for side, name in sides.items()}
    wide, tall = WIDE / (graph.n_heads + 2), TALL / graph.n_layers
    boxes = []
    for row, node in enumerate(graph.writers):
        keeping = [side for side in sides if row in kept[side]]
        if keeping and node.kind in ("head", "mlp"):
            at = node.head if node.head is not None else graph.n_heads + 0.2
            place = f'x="{(at + 0.1) * wide:.1f}" y="{TALL - (node.layer + 0.85) * tall:.1f}"'
            size = f'width="{wide * (0.8 if node.kind == "head" else 1.6):.1f}" height="{0.7 * tall:.1f}"'
            boxes.append(f'<rect class="{keeping[0] if len(keeping) == 1 else "both"}" {place} {size}/>')
    return (
        f'<svg viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="Heads and MLPs that each circuit keeps">'
        f"{''.join(boxes)}</svg>"
    )

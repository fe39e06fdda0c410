"""A gallery of runs: cards with a thumbnail of both circuits, the finding and the distances, as a static site.

The site needs no server and asks nothing of any: an index of cards, and beside it the exported page of each run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from hap_engine.files import write_text
from hap_engine.picture import page, scene
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
    rows = [(circuit_title(name), page.shown(run.metrics[name].get("kl"))) for name in run.sides if name in run.metrics]
    numbers = "".join(f"<span>KL of {escape(title)} <b>{value}</b></span>" for title, value in rows)
    return f"{thumbnail(run)}<strong>{escape(run.title)}</strong><p>{escape(finding(run))}</p><div>{numbers}</div>"


def finding(run: Run) -> str:
    """The verdict in one line: which S-inhibition heads one method misses, else how far the circuits are."""
    left, right = run.sides
    return verdict(run, left=left, right=right).sentence if has_roles(run) else distance(run, left, right)


def thumbnail(run: Run) -> str:
    """Both circuits as one small SVG: a box a kept node, layers from bottom to top; colours come from the page."""
    built = scene.build(run, *run.sides)
    (left, right), (low, high) = built.layout.x_range, built.layout.y_range
    x, y = WIDE / (right - left), TALL / (high - low)
    boxes = "".join(
        f'<rect class="{node.status}" x="{(node.x - box.half_width - left) * x:.1f}"'
        f' y="{(high - node.y - box.half_height) * y:.1f}" width="{2 * box.half_width * x:.1f}"'
        f' height="{max(1.5, 2 * box.half_height * y):.1f}"/>'
        for node in _kept(built.nodes)
        for box in (built.layout.boxes[node.id],)
    )
    return f'<svg viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="Heads that each circuit keeps">{boxes}</svg>'


def _kept(nodes: Iterable[scene.SceneNode]) -> list[scene.SceneNode]:
    return [node for node in nodes if node.status != "none"]

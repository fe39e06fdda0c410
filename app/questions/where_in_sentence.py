"""The mechanism on the sentence: heads between token roles, as the IOI paper draws its circuit."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import streamlit as st

from app.questions import choices
from app.widgets import charts
from app.widgets.markdown import plain
from app.widgets.tables import Column, table
from app.words import say, widget
from hap_engine.picture.palette import ROLES, Palette, role
from hap_engine.report.titles import circuit_title, role_title
from hap_engine.report.token_places import Look, PlacedEdge, Story, default_heads, example, story
from hap_engine.runs.record import Run

GAP = 0.42  # between a head's box and the height at which it reads
SPREAD = 0.3  # between heads that sit at one token in one layer
STAIR = 0.45  # and so much lower each than the one before


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """The pinned heads, or those with a role that the right circuit keeps."""
    pinned = [pin for pin in pins if pin in run.graph.heads]
    heads = pinned or default_heads(run, right)
    placed = story(run, heads, right)
    if not placed.looks:
        st.info(say("tokens.none"))
        return
    which = say("tokens.pinned" if pinned else "tokens.measured")
    st.caption(say("tokens.about", which=which, circuit=plain(circuit_title(right))))
    words = example(run, choices.prompt(run))
    charts.show(story_figure(placed, _roles(run), words, charts.colours_now()), **widget("tokens.figure"))
    rows = [
        [look.head, role_title(_roles(run).get(look.head, "–")), look.query, look.key, f"{look.weight:.2f}"]
        for look in placed.looks
    ]
    table([Column(*column) for column in say.parts("tokens.columns")], rows, caption=say("tokens.caption"))
    if placed.elsewhere:
        st.caption(say("tokens.elsewhere", heads=", ".join(placed.elsewhere)))


def _roles(run: Run) -> dict[str, str]:
    return {head: record["role"] for head, record in (run.roles.get("heads") or {}).items()}


def story_figure(placed: Story, roles: dict[str, str], words: Mapping[str, str], colours: Palette) -> go.Figure:
    """Columns are token roles, height is the order of layers that hold a drawn head."""
    x = {column: float(index) for index, column in enumerate(placed.columns)}
    at, highest = _places(placed, x)
    top = highest + 1.0
    figure = go.Figure()
    for column, place in x.items():
        _line(figure, [place, place], [0, top], colours.muted, 0.35, 1, "dot")
        text = f"<b>{column}</b>" + (f"<br>{charts.markup(words[column])}" if column in words else "")
        figure.add_annotation(x=place, y=-0.1, text=text, showarrow=False, yanchor="top")
    if "END" in x:
        figure.add_annotation(
            x=x["END"],
            y=top,
            text="logits",
            showarrow=False,
            bgcolor=colours.surface,
            bordercolor=colours.both,
            borderpad=4,
        )
    for link in placed.links:
        _link(figure, link, at, x, top, colours)
    for look in placed.looks:
        _look(figure, look, at[look.head], x[look.key], _colour(roles.get(look.head), colours))
    _boxes(figure, placed, roles, at, colours)
    figure.update_xaxes(visible=False, range=[-0.6, len(x) - 0.4])
    figure.update_yaxes(visible=False, range=[-0.75, top + 0.4])
    return charts.framed(figure, colours, 150 + 54 * top, showlegend=False)


def _places(placed: Story, x: dict[str, float]) -> tuple[dict[str, tuple[float, float]], float]:
    """Where the boxes stand, layer over layer, and the highest of them.

    Boxes of one token and layer stand side by side like stairs, the last one lowest: what a head looks at lies to
    its left, and the arrow from there passes below the boxes before it.
    """
    groups: dict[tuple[int, str], list[Look]] = {}
    for look in placed.looks:
        groups.setdefault((look.layer, look.query), []).append(look)
    at, floor = {}, 0.0
    for layer in sorted({look.layer for look in placed.looks}):
        rows = {query: group for (of, query), group in groups.items() if of == layer}
        floor += 1.0 + STAIR * (max(map(len, rows.values())) - 1)
        for query, group in rows.items():
            for index, look in enumerate(group):
                side = SPREAD * (index - (len(group) - 1) / 2)
                at[look.head] = (x[query] + side, floor - STAIR * index)
    return at, floor


def _look(figure: go.Figure, look: Look, box: tuple[float, float], key: float, colour: str) -> None:
    """A thick arrow from the column that is looked at to the head's box."""
    figure.add_annotation(
        x=box[0],
        y=box[1],
        ax=key,
        ay=box[1] - GAP,
        xref="x",
        yref="y",
        axref="x",
        ayref="y",
        showarrow=True,
        arrowhead=2,
        arrowwidth=1.5 + 4 * look.weight,
        arrowcolor=colour,
        standoff=16,
        opacity=0.8,
        text="",
    )


def _link(
    figure: go.Figure,
    link: PlacedEdge,
    at: Mapping[str, tuple[float, float]],
    x: Mapping[str, float],
    top: float,
    colours: Palette,
) -> None:
    start = (x[link.at], 0.0) if link.writer == "input" else at[link.writer]
    if link.reader == "logits":
        end = (x["END"], top)
    else:
        box = at[link.reader]
        end = box if link.slot == "q" else (x[link.at], box[1] - GAP)
    _line(figure, [start[0], end[0]], [start[1], end[1]], colours.both, 0.75, 1.4, "solid")


def _boxes(
    figure: go.Figure, placed: Story, roles: dict[str, str], at: dict[str, tuple[float, float]], colours: Palette
) -> None:
    for look in placed.looks:
        known = role(roles.get(look.head))
        layer, head = look.head[1:].split(".h")
        figure.add_annotation(
            x=at[look.head][0],
            y=at[look.head][1],
            showarrow=False,
            borderpad=4,
            borderwidth=2,
            text=f"<b>{known.mark} </b>{layer}.{head}" if known else f"{layer}.{head}",
            bgcolor=colours.background,
            bordercolor=_colour(roles.get(look.head), colours),
        )
    figure.add_scatter(
        x=[at[look.head][0] for look in placed.looks],
        y=[at[look.head][1] for look in placed.looks],
        mode="markers",
        marker={"size": 34, "opacity": 0},
        text=[
            f"{look.head}: {role_title(roles.get(look.head, 'no measured role'))}<br>"
            f"{look.query} looks at {look.key}: {look.weight:.2f}"
            for look in placed.looks
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _line(
    figure: go.Figure, xs: list[float], ys: list[float], colour: str, opacity: float, width: float, dash: str
) -> None:
    figure.add_scatter(
        x=xs,
        y=ys,
        mode="lines",
        opacity=opacity,
        hoverinfo="skip",
        line={"color": colour, "width": width, "dash": dash},
    )


def _colour(name: str | None, colours: Palette) -> str:
    known = role(name)
    key = ROLES[known.key].colour if known and known.key in ROLES else "other"
    return colours.colours[key]

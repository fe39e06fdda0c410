"""Why was it missed? EAP's estimate of a head's edges beside what cutting each of them really does."""

from __future__ import annotations

import plotly.graph_objects as go
import streamlit as st

from app.questions.what_if import ask_for_weights
from app.widgets import charts
from app.widgets.markdown import plain
from app.words import say, widget
from app.work import opened_models, workers
from hap_engine.explain.why_missed import PROMPTS, explain
from hap_engine.picture.palette import Palette
from hap_engine.report.missed_heads import Explanation, how_dropped, missed_heads
from hap_engine.report.titles import circuit_title, role_title
from hap_engine.runs.record import Run


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """Choose a head that only the right circuit keeps; measure it; a sentence and a plot."""
    titles = {"left": plain(circuit_title(left)), "right": plain(circuit_title(right))}
    heads = missed_heads(run, left, right)
    if not heads:
        st.info(say("missed.none", **titles))
        return
    roles = run.roles.get("heads") or {}

    def named(head: str) -> str:
        role = roles.get(head, {}).get("role")
        return f"{head} · {role_title(role)}" if role else head

    first = next((pin for pin in reversed(pins) if pin in heads), heads[0])
    why = opened_models.remedy(run)
    pick, go_ = st.columns([3, 2], vertical_alignment="bottom")
    head = pick.selectbox(
        say("missed.heads", count=len(heads), **titles),
        heads,
        heads.index(first),
        format_func=named,
        key=f"missed-{run.id}-{first}-{left}-{right}",
    )
    key = f"why-{run.fingerprint}-{left}-{right}-{head}"
    with go_:
        if opened_models.button(run, **widget("missed.measure", head=head, prompts=PROMPTS)):
            _begin(run, key, head, left, right)
    if told := how_dropped(run, head, left):
        st.caption(plain(told))
    if why:
        ask_for_weights(run, why)
    explained = opened_models.result(key)
    if explained is not None:
        _explain(explained)


def _begin(run: Run, key: str, head: str, left: str, right: str) -> None:
    opening = opened_models.steps_to_open(run)

    def begin():  # type: ignore[no-untyped-def]
        masked = yield from opening()
        return (yield from explain(masked, run, head, left, right))

    workers.short_work().start(key, begin)


def _explain(explained: Explanation) -> None:
    st.markdown(f"**{plain(explained.how)}** {plain(explained.why)}")
    charts.show(effects_figure(explained, charts.colours_now()), **widget("missed.figure", head=explained.head))
    st.caption(**widget("missed.about", found=explained, right=plain(circuit_title(explained.right))))


def effects_figure(explained: Explanation, colours: Palette) -> go.Figure:
    """A line of three marks for each edge: the estimate, the truth, the truth in the circuit."""
    names = [f"{e.writer} → {e.reader}".replace("<", "&lt;") for e in explained.edges][::-1]
    right = circuit_title(explained.right)
    series = (
        ("EAP's estimate", "estimate", "diamond", colours.left),
        ("exact, full model", "exact", "circle", colours.both),
        (f"exact, in {right}'s circuit", "in_circuit", "square", colours.right),
    )
    figure = go.Figure()
    figure.add_vrect(x0=-explained.cut, x1=explained.cut, fillcolor=colours.muted, opacity=0.18, line_width=0)
    for title, key, symbol, colour in series:
        figure.add_scatter(
            x=[getattr(edge, key) for edge in explained.edges][::-1],
            y=names,
            mode="markers",
            name=title,
            marker={"symbol": symbol, "size": 10, "color": colour},
            hovertemplate="%{y}: %{x:+.3f}<extra>" + title + "</extra>",
        )
    figure.update_xaxes(title="change of the logit difference", zeroline=True, **charts.grid(colours))
    figure.update_yaxes(type="category", **charts.grid(colours))
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    return charts.framed(figure, colours, 130 + 26 * len(names), legend=legend)

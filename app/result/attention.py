"""Attention of a head on the chosen test prompt, clean and corrupted side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from app.questions import choices
from app.widgets import charts
from app.words import say
from app.work import opened_models
from hap_engine.picture.palette import Palette
from hap_engine.runs.record import Run

LONGEST = 60  # tokens drawn with their texts; longer prompts show positions only


def show(run: Run, name: str) -> None:
    """Both patterns; from the run file for its stored prompts, else from the opened model."""
    number = choices.prompt(run)
    st.markdown(f"**Where does it look?** Test prompt {number + 1}")
    pattern = _stored(run, name, number) or _live(run, name)
    if pattern is None:
        return
    for column, side in zip(st.columns(2), ("clean", "corrupt"), strict=True):
        with column:
            st.caption("Clean prompt" if side == "clean" else "Corrupted prompt")
            charts.show(
                figure(pattern["patterns"][side], pattern["tokens"][side], pattern["roles"], charts.colours_now()),
                f"attention-{name}-{side}",
                f"Attention pattern of {name} on the {side} prompt",
            )
    st.caption(say("node.attention"))


def _stored(run: Run, name: str, number: int) -> dict[str, Any] | None:
    if number >= len(run.attention) or name not in run.attention[number]["heads"]:
        return None
    prompt = run.attention[number]
    return {"patterns": prompt["heads"][name], "tokens": prompt["tokens"], "roles": prompt.get("roles") or {}}


def _live(run: Run, name: str) -> dict[str, Any] | None:
    bench = opened_models.bench_on_demand(run, choices.prompts(run), name, "it on this prompt")
    if bench is None:
        stored = [str(number) for number, prompt in enumerate(run.attention, 1) if name in prompt["heads"]]
        where = f" (stored: prompt {', '.join(stored)})" if stored else ""
        st.caption(say("node.no_pattern", name=name, where=where))
        return None
    writer = run.graph.writers[run.graph.writer_index[name]]
    assert writer.head is not None
    patterns = bench.attention(writer.layer, writer.head)
    return {"patterns": patterns, "tokens": bench.tokens(), "roles": bench.pairs[0].roles}


def figure(
    matrix: Sequence[Sequence[float]], tokens: Sequence[str], roles: Mapping[str, int], colours: Palette
) -> go.Figure:
    """Query tokens downwards, key tokens across; the roles are written beside their tokens."""
    by_position: dict[int, list[str]] = {}
    for role, position in roles.items():
        by_position.setdefault(position, []).append(role)
    labels = [
        charts.markup(token.strip() or "␣")
        + (f" <b>{charts.markup(', '.join(by_position[i]))}</b>" if i in by_position else "")
        for i, token in enumerate(tokens)
    ]
    made = go.Figure(
        go.Heatmap(
            z=matrix,
            zmin=0,
            zmax=1,
            colorscale=[[0, colours.surface], [1, colours.right]],
            showscale=False,
            customdata=[[f"{query.strip()} → {key.strip()}" for key in tokens] for query in tokens],
            hovertemplate="%{customdata}: %{z:.2f}<extra></extra>",
        )
    )
    axis: dict[str, Any] = {"showgrid": False, "tickfont": {"size": 10}}
    if len(tokens) <= LONGEST:
        axis |= {"tickvals": list(range(len(tokens))), "ticktext": labels}
    made.update_xaxes(**axis, tickangle=-60, constrain="domain")
    made.update_yaxes(**axis, autorange="reversed", constrain="domain", scaleanchor="x")  # square cells
    return charts.framed(made, colours, max(300, min(560, 150 + 15 * len(tokens))))

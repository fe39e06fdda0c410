"""What is known about the pinned nodes: role and evidence, edges in both circuits, attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app.diagram.marks import markup
from app.diagram.palette import Palette, palette
from hap_engine.runs import Run
from hap_engine.verdict import METHOD_TITLES, ROLE_TITLES


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """Details of the node that was pinned last; tabs if there are several."""
    st.subheader("What does it do?", anchor=False)
    if not pins:
        st.caption(
            "Click a head or an MLP in either picture: its role, its evidence, its edges in both "
            "circuits and what it attends to appear here. Hovering lights up its neighbours."
        )
        return
    for tab, name in zip(st.tabs(list(reversed(pins))), reversed(pins), strict=True):
        with tab:
            _node(run, left, right, name)


def _node(run: Run, left: str, right: str, name: str) -> None:
    head = run.heads.get(name, {})
    role = run.roles.get("heads", {}).get(name)
    if role:
        title = ROLE_TITLES.get(role["role"], role["role"])
        st.markdown(f"**{title[0].upper() + title[1:]} head.** {_escape(role.get('sentence', ''))}")
    elif head:
        st.markdown("No role passed its threshold here.")
    published = (run.roles.get("published") or {}).get(name)
    if published:
        st.caption(f"Published role (Wang et al. 2022): {ROLE_TITLES.get(published, published)}")
    if head:
        facts = [_kept(run, side, name) for side in dict.fromkeys((left, right))]
        if "eap_rank" in head:
            edge = " → ".join(head.get("eap_edge", []))
            facts.append(f"best EAP rank {head['eap_rank']:,} of {run.graph.n_edges:,} ({edge})")
        if "direct_effect" in head:
            facts.append(f"direct effect on the logit difference {head['direct_effect']:+.2f}")
        st.caption(_escape(" · ".join(facts)))
        if head.get("attention"):
            cells = {pair.replace("->", "→"): value for pair, value in head["attention"].items()}
            st.dataframe(
                pd.DataFrame([cells], index=["attention"]),
                column_config={key: st.column_config.NumberColumn(format="%.2f") for key in cells},
            )
    _edges(run, left, right, name)
    _attention(run, name)


def _kept(run: Run, side: str, name: str) -> str:
    title = METHOD_TITLES.get(side, side)
    return f"{title} keeps it" if name in run.circuits[side].circuit.heads else f"{title} drops it"


def _edges(run: Run, left: str, right: str, name: str) -> None:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for side in dict.fromkeys((left, right)):
        record = run.circuits[side]
        for index, (edge, (writer, reader)) in enumerate(
            zip(record.circuit.edges(), record.circuit.names(), strict=True)
        ):
            column = run.graph.reader_index[reader]
            enters = name in {
                run.graph.writers[w].name for w in np.flatnonzero(run.graph.feeds[column])
            } or (name == reader)
            if not enters and edge.writer.name != name:
                continue
            row = rows.setdefault(
                (writer, reader),
                {"": "in" if enters else "out", "From": writer, "To": reader},
            )
            row[METHOD_TITLES.get(side, side)] = True
            for key, title in (("scores", "EAP score"), ("ranks", "EAP rank"), ("gates", "Gate")):
                value = record.values.get(key)
                if value is not None and not math.isnan(value[index]):
                    row[title] = value[index]
    if not rows:
        st.caption("Neither circuit keeps an edge of it.")
        return
    frame = pd.DataFrame(list(rows.values()))
    for side in dict.fromkeys((left, right)):
        title = METHOD_TITLES.get(side, side)
        flags = frame[title] if title in frame else pd.Series(False, index=frame.index)
        frame[title] = flags.eq(True)
    frame = frame.sort_values(["", "EAP rank"] if "EAP rank" in frame else [""])
    st.dataframe(
        frame,
        hide_index=True,
        height=min(320, 38 + 35 * len(frame)),
        column_config={
            "EAP score": st.column_config.NumberColumn(
                format="%.4f", help="Negative: the edge helps the logit difference."
            ),
            "EAP rank": st.column_config.NumberColumn(
                format="localized", help="1 = largest absolute score of all edges."
            ),
            "Gate": st.column_config.NumberColumn(
                format="%.1f", help="log alpha after Edge Pruning: larger is more surely kept."
            ),
        },
    )


def _attention(run: Run, name: str) -> None:
    shown = [prompt for prompt in run.attention if name in prompt.get("heads", {})]
    if not shown:
        return
    number = 0
    if len(shown) > 1:
        number = (
            st.segmented_control(
                "Attention on test prompt",
                list(range(len(shown))),
                format_func=lambda i: str(i + 1),
                default=0,
                key=f"prompt-{name}",
            )
            or 0
        )
    prompt = shown[number]
    colours = palette(st.context.theme.type)
    for column, side in zip(st.columns(2), ("clean", "corrupt"), strict=True):
        figure = attention_figure(
            prompt["heads"][name][side], prompt["tokens"][side], prompt.get("roles", {}), colours
        )
        column.caption(f"{side.capitalize()} prompt")
        column.plotly_chart(
            figure,
            key=f"attention-{name}-{side}",
            alt=f"Attention pattern of {name} on the {side} prompt",
            config={"displayModeBar": False},
        )


def attention_figure(
    matrix: list[list[float]], tokens: list[str], roles: dict[str, int], colours: Palette
) -> go.Figure:
    """Query tokens downwards, key tokens across; the roles are written beside their tokens."""
    by_position: dict[int, str] = {}
    for role, position in roles.items():
        by_position[position] = (
            f"{by_position[position]}, {role}" if position in by_position else role
        )
    labels = [
        markup(token.strip() or "␣")
        + (f" <b>{markup(by_position[i])}</b>" if i in by_position else "")
        for i, token in enumerate(tokens)
    ]
    ticks = list(range(len(tokens)))
    figure = go.Figure(
        go.Heatmap(
            z=matrix,
            zmin=0,
            zmax=1,
            colorscale=[[0, colours.surface], [1, colours.right]],
            showscale=False,
            hovertemplate="attention %{z:.2f}<extra></extra>",
        )
    )
    axis = {"tickvals": ticks, "ticktext": labels, "tickfont": {"size": 10}, "showgrid": False}
    figure.update_xaxes(**axis, tickangle=-60)
    figure.update_yaxes(**axis, autorange="reversed")
    return figure.update_layout(
        height=380,
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": colours.text},
    )


def _escape(text: str) -> str:
    """Plain text for a place that reads Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>$~" else c for c in text)

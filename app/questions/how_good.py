"""How good is a circuit? Each number beside its controls, with its interval and in plain words."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import streamlit as st

from app.questions import choices, full_tests
from app.widgets import charts
from app.words import HELP
from hap_engine.picture.palette import Palette
from hap_engine.report.by_prompt import closer, measured
from hap_engine.report.metric_sentences import TITLES, interval, overlap, read
from hap_engine.report.titles import CONTROL_TITLES, circuit_title
from hap_engine.runs.record import Run


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """One circuit's numbers read aloud, and every circuit's interval for one metric."""
    names = [name for name in run.circuits if name in run.metrics]
    if not names:
        st.info("This run file holds no measurements. Compute the run again.")
        return
    words, picture = st.columns([3, 2], gap="large")
    with words:
        name = choices.circuit(names, run, f"read-{run.id}")
        for key, sentence in read(run, name).items():
            st.markdown(f"**{TITLES[key]} {_number(run, name, key)}.** {sentence}", help=HELP[key])
        st.markdown(_comparison(run, left, right))
    with picture:
        metric = st.selectbox(
            "Compare", list(TITLES), format_func=TITLES.__getitem__, key="read-metric", persist_state="session"
        )
        every = [*CONTROL_TITLES, *names]
        charts.show(
            interval_figure(run, every, metric, charts.colours_now()),
            "intervals",
            f"{TITLES[metric]} of the controls and of every circuit, with 95 % intervals",
        )
    row = run.metrics[name]
    st.caption(
        f"Means over {row.get('n_prompts', '?')} {row.get('split', '')} prompts that no method saw, "
        f"{len(run.circuits[name].circuit):,} live edges, ablation {row.get('ablation', '?')}, seed {run.seed}. "
        "Intervals: 95 %, percentile bootstrap over prompts; they say nothing about other seeds. "
        "Random circuits are connected and as large as the circuit that the run looked for."
    )
    full_tests.show(run)


def _number(run: Run, name: str, key: str) -> str:
    return f"{run.metrics[name][key]:z.2f}"


def _comparison(run: Run, left: str, right: str) -> str:
    parts = [overlap(run, left, right)]
    if left != right and measured(run, left) and measured(run, right):
        parts.append(closer(run, left, right))
    return " ".join(filter(None, parts))


def interval_figure(run: Run, names: Sequence[str], metric: str, colours: Palette) -> go.Figure:
    """A dot for each row with a line for its interval; controls are hollow."""
    shown = [name for name in reversed(names) if run.metrics.get(name, {}).get(metric) is not None]
    values = [float(run.metrics[name][metric]) for name in shown]
    ends = [interval(run, name, metric) or (v, v) for name, v in zip(shown, values, strict=True)]
    titles = [circuit_title(name) for name in shown]
    figure = go.Figure(
        go.Scatter(
            x=values,
            y=titles,
            mode="markers+text",
            text=[f"{value:z.2f}" for value in values],
            textposition="top center",
            marker={
                "size": 11,
                "color": [colours.background if n in CONTROL_TITLES else colours.right for n in shown],
                "line": {"width": 2, "color": [colours.both if n in CONTROL_TITLES else colours.right for n in shown]},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [max(0.0, high - v) for v, (_, high) in zip(values, ends, strict=True)],
                "arrayminus": [max(0.0, v - low) for v, (low, _) in zip(values, ends, strict=True)],
                "color": colours.muted,
            },
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    figure.update_xaxes(title=TITLES[metric], **charts.grid(colours))
    margin = {"l": 8, "r": 24, "t": 24, "b": 8}
    return charts.framed(figure, colours, 90 + 46 * len(shown), margin=margin, showlegend=False)

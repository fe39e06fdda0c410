"""How good is a circuit? A scorecard, whose rows open to the prose, and each number's intervals."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import streamlit as st

from app.questions import choices, full_tests
from app.widgets import charts, scorecard
from app.widgets.markdown import plain
from app.words import say, widget
from hap_engine.picture.palette import Palette
from hap_engine.report.metric_sentences import interval, scores
from hap_engine.report.titles import CONTROL_TITLES, METRIC_TITLES, circuit_title
from hap_engine.runs.record import Run


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """One circuit's scorecard, and every circuit's interval for one metric."""
    names = [name for name in run.circuits if name in run.metrics]
    if not names:
        st.info(say("numbers.none"))
        return
    words, picture = st.columns([3, 2], gap="large")
    with words:
        name = choices.circuit(names, run, f"read-{run.id}")
        scorecard.show(list(scores(run, name, left if name != left else right)))
    with picture:
        words, titles = widget("numbers.compare"), list(METRIC_TITLES)
        metric = st.selectbox(**words, options=titles, format_func=METRIC_TITLES.__getitem__, persist_state="session")
        figure = interval_figure(run, [*CONTROL_TITLES, *names], metric, charts.colours_now())
        charts.show(figure, **widget("numbers.figure", metric=METRIC_TITLES[metric]))
    row = run.metrics[name]
    told = {"prompts": row.get("n_prompts", "?"), "split": plain(row.get("split", ""))}
    told["ablation"] = plain(row.get("ablation", "?"))
    st.caption(say("numbers.about", edges=len(run.circuits[name].circuit), seed=run.seed, **told))
    full_tests.show(run)


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
    figure.update_xaxes(title=METRIC_TITLES[metric], **charts.grid(colours))
    margin = {"l": 8, "r": 24, "t": 24, "b": 8}
    return charts.framed(figure, colours, 90 + 46 * len(shown), margin=margin, showlegend=False)

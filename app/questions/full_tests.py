"""Put to the test: what ``evaluate --full`` and ``stability`` add to a run, read aloud, or how to get it."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import streamlit as st

from app.questions import add_to_run
from app.stored import related_runs, saved_runs
from app.widgets import charts, scorecard
from app.widgets.markdown import plain
from app.widgets.tables import Column, table
from app.words import say, widget
from app.work import opened_models
from hap_engine.errors import HapError
from hap_engine.picture.palette import Palette
from hap_engine.progress import Progress
from hap_engine.report.test_sentences import HALF, STABLE, findings, untested
from hap_engine.report.titles import circuit_title
from hap_engine.runs.record import Run
from hap_engine.settings import RESAMPLES


def show(run: Run) -> None:
    """The findings, the curve over sizes and the ablations; what is missing is offered."""
    st.markdown("### Put to the test")
    words, pictures = st.columns([3, 2], gap="large")
    with words:
        scorecard.show([*findings(run), *untested(run)])
    with pictures:
        _curves(run)
        _ablations(run)
        _samples(run)
    if run.statistics:
        _tags(run)
    if not run.statistics:
        _offer_tests(run)
    if not run.stability:
        _offer_seeds(run)
    if not run.stability.get("at"):
        _offer_samples(run)
    add_to_run.finish(run)


def _curves(run: Run) -> None:
    if not run.statistics.get("curves"):
        return
    charts.show(curve_figure(run, charts.colours_now()), **widget("full.curves"))


def curve_figure(run: Run, colours: Palette) -> go.Figure:
    """Faithfulness against the share of edges kept (log scale); diamonds are the run's own circuits."""
    looks = {"eap": (colours.left, "dash"), run.main: (colours.right, "solid")}
    figure = go.Figure()
    for name, curve in run.statistics["curves"].items():
        colour, dash = looks.get(name, (colours.both, "dot"))
        title = circuit_title(name)
        figure.add_scatter(
            x=curve["shares"],
            y=curve["faithfulness"],
            name=f"{title}'s order",
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"size": 6},
            hovertemplate="%{x:.1%} of the edges: %{y:.2f}<extra></extra>",
        )
        faith = run.metrics.get(name, {}).get("faithfulness")
        if name in run.circuits and isinstance(faith, float) and math.isfinite(faith):
            figure.add_scatter(
                x=[len(run.circuits[name].circuit) / run.graph.n_edges],
                y=[faith],
                mode="markers",
                name=f"{title}'s circuit",
                marker={"symbol": "diamond", "size": 12, "color": colour},
                hovertemplate="%{x:.1%} of the edges: %{y:.2f}<extra></extra>",
            )
    figure.add_hline(y=1, line={"color": colours.muted, "width": 1, "dash": "dot"})
    figure.update_xaxes(title="edges kept", type="log", tickformat=".1~%", dtick=1, **charts.grid(colours))
    figure.update_yaxes(title="faithfulness", **charts.grid(colours))
    return charts.framed(figure, colours, 320, legend={"orientation": "h", "y": -0.3})


def _ablations(run: Run) -> None:
    kinds = run.statistics.get("ablations") or {}
    names = [name for name in run.circuits if all(name in rows for rows in kinds.values())]
    if not kinds or not names:
        return
    columns = [Column(kind, str(next(iter(rows.values()))["ablation"])) for kind, rows in kinds.items()]
    rows = [[circuit_title(name), *(f"{rows[name]['kl']:.2f}" for rows in kinds.values())] for name in names]
    table([Column("KL"), *columns], rows, caption=say("full.ablations"))
    st.caption(say("full.kinds"))


def _samples(run: Run) -> None:
    """How alike the circuits of two samples of the prompts are, at each size."""
    at = run.stability.get("at") or ()
    if not at:
        return
    names = list(at[0]["jaccard"])
    columns = [Column("Edges"), *map(Column, map(circuit_title, names)), Column(**say.parts("full.doubtful"))]
    rows = [
        [f"{row['size']:,}", *(f"{row['jaccard'][name]:.2f}" for name in names), f"{_doubtful(row['edges']):,}"]
        for row in at
    ]
    own = len(run.circuits[run.main].circuit)
    strong = {place: row["size"] == own for place, row in enumerate(at)}
    table(columns, rows, caption=say("full.jaccard"), strong=strong)
    st.caption(say("full.bar", bar=STABLE))


def _doubtful(shares: list[float]) -> int:
    return sum(share < HALF for share in shares)


def _tags(run: Run) -> None:
    texts = {key: plain(run.statistics[key]) for key in ("split", "ablation")}
    st.caption(say("full.about", run=run.statistics, **texts))


def _offer_tests(run: Run) -> None:
    """A button that tests the run's circuits now, and the command that does the same."""
    st.caption(say("full.untested"))
    if opened_models.button(run, **widget("full.test"), disabled=add_to_run.busy(run)):

        def add() -> add_to_run.Add:
            from hap_engine.workflows.retest import examine

            return examine

        add_to_run.begin(run, add_to_run.with_model(run, add))
    st.code(f"python -m hap_engine evaluate {run.id}.json --full", language=None)


def _offer_samples(run: Run) -> None:
    """Search again on samples of the run's prompts, here or in a terminal."""
    st.caption(say("full.unsampled", circuit=plain(circuit_title(run.main))))
    if opened_models.button(run, **widget("full.sample", count=RESAMPLES), disabled=add_to_run.busy(run)):

        def add() -> add_to_run.Add:
            from hap_engine.workflows.search_again import bootstrap

            return bootstrap

        add_to_run.begin(run, add_to_run.with_model(run, add))
    st.code(f"python -m hap_engine stability {run.id}.json --bootstrap {RESAMPLES}", language=None)


def _offer_seeds(run: Run) -> None:
    """Compare with the same run of other seeds, or find one."""
    others = related_runs.siblings(run, saved_runs.listed()[0])
    if others:
        names = ", ".join(str(other.seed) for other in others)
        st.caption(say("full.seeds", names=names))
        if st.button(**widget("full.compare"), disabled=add_to_run.busy(run)):

            def compare(_: object) -> add_to_run.Revision:
                yield Progress("evaluate", 0, 1, "Comparing the seeds")
                from hap_engine.workflows.retest import with_stability

                return with_stability([run, *(saved_runs.open_run(other.id) for other in others)])[0]

            add_to_run.begin(run, compare)
        return
    config = related_runs.again(run, run.seed + 1)
    st.caption(say("full.one_seed"))
    if config and opened_models.button(run, **widget("full.again", seed=config.seed)):
        try:
            st.query_params["job"] = opened_models.start_run(run, config)
        except HapError as error:
            st.error(plain(str(error)), icon=":material/error:")
            return
        st.rerun()

"""What happens if …: switch heads and edges off or on and see the predictions change, with undo.

The changes live in the address (``do=-a9.h6``), so a link shows the same experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

from app import url
from app.diagram import marks
from app.glossary import define
from app.questions import add_to_run, choices
from app.widgets.markdown import plain
from app.widgets.tables import grid
from app.words import say, widget
from app.work import opened_models
from hap_engine.errors import HapError
from hap_engine.graph.circuit import Circuit, full_circuit
from hap_engine.graph.edits import Change, apply, edges_of, parse_all
from hap_engine.report.titles import circuit_title, role_title
from hap_engine.report.verdict import heads_of_role
from hap_engine.runs.record import Run

if TYPE_CHECKING:
    from hap_engine.explain.what_if import Bench, Reading

FULL = "full"
PARAMETER = "do"


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """The panel: where to start, what to change, what it does."""
    st.caption(**widget("try.about"))
    why = opened_models.remedy(run)
    base = _base(run)
    changes = current(run)
    circuit = apply(circuit_of(run, base), changes)
    _controls(run, circuit, pins, disabled=bool(why))
    if why:
        ask_for_weights(run, why)
    elif changes or opened_models.opened(run):
        _effect(run, base, changes, circuit, {"left": left, "right": right})
    else:
        st.caption(say("try.first"))
    if not run.cuts and opened_models.button(run, **widget("try.cuts"), disabled=add_to_run.busy(run)):
        add_to_run.begin(run, add_to_run.with_model(run, _cuts))
    add_to_run.save_button(run, circuit, changed=bool(changes), disabled=bool(why))


def _cuts() -> add_to_run.Add:
    from hap_engine.workflows.add_to_run import add_cuts

    return add_cuts


def circuit_of(run: Run, name: str) -> Circuit:
    """A circuit of the run by its key, or the full model."""
    return full_circuit(run.graph) if name == FULL else run.circuits[name].circuit


def current(run: Run) -> tuple[Change, ...]:
    """The changes that the address asks for; those that do not fit this run are dropped, aloud."""
    try:
        return parse_all(st.query_params.get_all(PARAMETER), run.graph)
    except HapError as error:
        st.warning(say("try.unfit", why=plain(str(error))))
        st.query_params.pop(PARAMETER, None)
        return ()


def ask_for_weights(run: Run, why: str) -> None:
    """Say why live work is off, and take a path."""
    st.info(plain(why), icon=":material/download:")
    path = st.text_input(**widget("try.weights"), key=f"weights-{run.id}")
    if path:
        wrong = opened_models.give(run, path)
        if wrong:
            st.error(plain(wrong), icon=":material/error:")
        else:
            st.rerun()


def _base(run: Run) -> str:
    options = [FULL, *run.circuits]
    named = st.query_params.get("base", run.main)
    key = f"base-{run.id}"
    st.session_state[key] = named if named in options else run.main
    changed = url.with_choice(key, lambda name: st.query_params.update({"base": name or run.main}))
    picked = st.segmented_control(
        "Start from", options, format_func=choices.shown, key=key, on_change=changed, required=True
    )
    return picked or run.main


def _do(change: Change) -> None:
    st.query_params[PARAMETER] = [*st.query_params.get_all(PARAMETER), change.text]


def _undo() -> None:
    st.query_params[PARAMETER] = st.query_params.get_all(PARAMETER)[:-1]


def _reset() -> None:
    st.query_params.pop(PARAMETER, None)


def _controls(run: Run, circuit: Circuit, pins: list[str], disabled: bool) -> None:
    graph, live_nodes = run.graph, circuit.live
    known = [w.name for w in graph.writers[1:]]
    first = [pin for pin in reversed(pins) if pin in known]
    held = [w.name for w in graph.writers[1:] if live_nodes.kept[graph.writer_index[w.name]].any()]
    nodes = list(dict.fromkeys([*first, *held, *known]))
    choice, off, on = st.columns([3, 2, 2], vertical_alignment="bottom")
    node = choice.selectbox(
        **widget("try.node"),
        options=nodes,
        format_func=lambda name: name + (" · pinned" if name in first else ""),
        key=f"node-{run.id}-{'-'.join(first)}",
    )
    here = not disabled and node in held
    off.button(**widget("try.off"), on_click=_do, args=(Change(False, (node,)),), disabled=not here)
    on.button(**widget("try.on"), on_click=_do, args=(Change(True, (node,)),), disabled=disabled)
    edges = edges_of(graph, node)
    edges.sort(key=lambda cell: not circuit.kept[cell])  # kept ones first
    choice, off = st.columns([3, 4], vertical_alignment="bottom")
    cell = choice.selectbox(
        f"Edge of {node}", edges, format_func=lambda c: _edge_label(circuit, c), key=f"edge-{run.id}-{node}"
    )
    if cell is not None:
        here = bool(circuit.kept[cell])
        name = f"{graph.writers[cell[0]].name}->{graph.readers[cell[1]].name}"
        words = widget("try.edge_off" if here else "try.edge_on")
        off.button(**words, on_click=_do, args=(Change(not here, (name,)),), disabled=disabled)
    _at_once(run, live_nodes, disabled)


def _edge_label(circuit: Circuit, cell: tuple[int, int]) -> str:
    names = f"{circuit.graph.writers[cell[0]].name} → {circuit.graph.readers[cell[1]].name}"
    return names if circuit.kept[cell] else f"{names} · pruned"


def _at_once(run: Run, circuit: Circuit, disabled: bool) -> None:
    heads = tuple(h for h in heads_of_role(run, "s_inhibition") if circuit.kept[run.graph.writer_index[h]].any())
    many, undo, reset = st.columns([4, 2, 2])
    title = role_title("s_inhibition")
    words = widget("try.role", role=title, count=f" ({len(heads)})" if heads else "")
    explained = ", ".join(heads) or say("try.no_head", role=title)
    off, change = disabled or not heads, Change(False, heads)
    many.button(**words, on_click=_do, args=(change,), disabled=off, help=explained)
    some = bool(st.query_params.get_all(PARAMETER))
    undo.button(**widget("try.undo"), disabled=not some, on_click=_undo)
    reset.button(**widget("try.reset"), disabled=not some, on_click=_reset)


def _effect(run: Run, base: str, changes: tuple[Change, ...], circuit: Circuit, panels: dict[str, str]) -> None:
    chosen = opened_models.bench(run, choices.prompts(run), "intervene")
    few = opened_models.bench(run, opened_models.FEW, "intervene") if chosen else None
    if chosen is None or few is None:
        return
    from hap_engine.explain.what_if import describe

    if changes:
        st.markdown("Changes: " + " · ".join(f"`{change.text}`" for change in changes))
    circuits = (circuit_of(run, base), circuit)  # before and after
    here, many = ([opened_models.reading(run, bench, each) for each in circuits] for bench in (chosen, few))
    titles = ("This prompt", f"{len(few.pairs)} test prompts (mean)")
    for column, title, readings in zip(st.columns(2, gap="medium"), titles, (here, many), strict=True):
        with column:
            st.markdown(f"**{title}**")
            change_in_numbers(readings[0], readings[1], bool(changes))
    if changes:
        st.markdown(describe(*many))
        marks.answer(changes, {side: _probabilities(run, chosen, name, changes) for side, name in panels.items()})
    sides = {"Full model": chosen.full(), circuit_title(base): here[0]}
    next_words(chosen, sides | ({"After the change": here[1]} if changes else {}))
    st.caption(say("try.tokens"))


def _probabilities(run: Run, bench: Bench, name: str, changes: tuple[Change, ...]) -> list[float]:
    """The answer's probability on the chosen prompt, in a circuit and in what the changes make of it."""
    circuits = (circuit_of(run, name), apply(circuit_of(run, name), changes))
    return [float(opened_models.reading(run, bench, circuit).answer[0]) for circuit in circuits]


def change_in_numbers(before: Reading, after: Reading, changed: bool = True) -> None:
    """Logit difference and KL after a change, with the difference that it made."""
    sides = ((before.logit_diff, after.logit_diff), (before.kl, after.kl))
    for column, (title, colour, term), pair in zip(st.columns(2), say.parts("try.numbers"), sides, strict=True):
        old, new = (float(side.mean()) for side in pair)
        delta = f"{new - old:+.2f}" if changed else None
        column.metric(title, f"{new:.2f}", delta, delta_color=colour, help=define(term))


def next_words(bench: Bench, sides: Mapping[str, Reading]) -> None:
    """The likeliest next tokens of the first prompt, a bar for each of some readings."""
    rows = [{"Next token": repr(token)[1:-1], **values} for token, values in bench.top_tokens(sides)]
    bar = st.column_config.ProgressColumn
    grid(rows, column_config={side: bar(side, format="%.3f", min_value=0, max_value=1) for side in sides})

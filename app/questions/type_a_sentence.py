"""Type a sentence: the full model and both circuits go on with it, and the pinned head shows where it looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.own_prompts import tokens
from app.questions.what_if import ask_for_weights, next_words
from app.widgets.markdown import plain
from app.widgets.tables import Column, grid, table
from app.words import say, widget
from app.work import opened_models
from hap_engine.errors import HapError
from hap_engine.report.titles import circuit_title
from hap_engine.runs.record import Run
from hap_engine.tasks.editing import align, first_corruption

if TYPE_CHECKING:
    from hap_engine.explain.what_if import Bench

LONGEST = 600  # characters


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """The two sentences, what each circuit says next, and where the pinned head looks."""
    st.caption(say("sentence.about"))
    if why := opened_models.remedy(run):
        ask_for_weights(run, why)
        return
    tests = run.prompts.get("test") or [{}]
    clean = st.text_input(**widget("sentence.clean"), value=str(tests[0].get("clean", "")), key=f"typed-{run.id}")
    masked = opened_models.model_on_demand(run, "sentence", say("sentence.what"))
    if masked is None or not clean.strip():
        return
    if len(clean) > LONGEST:
        st.error(say("sentence.long", most=LONGEST, count=len(clean)), icon=":material/error:")
        return
    reader = masked.model.reader
    proposed = first_corruption(reader.tokenizer, clean)
    given = st.text_input(**widget("sentence.corrupt"), placeholder=proposed, key=f"typed-corrupt-{run.id}")
    corrupt = given or proposed
    if not corrupt:
        st.info(say("sentence.none"))
        return
    st.html(tokens.aligned(reader, clean, corrupt, align(reader.tokenizer, clean, corrupt)))
    try:
        bench = opened_models.free_bench(run.fingerprint, clean, corrupt, masked)
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    _said(run, bench, left, right)
    _looks(run, bench, pins)


def _said(run: Run, bench: Bench, left: str, right: str) -> None:
    """The first word of each side with its KL, then bars for all likely ones."""
    circuits = {circuit_title(name): run.circuits[name].circuit for name in dict.fromkeys((left, right))}
    sides = {title: opened_models.reading(run, bench, circuit) for title, circuit in circuits.items()}
    sides = {"Full model": bench.full()} | sides
    rows = []
    for title, reading in sides.items():
        ((word, share),) = [(word, p["it"]) for word, p in bench.top_tokens({"it": reading}, 1)]
        rows.append([title, word.strip() or repr(word), f"{share:.1%}", f"{float(reading.kl[0]):.3f}"])
    table([Column(*column) for column in say.parts("sentence.columns")], rows, caption=say("sentence.caption"))
    next_words(bench, sides)


def _looks(run: Run, bench: Bench, pins: list[str]) -> None:
    """Where the head that was pinned last looks from the last token, in both sentences."""
    heads = [pin for pin in pins if pin in run.graph.heads]
    if not heads:
        st.caption(say("sentence.pin"))
        return
    head = heads[-1]
    writer = run.graph.writers[run.graph.writer_index[head]]
    assert writer.head is not None
    patterns, texts = bench.attention(writer.layer, writer.head), bench.tokens()
    st.caption(say("sentence.head", head=head))
    columns = say.parts("sentence.sides")
    rows = [
        {
            columns["token"]: clean if clean == corrupt else f"{clean} / {corrupt}",
            columns["clean"]: patterns["clean"][-1][at],
            columns["corrupt"]: patterns["corrupt"][-1][at],
        }
        for at, (clean, corrupt) in enumerate(zip(texts["clean"], texts["corrupt"], strict=True))
    ]
    bar = st.column_config.ProgressColumn
    grid(rows, column_config={columns[side]: bar(format="%.2f", min_value=0, max_value=1) for side in patterns})

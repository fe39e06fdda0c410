"""What a node says straight to the output: the tokens it promotes and those it holds back (live)."""

from __future__ import annotations

import streamlit as st

from app.diagram import marks
from app.questions import choices
from app.widgets.tables import Column, table
from app.words import say
from app.work import opened_models
from hap_engine.runs.record import Run


def show(run: Run, name: str) -> None:
    """A small table for the chosen prompt, if the model is open or can be opened."""
    st.markdown(f"**What does it say?** Test prompt {choices.prompt(run) + 1}")
    bench = opened_models.bench_on_demand(run, choices.prompts(run), name, "the tokens")
    if bench is None:
        return
    if name == "logits":
        rows = bench.top_tokens({"corrupt": bench.corrupted(), "clean": bench.full()})
        table(
            [Column("Next token"), Column("Clean prompt"), Column("Corrupted prompt")],
            [[_shown(token), f"{p['clean']:.1%}", f"{p['corrupt']:.1%}"] for token, p in rows],
            caption="Probabilities of the next token in the full model",
        )
        return
    up, down = bench.promoted(name)
    marks.promoted(name, up, down)
    table(
        [Column("Promotes"), Column("by"), Column("Holds back"), Column("by")],
        [
            [_shown(a), f"{100 * x:+z.2f}", _shown(b), f"{100 * y:+z.2f}"]
            for (a, x), (b, y) in zip(up, down, strict=True)
        ],
        caption=f"Tokens that {name} promotes and holds back",
    )
    st.caption(say("node.says"))


def _shown(token: str) -> str:
    return token.strip() or repr(token)

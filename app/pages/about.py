"""How it works: the method in a page, the words, and what a teacher needs."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import streamlit as st

from app import glossary
from hap_engine.tasks.builtin import TASKS

METHOD = """
A transformer is a sum. Every [[head]] and every [[MLP]] reads the [[residual stream]] and adds its output to it. An
[[edge]] joins a part that writes to one that reads later. A [[circuit]] is a small set of edges that still does a task.

**Two runs.** On the [[clean prompt|clean]] prompt the model knows the answer; on the [[corrupted prompt|corrupted]] one
it cannot. Cutting an edge means that its reader gets the corrupted run's version of that one writer ([[patching]]).
Keep all edges and you have the model; cut all and you have the corrupted run.

**EAP** ([[EAP|edge attribution patching]]) asks, for every edge at once, how much the [[logit difference]] would change
to [[first-order|first order]] if that edge were cut. One backward pass answers it. Where two heads do the same job, or
only work together, the answer can be far off.

**EP** ([[EP|edge pruning]]) puts a [[gate]] on every edge and learns which gates can close while the circuit still
predicts what the full model predicts. It sees cooperation, but it is slow.

**HAP** does both: EAP throws away the clearly useless edges, EP learns on the rest.

**What the numbers mean.** [[KL]] and [[exact match]] compare a circuit with the whole model; [[faithfulness]] says how
much of the preference for the right answer is left. A [[random control]] stands beside every circuit, and everything is
measured on [[held-out prompts]].
"""
PICTURE = """
The prompt enters at the bottom, the [[logits]] leave at the top. Squares are heads, bars are MLPs. Grey edges are in
both circuits, orange dashed ones only in the left one, blue ones only in the right one. A double ring marks an
[[S-inhibition]] head. Faint squares are parts that neither circuit uses. An edge ends at the [[query, key, value|query,
key or value]] of a head. [[role|Roles]] are measured, for this model and this task, with thresholds that each run
states.
"""
TEACHING = """
- **Present**, at the top right, gives large type and hides the settings.
- **The lesson** takes about fifteen minutes. It asks for a guess before each answer; let the class vote.
- **A handout** of any run, one sheet: open a run, then *Share and export*, *Pages*, *Handout to print*.
- **A link** holds the whole view: the run, the pins, the changes. Send it to everyone who can reach this explorer.
- **A whole class on one machine:** start the explorer with `python -m app.serve --class`. It is then open to the local
  network, with locked presets of the bundled model and a limit on runs; nobody can rename, delete or import.
"""
SOURCES = (
    ("HAP", "Gu et al. 2025", "2510.03282"),
    ("EAP", "Syed et al. 2023", "2310.10348"),
    ("EAP-IG", "Hanna et al. 2024", "2403.17806"),
    ("Edge pruning", "Bhaskar et al. 2024", "2406.16778"),
    ("IOI", "Wang et al. 2022", "2211.00593"),
)


def page(pages: Mapping[str, Any]) -> None:
    st.title("How it works", anchor=False)
    st.html(glossary.rich(METHOD))
    if "lesson" in pages:
        st.page_link(pages["lesson"], label="Take the lesson: seven steps on a real run", icon=":material/school:")
    st.subheader("The picture", anchor=False)
    st.html(glossary.rich(PICTURE))
    st.subheader("The tasks", anchor=False)
    for task in TASKS.values():
        st.markdown(f"**{task.title}.** {task.summary}")
    st.subheader("Words", anchor=False)
    st.html(_words())
    st.subheader("For a class", anchor=False)
    st.html(glossary.rich(TEACHING.replace("\n  ", " ")))
    st.subheader("Sources", anchor=False)
    st.markdown(" · ".join(f"{name}: {who}, arXiv {number}" for name, who, number in SOURCES))


def _words() -> str:
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
        for name, text in sorted(glossary.TERMS.items(), key=lambda item: item[0].lower())
    )
    style = (
        "<style>.hap-words { max-width: 75ch; line-height: 1.5; } .hap-words dt { font-weight: 600; }"
        ".hap-words dd { margin: 0 0 .6em 1.2em; }</style>"
    )
    return f'{style}<dl class="hap-words">{items}</dl>'

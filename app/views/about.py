"""How it works: the method in a page, for a student."""

from __future__ import annotations

import streamlit as st

from hap_engine.tasks import TASKS

TEXT = """
A transformer is a sum. Every head and every MLP reads the **residual stream** and adds its output to
it. An **edge** joins a component that writes to one that reads later. A **circuit** is a small set of
edges that still does a task.

**Two runs.** On the *clean* prompt the model knows the answer; on the *corrupted* one the names are
exchanged, so it cannot. Cutting an edge means that its reader gets the corrupted run's version of that
one writer. Keep all edges and you have the model; cut all and you have the corrupted run.

**EAP** (edge attribution patching) asks, for every edge at once, how much the logit difference
would change to first order if that edge were cut. One backward pass answers it. The answer is only
first order: where two heads do the same job, or only work together, it can be far off.

**EP** (edge pruning) puts a gate on every edge and learns which gates can close while the circuit
still predicts what the full model predicts. It sees cooperation, but it is slow.

**HAP** does both: EAP throws away the clearly useless edges, EP learns on the rest.

**The picture.** The prompt enters at the bottom, the logits leave at the top. Squares are heads, bars
are MLPs. Grey edges are in both circuits, orange dashed ones only in the left one, blue ones only in
the right one. A double ring marks an S-inhibition head. Faint squares are components that neither
circuit uses.
"""


def page() -> None:
    st.title("How it works", anchor=False)
    st.markdown(TEXT)
    for task in TASKS.values():
        st.subheader(f"The task: {task.title}", anchor=False)
        st.markdown(task.summary)
    st.subheader("Sources", anchor=False)
    st.markdown(
        "HAP: Gu et al. 2025, arXiv 2510.03282 · EAP: Syed et al. 2023, arXiv 2310.10348 · "
        "EAP-IG: Hanna et al. 2024, arXiv 2403.17806 · Edge Pruning: Bhaskar et al. 2024, "
        "arXiv 2406.16778 · IOI: Wang et al. 2022, arXiv 2211.00593"
    )

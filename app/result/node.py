"""What is known about the pinned nodes: role and evidence, circuits, edges by sign, attention, tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping

import streamlit as st

from app import url
from app.glossary import TERMS, define
from app.link import MAX_PINS
from app.result import attention, promoted_tokens
from app.widgets.markdown import plain
from app.widgets.tables import grid
from app.words import say
from hap_engine.report.node_edges import EdgeFacts, edges_at, keepers
from hap_engine.report.titles import OWN, circuit_title, role_title
from hap_engine.runs.record import Run

SIGNS: Mapping[str, tuple[str, str]] = say.parts("node.signs")


def show(run: Run, left: str, right: str, pins: list[str]) -> None:
    """Details of the node that was pinned last; tabs if there are several."""
    st.header("What does it do?", anchor=False)
    tabs = st.tabs(list(reversed(pins)), key=f"node-{'-'.join(pins)}")  # other pins are other tabs: the last one opens
    for tab, name in zip(tabs, reversed(pins), strict=True):
        with tab:
            _node(run, left, right, name)


def _node(run: Run, left: str, right: str, name: str) -> None:
    _role(run, name)
    _facts(run, name)
    _edges(run, left, right, name)
    if name in run.heads or name in run.graph.heads:
        attention.show(run, name)
    if name != "input":
        promoted_tokens.show(run, name)


def _role(run: Run, name: str) -> None:
    role = (run.roles.get("heads") or {}).get(name)
    thresholds = run.roles.get("thresholds")
    if role:
        title = role_title(role["role"])
        sentence = plain(role.get("sentence", ""))
        known = title if title in TERMS else "role"
        st.markdown(f"**{plain(title[:1].upper() + title[1:])} head.** {sentence}", help=define(known))
    elif name in run.graph.heads and thresholds:
        st.markdown(say("node.unnamed"))
    elif any(writer.name == name for writer in run.graph.writers if writer.kind == "norm"):
        st.markdown(say("node.norm"))
    if name in run.graph.heads and thresholds:
        stated = ", ".join(
            f"{key.replace('_', ' ')} {value:.3g}"
            for key, value in thresholds.items()
            if isinstance(value, int | float)
        )
        st.caption(say("node.thresholds", stated=plain(stated)))
    published = (run.roles.get("published") or {}).get(name)
    if published:
        st.caption(say("node.published", role=plain(role_title(published))))


def _facts(run: Run, name: str) -> None:
    keeping = keepers(run, name)
    badges = [
        f":{'green' if here else 'gray'}-badge[{'✓' if here else '✗'} {plain(circuit_title(key))}]"
        for key, here in keeping.items()
    ]
    st.markdown("Kept by " + " ".join(badges))
    head = run.heads.get(name, {})
    facts = []
    if "eap_rank" in head:
        edge = " → ".join(head.get("eap_edge") or [])
        score = say("node.score", score=head["eap_score"]) if "eap_score" in head else ""
        touches = any(end.partition("@")[0].partition("<")[0] == name for end in head.get("eap_edge") or [name])
        shared = "" if touches else say("node.shared")
        facts.append(say("node.rank", head=head, edges=run.graph.n_edges, edge=edge, score=score, shared=shared))
    if "direct_effect" in head:
        facts.append(say("node.alone", effect=head["direct_effect"]))
    looks = [f"{pair.replace('->', '→')} {x:.2f}" for pair, x in head.get("attention", {}).items()]
    if looks:
        facts.append("mean attention " + ", ".join(looks))
    if facts:
        st.caption(plain(" · ".join(facts)))


def _edges(run: Run, left: str, right: str, name: str) -> None:
    sides = list(dict.fromkeys([left, right, *(key for key in run.circuits if key == OWN)]))
    facts = edges_at(run, name, sides)
    if not facts:
        st.caption(say("node.none"))
        return
    for into, title in ((True, "Edges into it"), (False, "Edges out of it")):
        part = [fact for fact in facts if fact.into == into]
        if not part:
            continue
        st.markdown(f"**{title}** ({len(part)})")
        groups = [sign for sign in SIGNS if any(fact.sign == sign for fact in part)]
        columns = st.columns(2) if len(groups) > 1 else [st.container()]
        for column, sign in zip([*columns, *columns], groups, strict=False):
            with column:
                _list(run, name, sign, into, [fact for fact in part if fact.sign == sign])
    st.caption(say("node.select"))


def _list(run: Run, name: str, sign: str, into: bool, facts: list[EdgeFacts]) -> None:
    title, explained = SIGNS[sign]
    st.caption(f"{title} ({len(facts)})", help=explained)
    columns = {
        "From" if into else "To": [fact.writer if into else fact.reader for fact in facts],
        **({"At": [fact.slot for fact in facts]} if into and facts[0].slot else {}),
        "Score": [fact.score for fact in facts],
        "Rank": [fact.rank for fact in facts],
        "Gate": [fact.gate for fact in facts],
        "In": [", ".join(circuit_title(key) for key in fact.circuits) for fact in facts],
    }
    if all(math.isnan(fact.rank) for fact in facts):
        del columns["Rank"]
    if all(math.isnan(fact.gate) for fact in facts):
        del columns["Gate"]
    key = f"edges-{run.id}-{name}-{into}-{sign}"

    def pin(fact: EdgeFacts) -> None:
        others = [pin for pin in url.link().pins if pin != fact.other]
        url.put(pins=(*others, fact.other)[-MAX_PINS:])

    grid(
        columns,
        "node.columns",
        height=min(240, 38 + 35 * len(facts)),
        key=key,
        on_select=url.with_row(key, facts, pin),
        selection_mode="single-row",
    )

"""The circuit on the sentence: which token a head acts from, which it attends to (no torch).

Where edges act at spans the circuit says that itself, and the columns are spans. Elsewhere edges
are not tied to positions, attention is. A head *acts from* the token role from which it looks
and *attends to* the role it looks at (its strongest mean attention between two roles). An edge of the circuit then
has a place: into a query it acts where the reading head acts, into a key or value where that head looks. Drawn over
columns of tokens, this is the picture of Wang et al. (2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hap_engine.findings import Findings

UNNAMED = 12  # heads shown where none has a role: still readable over one sentence
WEAKEST = 0.1  # mean attention below this is not drawn: at 15 tokens, chance is 0.07


@dataclass(frozen=True)
class Look:
    """A head acts from the token `query` and attends to the token `key` with mean attention `weight`."""

    head: str
    query: int
    key: int
    weight: float


@dataclass(frozen=True)
class Prompt:
    """A prompt whose attention the run stores: its tokens, the place of each role, and where its heads look.

    Where edges act at spans `spans` has the number of each token's span, and nothing is said of single tokens.
    """

    tokens: tuple[str, ...]
    roles: Mapping[str, int]
    answer: str
    looks: tuple[Look, ...]
    spans: tuple[int, ...] = ()


@dataclass(frozen=True)
class OnSentence:
    """What the picture on the sentence draws; `first` are the heads that it shows before any is pinned.

    `between` has by head the share of its attention from each span (a row) to each, where the run stores it.
    """

    prompts: tuple[Prompt, ...]
    first: tuple[str, ...]
    between: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)


def on_sentence(run: Findings, left: str, right: str) -> OnSentence | None:
    """Two circuits of a run on its stored prompts; None where the run stores no attention that says where heads look.

    The first heads are those with a measured role that one of the circuits keeps; without measured roles the kept
    ones with the largest direct effect on the answer.
    """
    tests = run.prompts.get("test", ())
    prompts = (_prompt(run, *stored) for stored in zip(run.attention, tests, strict=False))
    found = [prompt for prompt in prompts if prompt.looks or prompt.spans]
    if run.graph.positional:
        found = found or [Prompt((), {}, "", ())]
    elif not found:
        return None
    placed = {look.head for look in found[0].looks} if found[0].looks else set(run.graph.heads)
    kept = placed & (run.circuits[left].circuit.heads | run.circuits[right].circuit.heads)
    named = kept & set(run.roles.get("heads") or {})
    shown = named or sorted(kept, key=lambda head: (-_effect(run.heads.get(head, {})), head))[:UNNAMED]
    between = {head: facts["between_spans"] for head, facts in run.heads.items() if facts.get("between_spans")}
    return OnSentence(tuple(found), tuple(sorted(shown, key=run.graph.heads.index)), between) if shown else None


def role_attention(run: Findings, head: str) -> dict[str, float]:
    """Mean attention between token roles, ``END->S2`` to share: stored means, else stored patterns."""
    stored = run.heads.get(head, {}).get("attention")
    if stored:
        return {pair: float(value) for pair, value in stored.items() if pair.count("->") == 1}
    shares: dict[str, list[float]] = {}
    for prompt in run.attention:
        pattern, roles = prompt["heads"].get(head), prompt.get("roles") or {}
        if pattern is None:
            continue
        for query, i in roles.items():
            for key, j in roles.items():
                if 0 <= j < i < len(pattern["clean"]):
                    shares.setdefault(f"{query}->{key}", []).append(pattern["clean"][i][j])
    return {pair: float(np.mean(values)) for pair, values in shares.items()}


def _prompt(run: Findings, stored: Mapping[str, Any], test: Mapping[str, Any]) -> Prompt:
    tokens = stored["tokens"]["clean"]
    roles = {role: at for role, at in (stored.get("roles") or {}).items() if 0 <= at < len(tokens)}
    answer, spans = str(test.get("answer", "")).strip(), tuple(test.get("spans") or ())
    if run.graph.positional:
        return Prompt(tuple(tokens), roles, answer, (), spans if len(spans) == len(tokens) else ())
    looks = (_look(run, head, roles, stored) for head in run.graph.heads)
    return Prompt(tuple(tokens), roles, answer, tuple(filter(None, looks)))


def _look(run: Findings, head: str, roles: Mapping[str, int], stored: Mapping[str, Any]) -> Look | None:
    """Between roles, on average; where prompts name none, from the last token of this prompt, past the first one,
    where most heads look when they have nothing to do."""
    pairs = [(pair.split("->"), share) for pair, share in role_attention(run, head).items()]
    placed = [(share, roles[q], roles[k]) for (q, k), share in pairs if q in roles and k in roles]
    if pattern := not roles and stored["heads"].get(head):
        placed = [
            (share, len(row) - 1, key) for row in pattern["clean"][-1:] for key, share in enumerate(row[:-1]) if key
        ]
    share, query, key = max(placed, default=(0.0, 0, 0))
    return Look(head, query, key, share) if share >= WEAKEST and key < query else None


def _effect(facts: Mapping[str, Any]) -> float:
    """How much the head alone moves the answer, whatever the direction."""
    effect = facts.get("direct_effect")
    return abs(effect) if isinstance(effect, int | float) and math.isfinite(effect) else 0.0

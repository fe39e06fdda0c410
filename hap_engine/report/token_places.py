"""The circuit on the sentence: which token a head writes at, which it reads from (no torch).

Edges of a circuit are not tied to positions, attention is. A head *sits* at the token role from which it
looks and *reads* at the role it looks at (its strongest mean attention between two roles). An edge of
the circuit then has a place: into a query it acts where the reading head sits, into a key or value
where that head looks. Drawn over columns of tokens, this is the picture of Wang et al. (2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hap_engine.findings import Findings

UNNAMED = 12  # heads shown where none has a role: still readable over one sentence
WEAKEST = 0.1  # mean attention below this is not drawn: at 15 tokens, chance is 0.07


@dataclass(frozen=True)
class Look:
    """A head sits at `query` and looks at `key`; both are token roles."""

    head: str
    layer: int
    query: str
    key: str
    weight: float


@dataclass(frozen=True)
class PlacedEdge:
    """A circuit edge that acts at the role `at`: `writer` is a head or ``input``, `reader` a head or
    ``logits``; `slot` is q, k, v or empty."""

    writer: str
    reader: str
    slot: str
    at: str


@dataclass(frozen=True)
class Story:
    """All that the token picture draws: columns from left to right, heads, edges, and who is left out."""

    columns: tuple[str, ...]
    looks: tuple[Look, ...]
    links: tuple[PlacedEdge, ...]
    elsewhere: tuple[str, ...]


def story(run: Findings, heads: Sequence[str], circuit: str) -> Story:
    """Place `heads` on the token roles and the edges of `circuit` among them."""
    attention = {head: role_attention(run, head) for head in heads}
    looks = []
    for head in sorted(dict.fromkeys(heads), key=run.graph.heads.index):
        pair = max(attention[head], key=attention[head].__getitem__, default="")
        if pair and attention[head][pair] >= WEAKEST:
            query, key = pair.split("->")
            layer = run.graph.writers[run.graph.writer_index[head]].layer
            looks.append(Look(head, layer, query, key, attention[head][pair]))
    placed = {look.head for look in looks}
    return Story(
        _columns(run, {role for look in looks for role in (look.query, look.key)}),
        tuple(looks),
        tuple(_links(run, looks, circuit)),
        tuple(head for head in dict.fromkeys(heads) if head not in placed),
    )


def default_heads(run: Findings, circuit: str) -> list[str]:
    """Heads with a measured role that the circuit keeps, in graph order.

    Where a task has no measured roles: the best-ranked of the kept_heads heads whose attention is stored.
    """
    kept_heads = run.circuits[circuit].circuit.heads
    if named := [head for head in run.roles.get("heads") or {} if head in kept_heads]:
        return named
    stored = {head for prompt in run.attention for head in prompt["heads"]}
    ranked = sorted(kept_heads & stored, key=lambda head: (run.heads[head]["eap_rank"], head))
    return sorted(ranked[:UNNAMED], key=run.graph.heads.index)


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


def example(run: Findings, prompt: int) -> Mapping[str, str]:
    """Role to token text of a prompt whose tokens the run stores, for labels; empty otherwise."""
    if prompt >= len(run.attention):
        return {}
    shown = run.attention[prompt]
    tokens = shown["tokens"]["clean"]
    places = dict.fromkeys(_beginning(run), 0) | dict(shown.get("roles") or {})
    return {role: tokens[at].strip() for role, at in places.items() if 0 <= at < len(tokens)}


def _beginning(run: Findings) -> tuple[str, ...]:
    """A column for the beginning-of-text token where prompts were given one. It is no role: most heads look there when
    they have nothing to do."""
    return ("BOS",) if run.settings.get("bos") == "always" else ()


def _columns(run: Findings, used: set[str]) -> tuple[str, ...]:
    """The roles in use, in the order in which they stand in the test prompts on average, after what begins a prompt."""
    places: dict[str, list[int]] = {}
    for prompt in run.prompts.get("test", []):
        for role, at in (prompt.get("roles") or {}).items():
            places.setdefault(role, []).append(at)
    return (*_beginning(run), *sorted(used, key=lambda r: (float(np.mean(places.get(r, [10**6]))), r)))


def _links(run: Findings, looks: Sequence[Look], circuit: str) -> list[PlacedEdge]:
    graph, kept = run.graph, run.circuits[circuit].circuit.kept
    links = []
    for look in looks:
        place = graph.writer_index[look.head]
        for column in np.flatnonzero(graph.feeds[:, place]):
            slot = graph.readers[column].slot
            at = look.query if slot == "q" else look.key
            if kept[0, column]:
                links.append(PlacedEdge("input", look.head, slot, at))
            links += [
                PlacedEdge(other.head, look.head, slot, at)
                for other in looks
                if other.query == at and kept[graph.writer_index[other.head], column]
            ]
        if look.query == "END" and kept[place, -1]:
            links.append(PlacedEdge(look.head, "logits", "", "END"))
    return links

"""The parts of a set of prompts: which token lies in which span (Haklay et al. 2025, arXiv 2502.04577).

The prompts of a task differ in length and in the order of their names, so tokens are told apart by what they are for.
A way to divide them names the spans of one prompt; `divided` does so for a set and finds out which span comes before
which. Every token is in one span. A span need not be in one piece, and some prompts may lack it.

* ``roles``: each token with a role is a span (several roles at one token are one); besides, what stands before the
  first of them, between them, and after the last one before the scored token. In one's own prompts marks say the roles
  (`hap_engine.tasks.marking.braces`). Prompts with neither: as ``changes``.
* ``changes``: each run of tokens that the corrupted prompt has otherwise; before, between, after.
* ``coarse``: before the first token that differs, from there to the last one, after it.
* ``tokens``: every token of prompts of one length.

The scored token is a span of its own everywhere, ``END``, and the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from hap_engine.errors import TaskError, UnknownNameError
from hap_engine.graph.graph import MAX_SPANS, Span
from hap_engine.tasks.marking.braces import END, PART
from hap_engine.tasks.pair import EncodedPair, PromptPair
from hap_engine.tasks.rows import refuse
from hap_engine.tasks.task import PromptSets
from hap_engine.words import say

Naming = Callable[[Sequence[EncodedPair]], list[list[str]]]  # the span of each token of each prompt


def divided(sets: PromptSets, way: str | Naming, rows: Sequence[PromptPair] = ()) -> PromptSets:
    """The same prompts, each token in a span.

    Args:
        rows: one's own prompts in the order by which a complaint numbers them; without them that of the splits.

    Raises:
        UnknownNameError: for a way that does not exist.
        TaskError: where prompts cannot be divided alike, naming the rows that differ from the first.
    """
    if isinstance(way, str) and way not in WAYS:
        raise UnknownNameError("way to divide prompts into spans", way, WAYS)
    name, every = WAYS[way] if isinstance(way, str) else way, (*sets.train, *sets.validation, *sets.test)
    number = {(pair.clean, pair.corrupt): at for at, pair in enumerate(rows)}
    order = sorted(range(len(every)), key=lambda at: number.get((every[at].pair.clean, every[at].pair.corrupt), at))
    named = dict(zip(order, name([every[at] for at in order]), strict=True))
    placed, spans = in_spans(every, [named[at] for at in range(len(every))])
    if len(spans) > MAX_SPANS:
        raise TaskError(say("tasks.many_spans", count=len(spans), most=MAX_SPANS))
    first, second = len(sets.train), len(sets.train) + len(sets.validation)
    return replace(
        sets,
        train=tuple(placed[:first]),
        validation=tuple(placed[first:second]),
        test=tuple(placed[second:]),
        spans=spans,
    )


def in_spans(
    pairs: Sequence[EncodedPair], names: Sequence[Sequence[str]]
) -> tuple[list[EncodedPair], tuple[Span, ...]]:
    """The prompts with a span for each token, by its name; the last token's, and no other's, is `END`."""
    order = _in_order(names)
    number = {name: at for at, name in enumerate(order)}
    placed = [replace(pair, spans=tuple(map(number.__getitem__, one))) for pair, one in zip(pairs, names, strict=True)]
    return placed, _spans(order, placed)


def _by_roles(pairs: Sequence[EncodedPair]) -> list[list[str]]:
    if any(pair.names for pair in pairs):
        return _by_marks(pairs)
    if not any(pair.roles for pair in pairs):
        return _by_changes(pairs)
    return [_around(_named(pair.roles), len(pair.clean_ids)) for pair in pairs]


def _by_marks(pairs: Sequence[EncodedPair]) -> list[list[str]]:
    refuse([(row, say("tasks.unmarked")) for row, pair in enumerate(pairs, 1) if not pair.names], len(pairs))
    counts = [len({*filter(PART.fullmatch, pair.names)}) for pair in pairs]
    _alike(counts, lambda at: say("tasks.other_marks", found=counts[at], first=counts[0]))
    named = [{at: name for at, name in enumerate(pair.names) if name} for pair in pairs]
    return [_around(one, len(pair.clean_ids)) for one, pair in zip(named, pairs, strict=True)]


def _named(roles: Mapping[str, int]) -> dict[int, str]:
    """The span of each token that has a role."""
    found: dict[int, str] = {}
    for role, place in roles.items():
        found[place] = f"{found[place]}/{role}" if place in found else role
    return found


def _by_changes(pairs: Sequence[EncodedPair]) -> list[list[str]]:
    runs = [_runs(pair) for pair in pairs]
    counts = list(map(len, runs))
    _alike(counts, lambda at: say("tasks.other_changes", found=counts[at], first=counts[0], pair=pairs[at].pair))
    numbered = [{at: f"change {n}" for n, run in enumerate(one, 1) for at in run} for one in runs]
    return [_around(one, len(pair.clean_ids)) for one, pair in zip(numbered, pairs, strict=True)]


def _coarse(pairs: Sequence[EncodedPair]) -> list[list[str]]:
    names = []
    for pair in pairs:
        at = [place for run in _runs(pair) for place in run]
        inside = dict.fromkeys(range(at[0], at[-1] + 1), "changed")
        names.append(_around(inside, len(pair.clean_ids)))
    return names


def _by_tokens(pairs: Sequence[EncodedPair]) -> list[list[str]]:
    counts = [len(pair.clean_ids) for pair in pairs]
    _alike(counts, lambda at: say("tasks.other_length", found=counts[at], first=counts[0], pair=pairs[at].pair))
    return [[*(f"token {at}" for at in range(1, counts[0])), END] for _ in pairs]


def _alike(counts: Sequence[int], told: Callable[[int], str]) -> None:
    """Raises TaskError, naming the rows whose count is not that of the first."""
    refuse([(row, told(row - 1)) for row, count in enumerate(counts, 1) if count != counts[0]], len(counts))


def _runs(pair: EncodedPair) -> list[range]:
    """The runs of neighbouring tokens that the corrupted prompt has otherwise."""
    found: list[range] = []
    for at, (clean, corrupt) in enumerate(zip(pair.clean_ids, pair.corrupt_ids, strict=True)):
        if clean != corrupt:
            follows = found and found[-1].stop == at
            found[-1:] = [range(found[-1].start, at + 1)] if follows else [*found[-1:], range(at, at + 1)]
    return found


def _around(named: Mapping[int, str], length: int) -> list[str]:
    """Names for all tokens of a prompt, of which some have one."""
    inside = [at for at in named if at < length - 1]
    low, high = min(inside, default=length), max(inside, default=-1)
    names = [named.get(at, "before" if at < low else "after" if at > high else "between") for at in range(length - 1)]
    return [*names, END]


WAYS: Mapping[str, Callable[[Sequence[EncodedPair]], list[list[str]]]] = {
    "roles": _by_roles,
    "changes": _by_changes,
    "coarse": _coarse,
    "tokens": _by_tokens,
}


def _in_order(names: Sequence[Sequence[str]]) -> list[str]:
    """The spans from left to right, by where they stand in the middle of the prompts."""
    places: dict[str, list[float]] = {}
    for one in names:
        for at, name in enumerate(one):
            places.setdefault(name, []).append(at / len(one))
    return sorted(places, key=lambda name: (name == END, median(places[name])))


def _spans(order: Sequence[str], pairs: Sequence[EncodedPair]) -> tuple[Span, ...]:
    """What each span sees, and where the prompts differ, in any of them."""
    count = len(order)
    sees, differs = [set[int]() for _ in order], [False] * count
    for pair in pairs:
        seen = set[int]()
        for span, clean, corrupt in zip(pair.spans, pair.clean_ids, pair.corrupt_ids, strict=True):
            seen.add(span)
            sees[span] |= seen
            differs[span] |= clean != corrupt
    return tuple(Span(name, tuple(sorted(sees[at])), differs[at]) for at, name in enumerate(order))

"""Toys with two separate paths: either is enough for every prompt, or each is for its own kind of prompts."""

from __future__ import annotations

from hap_engine.graph.circuit import Circuit
from tests.builders.planted import Builder, Match, Planted
from tests.builders.toys import LEAK, STRONG


def two_ways(prompts: int = 16) -> Planted:
    """``start on end -> yes``; corrupt: ``start off end``. Two heads copy the bit, each strongly enough to be sure.

    One path makes the answer 12 logits more likely, both together 24: to the probabilities, and so to KL, that is
    the same within 1e-4. Either head alone is a right circuit of two edges, and they share none.
    """
    words, spaces = ["start", "end", "off", "on", "no", "yes"], {"on": 1, "pos": 3, "end": 1, "out": 2}
    build = Builder(words, spaces, layers=1, heads=4, length=3)
    build.embed("on", "on")
    build.embed("end", "end")
    for index in range(3):
        build.position(index, f"pos:{index}")
    for head in (0, 1):
        build.head(0, head, [Match("end", "pos:1", STRONG)], "on", f"out:{head}")
        build.answer("yes", f"out:{head}", 12.0)
        build.answer("no", f"out:{head}", -12.0)
    build.decoys(("yes", "no"), LEAK, leaking=2)
    pairs = [build.pair("start on end", "start off end", "yes", "no")] * prompts
    model = build.model("planted two ways")
    paths = [[("input", f"a0.h{head}<v>"), (f"a0.h{head}", "logits")] for head in (0, 1)]
    return Planted("two ways", model, pairs, [Circuit.from_names(model.graph, path) for path in paths])


def two_kinds(prompts: int = 16) -> Planted:
    """``start one end -> yes`` and ``start two end -> yes``, in turn; corrupt: ``start off end``.

    One head copies ``one`` to the answer, another ``two``: a prompt has the circuit of its own kind, and no edge of the
    other's does anything on it.
    """
    words, spaces = (
        ["start", "end", "off", "one", "two", "no", "yes"],
        {"one": 1, "two": 1, "pos": 3, "end": 1, "out": 2},
    )
    build = Builder(words, spaces, layers=1, heads=4, length=3)
    build.embed("end", "end")
    for index in range(3):
        build.position(index, f"pos:{index}")
    for head, kind in enumerate(("one", "two")):
        build.embed(kind, kind)
        build.head(0, head, [Match("end", "pos:1", STRONG)], kind, f"out:{head}")
        build.answer("yes", f"out:{head}", 6.0)
    build.decoys(("yes", "no"), LEAK, leaking=2)
    kinds = [build.pair(f"start {kind} end", "start off end", "yes", "no") for kind in ("one", "two")]
    model = build.model("planted two kinds")
    paths = [[("input", f"a0.h{head}<v>"), (f"a0.h{head}", "logits")] for head in (0, 1)]
    return Planted(
        "two kinds", model, kinds * (prompts // 2), [Circuit.from_names(model.graph, path) for path in paths]
    )

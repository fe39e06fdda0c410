"""A toy with two separate paths, either of which is enough: its circuit has a rival that shares no edge."""

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

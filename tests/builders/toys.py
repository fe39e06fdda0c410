"""Toys with planted circuits, each with the reason why its edges are the right ones.

An edge belongs to the circuit if, on the prompts of the toy, its writer puts something else into the
space that the reader uses when the prompt is corrupted; the wiring says which spaces those are.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

from hap_engine.graph.circuit import Circuit
from hap_engine.tasks.spans import END, WAYS, in_spans
from tests.builders.planted import Builder, Match, Neuron, Planted

LEAK = 0.02  # logits that a leaking decoy moves, where the planted circuit moves several
SINK = 4.0  # attention score of the first token, where heads look that find nothing
STRONG = 8.0  # attention score of a match


def copy_suppression(seed: int = 0, prompts: int = 32) -> Planted:
    """IOI in three heads: the copying of the repeated name is suppressed.

    ``start A B A end -> B``; corrupt: three other names, none repeated. ``a0.h0`` sees at the third
    name that it occurred before and writes which (``dup``); at the end ``a1.h0`` looks for ``dup`` and
    passes it on as ``stop``; ``a2.h0`` attends to names, not to the one in ``stop``, and copies.
    ``a1.h0`` reads ``dup`` through keys and values, and its query only asks "is this the end?", which
    corruption does not change: no ``input`` edge into it belongs to the circuit.
    """
    names = [f"n{i}" for i in range(8)]
    build = Builder(
        ["start", "end", *names],
        {"name": 8, "pos": 5, "start": 1, "end": 1, "dup": 8, "stop": 8, "out": 8},
        layers=3,
        heads=3,
        length=5,
    )
    build.embed("start", "start")
    build.embed("end", "end")
    for i, name in enumerate(names):
        build.embed(name, f"name:{i}")
        build.answer(name, f"out:{i}", 6.0)
    for i in range(5):
        build.position(i, f"pos:{i}")
    rest = Match(None, "start", SINK)
    itself = Match("pos", "pos", -STRONG)
    build.head(0, 0, [Match("name", "name", STRONG), itself, rest], "name", "dup")
    build.head(1, 0, [Match("end", "dup", STRONG), rest], "dup", "stop")
    build.head(2, 0, [Match("end", "name", 6.0), Match("stop", "name", -10.0)], "name", "out")
    build.decoys(("n0", "n1"), LEAK, leaking=3)

    rng, pairs = random.Random(seed), []
    for index in range(prompts):
        a, b, *others = rng.sample(names, 5)
        last = (a, b)[index % 2]
        right = b if last == a else a
        pairs.append(build.pair(f"start {a} {b} {last} end", f"start {' '.join(others)} end", right, last))
    model = build.model("planted copy suppression")
    truth = Circuit.from_names(
        model.graph,
        [
            *(("input", f"a0.h0<{slot}>") for slot in "qkv"),
            *(("a0.h0", f"a1.h0<{slot}>") for slot in "kv"),
            ("a1.h0", "a2.h0<q>"),
            *(("input", f"a2.h0<{slot}>") for slot in "kv"),
            ("a2.h0", "logits"),
        ],
    )
    return Planted("copy suppression", model, pairs, [truth])


def induction(seed: int = 0, prompts: int = 32) -> Planted:
    """``start … A B … A -> B``; corrupt: other symbols, none repeated.

    ``a0.h0`` attends one position back (by positions, which corruption keeps: only its value edge
    belongs to the circuit) and writes the previous symbol into ``before``; ``a1.h0`` attends to where
    ``before`` equals the present symbol and copies what stands there.
    """
    symbols = [f"s{i}" for i in range(10)]
    build = Builder(
        ["start", *symbols],
        {"sym": 10, "pos": 7, "back": 7, "start": 1, "before": 10, "out": 10},
        layers=2,
        heads=4,
        length=7,
    )
    build.embed("start", "start")
    for i, symbol in enumerate(symbols):
        build.embed(symbol, f"sym:{i}")
        build.answer(symbol, f"out:{i}", 6.0)
    for i in range(7):
        build.position(i, f"pos:{i}")
        if i:
            build.position(i, f"back:{i - 1}")
    rest = Match(None, "start", SINK)
    build.head(0, 0, [Match("back", "pos", 2 * STRONG), rest], "sym", "before")
    build.head(1, 0, [Match("sym", "before", STRONG), rest], "sym", "out")
    build.decoys(("s0", "s1"), LEAK, leaking=3)

    rng, pairs = random.Random(seed), []
    for _ in range(prompts):
        clean = rng.sample(symbols, 4)
        at = rng.randrange(3)
        corrupt = rng.sample([s for s in symbols if s not in clean], 5)
        distractor = rng.choice([s for i, s in enumerate(clean) if i not in (at, at + 1)])
        pairs.append(
            build.pair(f"start {' '.join(clean)} {clean[at]}", f"start {' '.join(corrupt)}", clean[at + 1], distractor)
        )
    model = build.model("planted induction")
    truth = Circuit.from_names(
        model.graph,
        [
            ("input", "a0.h0<v>"),
            ("a0.h0", "a1.h0<k>"),
            *(("input", f"a1.h0<{slot}>") for slot in "qv"),
            ("a1.h0", "logits"),
        ],
    )
    return Planted("induction", model, pairs, [truth])


def _ramp(level: float, writes: float) -> list[Neuron]:
    """Two units that add `writes` to ``out`` while ``one + two`` rises from `level` - 3/8 to `level` + 3/8.

    Below both units are off; above both are on, with output weights that cancel. The input weights are
    1, so that the two gradients cancel in floating point too.
    """
    reads, slope = {"one": 1.0, "two": 1.0}, writes / 0.75
    return [Neuron(reads, 0.375 - level, {"out": slope}), Neuron(reads, -0.375 - level, {"out": -slope})]


def _two_bits() -> Builder:
    """``start x y end``: ``a0.h0`` copies the first bit to the end (``one``), ``a0.h1`` the second (``two``)."""
    build = Builder(
        ["start", "end", "off", "on", "no", "yes"],
        {"on": 1, "pos": 4, "end": 1, "one": 1, "two": 1, "out": 1, "always": 1},
        layers=2,
        heads=4,
        length=4,
    )
    build.embed("on", "on")
    build.embed("end", "end")
    for i in range(4):
        build.position(i, f"pos:{i}")
        build.position(i, "always")
    for head, space in enumerate(("one", "two")):
        build.head(0, head, [Match("end", f"pos:{head + 1}", STRONG)], "on", space)
    build.answer("yes", "out", 6.0)  # yes: 6 out - 3, no: 0
    build.answer("yes", "always", -3.0)
    return build


def _bits_path(heads: tuple[int, ...]) -> list[tuple[str, str]]:
    into = [("input", f"a0.h{head}<v>") for head in heads]
    return [*into, *((f"a0.h{head}", "m1") for head in heads), ("m1", "logits")]


def redundancy(prompts: int = 16) -> Planted:
    """OR: either of two bits is enough. ``start on on end -> yes``; corrupt: ``start off off end``.

    ``m1`` is flat once one bit has arrived, so cutting one path alone changes nothing: the circuit
    of either path is right, and both together are more than is needed. At m = 1 the gradient of
    ``m1`` with respect to its input is exactly 0, so EAP scores both paths 0.
    """
    build = _two_bits()
    for neuron in _ramp(0.5, 1.0):
        build.neuron(1, neuron)
    build.decoys(("yes", "no"), LEAK, leaking=3)
    pairs = [build.pair("start on on end", "start off off end", "yes", "no")] * prompts
    model = build.model("planted redundancy")
    truths = [Circuit.from_names(model.graph, _bits_path((head,))) for head in (0, 1)]
    return Planted("redundancy", model, pairs, truths)


def cooperation() -> Planted:
    """XOR: two heads that only mean something together. ``start x y end -> yes`` if x and y differ.

    ``m1`` computes ``ramp(s - 1/2) - ramp(s - 3/2)`` of ``s = x + y``, where ``ramp`` rises from 0 to 1
    within 3/8 of 0 and is flat elsewhere. Corrupt prompts have other bits: one of them or both.

    **EAP scores the edges into m1 exactly 0.** On every prompt ``s`` is 0, 1 or 2 (up to the softness
    of attention, below 0.01), so it lies where both ramps are flat: each pair of ReLU units is off, or
    on with opposite output weights. The derivative of ``m1`` with respect to its input is therefore 0 in the
    two spaces that the heads write to, and 0 elsewhere because it reads nothing else. An edge's EAP
    score is ``(corrupt_w - clean_w) · d metric / d reader``, and that second factor is 0 for the
    reader ``m1``: for every prompt, hence for every average, and for every metric. The edges from
    ``input`` into the two heads inherit the 0, but for what the leaking decoys of layer 1 pick up.
    Yet cutting either path flips answers: the effect is real and has no first order. EAP-IG leaves the
    clean point, meets the ramps and sees it; Edge Pruning meets them at half-open gates.
    """
    build = _two_bits()
    for neuron in (*_ramp(0.5, 1.0), *_ramp(1.5, -1.0)):
        build.neuron(1, neuron)
    build.decoys(("yes", "no"), LEAK, leaking=3)
    bits, pairs = list(itertools.product(("off", "on"), repeat=2)), []
    for clean, corrupt in itertools.permutations(bits, 2):
        right, wrong = ("yes", "no") if clean[0] != clean[1] else ("no", "yes")
        texts = (f"start {' '.join(side)} end" for side in (clean, corrupt))
        pairs.append(build.pair(*texts, right, wrong))
    model = build.model("planted cooperation")
    truth = Circuit.from_names(model.graph, _bits_path((0, 1)))
    return Planted("cooperation", model, pairs, [truth])


def places() -> Planted:
    """``start x y end -> yes`` if x is on: the same edge is needed at x and harmful at y.

    ``a0.h0`` looks at both words and copies both, so what it says of y disturbs; ``a0.h1`` looks at y alone and takes
    that away again. The whole model knows x. Two edges are enough where they may differ by token: into the values of
    ``a0.h0`` at x, and on to the logits. Without positions those two edges say x + y, which is nothing where y is the
    opposite of x; four are needed.
    """
    words, spaces = ["start", "end", "off", "on", "neg", "no", "yes"], {"bit": 2, "pos": 4, "end": 1, "out": 2}
    build = Builder(words, spaces, layers=2, heads=4, length=4)
    build.embed("end", "end")
    for index, word in enumerate(("on", "neg")):
        build.embed(word, f"bit:{index}")
        build.answer("yes", f"out:{index}", 6.0 - 12.0 * index)
        build.answer("no", f"out:{index}", 12.0 * index - 6.0)
    for i in range(4):
        build.position(i, f"pos:{i}")
    build.head(0, 0, [Match("end", f"pos:{i}", STRONG) for i in (1, 2)], "bit", "out", gain=2.0)
    build.head(0, 1, [Match("end", "pos:2", STRONG)], "bit", "out", gain=-1.0)
    build.decoys(("yes", "no"), LEAK, leaking=3)
    pairs = [
        build.pair(f"start {x} {y} end", "start off off end", *(("yes", "no") if x == "on" else ("no", "yes")))
        for x, y in itertools.product(("on", "neg"), repeat=2)
    ]
    placed, spans = in_spans(pairs, [["start", "x", "y", END]] * len(pairs))
    model = build.model("planted places")
    graph = replace(model.graph, spans=spans)
    truth = Circuit.from_names(graph, [("input", "a0.h0<v>@x"), ("a0.h0", "logits")])
    return Planted("places", model, placed * 4, [truth])


def induction_at_tokens() -> Planted:
    """`induction` with each token a span: the words that may repeat are its second to fourth token.

    ``a0.h0`` reads one of them, and what it writes is read at the token after it: by the keys of ``a1.h0``, which
    copies what stands there. The match is asked for at the end alone.
    """
    before, after = (2, 3, 4), (3, 4, 5)
    edges = [("input", f"a0.h0<v>@token {at}") for at in before]
    edges += [("a0.h0", f"a1.h0<k>@token {at}") for at in after]
    edges += [("input", f"a1.h0<v>@token {at}") for at in after]
    return _at_tokens(induction(), [*edges, ("input", f"a1.h0<q>@{END}"), ("a1.h0", "logits")])


def cooperation_at_tokens() -> Planted:
    """`cooperation` with each token a span: a head reads its bit where it stands, and the MLP both at the end."""
    bits = [("input", f"a0.h{head}<v>@token {head + 2}") for head in (0, 1)]
    return _at_tokens(cooperation(), [*bits, *((f"a0.h{head}", f"m1@{END}") for head in (0, 1)), ("m1", "logits")])


def _at_tokens(toy: Planted, edges: list[tuple[str, str]]) -> Planted:
    placed, spans = in_spans(toy.pairs, WAYS["tokens"](toy.pairs))
    graph = replace(toy.model.graph, spans=spans)
    return Planted(f"{toy.name} at tokens", toy.model, placed, [Circuit.from_names(graph, edges)])


AT_TOKENS = {"places": places, "induction": induction_at_tokens, "cooperation": cooperation_at_tokens}
TOYS = {
    "copy suppression": copy_suppression,
    "induction": induction,
    "redundancy": redundancy,
    "cooperation": cooperation,
}

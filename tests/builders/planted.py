"""Small transformers whose circuit is known because it was put there by hand.

The models are real GPT-2s (embeddings, LayerNorm, attention, MLPs) with written weights. Their residual
stream is a set of named *spaces*, each a few dimensions in which one kind of information is one-hot
(``name``: which name stands here; ``pos``: where). Heads and MLPs are wired from space to space, so
which edges carry information is decided on paper (`Planted.truths`), not measured.

Two tricks keep the arithmetic exact:

* every space is stored twice, with opposite signs, so the mean over the stream is 0; and LayerNorm
  has an enormous epsilon (`EPSILON`) with a gain of its square root. Then LayerNorm *is* the identity,
  to rounding: ``x / sqrt(var + eps) * sqrt(eps) = x`` for ``var << eps``.
* MLPs use ReLU, so that "this gradient is 0" can be meant exactly.

Heads that belong to no circuit are *decoys*: they have random weights, read everything and write into
a ``junk`` space that only other decoys read. Decoys that `leak` also push the logits a little, so that
a scorer sees something to keep. `toys.py` builds the four toys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor

from hap_engine.graph.circuit import Circuit
from hap_engine.models.catalog import Source
from hap_engine.tasks.pair import EncodedPair, PromptPair
from hap_engine.transformer.load import Model, from_hf

EPSILON = 1e8
JUNK = 6  # dimensions of the space that decoys write to


@dataclass(frozen=True, eq=False)
class Planted:
    """A toy with its known circuit.

    Attributes:
        truths: the circuits that are right; more than one where the model has redundant paths.
        pairs: prompts, all of them to be used for learning and testing alike (the toys memorise
            nothing, so there is nothing to hold out).
    """

    name: str
    model: Model
    pairs: Sequence[EncodedPair]
    truths: Sequence[Circuit]

    @property
    def size(self) -> int:
        return len(self.truths[0])

    def recovery(self, circuit: Circuit) -> tuple[float, float]:
        """Precision and recall of a circuit's live edges, against the nearest right circuit."""
        live = circuit.live
        hits = max(len(live & truth) for truth in self.truths)
        return hits / max(1, len(live)), hits / self.size


@dataclass(frozen=True)
class Match:
    """Attention score `weight` times the overlap of a query space with a key space.

    ``None`` stands for "always"; a space of one dimension matches the sum of the other.
    """

    query: str | None
    key: str
    weight: float


@dataclass(frozen=True)
class Neuron:
    """A ReLU unit of weighted dimensions, ``{"space": w}`` or ``{"space:3": w}``."""

    reads: Mapping[str, float]
    bias: float
    writes: Mapping[str, float]


class Builder:
    """Writes weights into a GPT-2 of zeros.

    Args:
        words: the vocabulary; its order is the token ids.
        spaces: dimensions of each space; ``junk`` is added.
    """

    def __init__(
        self, words: Sequence[str], spaces: Mapping[str, int], *, layers: int, heads: int, length: int
    ) -> None:
        import transformers as tf

        self.words, self.layers, self.heads = list(words), layers, heads
        sizes = {**spaces, "junk": JUNK}
        ends = torch.tensor(list(sizes.values())).cumsum(0).tolist()
        self.spaces = {
            name: list(range(end - size, end)) for (name, size), end in zip(sizes.items(), ends, strict=True)
        }
        used = max(ends[-1], 12 * heads)  # enough room inside a head
        self.half = -(-used // heads) * heads
        config = tf.GPT2Config(
            n_embd=2 * self.half,
            n_layer=layers,
            n_head=heads,
            n_positions=max(8, length),
            n_inner=16,
            vocab_size=len(self.words),
            activation_function="relu",
            layer_norm_epsilon=EPSILON,
            attn_implementation="eager",
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
        self.hf: Any = tf.GPT2LMHeadModel(config).eval().requires_grad_(False)
        for name, weight in self.hf.named_parameters():
            weight.fill_(EPSILON**0.5 if "ln_" in name and name.endswith("weight") else 0.0)
        self.d_head = 2 * self.half // heads
        self.wired: set[tuple[int, int]] = set()
        self.neurons = [0] * layers

    # -- places in the stream --------------------------------------------------------------------

    def dims(self, name: str) -> list[int]:
        """Dimensions of ``space`` or of ``space:index``."""
        space, _, index = name.partition(":")
        return [self.spaces[space][int(index)]] if index else self.spaces[space]

    def vector(self, values: Mapping[str, float]) -> Tensor:
        """What writing `values` adds to the stream."""
        out = torch.zeros(2 * self.half)
        for name, value in values.items():
            out[self.dims(name)] += value
        out[self.half :] = -out[: self.half]
        return out

    # -- parts -----------------------------------------------------------------------------------

    def embed(self, word: str, place: str) -> None:
        self.hf.transformer.wte.weight[self.words.index(word)] += self.vector({place: 1.0})

    def position(self, index: int, place: str) -> None:
        self.hf.transformer.wpe.weight[index] += self.vector({place: 1.0})

    def answer(self, word: str, place: str, gain: float) -> None:
        """`place` speaks for `word`."""
        row = self.hf.lm_head.weight[self.words.index(word)]
        row[self.dims(place)] += gain

    def head(self, layer: int, head: int, matches: Sequence[Match], value: str, out: str, gain: float = 1.0) -> None:
        """Attend by `matches`, copy `value` to `out`."""
        attn = self.hf.transformer.h[layer].attn
        d_model, first = 2 * self.half, head * self.d_head
        w_in, b_in, w_out = attn.c_attn.weight, attn.c_attn.bias, attn.c_proj.weight
        at = first
        for match in matches:
            key = self.dims(match.key)
            query = [] if match.query is None else self.dims(match.query)
            summed = len(query) != len(key)
            width = 1 if summed else len(key)
            strength = match.weight * self.d_head**0.5
            for index, dim in enumerate(key):
                w_in[dim, d_model + at + (0 if summed else index)] = 1.0
            for index, dim in enumerate(query):
                w_in[dim, at + (0 if summed else index)] = strength
            if match.query is None:
                b_in[at] = strength
            at += width
        assert at <= first + self.d_head, "the head is too small for its matches"
        for index, (read, write) in enumerate(zip(self.dims(value), self.dims(out), strict=True)):
            w_in[read, 2 * d_model + first + index] = 1.0
            w_out[first + index, write] = gain
            w_out[first + index, write + self.half] = -gain
        self.wired.add((layer, head))

    def neuron(self, layer: int, neuron: Neuron) -> None:
        mlp, at = self.hf.transformer.h[layer].mlp, self.neurons[layer]
        for name, weight in neuron.reads.items():
            mlp.c_fc.weight[self.dims(name), at] += weight
        mlp.c_fc.bias[at] = neuron.bias
        mlp.c_proj.weight[at] += self.vector(neuron.writes)
        self.neurons[layer] += 1

    def decoys(self, answers: Sequence[str], leak: float, leaking: int, seed: int = 0) -> None:
        """Fill every unwired head with random weights; the first `leaking` push the logits."""
        generator = torch.Generator().manual_seed(seed)
        junk = torch.zeros(JUNK, 2 * self.half)
        junk[torch.arange(JUNK), self.dims("junk")] = 1.0
        junk[:, self.half :] = -junk[:, : self.half]
        free = [
            (layer, head)
            for layer in range(self.layers)
            for head in range(self.heads)
            if (layer, head) not in self.wired
        ]
        for index, (layer, head) in enumerate(free):
            attn, d = self.hf.transformer.h[layer].attn, 2 * self.half
            columns = slice(head * self.d_head, (head + 1) * self.d_head)
            for slot in range(3):
                part = slice(slot * d + columns.start, slot * d + columns.stop)
                read = torch.randn(self.half, self.d_head, generator=generator) * 0.5
                attn.c_attn.weight[: self.half, part] = read
            # Leaking decoys use the last dimension of the junk, the others all but the last.
            write = torch.randn(self.d_head, JUNK, generator=generator) / self.d_head**0.5
            write[:, : JUNK - 1] *= index >= leaking
            write[:, JUNK - 1] *= index < leaking
            attn.c_proj.weight[columns] = write @ junk
        self.answer(answers[0], f"junk:{JUNK - 1}", leak)
        self.answer(answers[1], f"junk:{JUNK - 1}", -leak)

    # -- the finished toy ------------------------------------------------------------------------

    def model(self, name: str) -> Model:
        vocabulary = {word: index for index, word in enumerate(self.words)}
        unknown = {"[UNK]": len(self.words)}  # no token of the model, and in no prompt
        tokenizer = Tokenizer(WordLevel({**vocabulary, **unknown}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        source = Source(name, "folder", name, None)
        return from_hf(self.hf, tokenizer, source, sha256=name)

    def pair(self, clean: str, corrupt: str, answer: str, distractor: str) -> EncodedPair:
        ids = [tuple(map(self.words.index, text.split())) for text in (clean, corrupt)]
        right, wrong = (self.words.index(word) for word in (answer, distractor))
        return EncodedPair(PromptPair(clean, corrupt, answer, distractor), *ids, right, wrong, {})

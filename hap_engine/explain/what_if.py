"""Live intervention: what a changed circuit predicts, in one masked pass.

A `Bench` holds a few prompts with all that does not depend on the mask (their corrupt traces and the
full model's predictions), so that each further circuit costs one pass. `read` gives the metrics per
prompt and the probabilities of all tokens on the first prompt.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from hap_engine.evaluation.metrics import kl_divergence, logit_difference
from hap_engine.graph.circuit import Circuit
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.self_check import check_prompts
from hap_engine.tasks.pair import EncodedPair, token_text
from hap_engine.transformer.batches import to_batch
from hap_engine.transformer.plain_pass import Trace
from hap_engine.words import say

TOP = 5  # tokens shown

Tokens = list[tuple[str, float]]


@dataclass(frozen=True, eq=False)
class Reading:
    """What a circuit predicts on the prompts of a bench."""

    logit_diff: Float[np.ndarray, " prompt"]
    kl: Float[np.ndarray, " prompt"]
    answer: Float[np.ndarray, " prompt"]  # probability of the right answers
    probabilities: Float[np.ndarray, " vocab"]  # of the first prompt


class Bench:
    """One model on a few prompts, ready for many masks. Safe to use from several threads."""

    def __init__(self, masked: MaskedModel, pairs: Sequence[EncodedPair]) -> None:
        self.masked, self.pairs = masked, tuple(pairs)
        self._lock = threading.Lock()
        check_prompts(masked, pairs)
        with torch.no_grad():
            self._batch = batch = to_batch(pairs, masked.device)
            self._corrupt = masked.trace(batch.corrupt, batch.last)
            self._clean = masked.trace(batch.clean, batch.last)
            self._full = masked.unembed(self._clean.final).log_softmax(-1)

    @torch.no_grad()
    def read(self, circuit: Circuit) -> Reading:
        """One masked pass with the circuit's 0/1 mask; the whole model was read already."""
        if len(circuit) == circuit.graph.n_edges:
            return self.full()
        mask = torch.from_numpy(circuit.kept).to(self.masked.device).float()
        with self._lock:
            batch = self._batch
            logits = self.masked.logits(mask, self._clean.embed, self._corrupt, batch.last, batch.spans)
        return self._reading(logits)

    @torch.no_grad()
    def without_edge(self, cell: tuple[int, int]) -> Reading:
        """The full model with one edge ``(writer, reader)`` cut, computing only what that changes.

        With the clean run in the place of the corrupt one, every delta is a change against the full
        model. The ``input`` writer carries the one change that enters, corrupt minus clean of the
        edge's writer, to the edge's reader alone; from there on all edges are open.
        """
        masked, graph, (writer, reader) = self.masked, self.masked.graph, cell
        if graph.positional:  # where the prompts are alike the input has no edge that could carry the change
            kept = graph.edge_mask.copy()
            kept[cell] = False
            return self.read(Circuit(graph, kept))
        change = self._written(self._corrupt, writer) - self._written(self._clean, writer)
        mask = np.zeros(graph.edge_mask.shape, dtype=np.float32)
        fed = np.flatnonzero(graph.feeds[reader])
        if len(fed):
            mask[fed[0] :] = graph.edge_mask[fed[0] :]
        mask[0, reader] = 1
        with self._lock:
            logits = masked.logits(
                torch.from_numpy(mask).to(masked.device), self._clean.embed + change, self._clean, self._batch.last
            )
        return self._reading(logits)

    @torch.no_grad()
    def without_output(self, writer: int, span: int) -> Reading:
        """The full model with a writer's output of the corrupt run at the tokens of one span, as `without_edge`."""
        graph, batch = self.masked.graph.whole, self._batch
        assert batch.spans is not None
        change = (self._written(self._corrupt, writer) - self._written(self._clean, writer)).mul_(
            (batch.spans == span)[..., None]
        )
        mask = graph.edge_mask.astype(np.float32)
        mask[: writer + 1] = 0
        mask[0] = graph.edge_mask[writer]
        with self._lock:
            base = self.masked.at_spans(graph.spans)
            logits = base.logits(
                torch.from_numpy(mask).to(base.device), self._clean.embed + change, self._clean, batch.last
            )
        return self._reading(logits)

    def _written(self, trace: Trace, writer: int) -> Float[torch.Tensor, "batch pos d_model"]:
        """What a writer put out in a plain pass, at the scale of the corrupt run; a head without its layer's bias."""
        node = self.masked.graph.writers[writer]
        if node.kind == "input":
            return trace.embed
        layer, block = trace.layers[node.layer], self.masked.blocks[node.layer]
        if node.kind == "mlp":
            return trace.whole(layer.mlp_out).to(self.masked.device)
        shrink = self._corrupt.whole(self._corrupt.layers[node.layer].shrink)
        if node.kind == "norm":
            return block.rescaled(block.summed(trace.whole(layer.z)), shrink).to(self.masked.device)
        return (trace.whole(layer.z[node.head]) * shrink @ block.w_heads[node.head]).to(self.masked.device)

    @torch.no_grad()
    def promoted(self, node: str, count: int = TOP, prompt: int = 0) -> tuple[Tokens, Tokens]:
        """What a node says straight to the logits on one of the prompts.

        Only its edge to ``logits`` is cut; reported are the tokens whose probability that lowers most
        (the node promotes them) and raises most (it holds them back), with the change it makes.
        """
        writer, at = self.masked.graph.writer_index[node], int(self._batch.last[prompt])
        delta = self._written(self._clean, writer) - self._written(self._corrupt, writer)
        without = self.masked.unembed((self._clean.final[prompt] - delta[prompt, at])[None]).softmax(-1)[0]
        change = (self._full[prompt].exp() - without).cpu().numpy()
        order = np.argsort(-change)

        def tokens(ids: np.ndarray) -> Tokens:
            decode = self.masked.model.tokenizer.decode
            return [(decode([int(t)]), float(change[t])) for t in ids]

        return tokens(order[:count]), tokens(order[::-1][:count])

    def corrupted(self) -> Reading:
        """The full model on the corrupted prompts."""
        return self._reading(self.masked.unembed(self._corrupt.final).log_softmax(-1))

    @torch.no_grad()
    def attention(self, layer: int, head: int) -> dict[str, list[list[float]]]:
        """A head's pattern [query, key] on the first prompt, ``clean`` and ``corrupt``."""
        size = int(self._batch.last[0]) + 1
        sides = {"clean": self._clean, "corrupt": self._corrupt}
        return {
            side: self.masked.patterns(trace, layer)[head, 0, :size, :size].tolist() for side, trace in sides.items()
        }

    def tokens(self) -> dict[str, list[str]]:
        """Texts of the first prompt's tokens, ``clean`` and ``corrupt``."""
        tokenizer, pair = self.masked.model.tokenizer, self.pairs[0]
        sides = {"clean": pair.clean_ids, "corrupt": pair.corrupt_ids}
        return {side: [token_text(tokenizer, token) for token in ids] for side, ids in sides.items()}

    def full(self) -> Reading:
        """The full model, without a masked pass (log-probabilities differ from logits by a constant)."""
        return self._reading(self._full)

    def _reading(self, logits: torch.Tensor) -> Reading:
        batch, shares = self._batch, logits.softmax(-1).cpu().numpy()
        return Reading(
            logit_difference(logits, batch.answer, batch.distractor).cpu().numpy(),
            kl_divergence(logits, self._full).cpu().numpy(),
            np.array([row[list(pair.answer_ids)].sum() for row, pair in zip(shares, self.pairs, strict=True)]),
            shares[0],
        )

    def top_tokens(self, readings: Mapping[str, Reading], count: int = TOP) -> list[tuple[str, dict[str, float]]]:
        """The first prompt's likeliest tokens under any of `readings`, with each one's probability.

        Sorted by the last reading, so that what changed stands on top.
        """
        tops = [np.argsort(-r.probabilities)[:count] for r in readings.values()]
        last = list(readings.values())[-1].probabilities
        tokens = sorted({int(t) for top in tops for t in top}, key=lambda t: -last[t])
        decode = self.masked.model.tokenizer.decode
        return [(decode([t]), {name: float(r.probabilities[t]) for name, r in readings.items()}) for t in tokens]


def describe(before: Reading, after: Reading) -> str:
    """One plain sentence on what a change did, from its readings on the same prompts."""
    n = len(before.logit_diff)
    old, new = float(before.logit_diff.mean()), float(after.logit_diff.mean())
    won, wins = int((before.logit_diff > 0).sum()), int((after.logit_diff > 0).sum())
    if abs(new - old) < 0.005 and won == wins:
        return f"On these {n} prompts this changes nothing that shows: the logit difference stays {new:.2f}."
    verb = "falls" if new < old else "rises"
    return say("explain.changed", n=n, verb=verb, old=old, new=new, wins=wins, won=won)

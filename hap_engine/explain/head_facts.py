"""What a run says of every head besides its circuits: evidence, roles, ranks, attention on some prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hap_engine.attribution.scorers import Scores
from hap_engine.explain import roles
from hap_engine.explain.path_effects import measure_heads, two_passes
from hap_engine.explain.what_if import Bench
from hap_engine.graph.ranking import rank_matrix
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.settings import ROLE_PROMPTS
from hap_engine.tasks.pair import EncodedPair, token_text
from hap_engine.tasks.task import PromptSets
from hap_engine.transformer.batches import to_batch

SHOWN_PROMPTS = 4  # test prompts whose attention patterns are stored
SHOWN_HEADS = 40  # heads whose patterns are stored: those with a role, then the best-ranked
# At spans every head costs a pass a span: those with a role, or so many of the largest direct effect, on a few prompts.
SPAN_HEADS = 8
SPAN_PROMPTS = 16


@dataclass(frozen=True)
class HeadFacts:
    """The run file's sections ``heads``, ``roles`` and ``attention``."""

    heads: dict[str, dict[str, Any]]
    roles: dict[str, Any]
    attention: list[dict[str, Any]]


def describe_heads(masked: MaskedModel, sets: PromptSets, scores: Scores) -> HeadFacts:
    """Evidence and EAP rank of every head, roles, and attention patterns of a few test prompts."""
    pairs = sets.validation[:ROLE_PROMPTS]
    passes = two_passes(masked, pairs)
    evidence = measure_heads(passes)
    heads = roles.summarise_heads(evidence)
    has_roles = all({"IO", "S1", "S1+1", "S2"} <= set(pair.roles) for pair in pairs)
    of_heads = roles.find_roles(passes, evidence) if has_roles else {}
    for name, best in best_edges(masked, scores).items():
        heads[name] |= best
    for name, table in attention_between_spans(masked, pairs).items():
        heads[name]["between_spans"] = table
    for name, effects in effects_at_spans(masked, pairs[:SPAN_PROMPTS], heads, of_heads).items():
        heads[name]["effects_at_spans"] = effects
    shown = [*of_heads.get("heads", {})]
    by_rank = sorted(heads, key=lambda head: heads[head]["eap_rank"])
    shown += [head for head in by_rank if head not in shown][: max(0, SHOWN_HEADS - len(shown))]
    return HeadFacts(heads, of_heads, attention_patterns(masked, sets.test[:SHOWN_PROMPTS], shown))


def effects_at_spans(
    masked: MaskedModel,
    pairs: Sequence[EncodedPair],
    heads: Mapping[str, Mapping[str, Any]],
    found_roles: Mapping[str, Any],
) -> dict[str, dict[str, float]]:
    """By how much the mean logit difference falls if a head's output is the corrupt run's at one span alone.

    Only spans at which it can matter; nothing in a graph without spans.
    """
    graph = masked.graph
    if not graph.positional:
        return {}
    by_effect = sorted(heads, key=lambda head: -abs(heads[head]["direct_effect"]))
    bench = Bench(masked, pairs)
    full, found = bench.full().logit_diff.mean(), dict[str, dict[str, float]]()
    for head in found_roles.get("heads") or by_effect[:SPAN_HEADS]:
        row = graph.writer_index[head]
        spans = np.unique(graph.reader_spans[graph.edge_mask[row]])
        falls = {graph.spans[at].name: full - bench.without_output(row, int(at)).logit_diff.mean() for at in spans}
        found[head] = {name: float(fall) for name, fall in falls.items()}
    return found


def best_edges(masked: MaskedModel, scores: Scores) -> dict[str, dict[str, Any]]:
    """For every head the best EAP rank among the edges that touch it, with that edge and score."""
    graph = masked.graph
    ranks = rank_matrix(graph, scores)
    ranks[ranks == 0] = graph.n_edges + 1
    best = {}
    for name in graph.heads:
        row = graph.writer_index[name]
        columns = np.flatnonzero(graph.feeds[:, row])
        touching = np.full_like(ranks, graph.n_edges + 1)
        touching[row], touching[:, columns] = ranks[row], ranks[:, columns]
        w, r = np.unravel_index(touching.argmin(), touching.shape)
        best[name] = {
            "eap_rank": int(ranks[w, r]),
            "eap_score": float(scores[w, r]),
            "eap_edge": [graph.writers[w].name, graph.readers[r].name],
        }
    return best


@torch.no_grad()
def attention_between_spans(masked: MaskedModel, pairs: Sequence[EncodedPair]) -> dict[str, list[list[float]]]:
    """By head a row for each span that attends, with the share of its attention that goes to each span.

    It is the mean over a prompt's tokens of the attending span, then over the prompts that have it: a row sums to 1.
    Of a span that no prompt has the row is 0. Through these shares an edge at one span acts at another (Haklay et al.
    2025 score them as edges of their own). Nothing where the prompts are not divided.
    """
    graph, batch = masked.graph, to_batch(pairs, masked.device)
    if batch.spans is None:
        return {}
    real = torch.arange(batch.clean.shape[1], device=masked.device) <= batch.last[:, None]
    inside = torch.nn.functional.one_hot(batch.spans, len(graph.spans)) * real[..., None]
    count = inside.sum(dim=1)
    shares = inside / count[:, None].clamp(min=1) / (count > 0).sum(dim=0).clamp(min=1)
    trace = masked.trace(batch.clean, batch.last)
    found: dict[str, list[list[float]]] = {}
    for layer in range(graph.n_layers):
        pattern = masked.patterns(trace, layer).to(shares.dtype)
        tables = torch.einsum("hbqk,bqs,bkt->hst", pattern, shares, inside.to(shares.dtype)).cpu().numpy()
        found |= {f"a{layer}.h{head}": np.round(table, 4).tolist() for head, table in enumerate(tables)}
    return found


def attention_patterns(masked: MaskedModel, pairs: Sequence[EncodedPair], heads: Sequence[str]) -> list[dict[str, Any]]:
    """Clean and corrupt attention of some heads on some prompts, with the token texts."""
    graph, shown = masked.graph, []
    for pair in pairs:
        sides: dict[str, dict[str, Any]] = {"tokens": {}, "patterns": {}}
        for side, ids in (("clean", pair.clean_ids), ("corrupt", pair.corrupt_ids)):
            tokens = torch.tensor([ids], device=masked.device)
            trace = masked.trace(tokens, torch.tensor([len(ids) - 1], device=masked.device))
            sides["tokens"][side] = [token_text(masked.model.tokenizer, token) for token in ids]
            layers = {graph.writers[graph.writer_index[head]].layer for head in heads}
            patterns = {layer: masked.patterns(trace, layer)[:, 0].cpu().numpy() for layer in layers}
            for head in heads:
                writer = graph.writers[graph.writer_index[head]]
                matrix = patterns[writer.layer][writer.head]
                sides["patterns"].setdefault(head, {})[side] = [
                    [weight or 0 for weight in row]
                    for row in np.round(matrix, 3).tolist()  # "0.0" is longer: 70 kB
                ]
        shown.append({"tokens": sides["tokens"], "roles": dict(pair.roles), "heads": sides["patterns"]})
    return shown

"""What a run says of every head besides its circuits: evidence, roles, ranks, attention on some prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hap_engine.attribution.scorers import Scores
from hap_engine.explain import roles
from hap_engine.graph.ranking import rank_matrix
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.settings import ROLE_PROMPTS
from hap_engine.tasks.pair import EncodedPair, token_text
from hap_engine.tasks.task import PromptSets

SHOWN_PROMPTS = 4  # test prompts whose attention patterns are stored
SHOWN_HEADS = 40  # heads whose patterns are stored: those with a role, then the best-ranked


@dataclass(frozen=True)
class HeadFacts:
    """The run file's sections ``heads``, ``roles`` and ``attention``."""

    heads: dict[str, dict[str, Any]]
    roles: dict[str, Any]
    attention: list[dict[str, Any]]


def describe_heads(masked: MaskedModel, sets: PromptSets, scores: Scores) -> HeadFacts:
    """Evidence and EAP rank of every head, roles, and attention patterns of a few test prompts."""
    pairs = sets.validation[:ROLE_PROMPTS]
    evidence = roles.measure_heads(masked, pairs)
    heads = roles.summarise_heads(evidence)
    has_roles = all({"IO", "S1", "S1+1", "S2"} <= set(pair.roles) for pair in pairs)
    of_heads = roles.find_roles(masked, pairs, evidence) if has_roles else {}
    for name, best in best_edges(masked, scores).items():
        heads[name] |= best
    shown = [*of_heads.get("heads", {})]
    by_rank = sorted(heads, key=lambda head: heads[head]["eap_rank"])
    shown += [head for head in by_rank if head not in shown][: max(0, SHOWN_HEADS - len(shown))]
    return HeadFacts(heads, of_heads, attention_patterns(masked, sets.test[:SHOWN_PROMPTS], shown))


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
                sides["patterns"].setdefault(head, {})[side] = np.round(matrix, 3).tolist()
        shown.append({"tokens": sides["tokens"], "roles": dict(pair.roles), "heads": sides["patterns"]})
    return shown

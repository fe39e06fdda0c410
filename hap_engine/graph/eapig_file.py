"""Graph files of EAP-IG (github.com/hannamw/EAP-IG): read and written, so that both can check each other.

Such a file is one JSON object (facts of the format, read in its ``Graph.to_json``)::

    {"cfg":   {"n_layers": 12, "n_heads": 12, "parallel_attn_mlp": false, "d_model": 768},
     "nodes": {"input": {"in_graph": true}, "a0.h0": {…}, …, "logits": {…}},
     "edges": {"input->a0.h0<q>": {"score": -0.1, "in_graph": true}, …}}

with every real edge of the graph listed, and the names that this project uses too. Two things differ:

* It knows no grouped queries: there k and v belong to query heads. Writing repeats a KV head's edge for
  each query head of its group and splits its score evenly; reading adds the scores up (a shared
  input's gradient is the sum of its users') and keeps the edge if any of them is kept.
* Nodes are in the graph there when kept edges enter and leave them; that is derived when writing
  and not needed when reading.

Scores have the same formula on both sides, ``(corrupt - clean) · gradient``; the sign depends on the
metric that was differentiated (a loss there is usually the negative of our logit difference).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from hap_engine import files
from hap_engine.errors import RunFileError
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph, Reader
from hap_engine.words import say

MAX_BYTES = 200 * 2**20  # GPT-2 small is 2 MB, a 7B model about 100 MB

Scores = Float[np.ndarray, "writer reader"]


def to_eapig(circuit: Circuit, scores: Scores | None = None, d_model: int = 0) -> dict[str, Any]:
    """A circuit (and the scores of all edges, else 0) as the content of such a file, which knows no positions."""
    if circuit.graph.positional:
        scores = None if scores is None else circuit.graph.over_spans(scores)
        circuit = circuit.collapsed()
    graph = circuit.graph
    if graph.post_norm or graph.coupled:
        raise RunFileError(say("graph.unlike"))
    edges: dict[str, dict[str, Any]] = {}
    every = sharing(graph).tolist()
    for w, r in np.argwhere(graph.edge_mask):
        score = 0.0 if scores is None else float(scores[w, r]) / every[r]
        for name in _query_heads(graph.readers[r], every[r]):
            edges[f"{graph.writers[w].name}->{name}"] = {"score": score, "in_graph": bool(circuit.kept[w, r])}
    live = circuit.live.kept
    present = {writer.name: bool(live[row].any()) for row, writer in enumerate(graph.writers)}
    return {
        "cfg": {
            "n_layers": graph.n_layers,
            "n_heads": graph.n_heads,
            "parallel_attn_mlp": graph.parallel,
            "d_model": d_model,
        },
        "nodes": {name: {"in_graph": here} for name, here in {**present, "logits": True}.items()},
        "edges": edges,
    }


def from_eapig(data: Any, n_kv_heads: int | None = None) -> tuple[Circuit, Scores]:
    """The kept edges and all scores of such a file.

    Args:
        n_kv_heads: KV heads of the model, where they are fewer than its heads (the file does not say).

    Raises:
        RunFileError: naming what is missing or wrong.
    """
    graph = file_graph(data, n_kv_heads)
    kept, scores = np.zeros_like(graph.edge_mask), np.zeros(graph.edge_mask.shape)
    for name, cell, edge in named_edges(graph, data["edges"]):
        score, inside = _values(name, edge)
        scores.flat[cell] += score
        kept.flat[cell] |= inside
    if (seen := len(data["edges"])) != (expected := file_edges(graph)):
        raise RunFileError(say("graph.edge_count", expected=expected, seen=seen))
    return Circuit(graph, kept), scores


def named_edges(graph: Graph, edges: Mapping[str, Any]) -> Iterator[tuple[str, int, Any]]:
    """The edges that a file lists: the name, ``writer x number of readers + reader``, and what it says of each.

    Raises:
        RunFileError: for one that the graph lacks.
    """
    places = {
        name: column
        for column, (reader, shared) in enumerate(zip(graph.readers, sharing(graph).tolist(), strict=True))
        for name in _query_heads(reader, shared)
    }
    for name, edge in edges.items():
        writer, _, reader = name.partition("->")
        row, column = graph.writer_index.get(writer), places.get(reader)
        if row is None or column is None or not graph.edge_mask[row, column]:
            raise RunFileError(say("graph.no_edge", name=name[:60], graph=graph))
        yield name, row * len(graph.readers) + column, edge


def sharing(graph: Graph) -> Int[np.ndarray, " reader"]:
    """Query heads that read through each reader: under so many names a file lists it."""
    group = graph.n_heads // graph.n_kv_heads
    return np.array([group if reader.slot in ("k", "v") else 1 for reader in graph.readers])


def file_edges(graph: Graph) -> int:
    """Edges as a file counts them."""
    return int(graph.edge_mask.sum(axis=0) @ sharing(graph))


def write_eapig(path: Path | str, circuit: Circuit, scores: Scores | None = None, d_model: int = 0) -> Path:
    """Write a circuit so that EAP-IG's ``Graph.from_json`` reads it. Raises DiskError."""
    return files.write_text(path, json.dumps(to_eapig(circuit, scores, d_model)))


def read_eapig(path: Path | str, n_kv_heads: int | None = None) -> tuple[Circuit, Scores]:
    """Read what EAP-IG's ``Graph.to_json`` wrote. Raises RunFileError."""
    return from_eapig(read_json(Path(path)), n_kv_heads)


def read_json(path: Path) -> Any:
    """What such a file holds, unchecked. Raises RunFileError for one that cannot be read or is no JSON."""
    try:
        return files.read_json(path, MAX_BYTES)
    except OSError as error:
        raise RunFileError(f"Cannot read {path.name}: {error.strerror}. Check the path.") from None
    except ValueError as error:
        raise RunFileError(f"{path.name} is not an EAP-IG graph: not valid JSON ({error}). Write it again.") from None


def _query_heads(reader: Reader, shared: int) -> list[str]:
    """The names under which a file without grouped queries lists one of our readers."""
    if reader.head is None:
        return [reader.name]
    first = reader.head * shared
    return [f"a{reader.layer}.h{head}<{reader.slot}>" for head in range(first, first + shared)]


def file_graph(data: Any, n_kv_heads: int | None) -> Graph:
    """The graph that a file says it is of. Raises RunFileError."""
    sections = data if isinstance(data, Mapping) else {}
    if not all(isinstance(sections.get(key), dict) for key in ("cfg", "edges")):
        raise RunFileError(say("graph.no_graph"))
    cfg = sections["cfg"]
    heads = cfg.get("n_heads")
    return Graph.from_dict(
        {
            "n_layers": cfg.get("n_layers"),
            "n_heads": heads,
            "n_kv_heads": heads if n_kv_heads is None else n_kv_heads,
            "parallel": cfg.get("parallel_attn_mlp", False),
        }
    )


def _values(name: str, edge: Any) -> tuple[float, bool]:
    entry: Mapping[str, Any] = edge if isinstance(edge, Mapping) else {}
    score: Any = entry.get("score")
    inside: Any = entry.get("in_graph")
    if type(score) not in (int, float) or not math.isfinite(score) or type(inside) is not bool:
        raise RunFileError(say("graph.bad_score", name=name[:60], score=score, inside=inside))
    return float(score), inside

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from hap_engine.errors import RunFileError
from hap_engine.files import write_text
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.graph import Graph, Reader
from hap_engine.words import say

MAX_BYTES = 200 * 2**20  # GPT-2 small is 2 MB, a 7B model about 100 MB

Scores = Float[np.ndarray, "writer reader"]


def to_eapig(circuit: Circuit, scores: Scores | None = None, d_model: int = 0) -> dict[str, Any]:
    """A circuit (and the scores of all edges, else 0) as the content of such a file."""
    graph = circuit.graph
    if graph.post_norm or graph.coupled:
        raise RunFileError(say("graph.unlike"))
    group = graph.n_heads // graph.n_kv_heads
    edges: dict[str, dict[str, Any]] = {}
    for w, r in np.argwhere(graph.edge_mask):
        reader = graph.readers[r]
        shared = group if reader.slot in ("k", "v") else 1
        score = 0.0 if scores is None else float(scores[w, r]) / shared
        for name in _query_heads(reader, shared):
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
    graph = _graph(data, n_kv_heads)
    kept, scores = np.zeros_like(graph.edge_mask), np.zeros(graph.edge_mask.shape)
    group, seen = graph.n_heads // graph.n_kv_heads, 0
    places = {
        name: column
        for column, reader in enumerate(graph.readers)
        for name in _query_heads(reader, group if reader.slot in ("k", "v") else 1)
    }
    for name, edge in data["edges"].items():
        writer, _, reader = name.partition("->")
        row, column = graph.writer_index.get(writer), places.get(reader)
        if row is None or column is None or not graph.edge_mask[row, column]:
            raise RunFileError(say("graph.no_edge", name=name[:60], graph=graph))
        score, inside = _values(name, edge)
        scores[row, column] += score
        kept[row, column] |= inside
        seen += 1
    expected = sum(int(graph.upstream[column]) for column in places.values())  # edges as the file counts them
    if seen != expected:
        raise RunFileError(say("graph.edge_count", expected=expected, seen=seen))
    return Circuit(graph, kept), scores


def write_eapig(path: Path | str, circuit: Circuit, scores: Scores | None = None, d_model: int = 0) -> Path:
    """Write a circuit so that EAP-IG's ``Graph.from_json`` reads it. Raises DiskError."""
    return write_text(path, json.dumps(to_eapig(circuit, scores, d_model)))


def read_eapig(path: Path | str, n_kv_heads: int | None = None) -> tuple[Circuit, Scores]:
    """Read what EAP-IG's ``Graph.to_json`` wrote. Raises RunFileError."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunFileError(
                say("graph.file_size", most=MAX_BYTES >> 20, size=path.stat().st_size / 2**20, path=path)
            )
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise RunFileError(f"Cannot read {path.name}: {error.strerror}. Check the path.") from None
    except (ValueError, RecursionError) as error:
        raise RunFileError(f"{path.name} is not an EAP-IG graph: not valid JSON ({error}). Write it again.") from None
    return from_eapig(data, n_kv_heads)


def _query_heads(reader: Reader, shared: int) -> list[str]:
    """The names under which a file without grouped queries lists one of our readers."""
    if reader.head is None:
        return [reader.name]
    first = reader.head * shared
    return [f"a{reader.layer}.h{head}<{reader.slot}>" for head in range(first, first + shared)]


def _graph(data: Any, n_kv_heads: int | None) -> Graph:
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

"""Circuit files of the MIB benchmark: what is read of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hap_engine.errors import RunFileError
from hap_engine.graph.circuit import Circuit, full_circuit, random_circuit
from hap_engine.graph.eapig_file import file_edges, to_eapig
from hap_engine.graph.graph import Graph
from hap_engine.graph.mib_file import read_mib

GRAPH = Graph(2, 4, 2)


def stored(folder: Path, data: Any, name: str = "importances.json") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def made(graph: Graph = GRAPH, **changes: Any) -> dict[str, Any]:
    """A file of a random circuit with random scores, some negative."""
    rng = np.random.default_rng(0)
    data = to_eapig(
        random_circuit(graph, 20, rng), np.where(graph.edge_mask, rng.normal(size=graph.edge_mask.shape), 0)
    )
    return {**data, **changes}


def test_the_best_are_counted_on_a_graph_without_grouped_queries(tmp_path: Path) -> None:
    """By name, as the benchmark does: the best edges, where each query head has its own keys and values."""
    data = made()
    file = read_mib(stored(tmp_path, data), GRAPH, "m")
    assert file is not None
    assert len(file.cells) == file_edges(GRAPH) == Graph(2, 4, 4).n_edges == len(data["edges"])
    file.check_scores()
    for count in (0, 5, 30, len(data["edges"])):
        for ranks, key in ((file.scores, lambda e: e["score"]), (abs(file.scores), lambda e: abs(e["score"]))):
            best = sorted(data["edges"], key=lambda name: -key(data["edges"][name]))[:count]
            names = [tuple(name.split("->")) for name in best]
            shared = [(w, f"{r[:4]}{int(r[4]) // 2}{r[5:]}" if r[-2:] in ("k>", "v>") else r) for w, r in names]
            assert file.best(count, ranks) == Circuit.from_names(GRAPH, shared).live
    assert file.best(len(data["edges"]), file.scores) == full_circuit(GRAPH)


def test_a_circuit_needs_no_scores_and_may_leave_edges_out(tmp_path: Path) -> None:
    data = made()
    wanted = Circuit.from_names(GRAPH, [("input", "m0"), ("m0", "logits")])
    data["edges"] = {
        "input->m0": {"in_graph": True},
        "m0->logits": {"in_graph": True},
        "input->m1": {"in_graph": False},
    }
    file = read_mib(stored(tmp_path, data), GRAPH, "m")
    assert file is not None
    assert file.kept == wanted
    with pytest.raises(RunFileError, match=r"only file of its folder, and has 0 scores for 110 edges.*Give every edge"):
        file.check_scores()


def test_a_file_of_another_model_is_none(tmp_path: Path) -> None:
    for other in (Graph(3, 4, 4), Graph(2, 3, 3), Graph(2, 4, 4, parallel=True)):
        assert read_mib(stored(tmp_path, made(other)), GRAPH, "m") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "not valid JSON"),
        ([], "expected JSON with the mappings cfg, nodes and edges"),
        ({"nodes": {}}, "expected JSON with the mappings"),
        (made(cfg=5), "not an EAP-IG graph"),
        (
            made(nodes={"a9.h0": {"in_graph": True}}),
            r"names a node 'a9.h0' that m \(2 layers of 4 heads\) lacks.*--model",
        ),
        (made(edges={}), "circuit of nodes or neurons"),
        (made(nodes={"m0": {"in_graph": True, "neurons": [1]}}), "circuit of nodes or neurons"),
        (made(edges={"m0->m0": {"score": 1, "in_graph": True}}), "'m0->m0' that a model of 2 layers"),
        (made(edges={"input->m0": {"score": "x", "in_graph": True}}), "finite score"),
        (made(edges={"input->m0": 3}), "in_graph true or false"),
    ],
)
def test_what_is_no_circuit_of_the_model_is_refused(data: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=message):
        read_mib(stored(tmp_path, data), GRAPH, "m")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"can run code when it is opened; it was not\. Write the circuit as JSON"):
        read_mib(tmp_path / "importances.pt", GRAPH, "m")


def test_a_model_that_the_format_cannot_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"norm writers .* Use a model without them"):
        read_mib(stored(tmp_path, made()), Graph(2, 4, 2, post_norm=True), "gemma")

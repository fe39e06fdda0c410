"""A folder for the MIB benchmark: written from runs, measured again on the model, refused with the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hap_engine.cli.commands import main
from hap_engine.errors import HapError, RunFileError, SettingsError
from hap_engine.evaluation.curves import GRID, areas, share_of
from hap_engine.evaluation.evaluate import Setting, evaluate
from hap_engine.evaluation.sizes import grid, measure_sizes
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.eapig_file import file_edges, to_eapig
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import Graph
from hap_engine.graph.mib_file import read_mib
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.runs.mib_folder import circuit_folders, mib_name, task_of, write_submission
from hap_engine.runs.run_file import save
from hap_engine.tasks.pair import EncodedPair
from hap_engine.workflows.evaluate_mib import areas_of, circuits_of, evaluate_folder
from tests.builders.fakes import fake_run
from tests.builders.sized_runs import sized_run
from tests.builders.tiny_models import finish

SETTING = Setting("test", "resample", "abc", 0)


def put(folder: Path, graph: Graph, circuits: dict[str, Circuit], scores: np.ndarray | None = None) -> Path:
    """A folder of circuits, a file each; without scores unless they are given."""
    folder.mkdir(parents=True)
    for name, circuit in circuits.items():
        data = to_eapig(circuit, scores)
        if scores is None:
            data["edges"] = {edge: {"in_graph": found["in_graph"]} for edge, found in data["edges"].items()}
        (folder / f"{name}.json").write_text(json.dumps(data))
    return folder


def test_a_run_is_written_and_its_circuits_come_back(tmp_path: Path) -> None:
    run = sized_run(Graph(4, 4, 4))
    run = replace(run, model={**run.model, "name": "someone/my_model"}, task={**run.task, "name": "greater-than"})
    files = write_submission([run], tmp_path)
    assert files == [
        tmp_path / f"{method}_patching_edge" / "greater-than_my-model" / "importances.json" for method in run.orders
    ]
    assert circuit_folders(tmp_path) == {path.parent: [path] for path in files}
    assert {task_of(path.parent) for path in files} == {"greater-than"}
    for path, order in zip(files, run.orders.values(), strict=True):
        data = json.loads(path.read_text())
        assert data["cfg"] == {"n_layers": 4, "n_heads": 4, "parallel_attn_mlp": False, "d_model": 0}
        assert {"input", "logits", "a3.h3", "m3"} <= data["nodes"].keys()
        read = read_mib(path, run.graph, "my_model")
        assert read is not None
        for share in GRID[:-1]:
            size = share_of(run.graph.n_edges, share)
            for ranks in (read.scores, abs(read.scores)):
                assert read.best(size, ranks) == order.circuit(size)


def test_heads_that_share_keys_have_one_score(tmp_path: Path) -> None:
    run = sized_run(Graph(2, 4, 2))
    (path, *_) = write_submission([run], tmp_path)
    edges = json.loads(path.read_text())["edges"]
    assert len(edges) == file_edges(run.graph)
    assert all(edges[f"input->a1.h0<{slot}>"] == edges[f"input->a1.h1<{slot}>"] for slot in "kv")
    order, width = next(iter(run.orders.values())), len(run.graph.readers)
    first = divmod(int(order.cells[np.argsort(np.where(order.enters > 0, order.enters, 9e9), kind="stable")][0]), width)
    names = f"{run.graph.writers[first[0]].name}->{run.graph.readers[first[1]].name}"
    best = max(edges, key=lambda name: edges[name]["score"])
    assert edges[best]["score"] == 1
    assert names.split("<")[0].split(".")[0] == best.split("<")[0].split(".")[0]


def test_models_have_the_names_of_the_benchmark() -> None:
    assert [mib_name(name) for name in ("gpt2", "Qwen/Qwen2.5-0.5B", "a_b")] == ["gpt2", "qwen2.5", "a-b"]
    assert task_of(Path("x/arc_easy_llama3")) == "arc-easy"


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_signed_scores_give_cpr_and_absolute_ones_cmd(
    family: str, models: Callable[[str], MaskedModel], pairs: list[EncodedPair], tmp_path: Path
) -> None:
    masked = models(family)
    graph, rng = masked.graph, np.random.default_rng(1)
    scores = np.where(graph.edge_mask, rng.normal(size=graph.edge_mask.shape), 0)
    folder = put(tmp_path / "ioi_tiny", graph, {"importances": Circuit(graph, graph.edge_mask)}, scores)
    file = read_mib(folder / "importances.json", graph, "tiny")
    assert file is not None
    found, curves = finish(areas_of(masked, pairs, circuits_of([file])))
    sizes = {share: share_of(file_edges(graph), share) for share in GRID}
    for area, ranks in (("cpr", file.scores), ("cmd", abs(file.scores))):
        named = {str(share): file.best(size, ranks) for share, size in sizes.items()}
        rows = finish(evaluate(masked, pairs, named, SETTING, control_size=4))
        wanted = [rows[str(share)]["faithfulness"] for share in GRID]
        assert curves[area] == pytest.approx(wanted, abs=1e-5)
        assert found[area] == pytest.approx(areas(GRID, wanted)[area], abs=1e-5)


def test_a_written_run_has_its_own_areas_again(gpt2: MaskedModel, pairs: list[EncodedPair], tmp_path: Path) -> None:
    graph = gpt2.graph
    order = EdgeOrder(graph, np.random.default_rng(2).permutation(np.flatnonzero(graph.edge_mask)))
    few = finish(Prepared(gpt2, pairs).run())
    sizes = finish(measure_sizes(few, {"eap": order}, grid(graph, 20), SETTING, 4))
    run = replace(sized_run(graph), sizes=sizes)
    (path,) = write_submission([run], tmp_path)
    file = read_mib(path, graph, "tiny")
    assert file is not None
    again, _ = finish(areas_of(gpt2, pairs, circuits_of([file])))
    row = sizes["metrics"]["eap"]
    assert again == pytest.approx({"cpr": row["cpr"], "cmd": row["cmd"]}, abs=1e-5)


def nine(graph: Graph) -> dict[str, Circuit]:
    order = EdgeOrder(graph, np.random.default_rng(4).permutation(np.flatnonzero(graph.edge_mask)))
    return {f"{share:g}": order.circuit(share_of(graph.n_edges, share)) for share in GRID[:-1]}


def test_nine_circuits_serve_both_areas(gpt2: MaskedModel, tmp_path: Path) -> None:
    circuits = nine(gpt2.graph)
    put(tmp_path / "m_patching_edge" / "ioi_tiny", gpt2.graph, circuits)
    (found,), others = finish(evaluate_folder(gpt2, tmp_path, None, 6, 0, "auto"))
    assert others == []
    assert found.task == "ioi"
    assert found.curves["cpr"] == found.curves["cmd"]
    assert {"cpr": found.cpr, "cmd": found.cmd} == areas(GRID, found.curves["cpr"])


@pytest.mark.parametrize("wrong", ["missing", "large"])
def test_missing_or_too_large_sizes_are_told(wrong: str, gpt2: MaskedModel, tmp_path: Path) -> None:
    circuits = nine(gpt2.graph)
    if wrong == "missing":
        del circuits["0.05"]
    else:
        circuits["0.001"] = circuits["0.2"]
    put(tmp_path / "ioi_tiny", gpt2.graph, circuits)
    with pytest.raises(RunFileError, match=r"nine circuits of at most \[0, .* edges .*Add the missing sizes"):
        finish(evaluate_folder(gpt2, tmp_path, None, 6, 0, "auto"))


def test_circuits_of_other_models_are_left_out_or_refused(gpt2: MaskedModel, tmp_path: Path) -> None:
    put(tmp_path / "ioi_llama3", Graph(3, 4, 4), {"importances": nine(Graph(3, 4, 4))["0.5"]})
    with pytest.raises(SettingsError, match=r"Nothing .* is of tiny-gpt2 \(2 layers of 4 heads\).*holds ioi_llama3"):
        finish(evaluate_folder(gpt2, tmp_path, None, 6, 0, "auto"))
    put(tmp_path / "ioi_tiny", gpt2.graph, nine(gpt2.graph))
    found, others = finish(evaluate_folder(gpt2, tmp_path, "ioi", 6, 0, "auto"))
    assert [one.folder.name for one in found] == ["ioi_tiny"]
    assert [one.name for one in others] == ["ioi_llama3"]
    with pytest.raises(SettingsError, match="of task agreement"):
        finish(evaluate_folder(gpt2, tmp_path, "agreement", 6, 0, "auto"))


def test_a_folder_without_a_task_takes_the_one_that_is_named(gpt2: MaskedModel, tmp_path: Path) -> None:
    folder = put(tmp_path / "mine", gpt2.graph, nine(gpt2.graph))
    with pytest.raises(HapError, match=r"does not say what its circuits do.*--task"):
        finish(evaluate_folder(gpt2, folder, None, 6, 0, "auto"))
    (found,), _ = finish(evaluate_folder(gpt2, folder, "ioi", 6, 0, "auto"))
    assert found.task == "ioi"


# --- The terminal ------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    assert main(["mib", *map(str, arguments)]) == 1
    return capsys.readouterr().err


def test_the_terminal_writes_and_measures(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = sized_run(Graph(2, 4, 4))
    run = replace(run, model={**run.model, "name": "tiny"}, task={**run.task, "name": "ioi"})
    path, out = save(run, tmp_path / "run.json"), tmp_path / "out"
    assert main(["mib", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "CMD" in said
    assert "also rewards a circuit that overshoots" in said
    assert "two models and two tasks at least; these are of 1 and 1" in said
    assert main(["mib", "--evaluate", str(out), "--model", str(folder), "--prompts", "6"]) == 0
    said = capsys.readouterr().out
    assert all(f"{method}_patching_edge/ioi_tiny" in said for method in run.orders)
    assert "read CMD first" in said


def test_the_terminal_says_what_is_missing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = save(fake_run(), tmp_path / "one.json")
    assert "circuits of one size" in refused(capsys, one, "--out", tmp_path / "x")
    sized = save(sized_run(), tmp_path / "sized.json")
    assert "Name one of them" in refused(capsys, sized, sized, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert "one of the two" in refused(capsys)
    assert "--model" in refused(capsys, "--evaluate", tmp_path)
    assert "is no folder" in refused(capsys, "--evaluate", tmp_path / "no", "--model", folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no circuits" in refused(capsys, "--evaluate", empty, "--model", folder)
    (empty / "ioi_tiny").mkdir()
    (empty / "ioi_tiny" / "importances.pt").write_bytes(b"")
    assert "pickle" in refused(capsys, "--evaluate", empty, "--model", folder)

"""The whole method on models of every kind; and the picture, exports and questions of runs with norm writers and of
heads that act on each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.export.graphs import graphml
from app.export.svg import svg
from hap_engine import api
from hap_engine.attribution.scorers import SCORERS
from hap_engine.errors import RunFileError, UnsupportedModelError
from hap_engine.evaluation.stored_prompts import stored_prompts
from hap_engine.explain.path_effects import (
    copy_scores,
    induction_effects,
    inhibition_effects,
    mover_effects,
    two_passes,
)
from hap_engine.explain.what_if import Bench
from hap_engine.graph import edits
from hap_engine.graph.eapig_file import to_eapig
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.picture import groups, scene
from hap_engine.picture.wire import wire
from hap_engine.progress import drain
from hap_engine.report.node_edges import edges_at, keepers
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load, save
from hap_engine.settings import PruningConfig
from hap_engine.workflows import retest
from tests.builders.descents import descent
from tests.builders.family_zoo import FAMILIES, build
from tests.builders.masked_runs import close
from tests.builders.tiny_models import SIZES, made_of

SETTINGS: dict[str, Any] = {
    "sparsity": 0.8,
    "keep": 0.6,
    "pruning": PruningConfig(steps=5, batch_size=4),
    "sizes": SIZES,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_five_steps_in_both_precisions(name: str) -> None:
    """A run on every family ends with a circuit; bfloat16 sees nearly the same edges."""
    masked = open_masked(made_of(build(name), name))
    run = api.discover(masked, "ioi", **SETTINGS)
    assert run.metrics["full"]["kl"] == 0
    assert 0 < len(run.circuits["hap"].circuit) <= run.settings["target_edges"]
    assert all(np.isfinite(row["kl"]) for row in run.metrics.values())
    low = descent(masked, **SETTINGS, dtype="bfloat16")
    assert low[-1]["step"] == 5
    assert low[-1]["circuit"].graph == run.graph
    assert low[0]["kl"] == pytest.approx(run.history[0]["kl"], rel=0.2, abs=0.02)


@pytest.fixture(scope="module", params=["gemma2", "qwen3", "olmo3", "deepseek_v3", "bloom", "gpt_oss"])
def done(request: pytest.FixtureRequest) -> tuple[MaskedModel, Run]:
    masked = open_masked(made_of(build(request.param), request.param))
    return masked, api.discover(masked, "ioi", **SETTINGS)


def test_the_run_file_keeps_the_graph(done: tuple[MaskedModel, Run], tmp_path: Path) -> None:
    masked, run = done
    again = load(save(run, tmp_path / "run.json"))
    assert again.graph == run.graph == masked.graph
    assert again.circuits["hap"].circuit == run.circuits["hap"].circuit
    assert ("post_norm" in run.graph.to_dict()) == run.graph.post_norm
    assert ("coupled" in run.graph.to_dict()) == bool(run.graph.coupled)


def test_the_picture_and_the_exports(done: tuple[MaskedModel, Run]) -> None:
    _, run = done
    built = scene.build(run)
    assert len(wire(built)["nodes"]) == len(run.graph.writers) + 1
    assert groups.fold(built).groups
    drawn, words = svg(built, "overlay"), graphml(run, "hap")
    assert "<svg" in drawn
    assert "<graphml" in words
    if run.graph.post_norm:
        node = next(node for node in built.nodes if node.id == "n1")
        heads, bar, mlp = (built.layout.boxes[name] for name in ("a1.h0", "n1", "m1"))
        assert heads.y + heads.half_height < bar.y - bar.half_height
        assert bar.y + bar.half_height < mlp.y - mlp.half_height
        assert scene.spoken(node) == "Norm writer 1"
        assert "adds when their sum changes its size" in " ".join(node.lines)
    if run.graph.coupled:
        node = next(node for node in built.nodes if node.id == "a1.h0")
        assert "query and key also changes other heads" in " ".join(node.lines)
    if run.graph.post_norm or run.graph.coupled:
        with pytest.raises(RunFileError, match="EAP-IG's file knows neither"):
            to_eapig(run.circuits["hap"].circuit)


def test_every_question(done: tuple[MaskedModel, Run]) -> None:
    """Scorers, the full tests, what-if, single nodes: each works, or says why not."""
    masked, run = done
    closed = set(masked.model.parts.ways) == {"closed"}
    for scorer in SCORERS:
        if scorer in ("eap-gim", "eap-relp") and not closed:
            with pytest.raises(UnsupportedModelError, match="its attention in its own code"):
                api.attribute(masked, run, scorer=scorer)
        elif scorer != "eap-relp":
            assert np.isfinite(api.attribute(masked, run, scorer=scorer)).all()
    run = drain(retest.examine(masked, run))
    for ablation in ("mean", "zero"):
        rows = api.evaluate(masked, run, ablation=ablation)
        assert np.isfinite(rows["hap"]["kl"])
    bench = Bench(*stored_prompts(masked, run, "test", 2))
    last = run.graph.n_layers - 1
    for node in ["input", "a0.h1", f"m{last}", *[f"n{last}"] * run.graph.post_norm]:
        assert len(bench.promoted(node)[0]) == 5
        keepers(run, node)
        edges_at(run, node, ["hap", "eap"])
    whole = edits.apply(
        run.circuits["hap"].circuit, [edits.parse("-a0.h1", run.graph), edits.parse("+a1.h2", run.graph)]
    )
    assert np.isfinite(bench.read(whole).kl).all()
    assert np.isfinite(np.array(bench.attention(1, 0)["clean"])).all()


def test_one_cut_edge_is_the_same_seen_from_both_runs(done: tuple[MaskedModel, Run]) -> None:
    """`without_edge` puts the clean run in the place of the corrupt one; a masked pass with one edge at 0 does not."""
    masked, run = done
    bench, graph = Bench(*stored_prompts(masked, run, "test", 3)), run.graph
    rows = [0, graph.head_row(0, 2), graph.mlp_row(0), graph.head_row(1, 1)]
    rows += [graph.norm_row(0), graph.norm_row(1)] if graph.post_norm else []
    for row in rows:
        columns = np.flatnonzero(graph.edge_mask[row])
        for column in (columns[0], columns[-1], columns[len(columns) // 2]):
            kept = graph.edge_mask.copy()
            kept[row, column] = False
            want = bench.read(api.Circuit(graph, kept))
            got = bench.without_edge((row, int(column)))
            np.testing.assert_allclose(got.logit_diff, want.logit_diff, atol=2e-4, err_msg=graph.writers[row].name)


def test_paths_into_a_head(done: tuple[MaskedModel, Run]) -> None:
    """What roles are read from: a head attends by its own slots as in the plain pass, and paths into it act."""
    masked, run = done
    passes = two_passes(*stored_prompts(masked, run, "test", 4))
    end, rows = passes.at["END"], torch.arange(4)
    layer, head = run.graph.n_layers - 1, 2
    for slot, role in (("q", "END"), ("k", "S2"), ("v", "IO")):
        value = masked.slot_at(layer, slot, head, passes.resid(layer, role)[None]), passes.at[role]
        pattern, z = masked.attended(passes.clean, layer, head, end, {slot: value})
        assert close(pattern[0], masked.patterns(passes.clean, layer)[head, rows, end])
        assert close(z[0], passes.clean.at(passes.clean.tokens(end)).z(layer, torch.tensor([head]))[0])
    found = [
        mover_effects(passes, [(layer, head)]),
        inhibition_effects(passes, [(layer - 1, 1)], [(layer, head)]),
        induction_effects(passes, [(layer, head)]),
    ]
    before = layer * run.graph.n_heads
    for index, effects in enumerate(found):
        assert effects.isfinite().all()
        assert not effects[before:].any(), "no path from a head that comes later"
        assert effects[:before].any() or (index == 1 and layer == 1), "an inhibitor needs a layer before it"
    assert all(0 <= score <= 1 for score in copy_scores(passes, layer, head))

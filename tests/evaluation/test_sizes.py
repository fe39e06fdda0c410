"""Every order of a run, measured at every size."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hap_engine.evaluation import sizes
from hap_engine.evaluation.curves import areas_at
from hap_engine.evaluation.evaluate import Setting, evaluate
from hap_engine.evaluation.sizes import grid, measure_sizes
from hap_engine.graph.circuit import random_circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import Graph
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.tasks.pair import EncodedPair
from tests.builders.tiny_models import finish, random_pairs

SETTING = Setting("test", "resample", "abc", 0)


def kept(masked: MaskedModel, pairs: list[EncodedPair]) -> Prepared:
    return finish(Prepared(masked, pairs).run())


def test_the_grid_falls_and_holds_the_target() -> None:
    assert grid(Graph(2, 2, 2), 9) == [23, 9, 4, 2]
    assert grid(Graph(30, 9, 3), 706) == [35325, 14130, 7065, 4239, 3532, 2826, 1413, 706, 353, 141, 70]


def test_the_numbers_are_those_of_the_circuits(gpt2: MaskedModel) -> None:
    pairs, graph = random_pairs([5, 6, 7]), gpt2.graph
    cells = np.random.default_rng(3).permutation(np.flatnonzero(graph.edge_mask))
    order = EdgeOrder(graph, cells)
    few = kept(gpt2, pairs)
    found = finish(measure_sizes(few, {"eap": order}, grid(graph, 20), SETTING, 2))
    row = found["metrics"]["eap"]
    wanted = finish(
        evaluate(gpt2, pairs, {str(size): order.circuit(size) for size in found["grid"]}, SETTING, control_size=9)
    )
    for place, size in enumerate(found["grid"]):
        for key in ("kl", "logit_diff", "accuracy", "exact_match", "faithfulness"):
            assert row[key][place] == pytest.approx(wanted[str(size)][key], abs=1e-5)
        assert row["n_live"][place] == len(order.circuit(size)) <= size
    assert found["empty"] == pytest.approx(wanted["empty"]["kl"], abs=1e-6)
    by_size = dict(zip(found["grid"], row["faithfulness"], strict=True))
    assert {key: row[key] for key in ("cpr", "cmd")} == areas_at(by_size, graph.n_edges)
    again = EdgeOrder(graph, np.array(found["orders"]["eap"]))
    assert all(again.circuit(size) == order.circuit(size) for size in found["grid"])
    assert found["metrics"]["random"]["n_live"] == found["grid"]


def test_where_corruption_moves_nothing_no_share_is_written(gpt2: MaskedModel) -> None:
    pairs = [pair.__class__(**{**pair.__dict__, "corrupt_ids": pair.clean_ids}) for pair in random_pairs([5, 5])]
    order = EdgeOrder(gpt2.graph, np.flatnonzero(gpt2.graph.edge_mask))
    few = kept(gpt2, pairs)
    row = finish(measure_sizes(few, {"eap": order}, grid(gpt2.graph, 20), SETTING, 2))["metrics"]["eap"]
    assert "faithfulness" not in row
    assert "cpr" not in row
    assert all(math.isfinite(kl) for kl in row["kl"])


def test_one_more_size_is_measured_as_the_others_were(gpt2: MaskedModel) -> None:
    pairs, graph = random_pairs([5, 6, 7]), gpt2.graph
    orders = {"eap": EdgeOrder(graph, np.random.default_rng(3).permutation(np.flatnonzero(graph.edge_mask)))}
    sizes = sorted({*(some := grid(graph, 20)), 15}, reverse=True)
    few = kept(gpt2, pairs)
    whole = finish(measure_sizes(few, orders, sizes, SETTING, 2))
    known = finish(measure_sizes(few, orders, some, SETTING, 2))
    found = finish(measure_sizes(few, orders, sizes, SETTING, 2, known))
    assert {**found, "metrics": 0} == {**whole, "metrics": 0}
    assert found["metrics"]["eap"] == whole["metrics"]["eap"]
    assert found["metrics"]["random"]["kl"][0] == known["metrics"]["random"]["kl"][0]


def test_random_circuits_are_measured_on_the_first_prompts(gpt2: MaskedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, graph = random_pairs([5, 6, 7]), gpt2.graph
    monkeypatch.setattr(sizes, "RANDOM_PROMPTS", 2)
    order = EdgeOrder(graph, np.flatnonzero(graph.edge_mask))
    at = grid(graph, 9)
    found = finish(measure_sizes(kept(gpt2, pairs), {"eap": order}, at, SETTING, 2))
    assert (found["n_prompts"], found["n_random"]) == (3, 2)
    drawn = {"drawn": random_circuit(graph, at[0], np.random.default_rng(SETTING.seed))}
    row = finish(evaluate(gpt2, pairs[:2], drawn, SETTING, control_size=9))["drawn"]
    for key in ("kl", "faithfulness"):
        assert found["metrics"]["random"][key][0] == pytest.approx(row[key], abs=1e-5)
    more = finish(measure_sizes(kept(gpt2, pairs), {"eap": order}, [*at[:1], 12, *at[1:]], SETTING, 2, known=found))
    assert more["n_random"] == 2


def test_equal_circuits_are_computed_once(gpt2: MaskedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, graph = random_pairs([5, 6]), gpt2.graph
    order = EdgeOrder(graph, np.random.default_rng(3).permutation(np.flatnonzero(graph.edge_mask)))
    sizes, asked, few = grid(graph, 20), [], kept(gpt2, pairs)
    run = MaskedModel.logits
    monkeypatch.setattr(MaskedModel, "logits", lambda self, *given: asked.append(0) or run(self, *given))
    known = finish(measure_sizes(few, {"eap": order}, sizes, SETTING, 2))
    before = len(asked)
    found = finish(measure_sizes(few, {"eap": order, "hap": order}, sizes, SETTING, 2, known))
    assert len(asked) - before <= 1  # of the empty circuit
    assert found["metrics"]["hap"] == found["metrics"]["eap"] == known["metrics"]["eap"]
    at_once = finish(measure_sizes(few, {"eap": order, "hap": order}, sizes, SETTING, 2))
    assert len(asked) - before - 1 <= before
    assert at_once["metrics"] == found["metrics"]

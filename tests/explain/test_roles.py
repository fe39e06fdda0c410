"""Roles: every kind of evidence against path patching done by hand, one edge at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from hap_engine.explain import path_effects, roles
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.tasks.pair import EncodedPair
from tests.builders.slow import Pass, Slow
from tests.builders.tiny_models import make_model

MOVERS = [(1, 0), (1, 3)]


class Paths:
    """Path patching on single prompts: a plain pass of each side, then readers changed by hand."""

    def __init__(self, masked: MaskedModel, pair: EncodedPair) -> None:
        self.slow, self.pair = Slow(masked.model.hf_model), pair
        self.at = dict(pair.roles) | {"END": len(pair.clean_ids) - 1}
        with torch.no_grad():
            self.clean, self.corrupt = (self.slow.plain(ids) for ids in (pair.clean_ids, pair.corrupt_ids))

    def delta(self, sender: str) -> torch.Tensor:
        return self.clean.outputs[sender] - self.corrupt.outputs[sender]

    def rerun(self, changes: dict[str, torch.Tensor]) -> Pass:
        """All readers clean, except that `changes` is subtracted from some readers' inputs."""
        with torch.no_grad():
            return self.slow.walk(
                self.clean.outputs["input"], lambda reader, _: self.clean.inputs[reader] - changes.get(reader, 0.0)
            )

    def only(self, delta: torch.Tensor, role: str) -> torch.Tensor:
        """`delta` at one position, nothing elsewhere."""
        kept = torch.zeros_like(delta)
        kept[self.at[role]] = delta[self.at[role]]
        return kept

    def preference(self, found: Pass, head: str) -> float:
        row = found.patterns[head][self.at["END"]]
        return float(row[self.at["IO"]] - row[self.at["S1"]] - row[self.at["S2"]])


def kv(masked: MaskedModel, layer: int, head: int, slot: str) -> str:
    return f"a{layer}.h{head * masked.graph.n_kv_heads // masked.graph.n_heads}<{slot}>"


def senders(masked: MaskedModel, layer: int) -> list[tuple[int, str]]:
    """Heads before a layer, with their row in the results."""
    return [
        (row, f"a{earlier}.h{h}")
        for row, (earlier, h) in enumerate(
            (earlier, h) for earlier in range(layer) for h in range(masked.graph.n_heads)
        )
    ]


@pytest.fixture(params=["gpt2", "llama", "neox"])
def model(request: pytest.FixtureRequest, models: object) -> MaskedModel:
    return models(request.param)


def test_attention_and_direct_effect(model: MaskedModel, pairs: Sequence[EncodedPair]) -> None:
    found = path_effects.measure_heads(path_effects.two_passes(model, pairs))
    for index, pair in enumerate(pairs[:3]):
        paths = Paths(model, pair)
        for name in model.graph.heads:
            for query, key in path_effects.PAIRS:
                want = paths.clean.patterns[name][paths.at[query], paths.at[key]]
                assert found[name][f"{query}->{key}"][index] == pytest.approx(float(want), abs=1e-4)
            without = paths.rerun({"logits": paths.delta(name)}).logits[-1]
            full = paths.clean.logits[-1]
            fall = (full - without)[pair.answer_id] - (full - without)[pair.distractor_id]
            assert found[name]["direct_effect"][index] == pytest.approx(float(fall), abs=2e-4)


def test_mover_effects(model: MaskedModel, pairs: Sequence[EncodedPair]) -> None:
    """Only the edges sender -> mover<q> carry the corrupt run."""
    effects = path_effects.mover_effects(path_effects.two_passes(model, pairs), MOVERS)
    assert not effects[model.graph.n_heads :].any(), "later heads have no effect"
    assert effects.abs().max() > 2e-3
    for index, pair in enumerate(pairs[:3]):
        paths = Paths(model, pair)
        for row, sender in senders(model, 1):
            falls = []
            for layer, head in MOVERS:
                name = f"a{layer}.h{head}"
                changed = paths.rerun({f"{name}<q>": paths.delta(sender)})
                falls.append(paths.preference(paths.clean, name) - paths.preference(changed, name))
            assert float(effects[row, index]) == pytest.approx(np.mean(falls), abs=2e-5)


def deeper(family: str) -> MaskedModel:
    """Three layers, so that sender -> inhibitor -> mover is a path."""
    return open_masked(make_model(family, seed=2, layers=3))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_inhibition_effects(family: str, pairs: Sequence[EncodedPair]) -> None:
    """Sender -> inhibitors' keys and values at S2 -> movers' queries at END; all else clean."""
    masked = deeper(family)
    inhibitors, movers = [(1, 1), (1, 2)], [(2, 0), (2, 3)]
    effects = path_effects.inhibition_effects(path_effects.two_passes(masked, pairs), inhibitors, movers)
    assert effects[: masked.graph.n_heads].abs().max() > 2e-3
    for index, pair in enumerate(pairs[:2]):
        paths = Paths(masked, pair)
        for row, sender in senders(masked, 1):
            cut = paths.only(paths.delta(sender), "S2")
            shift = torch.zeros_like(cut)
            for layer, head in inhibitors:
                changed = paths.rerun({kv(masked, layer, head, slot): cut for slot in "kv"})
                name = f"a{layer}.h{head}"
                shift += paths.only(paths.clean.outputs[name] - changed.outputs[name], "END")
            falls = []
            for layer, head in movers:
                name = f"a{layer}.h{head}"
                changed = paths.rerun({f"{name}<q>": shift})
                falls.append(paths.preference(paths.clean, name) - paths.preference(changed, name))
            assert float(effects[row, index]) == pytest.approx(np.mean(falls), abs=2e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_induction_effects(family: str, pairs: Sequence[EncodedPair]) -> None:
    """Sender -> inductors' keys at S1+1; compared is their attention S2 -> S1+1."""
    masked = deeper(family)
    inductors = [(1, 0), (2, 3)]
    effects = path_effects.induction_effects(path_effects.two_passes(masked, pairs), inductors)
    assert effects.abs().max() > 2e-3
    for index, pair in enumerate(pairs[:2]):
        paths = Paths(masked, pair)
        cell = (paths.at["S2"], paths.at["S1+1"])
        for row, sender in senders(masked, 2):
            falls = []
            for layer, head in inductors:
                fall = 0.0
                if row < layer * masked.graph.n_heads:
                    cut = paths.only(paths.delta(sender), "S1+1")
                    changed = paths.rerun({kv(masked, layer, head, "k"): cut})
                    name = f"a{layer}.h{head}"
                    fall = float(paths.clean.patterns[name][cell] - changed.patterns[name][cell])
                falls.append(fall)
            assert float(effects[row, index]) == pytest.approx(np.mean(falls), abs=2e-5)


def evidence(attention: float, effect: float, spread: float = 0.0) -> dict[str, np.ndarray]:
    ends = np.array([-1.0, 1.0] * 50)
    return {"END->S2": np.full(100, attention), "mover_effect": effect + spread * ends}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (evidence(0.3, 0.05), True),
        (evidence(0.19, 0.05), False),  # looks elsewhere
        (evidence(0.3, 0.009), False),  # too small an effect
        (evidence(0.3, -0.05), False),  # wrong sign
        (evidence(0.3, 0.05, spread=0.16), True),  # 3 standard errors = 0.048
        (evidence(0.3, 0.05, spread=0.18), False),  # 3 standard errors = 0.054
        ({"END->S2": np.full(100, 0.9)}, False),  # effect not measured
    ],
)
def test_thresholds(values: dict[str, np.ndarray], expected: bool) -> None:
    assert roles._has_role(values, "s_inhibition", {}) is expected


def test_negative_movers_have_the_other_sign() -> None:
    values = {"END->IO": np.full(4, 0.5), "direct_effect": np.full(4, -0.3)}
    assert roles._has_role(values, "negative_name_mover", {"direct_effect": 0.1})
    assert not roles._has_role(values, "name_mover", {"direct_effect": 0.1})


def test_find_roles_states_its_thresholds(gpt2: MaskedModel, pairs: Sequence[EncodedPair]) -> None:
    passes = path_effects.two_passes(gpt2, pairs)
    measured = path_effects.measure_heads(passes)
    found = roles.find_roles(passes, measured)
    assert set(found) == {"thresholds", "n_prompts", "heads", "published", "agreement"}
    assert found["n_prompts"] == len(pairs)
    assert found["thresholds"]["attention"] == roles.ATTENTION
    assert found["published"] is None
    assert found["agreement"] is None
    for head, described in found["heads"].items():
        assert head in gpt2.graph.heads
        pair, key, sign = roles.ROLES[described["role"]]
        assert described["evidence"][f"attention {pair}"] >= roles.ATTENTION
        assert sign * described["evidence"][key] > 0
        assert described["sentence"].endswith(".")
    assert set(next(iter(measured.values()))) == {"direct_effect", *(f"{q}->{k}" for q, k in path_effects.PAIRS)}, (
        "the caller's evidence is left as it was"
    )
    summary = roles.summarise_heads(measured)
    assert summary["a0.h0"]["direct_effect"] == pytest.approx(measured["a0.h0"]["direct_effect"].mean())


def test_the_published_heads() -> None:
    published = roles.published_roles("openai-community/gpt2")
    assert published is not None
    assert len(published) == 26
    assert published["a9.h9"] == "name_mover"
    assert [head for head, role in published.items() if role == "s_inhibition"] == ["a7.h3", "a7.h9", "a8.h6", "a8.h10"]
    assert roles.published_roles("gpt2") == published
    assert roles.published_roles("gpt2-medium") is None
    assert roles.published_roles("somebody/gpt2") is None, "another model of the same name"


def test_the_baseline_carries_another_prompts_change(gpt2: MaskedModel, pairs: Sequence[EncodedPair]) -> None:
    """Only the prompts are exchanged: with prompts that are all the same, it is the effect itself."""
    same = [pairs[0]] * 3
    passes = path_effects.two_passes(gpt2, same)
    effect = path_effects.mover_effects(passes, MOVERS)
    torch.testing.assert_close(path_effects.mover_effects(passes, MOVERS, roll=1), effect)
    mixed = path_effects.two_passes(gpt2, pairs)
    own, other = (path_effects.mover_effects(mixed, MOVERS, roll=roll) for roll in (0, 1))
    assert (own - other).abs().max() > 1e-4


def test_copy_scores_by_hand(model: MaskedModel, pairs: Sequence[EncodedPair]) -> None:
    """The name at IO after block 0, through one head's value and output weights, unembedded."""
    passes = path_effects.two_passes(model, pairs)
    copied, opposed = path_effects.copy_scores(passes, 1, 2)
    hits = {1: 0, -1: 0}
    for pair in pairs:
        slow = Slow(model.model.hf_model)
        with torch.no_grad():
            found = slow.plain(pair.clean_ids)
            resid = found.inputs[kv(model, 1, 2, "v")][pair.roles["IO"]]
            norm, _ = slow.norms(1)
            kv_head = 2 * model.graph.n_kv_heads // model.graph.n_heads
            value = slow.project(1, "v", kv_head, norm(resid[None]))
            written = slow.output(1, 2, value)
            for sign in hits:
                best = slow.unembed(sign * written)[0].topk(path_effects.TOP).indices
                hits[sign] += int(pair.answer_id in best)
    assert copied == pytest.approx(hits[1] / len(pairs))
    assert opposed == pytest.approx(hits[-1] / len(pairs))
    assert path_effects.copy_scores(passes, 0, 1) == (0, 0)


def test_agreement_with_the_published_list_by_hand() -> None:
    published = roles.published_roles("gpt2")
    assert published is not None
    chosen = {
        "a9.h9": {"role": "name_mover"},
        "a10.h10": {"role": "name_mover"},  # a published backup
        "a1.h1": {"role": "name_mover"},  # not published
        "a7.h3": {"role": "s_inhibition"},
        "a5.h5": {"role": "duplicate_token"},  # published as induction
    }
    found = roles.agreement(chosen, published)
    assert found["name_mover"] == {"published": 11, "measured": 3, "both": 2}
    assert found["s_inhibition"] == {"published": 4, "measured": 1, "both": 1}
    assert found["duplicate_token"] == {"published": 3, "measured": 1, "both": 0}
    assert found["induction"] == {"published": 4, "measured": 0, "both": 0}
    perfect = roles.agreement(
        {head: {"role": role} for head, role in published.items() if role != "backup_name_mover"}, published
    )
    assert perfect["name_mover"] == {"published": 11, "measured": 3, "both": 3}


def test_every_head_with_a_role_carries_all_its_evidence(
    gpt2: MaskedModel, pairs: Sequence[EncodedPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "ATTENTION", 0.0)
    monkeypatch.setattr(roles, "DIRECT", 0.0)
    monkeypatch.setattr(roles, "EFFECT", 0.0)
    passes = path_effects.two_passes(gpt2, pairs)
    found = roles.find_roles(passes, path_effects.measure_heads(passes))
    assert found["heads"]
    for described in found["heads"].values():
        assert {"direct_effect", "mover_effect", "mover_effect_elsewhere", "copy_score", "negative_copy_score"} <= set(
            described["evidence"]
        )

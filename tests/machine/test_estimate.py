"""The estimate's arithmetic, by hand; and that it follows the settings. No seconds are measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hap_engine.machine import estimate, speed, workload
from hap_engine.machine.estimate import duration, tokens_of
from hap_engine.machine.memory import Limits
from hap_engine.machine.speed import Machine
from hap_engine.machine.workload import HEAP, Work, first_beyond, mean_over, memory, memory_on_cards, passes
from hap_engine.machine.workload import workload as work_of
from hap_engine.models.catalog import HUB_MODELS, Source, config_of, resolve
from hap_engine.models.shape import Shape
from hap_engine.progress import PHASES
from hap_engine.settings import DiscoveryConfig, PruningConfig, prompts_at_sizes
from hap_engine.tasks.task import SplitSizes
from hap_engine.workflows.measure_machine import measured
from tests.builders.family_zoo import build
from tests.builders.tiny_models import MACHINE, hf_model, made_of

TINY = Shape(layers=2, heads=4, kv_heads=2, width=8, head_width=2, inner=16, matrices=2, vocabulary=10, tied=True)
CONFIG = DiscoveryConfig(sizes=SplitSizes(100, 10, 64), pruning=PruningConfig(steps=10, batch_size=16))
CONSTANTS = {"open": 1.0, "base": 1e9, "seconds": {phase: [2.0, 1.0, 3.0, 3.0] for phase in PHASES}}


@pytest.fixture
def constants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_constants", lambda: CONSTANTS)


def test_sizes_by_hand() -> None:
    assert TINY.slots == 8  # 4 q, 2 k, 2 v
    assert TINY.attention == 2 * 8 * 2 * (8 + 4)
    assert TINY.mlp == 2 * 2 * 8 * 16
    assert TINY.parameters == TINY.attention + TINY.mlp + 80
    assert TINY.writers == 11


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("gpt2", 124),
        ("gpt2-medium", 355),
        ("gpt2-large", 774),
        ("gpt2-xl", 1558),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135),
        ("HuggingFaceTB/SmolLM2-360M-Instruct", 362),
        ("EleutherAI/pythia-160m", 162),
        ("EleutherAI/pythia-410m", 405),
        ("Qwen/Qwen2.5-0.5B", 494),
        ("meta-llama/Llama-3.2-1B", 1236),
        ("EleutherAI/pythia-70m", 70),
        ("Qwen/Qwen3-0.6B", 596),
        ("google/gemma-3-270m", 268),
        ("allenai/OLMo-2-0425-1B-Instruct", 1485),
    ],
)
def test_offered_models_have_their_true_sizes(name: str, millions: int) -> None:
    shape = Shape.of(HUB_MODELS[name].config)
    assert shape is not None
    assert shape.parameters / 1e6 == pytest.approx(millions, rel=0.015)


def test_a_real_config_and_edges(folder: Path) -> None:
    shape = Shape.of(config_of(resolve(str(folder))) or {})
    assert shape is not None
    matrices = {
        name: weight.numel()
        for name, weight in hf_model("gpt2").named_parameters()
        if weight.ndim == 2 and "wpe" not in name  # biases, norms and positions are not counted
    }
    assert shape.parameters == sum(matrices.values())
    gpt2 = Shape.of(HUB_MODELS["gpt2"].config)
    assert gpt2 is not None
    assert gpt2.edges == pytest.approx(32_491, rel=0.15)
    for wrong in ({}, {"n_layer": "two"}, {"n_layer": 1, "n_head": 0, "n_embd": 4}):
        assert Shape.of(wrong) is None


MEASURED = (
    *("gpt2", "gpt_bigcode", "gpt_neo", "opt", "llama", "phi", "gptj", "falcon", "falcon:40b", "bloom", "mpt:clip"),
    *(
        "olmo:clip",
        "gemma2",
        "gemma3_text",
        "exaone4",
        "olmo2",
        "olmoe",
        "mixtral",
        "qwen2_moe",
        "qwen3_moe",
        "glm4_moe",
    ),
    *("ernie4_5_moe", "hunyuan_v1_moe", "gpt_oss", "dbrx", "deepseek_v2", "llama4_text"),
)


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_known_from_the_config_is_what_is_measured(name: str) -> None:
    hf = build(name)
    shape, model = Shape.of(hf.config.to_dict()), made_of(hf, name)
    assert shape is not None
    assert (shape.writers, shape.slots) == (len(model.graph.writers), model.graph.slots)
    assert shape.edges == pytest.approx(model.graph.n_edges, rel=0.45)  # two layers: the triangle's corners count
    assert shape.way == max(model.parts.ways, key=model.parts.ways.__getitem__)
    weights = {n: w.numel() for n, w in hf.named_parameters() if w.ndim > 1 and "wpe" not in n and "positions" not in n}
    assert shape.parameters == pytest.approx(sum(weights.values()), rel=0.2)


def test_experts_are_held_and_a_few_of_them_passed() -> None:
    dense, mixed = (Shape.of(build(name).config.to_dict()) for name in ("mistral", "mixtral"))
    assert dense is not None
    assert mixed is not None
    assert (mixed.inner, mixed.held, dense.held) == (2 * dense.inner, 4 * dense.inner, None)
    assert mixed.parameters - dense.parameters == mixed.experts - dense.experts == 3 * dense.mlp
    work = [work_of(CONFIG, shape, 20)["prune"] for shape in (dense, mixed)]
    passes = 3 * CONFIG.pruning.steps * CONFIG.pruning.batch_size * 20
    assert work[1].mixed - work[0].mixed == pytest.approx(passes * 2 * dense.mlp), "a token passes two, not one"
    assert memory(CONFIG, mixed, 20)["weights"] > memory(CONFIG, dense, 20)["weights"]


def test_a_norm_writer_and_attention_in_the_familys_words_cost_more() -> None:
    normed = replace(TINY, post_norm=True)
    assert normed.writers == TINY.writers + TINY.layers
    assert memory(CONFIG, normed, 20)["deltas"] > memory(CONFIG, TINY, 20)["deltas"]
    for way, (whole, sparse) in workload.SLOWER.items():
        other = replace(TINY, way=way)
        for live, factor in ((1.0, 1 + whole), (workload.live_readers(0.01), 1 + sparse)):
            assert workload.slower(CONFIG, other, live) == pytest.approx(factor)
        ratio = work_of(CONFIG, other, 20)["score"].float32 / work_of(CONFIG, TINY, 20)["score"].float32
        assert ratio == pytest.approx(1 + whole)


def test_edges_at_spans_cost_a_third_more_where_all_are_kept_and_nothing_where_few_are() -> None:
    spans = replace(CONFIG, positions="roles")
    assert workload.slower(spans, TINY, 1.0) == pytest.approx(1.3)
    assert workload.slower(spans, TINY, workload.live_readers(0.01)) == pytest.approx(1.0)
    with_spans, without = (estimate.estimate(config, TINY, MACHINE).seconds["prune"] for config in (spans, CONFIG))
    assert 1 < with_spans / without < 1.3


def test_the_shipped_constants_are_whole() -> None:
    held = estimate._constants()
    assert set(held["seconds"]) == set(PHASES)
    assert all(len(factors) == 4 for factors in held["seconds"].values())
    assert all(value >= 0 for factors in held["seconds"].values() for value in factors)
    assert 1e8 < held["base"] < 1e9


def test_work_by_hand() -> None:
    work = Work(float32=2e11, mixed=4e11, bytes=8e10, started=1e6, converted=2e6)
    # 2 s in float32 and 2 s in bfloat16 at twice the rate, 2 s of memory, 3 s of starting, 6 s more for bfloat16
    assert work.seconds(MACHINE, "bfloat16") == pytest.approx((2 + 2, 2, 3, 6))
    assert work.seconds(MACHINE, "float32") == pytest.approx((2 + 4, 2, 3, 6))
    assert Work(1, 2, 3, 4, 5) + Work(1, 1, 1, 1, 1) == Work(2, 3, 4, 5, 6)
    assert work.exact().seconds(MACHINE, "bfloat16") == work.seconds(MACHINE, "float32")


def test_mixing_counts_as_bfloat16_where_the_engine_mixes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Never below three tenths of the edges: all of the mixing.
    config = replace(CONFIG, method="ep", sparsity=0.5, dtype="bfloat16")
    found, weights = {}, {}
    for name, little in (("mixed in it", 0.0), ("not", 1.01 * TINY.edges * TINY.width)):
        monkeypatch.setattr(workload, "LITTLE", little)
        found[name] = work_of(config, TINY, 20)["prune"]
        weights[name] = memory(config, TINY, 20)["weights"]
    passes = 3 * config.pruning.steps * config.pruning.batch_size
    mixing = pytest.approx(passes * 20 * 2 * TINY.edges * TINY.width)
    assert found["mixed in it"].mixed - found["not"].mixed == mixing
    assert found["not"].float32 - found["mixed in it"].float32 == mixing
    assert found["mixed in it"].bytes < found["not"].bytes
    assert weights["mixed in it"] - weights["not"] == 2 * TINY.attention


def test_what_is_always_exact_costs_the_same_in_both_precisions() -> None:
    exact, half = (work_of(replace(CONFIG, dtype=dtype), TINY, 20) for dtype in ("float32", "bfloat16"))
    for phase in ("score", "evaluate", "roles"):
        assert half[phase] == exact[phase]
        assert half[phase].mixed == 0


def test_means_over_the_steps_of_a_descent() -> None:
    assert mean_over(lambda share: share, 0.1, 0.1, 0.7) == pytest.approx(0.1)
    steps = [0.1 * (0.01 / 0.1) ** (step / 70_000) for step in range(70_000)]
    mean = (sum(steps) + 30_000 * 0.01) / 100_000
    assert mean_over(lambda share: share, 0.1, 0.01, 0.7) == pytest.approx(mean, rel=1e-3)
    assert mean_over(lambda share: 2.0, 1.0, 0.01, 0.7) == pytest.approx(2.0)


def test_every_phase_grows_with_what_it_does() -> None:
    base = work_of(CONFIG, TINY, 20)
    assert set(base) == set(PHASES)

    def more(**changes: object) -> set[str]:
        grown = work_of(replace(CONFIG, **changes), TINY, 20)  # type: ignore[arg-type]
        return {phase for phase in base if grown[phase].float32 > base[phase].float32}

    assert more(sizes=SplitSizes(200, 10, 64)) == {"prompts", "score", "evaluate"}  # the circuit on its own prompts
    assert more(sizes=SplitSizes(100, 10, 128)) == {"evaluate"}
    assert more(pruning=PruningConfig(steps=20, batch_size=16)) == {"prune"}
    twice = work_of(replace(CONFIG, pruning=PruningConfig(steps=20, batch_size=16)), TINY, 20)
    assert twice["prune"].float32 == 2 * base["prune"].float32
    assert work_of(replace(CONFIG, method="eap"), TINY, 20)["prune"] == Work()
    longer = work_of(CONFIG, TINY, 40)
    assert all(longer[phase].mixed >= base[phase].mixed for phase in base)


def test_memory_follows_batch_precision_and_prompts() -> None:
    held = memory(CONFIG, TINY, 20)
    assert held["weights"] == 4 * (TINY.parameters + TINY.attention)
    half = memory(replace(CONFIG, dtype="bfloat16"), TINY, 20)
    assert half["deltas"] == held["deltas"]
    assert half["weights"] == held["weights"] + 2 * TINY.mlp
    for config in (CONFIG, replace(CONFIG, dtype="bfloat16")):
        assert memory(config, replace(TINY, stored="bfloat16"), 20)["weights"] == 2 * TINY.parameters
    many = memory(replace(CONFIG, sizes=SplitSizes(200, 10, 64)), TINY, 20)
    kept = prompts_at_sizes(CONFIG.sizes.test), prompts_at_sizes(64)
    assert many["prompts"] == pytest.approx(held["prompts"] * (210 + kept[1]) / (110 + kept[0]))


def test_what_a_pass_holds_by_hand() -> None:
    """Of 16 prompts of 20 tokens of a model of 8 slots, 4 heads and an MLP a layer."""
    (deltas, activations), (step, kept), (measured, read) = passes(CONFIG, TINY, 20, Limits())
    most = max((deltas, activations), (step, kept), (measured, read), key=sum)[0]
    assert memory(CONFIG, TINY, 20)["deltas"] == HEAP * most
    assert memory(replace(CONFIG, device="cuda"), TINY, 20)["deltas"] == most
    rows, readers, pairs = 16 * 20, 2 * 9, workload.CELL * 11 * 19
    # Scoring: the deltas, and the gradients of the readers of 9 layers, which go together.
    assert deltas == 4 * 8 * rows * (11 + 9 * 9) + pairs
    # A step: deltas with their gradients, at the scored position as well, and what each slot and MLP gets.
    assert step == 4 * 8 * (2 * 11 * (rows + 16) + readers * rows) + pairs
    # Of a layer: products of the slots, what its heads read, its patterns, the MLP's norm and inner numbers.
    assert kept == 4 * rows * 2 * (2 * 8 + 3 * 4 * 2 + 4 * 20 + 8 + 16) + 4 * 4 * 16 * 10
    assert measured == 4 * 8 * (11 * (640 + 32) + 81 * 640)
    (_, (four_times, _), _) = passes(replace(CONFIG, pruning=PruningConfig(batch_size=64)), TINY, 20, Limits())
    assert four_times - pairs == 4 * (step - pairs)
    sparse = replace(CONFIG, keep=0.2)
    (_, (summed, _), _) = passes(sparse, TINY, 20, Limits())
    assert step - summed == 4 * 8 * 11 * (rows + 16), "sums over edges have no gradient of each delta"
    (_, (on_card, _), _) = passes(replace(sparse, device="cuda"), TINY, 20, Limits())
    assert on_card == step
    (with_spans, _), *_ = passes(replace(CONFIG, positions="roles"), TINY, 20, Limits())
    assert with_spans - deltas == 4 * 8 * rows * 11 + (workload.OF_SPANS - 1) * pairs


def test_a_run_that_does_not_fit_gets_the_first_remedy_that_does(constants: None) -> None:
    shape = Shape.of(HUB_MODELS["gpt2"].config)
    assert shape is not None
    roomy = estimate.estimate(CONFIG, shape, MACHINE, free=10**12)
    assert roomy.fits
    assert roomy.advice == ""
    few = CONFIG.sizes.train // 4
    smaller = replace(CONFIG, sizes=replace(CONFIG.sizes, train=few))
    tight = estimate.estimate(CONFIG, shape, MACHINE, free=int(estimate._bytes(smaller, shape, 20)) + 1)
    assert not tight.fits
    assert tight.advice.startswith(f"Use {few} training prompts (")
    assert f"are free. Use {few} training prompts" in tight.sentence
    assert ", with no room for the deltas: " in tight.sentence
    hopeless = estimate.estimate(CONFIG, shape, MACHINE, free=10**6)
    assert "Choose a smaller model" in hopeless.sentence
    assert ", with no room for the program itself: 0.0 GB are free." in hopeless.sentence
    least = estimate._held(CONFIG, shape, 20)
    weights = estimate.estimate(CONFIG, shape, MACHINE, free=int(least["base"] + least["weights"]) - 1)
    assert ", with no room for the weights: " in weights.sentence


def test_the_cards_hold_together_what_one_would() -> None:
    """But for the deltas, of which each card has those of all writers before the end of its layers, and for what one
    layer takes while it is at work."""
    shape = Shape.of(HUB_MODELS["gpt2"].config)
    assert shape is not None
    whole, cards = memory(CONFIG, shape, 20), memory_on_cards(CONFIG, shape, 20, [4, 8])
    assert sum(card["activations"] for card in cards) >= whole["activations"]
    for name in ("weights", "prompts"):
        assert sum(card[name] for card in cards) == pytest.approx(whole[name]), name
    tables = 4 * shape.vocabulary * shape.width
    assert cards[0]["weights"] - tables == pytest.approx((cards[1]["weights"]) / 2), "both ends are on the first"
    assert whole["deltas"] / 2 < cards[1]["deltas"] < whole["deltas"], "of all writers, and of its own readers"
    assert cards[0]["deltas"] == pytest.approx(memory(CONFIG, replace(shape, layers=4), 20)["deltas"])
    assert memory_on_cards(CONFIG, shape, 20, [12]) == [pytest.approx(whole)]


def test_the_first_part_that_does_not_fit_is_named() -> None:
    held = {"weights": 3.0, "prompts": 1.0, "deltas": 2.0}
    assert [first_beyond(held, room) for room in (2, 3, 5, 6)] == [
        "the weights",
        "the corrupt runs of the prompts",
        "the deltas",
        "",
    ]


def test_the_remedy_leaves_enough_prompts_for_a_batch() -> None:
    def advice(batch: int, train: int) -> str:
        sizes, pruning = (replace(CONFIG.sizes, train=train), replace(CONFIG.pruning, batch_size=batch))
        config = replace(CONFIG, sizes=sizes, pruning=pruning)
        return " ".join(text for text, _ in estimate._savings(config))

    assert advice(200, 600) == "Use 200 training prompts Use 200 training prompts and take batches of 4"
    assert advice(200, 200) == "Take batches of 4"
    assert advice(16, 8) == "Take batches of 4"
    assert advice(2, 8) == "Use 2 training prompts"


def test_an_estimate_is_the_sum_of_its_phases(constants: None) -> None:
    found = estimate.estimate(CONFIG, TINY, MACHINE)
    assert found.total == pytest.approx(sum(found.seconds.values()))
    assert found.fits  # nothing is known about free memory
    assert found.seconds["load"] > 1  # the constant for opening
    assert "GB of memory." in found.sentence


def test_only_the_processor_is_estimated(constants: None) -> None:
    told = estimate.describe(CONFIG, MACHINE)
    assert told is not None
    assert estimate.bytes_of(CONFIG) == int(told.bytes)  # which no machine need be measured for
    assert estimate.bytes_of(replace(CONFIG, device="cuda")) is None
    assert estimate.describe(replace(CONFIG, device="cuda"), MACHINE) is None
    assert estimate.describe(replace(CONFIG, model="someone/unheard-of"), MACHINE) is None


def test_lengths_come_from_the_tokenizer() -> None:
    assert 10 < tokens_of(CONFIG, resolve("hap-mini")) < 30
    assert tokens_of(CONFIG, Source("a/b", "hub", "a/b", None)) == estimate.USUAL_TOKENS


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (9.4, "9 s"), (34, "30 s"), (89, "90 s"), (150, "2 min"), (7000, "1.9 h")]
)
def test_durations_are_coarse(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_machine_is_measured_once_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("HAP_HOME", str(tmp_path))
    assert speed.known() is None
    found = measured()
    assert found.float32 > 1e8
    assert found.bandwidth > 1e8
    assert 0 < found.dispatch < 1e-3
    assert speed.known() == found == measured()
    with monkeypatch.context() as other:
        other.setenv("OMP_NUM_THREADS", "97")
        assert speed.known() is None, "another number of threads is another speed"
        speed.remember(replace(found, threads=97))
    assert speed.known() == found, "each keeps its own"
    (tmp_path / "machine.json").write_text(json.dumps({"x": 1}))
    assert speed.known() is None
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "machine.json"))  # no folder: nothing can be written there
    assert measured().float32 > 1e8


def test_free_memory_is_a_plain_number() -> None:
    free = speed.free_memory()
    assert free is None or free > 2**20
    assert isinstance(MACHINE, Machine)


def test_a_tiny_model_gains_nothing_where_bfloat16_is_fast() -> None:
    """Measured there: pruning hap-mini took 4.0 s in float32 and 4.5 s in bfloat16, of one thread."""
    fast = Machine(1.6e11, 1e12, 2.5e10, 2.5e-6, threads=1)
    assert estimate.faster_dtype(DiscoveryConfig(), fast) == "float32"
    smollm2 = DiscoveryConfig(model="HuggingFaceTB/SmolLM2-135M-Instruct", sparsity=0.99)
    assert estimate.faster_dtype(smollm2, fast) == "bfloat16"

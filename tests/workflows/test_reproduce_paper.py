"""The paper's table, end to end on random weights with GPT-2 small's graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from hap_engine.cli.commands import main
from hap_engine.models.catalog import Source
from hap_engine.progress import drain
from hap_engine.settings import PRESETS
from hap_engine.tasks.task import SplitSizes
from hap_engine.transformer.load import Model, from_hf
from hap_engine.workflows import reproduce_paper
from tests.builders.tiny_models import word_tokenizer

SIZES = SplitSizes(train=32, validation=4, test=6)  # a batch of the published recipe


@pytest.fixture(scope="module")
def gpt2_small() -> Model:
    """12 layers of 12 heads; narrow and with few words, for these cost time and no edge."""
    torch.manual_seed(0)
    tokenizer = word_tokenizer()
    config = GPT2Config(vocab_size=tokenizer.get_vocab_size(), n_embd=144, attn_implementation="eager")
    model = GPT2LMHeadModel(config).eval()
    return from_hf(model, tokenizer, Source("gpt2", "hub", "gpt2", None), sha256="random")


def test_the_table(gpt2_small: Model, tmp_path: Path) -> None:
    assert gpt2_small.graph.n_edges == 32_491
    wanted = reproduce_paper.configs(steps=2, sizes=SIZES)
    quick = {
        name: dataclasses.replace(c, pruning=dataclasses.replace(c.pruning, batch_size=2)) for name, c in wanted.items()
    }
    rows = drain(reproduce_paper.reproduce(tmp_path, quick, gpt2_small))
    assert [row.name for row in rows] == ["EAP", *quick]
    budget = round(0.06 * 32_491)
    for row in rows:
        assert len(row.run.circuits[row.circuit].circuit) <= budget + 1
    assert not any("validation" in step for row in rows for step in row.run.history), "the last state is the circuit"
    assert {row.name: bool(row.run.sizes) for row in rows}["HAP, our defaults"], "of every size"
    text = reproduce_paper.table(rows)
    assert "| EP, published recipe |" in text
    assert text.count("0.772 | 3.48 | 0.190 | 2,921") == 1
    assert text.count("0.759 | 3.42 | 0.188 | 1,579") == 2
    assert all(" of 4" in line for line in text.splitlines()[2:]), "the published S-inhibition heads"
    assert len(list(tmp_path.glob("*.json"))) == 3

    again = reproduce_paper.reproduce(tmp_path, quick, gpt2_small)
    with pytest.raises(StopIteration) as stop:  # nothing is computed twice
        next(again)
    assert reproduce_paper.table(stop.value.value) == text


def test_the_published_recipe_is_the_published_one() -> None:
    recipe = reproduce_paper.configs()["EP, published recipe"]
    assert recipe.pruning == PRESETS["published"]
    assert (recipe.pruning.steps, recipe.pruning.batch_size, recipe.pruning.lr) == (3000, 32, 0.8)
    assert (recipe.sparsity, recipe.sizes.train, recipe.task) == (0.94, 200, "ioi")


def test_without_the_weights_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["reproduce-paper"]) == 1
    said = capsys.readouterr().err
    assert "gpt2" in said
    assert "Traceback" not in said

"""A typed pair: read exactly as the model itself reads it, and refused with a reason where it cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hap_engine.errors import TaskError
from hap_engine.explain.free_prompt import free_bench
from hap_engine.graph.circuit import empty_circuit, full_circuit
from hap_engine.masked.opening import open_masked
from hap_engine.runs.examples import example
from hap_engine.tasks.editing import first_corruption
from hap_engine.tasks.pair import encode
from hap_engine.transformer.load import load_model

PAIR = example().prompts["test"][0]
CLEAN, CORRUPT = PAIR["clean"], PAIR["corrupt"]


@pytest.fixture(scope="module")
def mini():
    return open_masked(load_model("hap-mini"))


def said(mini, text: str) -> np.ndarray:
    """The next token's probabilities by the model's own code."""
    with torch.no_grad():
        logits = mini.model.hf_model(torch.tensor([encode(mini.model.tokenizer, text)])).logits
    return logits[0, -1].softmax(-1).numpy()


def test_both_ends_are_what_the_model_itself_says(mini) -> None:
    bench = free_bench(mini, CLEAN, CORRUPT)
    np.testing.assert_allclose(bench.full().probabilities, said(mini, CLEAN), atol=1e-5)
    np.testing.assert_allclose(bench.corrupted().probabilities, said(mini, CORRUPT), atol=1e-5)
    np.testing.assert_allclose(bench.read(empty_circuit(mini.graph)).probabilities, said(mini, CORRUPT), atol=1e-5)
    assert bench.read(full_circuit(mini.graph)).kl[0] == pytest.approx(0, abs=1e-6)
    (pair,) = bench.pairs
    assert pair.answer_id == said(mini, CLEAN).argmax()
    assert pair.distractor_id != pair.answer_id
    assert pair.distractor_id in np.argsort(-said(mini, CORRUPT))[:2]


@pytest.mark.parametrize(
    ("clean", "corrupt", "why"),
    [
        (CLEAN, CORRUPT + " the", "token"),
        (CLEAN, CLEAN, "Both prompts are the same"),
        (CLEAN, "", "corrupted prompt is empty"),
        ("", CLEAN, "clean prompt is empty"),
        (" ".join([CLEAN] * 40), " ".join([CLEAN] * 39 + [CORRUPT]), "tokens"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(mini, clean: str, corrupt: str, why: str) -> None:
    with pytest.raises(TaskError, match=why):
        free_bench(mini, clean, corrupt)


def test_a_corruption_to_begin_with_breaks_the_repetition(mini) -> None:
    tokenizer = mini.model.tokenizer
    corrupt = first_corruption(tokenizer, CLEAN)
    changed = [at for at, (a, b) in enumerate(zip(CLEAN.split(), corrupt.split(), strict=True)) if a != b]
    words, name = CLEAN.split(), PAIR["distractor"].strip()
    assert changed == [len(words) - 1 - words[::-1].index(name)]  # the second time that the name comes, alone
    assert len(encode(tokenizer, corrupt)) == len(encode(tokenizer, CLEAN))
    assert first_corruption(tokenizer, f"{name} went to the") not in ("", f"{name} went to the")
    assert first_corruption(tokenizer, "") == ""

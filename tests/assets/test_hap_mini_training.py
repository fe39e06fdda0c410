"""The two parts of hap-mini's training that are not plain next-word learning, on cases made by hand."""

from __future__ import annotations

import math

import pytest
import torch

from assets.models.guidance import attention_guidance, words_to_hand, words_to_repeat
from assets.models.thinning import keep_largest, parts
from assets.models.train_hap_mini import Recipe, build_model, build_tokenizer

TO = 9
WORDS = torch.tensor([[5, 6, TO, 7, 5, TO, 6, TO, 8, 5, 6]])  # 5 6 to 7 · 5 to 6 · to 8 · 5 6
TEXTS, NEXTS = WORDS[:, :-1], WORDS[:, 1:]


def where(targets: torch.Tensor) -> list[tuple[int, int]]:
    return [(query, key) for _, query, key in targets.nonzero().tolist()]


def test_name_movers_are_asked_from_each_to_where_its_next_word_stood() -> None:
    assert where(words_to_hand(TEXTS, NEXTS, TO)) == [(5, 1)]  # 7 and 8 are new when they come


def test_induction_heads_are_asked_for_what_followed_the_same_word() -> None:
    assert where(words_to_repeat(TEXTS, NEXTS, 0)) == [(6, 2), (9, 1)]  # 6 to, and 5 6


def test_nothing_is_asked_of_padding() -> None:
    padded = torch.tensor([[5, 6, 0, 0, 0, 0]])
    assert not words_to_repeat(padded[:, :-1], padded[:, 1:], 0).any()


def test_guidance_is_the_mean_surprise_at_the_attention_that_was_asked_for() -> None:
    pattern = torch.full((1, 2, 10, 10), 0.25)
    asked = words_to_repeat(TEXTS, NEXTS, 0)
    assert attention_guidance(pattern, asked).item() == pytest.approx(-math.log(0.25), rel=1e-4)
    assert attention_guidance(pattern, torch.zeros_like(asked)).item() == 0


def test_thinning_keeps_the_share_and_gathers_it() -> None:
    torch.manual_seed(0)
    model = build_model(build_tokenizer(), Recipe())
    groups = parts(model)
    assert len(groups) == 4 * (8 + 1)
    total = sum(weight.numel() for group in groups for weight in group)
    blocks = [p for name, p in model.named_parameters() if ".h." in name and p.ndim == 2]
    assert total == sum(p.numel() for p in blocks)
    with torch.no_grad():
        for weight in groups[3]:  # a0.h3 is twice as strong
            weight.mul_(2)
    keep_largest(model, 0.05, 1.0)
    left = [sum(int(w.ne(0).sum()) for w in group) for group in parts(model)]
    assert sum(left) == pytest.approx(0.05 * total, abs=5)
    assert left[3] == max(left[:8])
    assert sum(int(p.ne(0).sum()) for p in blocks) == sum(left)

"""The form of a prompt: which order its roles have, which template it was made from."""

from __future__ import annotations

import re
import time

import pytest

from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.forms import _forms, order_of, template_of
from hap_engine.tasks.task import SplitSizes
from hap_engine.tasks.templates import ioi
from tests.builders.tiny_models import word_tokenizer


def test_both_orders_and_all_templates_of_ioi_are_told_apart() -> None:
    pairs = ioi.IOI.generate(word_tokenizer(), SplitSizes(60, 10, 10), 0, "abc").train
    assert {order_of(pair.roles) for pair in pairs} == {"IO, S1, S2", "S1, IO, S2"}
    found = [template_of("ioi", pair.pair.clean) for pair in pairs]
    assert set(found) == {*ioi.TEMPLATES}
    assert all(found.count(template) == 4 for template in ioi.TEMPLATES)


@pytest.mark.parametrize("task", [*TASKS, "custom", "unknown"])
def test_a_text_of_no_template_has_none(task: str) -> None:
    assert template_of(task, "Nobody wrote this sentence (here).") == ""


def test_roles_that_are_no_places_of_words_are_left_out() -> None:
    assert order_of({"END": 9, "S1+1": 3, "S1": 2}) == "S1"
    assert order_of({}) == ""


def test_a_text_that_almost_has_a_form_takes_no_time() -> None:
    """Each part of a template many times over: tried in every way they would take years."""
    for template in _forms("ioi"):
        first, *parts = re.split(r"\[\w+\]", template)
        started = time.perf_counter()
        assert template_of("ioi", first + "".join(f"{part}x" * 40 for part in parts) + "!") != template
        assert time.perf_counter() - started < 2

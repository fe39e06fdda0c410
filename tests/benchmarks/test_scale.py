"""The estimate of a large model, part by part, beside what the parts hold."""

from __future__ import annotations

import re

import pytest

from benchmarks import scale
from hap_engine.models.shape import Shape


def test_parts_of_a_small_shape_hold_what_is_estimated() -> None:
    found = scale.measured_parts(Shape(4, 8, 4, 128, 16, 256, 3, 1000, False, "bfloat16"))
    for name, within in ((scale.WEIGHTS, 0.02), (scale.TRACE, 0.02), (scale.SCORE, 0.1), (scale.STEP, 0.1)):
        estimated, measured = found[name]  # biases and norms are not counted
        assert measured == pytest.approx(estimated, rel=within), name


def test_deltas_of_8_billion_weights_are_within_the_estimate() -> None:
    estimated, laid_out = scale.deltas(scale.SHAPES[scale.LARGEST])
    assert 0.9 * estimated < laid_out <= estimated


def test_the_page_shows_estimates_near_what_was_measured() -> None:
    block = (
        scale.PAGE.read_text(encoding="utf-8").partition("<!-- parts:begin -->")[2].partition("<!-- parts:end -->")[0]
    )
    rows = re.findall(r"^\| (.+?) \| (.+?) \| ([\d,.]+) MB \| ([\d,.]+) MB \|", block, re.M)
    assert len(rows) == 4 * len(scale.MEASURED) + 1
    for model, name, estimated, measured in rows:
        got, want = (float(number.replace(",", "")) for number in (estimated, measured))
        assert got == pytest.approx(want, rel=0.2), (model, name)

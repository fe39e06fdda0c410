"""The estimate of a large model, part by part, beside what the parts hold."""

from __future__ import annotations

import re

import pytest

from benchmarks import scale
from hap_engine.models.shape import Shape


def test_parts_of_a_small_shape_hold_what_is_estimated() -> None:
    found = scale.measured_parts(Shape(4, 8, 4, 128, 16, 256, 3, 1000, False, "bfloat16"))
    for name in (scale.WEIGHTS, scale.TRACE):  # biases and norms are not counted
        estimated, measured = found[name]
        assert measured == pytest.approx(estimated, rel=0.02), name
    estimated, measured = found[scale.STEP]
    assert 0 < measured <= estimated


def test_deltas_of_8_billion_weights_are_within_the_estimate() -> None:
    shape = scale.SHAPES["Llama-3.1-8B"]
    estimated = scale.memory(scale.RUN, shape, scale.TOKENS, scale.Limits(batch=1))["deltas"]
    assert 0.9 * estimated < scale._buffers(shape) <= estimated


def test_the_page_shows_parts_within_the_estimate() -> None:
    block = (
        scale.PAGE.read_text(encoding="utf-8").partition("<!-- parts:begin -->")[2].partition("<!-- parts:end -->")[0]
    )
    rows = re.findall(r"^\| (.+?) \| ([\d,.]+) MB \| ([\d,.]+) MB \|$", block, re.M)
    assert [name for name, *_ in rows] == [scale.WEIGHTS, scale.TRACE, scale.STEP, scale.DELTAS]
    for name, estimated, measured in rows:
        assert float(measured.replace(",", "")) <= float(estimated.replace(",", "")), name

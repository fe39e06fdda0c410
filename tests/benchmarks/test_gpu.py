"""The script for a card, on the processor: every part is measured or says why not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks import gpu


def test_every_part_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--shapes", "tiny", "--prompts", "4"])
    told = capsys.readouterr().out
    assert told.count("| agrees |") == 3
    assert "hap-mini, quick, on cpu: KL eap" in told
    for case in gpu.SHOWN:
        assert f"| tiny, 82 edges | {case} | " in told


def test_what_time_or_memory_does_not_allow_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def too_large() -> Iterator[str]:
        yield "first"
        raise torch.OutOfMemoryError

    gpu.part("8B", too_large, gpu.Time(float("inf")))
    gpu.part("1B", too_large, gpu.Time(0))
    told = capsys.readouterr().out
    assert "first\n8B: does not fit this card." in told
    assert "1B: not measured, the minutes are over." in told


def test_without_a_card_it_names_what_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "--device cpu --shapes tiny" in capsys.readouterr().err

"""Trimming is harmless anywhere."""

from __future__ import annotations

import pytest

from hap_engine.machine import memory


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_trim_returns_nothing_and_breaks_nothing(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(memory.sys, "platform", platform)
    memory.trim()

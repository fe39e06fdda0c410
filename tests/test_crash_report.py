"""Errors that nobody foresaw: one sentence, a file for the report, no prompts in it."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from hap_engine import crash_report
from hap_engine.errors import HapError
from hap_engine.version import __version__


def raised(error: Exception) -> Exception:
    """The error with a traceback, and a cause of its own."""
    try:
        try:
            {}["model"]
        except KeyError as cause:
            raise error from cause
    except Exception as caught:
        return caught


def reports(home: Path) -> list[Path]:
    return sorted((home / "reports").glob("*.txt"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_what_was_foreseen_speaks_for_itself(home: Path) -> None:
    assert crash_report.explain(HapError("Expected a, got b. Use c."), "hap") == "Expected a, got b. Use c."
    for code, words in ((errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "denied")):
        told = crash_report.explain(OSError(code, "Read-only" if code == errno.EROFS else "Permission denied"), "hap")
        assert words in told
        assert "HAP_HOME" in told
    assert reports(home) == []


def test_any_other_error_is_told_in_a_line_and_written_down(home: Path) -> None:
    told = crash_report.explain(raised(ValueError("boom")), "hap discover --task ioi")
    (file,) = reports(home)
    assert "ValueError: boom" in told
    assert str(file) in told
    assert "\n" not in told
    text = file.read_text()
    assert f"HAP Explorer {__version__}" in text
    assert "torch 2." in text
    assert "hap discover --task ioi" in text
    assert text.index("KeyError: 'model'") < text.index("ValueError: boom")  # the first cause first
    assert "test_crash_report.py" in text


def test_prompts_stay_out_of_the_report_unless_allowed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = raised(ValueError("cannot encode 'My doctor is Mary' at 'key'\nMy doctor is Mary"))
    crash_report.explain(error, "hap")
    assert "doctor" not in reports(home)[0].read_text()
    assert "'key'" in reports(home)[0].read_text()
    monkeypatch.setenv(crash_report.ALLOW_TEXTS, "1")
    crash_report.explain(error, "hap")
    assert "'My doctor is Mary'" in reports(home)[1].read_text()


def test_without_a_home_the_report_goes_to_the_temporary_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write_text("a file where the folder should be")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    told = crash_report.explain(raised(ValueError("boom")), "hap")
    (file,) = (tmp_path / "temporary").iterdir()
    assert str(file) in told
    monkeypatch.setattr(tempfile, "tempdir", str(home / "below a file"))
    assert "send this line" in crash_report.explain(raised(ValueError("boom")), "hap")

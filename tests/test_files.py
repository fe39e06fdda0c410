"""Files are written whole or not at all, and a disk that refuses is told with the remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hap_engine.errors import DiskError
from hap_engine.files import check_writable, write_text, writing


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a" / "b.txt", "one")
    assert write_text(path, "two").read_text() == "two"
    assert os.listdir(path.parent) == ["b.txt"]


def test_a_full_disk_keeps_the_old_file_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text(tmp_path / "b.txt", "one")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DiskError, match=rf"{path} could not be written: the disk is full. Free some space"):
        write_text(path, "two")
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["b.txt"]


def test_what_a_library_says_of_the_disk_is_told_as_such(tmp_path: Path) -> None:
    """safetensors is written in Rust: its errors are no OSError."""
    with pytest.raises(DiskError, match="the disk is full"), writing(tmp_path / "x"):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(ValueError, match="another"), writing(tmp_path / "x"):
        raise ValueError("another")


def test_a_place_is_tried_before_long_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "run.json")
    assert os.listdir(tmp_path / "new") == []
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "run.json", tmp_path):
        with pytest.raises(DiskError, match="--out"):
            check_writable(place)

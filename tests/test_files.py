"""Files are written whole or not at all, and a disk that refuses is told with the remedy."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from hap_engine.errors import DiskError
from hap_engine.files import (
    DEEPEST,
    FRESH,
    check_writable,
    hold,
    parse_json,
    read_json,
    replacing,
    sweep,
    write_text,
    writing,
)


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[" * 10_000_000, "nested more than 32"),
        (b'{"a":' * 100_000, "nested more than 32"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nested more than 32"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' is named twice"),
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "Infinity is no number"),
        ("[1e999]", "is too large"),
        ("[" + "9" * 400 + "]", "is too large"),
        ("[" + "9" * 100_000 + "]", "is too large"),
        (r'["\ud800"]', "half a character"),
        ("{" + "".join(f'"k{i}": 0, ' for i in range(100_000)) + '"k99999": 1}', "'k99999' is named twice"),
        (b"\xff\xfe", "utf-8"),
        ("", "Expecting value"),
        ('{"cut off": [[1, ', "Expecting value"),
    ],
)
def test_what_breaks_a_bound_is_refused_at_once(text: str | bytes, words: str) -> None:
    started = time.perf_counter()
    with pytest.raises(ValueError, match=words):
        parse_json(text)
    assert time.perf_counter() - started < 2


def test_all_else_is_read_as_it_is() -> None:
    text = (
        r'{"brackets in text": "[[[\"{", "pair": "\ud83d\ude00", "numbers": [1, -2.5e10, 1e-999, 12345678901234567890]}'
    )
    assert parse_json(text) == {
        "brackets in text": '[[["{',
        "pair": "😀",
        "numbers": [1, -2.5e10, 0.0, 12345678901234567890],
    }
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)
    assert parse_json('\ufeff{"a": 1}'.encode()) == {"a": 1}
    assert parse_json('["' + r"\"" * 1_000_000 + '"]') == ['"' * 1_000_000]


def test_a_file_is_read_only_up_to_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1]" + " " * 100)
    assert read_json(path, 200) == [1]
    with pytest.raises(ValueError, match="expected at most"):
        read_json(path, 50)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a file"):
        read_json(tmp_path / "pipe", 50)


def test_what_killed_processes_left_is_swept_up_and_nothing_else(tmp_path: Path) -> None:
    old = time.time() - 2 * FRESH
    for name in ("hap-dead.part", "hap-new.part", "hap-living.part", "a film.part", "run.json"):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (old, old))
    os.utime(tmp_path / "hap-new.part")
    os.mkfifo(tmp_path / "hap-pipe.part")
    with (tmp_path / "hap-living.part").open("rb") as living:
        assert hold(living)
        sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [
        "a film.part",
        "hap-living.part",
        "hap-new.part",
        "hap-pipe.part",
        "run.json",
    ]
    os.utime(tmp_path / "hap-new.part", (time.time() + 1e6,) * 2)  # the clock was set back meanwhile
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a film.part", "hap-pipe.part", "run.json"]


def test_a_file_that_is_being_written_is_held(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as file:
        file.write(b"half")
        (part,) = tmp_path.glob("*.part")
        os.utime(part, (0, 0))
        sweep(tmp_path)
        assert part.exists()
    assert os.listdir(tmp_path) == ["a"]

"""Content hashes: of weight files (remembered per path, size and time) and of settings."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content in hexadecimal."""
    status = path.stat()
    return _file_sha256(path, status.st_size, status.st_mtime_ns)


def files_sha256(paths: Sequence[Path]) -> str:
    """One hash of several weight files; of a single file, its own."""
    hashes = [file_sha256(path) for path in paths]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_hash(data: Any) -> str:
    """Twelve hexadecimal digits that identify JSON-like `data`."""
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def home() -> Path:
    """``$HAP_HOME``, or the platform's folder for user data."""
    chosen = os.environ.get("HAP_HOME")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("hap-explorer"))


def write_text(path: Path | str, text: str) -> Path:
    """Write a file by atomic rename: a reader sees the old text or the new one, never a part."""
    path = Path(path)  # a notebook may give text
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path

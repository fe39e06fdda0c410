"""Files: where the project keeps its own, how one is written whole or not at all, and hashes of contents."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs

from hap_engine.errors import DiskError

ROOM = 2**20  # bytes that a disk must take before a run starts; a run file is up to 2 MB
OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how safetensors tells what the system said
FULL = (errno.ENOSPC, errno.EDQUOT)
WHERE = "(--out in the terminal, HAP_HOME for all that is kept)"

# The folder that holds `hap_engine` and `app`: a checkout, or the site-packages of an installation.
PROGRAM = Path(__file__).resolve().parents[1]


def assets() -> Path:
    """The folder of what ships: the bundled model, the example runs, the icon.

    A checkout has it beside the packages, an installation inside this one.
    """
    installed = PROGRAM / "hap_engine" / "assets"
    return installed if installed.is_dir() else PROGRAM / "assets"


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
    """Write a file by atomic rename: a reader sees the old text or the new one, never a part.

    Raises:
        DiskError: naming the file, the reason and the remedy.
    """
    path = Path(path)  # a notebook may give text
    with writing(path):
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


def check_writable(path: Path) -> None:
    """Raise DiskError if `path` could not be written now: asked before long work, whose result would be lost."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(bytes(ROOM))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever is raised in here because the disk refuses `path`, by Python or a library, becomes one DiskError."""
    try:
        yield
    except OSError as error:
        raise DiskError(disk_problem(error, path)) from error
    except Exception as error:
        told = OS_ERROR.search(str(error))
        if told is None:
            raise
        code = int(told[1])
        raise DiskError(disk_problem(OSError(code, os.strerror(code)), path)) from error


def disk_problem(error: OSError, path: Path | str = "") -> str:
    """What an error of the file system says to whoever chose the place, with the remedy."""
    file = path or error.filename or "A file"
    if error.errno in FULL:
        return f"{file} could not be written: the disk is full. Free some space there, or choose another place {WHERE}."
    reason = (error.strerror or str(error)).lower()
    return f"{file} could not be {'written' if path else 'used'}: {reason}. Choose another place {WHERE}."

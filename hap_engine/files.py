"""Files: where the project keeps its own, how one is written whole or not at all, hashes, and JSON from others.

Bounds on JSON are checked before it is parsed. Python's own reader takes NaN, keys named twice (the last one counts),
halves of characters that no file can hold, and nesting that overflows whatever walks through it later.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, BinaryIO

import platformdirs

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]

from hap_engine.errors import DiskError

ROOM = 2**20  # bytes that a disk must take before a run starts: a quota shows in no number
FREE = 32 * ROOM  # bytes that must be free then: a SmolLM2 run's file has 2 MB, its state up to 8, twice while written
FRESH = 60  # seconds in which a file that nobody holds is let be: between two calls of a living process
OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how safetensors tells what the system said
FULL = (errno.ENOSPC, errno.EDQUOT)
WHERE = "(--out in the terminal, HAP_HOME for all that is kept)"

DEEPEST = 32  # levels; a run file has nine, the configs of today's models up to six
MAX_CONFIG = 16 * 2**20  # bytes of a config.json or an index of weights; the largest indexes are about 5 MB
LARGEST = 1e300  # a number beyond it overflows as soon as it is drawn
TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
HALF = re.compile(rb"\\u[dD][89a-fA-F]")
POWER = re.compile(rb"[eE]\+?\d{3}")
NOT_NESTING = bytes({*range(256)} - {*b"[]{}"})
ONE_DIGIT = bytes.maketrans(b"123456789", b"000000000")
Pairs = list[tuple[str, Any]]
Stamp = tuple[int, int, int]

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
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a file", str(path))  # a pipe would be waited for
    return _file_sha256(path, status.st_size, status.st_mtime_ns)


def files_sha256(paths: Sequence[Path]) -> str:
    """One hash of several weight files; of a single file, its own."""
    hashes = [file_sha256(path) for path in paths]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: Path) -> Stamp:
    """Tells a file from the one that took its place, whatever the clock says: each is a new one. Raises OSError."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


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
    with replacing(path) as file:
        file.write(text.encode())
    return path


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when it is whole and on the disk. Raises DiskError."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="hap-", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                hold(file)
                yield file
                file.flush()
                os.fsync(handle)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def hold(file: IO[Any]) -> bool:
    """Lock an open file until it is closed or the process dies. False: another process, or part of this one, has it."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


@contextmanager
def claimed(path: Path, wait: float) -> Iterator[bool]:
    """Hold a name, whose file is there only as long; False if after `wait` seconds somebody else still does.

    Raises:
        DiskError: if the file cannot be made.
    """
    until = time.monotonic() + wait
    while True:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        with file:
            held = hold(file)
            if held and _is_at(file, path):
                try:
                    yield True
                finally:
                    with suppress(OSError):
                        path.unlink()
                return
        if not held and time.monotonic() > until:
            yield False
            return
        time.sleep(0.02)


def _is_at(file: IO[Any], path: Path) -> bool:
    """Whether a file still has its name: who held it before may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def sweep(folder: Path, names: str = "hap-*.part") -> None:
    """Remove what killed processes left half written in a folder, and nothing that a living one writes."""
    for path in folder.glob(names):
        with suppress(OSError):
            if path.is_file() and abs(time.time() - path.stat().st_mtime) > FRESH:
                with path.open("rb") as file:
                    if hold(file):
                        path.unlink()


def check_writable(path: Path) -> None:
    """Raise DiskError if `path` could not be written now: asked before long work, whose result would be lost."""
    sweep(home())
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if shutil.disk_usage(path.parent).free < FREE:
            raise OSError(errno.ENOSPC, "too little room")
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


def twice(pairs: Pairs) -> str | None:
    """The first name that stands there more than once."""
    return next((name for name, count in Counter(name for name, _ in pairs).items() if count > 1), None)


def _once(pairs: Pairs) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{str(twice(pairs))[:40]!r} is named twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def parse_json(
    text: str | bytes, gathered: Callable[[Pairs], Any] = _once, constant: Callable[[str], Any] = _no_number
) -> Any:
    """What the text of a JSON file holds.

    Args:
        gathered: what becomes of an object's names and values.
        constant: what becomes of NaN and Infinity, which JSON does not know.

    Raises:
        ValueError: saying in one line why it is not JSON, or which bound it breaks.
    """
    data = text.encode() if isinstance(text, str) else text
    bare = TEXT.sub(b"", data)
    if _deeper(bare.translate(None, NOT_NESTING)):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    large = POWER.search(bare) or b"0" * 300 in bare.translate(ONE_DIGIT)
    checked: dict[str, Any] = {"parse_float": _number, "parse_int": _number} if large else {}
    found = json.loads(data.decode("utf-8-sig"), object_pairs_hook=gathered, parse_constant=constant, **checked)
    if HALF.search(data):
        try:
            json.dumps(found, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"it holds half a character ({error.object[error.start]!a})") from None
    return found


def _deeper(signs: bytes) -> bool:
    """Whether brackets are left when the innermost pairs were taken away as often as levels are allowed."""
    for _ in range(DEEPEST):
        before, signs = len(signs), signs.replace(b"[]", b"").replace(b"{}", b"")
        if len(signs) == before:  # none is left, or they do not match
            return len(signs) > DEEPEST
    return bool(signs)


def read_json(path: Path, most: int) -> Any:
    """What a JSON file of at most `most` bytes holds. Raises OSError, and ValueError as `parse_json` does."""
    if not path.is_file():  # a pipe would be waited for
        raise FileNotFoundError(2, "it is not a file")
    if path.stat().st_size > most:
        raise ValueError(f"it is {path.stat().st_size / 2**20:,.0f} MB large, expected at most {most >> 20}")
    return parse_json(path.read_bytes(), constant=float)  # transformers writes Infinity


def _number(text: str) -> int | float:
    if not -LARGEST < float(text) < LARGEST:
        raise ValueError(f"the number {text[:20]} … is too large")
    return int(text) if text.lstrip("-").isdigit() else float(text)

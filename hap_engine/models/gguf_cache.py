"""Converted copies of ``.gguf`` files under ``HAP_HOME``: where they are and whether they can be trusted (no torch).

A copy is found by the hash of the whole file, header included. Its receipt says by which version of the conversion it
was made and what each of its files held, so that a copy of an older version, or one that changed, is made anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hap_engine.files import file_sha256, home, write_text

VERSION = 5  # raised with every change of what a conversion makes or of how it is checked
RECEIPT = "conversion.json"
PARTS = ("config.json", "tokenizer.json", "model.safetensors")


def gguf_cache(sha256: str) -> Path:
    """Folder in which the converted weights of a ``.gguf`` file are kept."""
    return home() / "models" / sha256[:16]


def converted(sha256: str) -> Path | None:
    """The folder of a file's converted copy if it is there, whole and of this version; sizes are looked at."""
    folder = gguf_cache(sha256)
    sizes = {part: held["size"] for part, held in _receipt(folder, sha256).items()}
    return folder if sizes and all(_size(folder / part) == size for part, size in sizes.items()) else None


def is_intact(folder: Path) -> bool:
    """Whether a copy still holds what was converted, byte for byte. As slow as reading it."""
    held = _receipt(folder)
    return bool(held) and all(
        _size(folder / part) == one["size"] and file_sha256(folder / part) == one["sha256"]
        for part, one in held.items()
    )


def is_changed_copy(folder: Path) -> bool:
    """Whether a folder has a receipt but no longer what it says. For folders that are no copies: no."""
    return (folder / RECEIPT).is_file() and not is_intact(folder)


def sign(folder: Path, sha256: str) -> None:
    """Write the receipt of a copy that has just been made of the file with this hash."""
    held = {part: {"size": _size(folder / part), "sha256": file_sha256(folder / part)} for part in PARTS}
    write_text(folder / RECEIPT, json.dumps({"version": VERSION, "of": sha256, "files": held}, indent=1))


def _receipt(folder: Path, of: str = "") -> dict[str, dict[str, Any]]:
    """What each file of a copy held; empty if there is none of this version, or it is of another file than asked."""
    try:
        found = json.loads((folder / RECEIPT).read_text())
        if found["version"] != VERSION or (of and found.get("of", of) != of):  # older receipts do not say
            return {}
        return {part: dict(found["files"][part]) for part in PARTS}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None

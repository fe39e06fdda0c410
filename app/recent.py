"""Models that were opened from this machine before, so that a path is typed once (no Streamlit here).

Kept under ``HAP_HOME`` by name. The name alone goes into a URL: a path may tell who somebody is.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from hap_engine.catalog import Source, resolve
from hap_engine.errors import HapError
from hap_engine.runs import home

KEPT = 12  # more than that is a list nobody reads


def remembered() -> dict[str, Source]:
    """Files and folders that are still there, by name, the latest first."""
    found: dict[str, Source] = {}
    for reference in _read():
        try:
            source = resolve(reference)
        except HapError:  # moved or deleted since
            continue
        if source.kind in ("gguf", "folder"):
            found.setdefault(source.name, source)
    return found


def remember(source: Source) -> None:
    """Put a file or folder first on the list. A disk that cannot be written to is no obstacle."""
    if source.kind not in ("gguf", "folder") or source.path is None:
        return
    kept = [str(source.path), *(one for one in _read() if one != str(source.path))][:KEPT]
    part = _file().with_suffix(f".{os.getpid()}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(kept, ensure_ascii=False, indent=1), encoding="utf-8")
        part.replace(_file())
    except OSError:
        part.unlink(missing_ok=True)


def _read() -> list[str]:
    try:
        data = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [one for one in data if isinstance(one, str)] if isinstance(data, list) else []


def _file() -> Path:
    return home() / "models.json"

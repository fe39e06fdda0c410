"""Models that were opened from this machine before, so that a path is typed once (no Streamlit here).

Kept under ``HAP_HOME`` by name. The name alone goes into a URL: a path may tell who somebody is.
"""

from __future__ import annotations

from contextlib import suppress

from app.classroom import check_change
from app.stored import json_files
from hap_engine.errors import DiskError, HapError
from hap_engine.models.catalog import Source, resolve

FILE = "models.json"
REMEMBERED = 12  # more than that is a list nobody reads


def remembered() -> dict[str, Source]:
    """Files and folders that are still there, by name, the latest first."""
    sources: dict[str, Source] = {}
    for reference in _read():
        try:
            source = resolve(reference)
        except HapError:  # moved or deleted since
            continue
        if source.kind in ("gguf", "folder"):
            sources.setdefault(source.name, source)
    return sources


def remember(source: Source) -> None:
    """Put a file or folder first on the list. A disk that cannot be written to is no obstacle."""
    if source.kind not in ("gguf", "folder") or source.path is None:
        return
    check_change()
    others = [path for path in _read() if path != str(source.path)]
    with suppress(DiskError):
        json_files.write([str(source.path), *others][:REMEMBERED], FILE)


def _read() -> list[str]:
    data = json_files.read(FILE)
    return [path for path in data if isinstance(path, str)] if isinstance(data, list) else []

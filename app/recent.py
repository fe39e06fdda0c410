"""Models that were opened from this machine before, so that a path is typed once (no Streamlit here).

Kept under ``HAP_HOME`` by name. The name alone goes into a URL: a path may tell who somebody is.
"""

from __future__ import annotations

from contextlib import suppress

from app import kept
from hap_engine.catalog import Source, resolve
from hap_engine.errors import HapError

FILE = "models.json"
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
    others = [one for one in _read() if one != str(source.path)]
    with suppress(OSError):
        kept.write([str(source.path), *others][:KEPT], FILE)


def _read() -> list[str]:
    data = kept.read(FILE)
    return [one for one in data if isinstance(one, str)] if isinstance(data, list) else []

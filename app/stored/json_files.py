"""Small JSON files under ``HAP_HOME`` that the explorer keeps for itself (no Streamlit here).

What cannot be read counts as not there: the file may be half written by hand, or of another version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hap_engine.files import home, write_text


def read(*path: str) -> Any:
    """The content of a file below ``HAP_HOME``; None without a readable one."""
    try:
        return json.loads(_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write(data: Any, *path: str) -> None:
    """Keep `data`; readers see the old content or the new. Raises DiskError."""
    write_text(_file(path), json.dumps(data, ensure_ascii=False, indent=0))


def _file(path: tuple[str, ...]) -> Path:
    return home().joinpath(*path)

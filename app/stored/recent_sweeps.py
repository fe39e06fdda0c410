"""Folders of sweeps on this machine: those beside the explorer, and those that were opened before (no Streamlit here).

Kept under ``HAP_HOME``. A URL holds their names alone: a path may tell who somebody is.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from app.classroom import check_change
from app.stored import json_files
from hap_engine.errors import DiskError
from hap_engine.files import home
from hap_engine.sweeps.folder import LIST

FILE = "sweeps.json"
REMEMBERED = 12  # more than that is a list nobody reads


def remembered() -> dict[str, Path]:
    """Folders that hold a sweep, by name, the one that was opened last first."""
    found: dict[str, Path] = {}
    for folder in [*map(Path, _read()), *_beside(Path.cwd()), *_beside(home())]:
        with suppress(OSError, ValueError):
            if (folder / LIST).is_file() and folder not in found.values():
                found[folder.name if folder.name not in found else str(folder)] = folder
    return found


def remember(folder: Path) -> None:
    """Put a folder first on the list. A disk that cannot be written to is no obstacle."""
    check_change()
    others = [path for path in _read() if path != str(folder)]
    with suppress(DiskError):
        json_files.write([str(folder), *others][:REMEMBERED], FILE)


def _beside(place: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(path.parent for path in place.glob(f"*/{LIST}"))
    return []


def _read() -> list[str]:
    data = json_files.read(FILE)
    return [path for path in data if isinstance(path, str)] if isinstance(data, list) else []

"""Where the studies' pages and data lie, and how a part that was made is put into a page."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "studies"
DATA = Path(__file__).parent / "data"
SHIPPED = ROOT / "assets" / "runs"


def fill(path: Path, name: str, body: str) -> None:
    """Replace what stands between ``<!-- name:begin -->`` and ``<!-- name:end -->``."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    path.write_text(f"{before}{begin}\n{body}\n{end}{after}", encoding="utf-8")

"""The documentation site, built as `make docs` builds it, and what its pages load."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOADS = {"src", "srcset", "poster", "data"}  # attributes that make a browser fetch; a link's href too


def build_site(folder: Path) -> Path:
    """The folder with the built pages. A page that asks for what is not there stops the build."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Loaded(HTMLParser):
    """Collects what a page fetches by itself, and the ids that it has."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in LOADS or (tag == "link" and name == "href"):
                self.addresses.append(value or "")
            elif name == "id":
                self.ids.add(value or "")


def pages(folder: Path) -> Iterator[Path]:
    """All pages but the one that a server shows for a wrong address."""
    yield from (page for page in sorted(folder.rglob("*.html")) if page.name != "404.html")

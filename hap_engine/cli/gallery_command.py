"""The terminal's command ``gallery``: runs as a static site."""

from __future__ import annotations

import argparse

from hap_engine.errors import RunFileError
from hap_engine.runs.examples import SHIPPED
from hap_engine.runs.gallery import write_gallery
from hap_engine.runs.run_file import load, runs_folder


def gallery(options: argparse.Namespace) -> None:
    """Write the runs that are named, else all of this machine, then those that ship. Raises HapError."""
    own = sorted(runs_folder().glob("*.json"), key=lambda path: -path.stat().st_mtime)
    runs = []
    for path in options.runs or [*own, *sorted(SHIPPED.glob("*.json"))]:
        try:
            runs.append(load(path))
        except RunFileError as error:
            if options.runs:
                raise
            print(f"Left out: {error}")
    write_gallery(runs, options.folder)
    print(f"Written: {options.folder / 'index.html'}, with the pages of {len(runs)} runs: open it, or put it online.")

"""``python -m tests.campaign``: attack, and write what came of it to ``docs/campaign.json`` and ``docs/campaign.md``.

Parts that were not asked for keep what an earlier campaign found. The exit code is 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.campaign.parts import PARTS
from tests.campaign.tally import Tally

DOCS = Path(__file__).parents[2] / "docs"
COLUMNS = ("tried", "accepted", "refused", "tracebacks", "lost", "wrong", "outside")
HEAD = """# The campaign: what was attacked, and what came of it

`python -m tests.campaign` attacks every way in with chance's help and counts what must not be: errors nobody foresaw,
finished results lost, wrong acceptances (of files; in a class, of what one visitor sees of another), and connections to
other machines. Each part has a seed, with which it does the same again; a short form of each is among the tests
(`tests/campaign/test_short.py`). [What is promised](security.md) says to whom.

A whole campaign has 1,000 run files, 1,000 prompts files, 300 models, 50 sessions, 100 walks and 50 kills. The table
has what was run last of each part, in the numbers that were run.

| Part | Seed | Cases | Accepted | Refused in words | Tracebacks | Lost | Wrong | Outside | Minutes |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART", help=" ".join(PARTS)
    )
    parser.add_argument("--count", type=int, help="cases of each part; by default those of the issue that asked for it")
    parser.add_argument(
        "--short", action="store_true", help="a few cases of each part, as in the tests; writes nothing"
    )
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    faults = 0
    for name in asked.only:
        part = PARTS[name]
        count = asked.count or (part.short if asked.short else part.cases)
        with tempfile.TemporaryDirectory() as home:
            os.environ |= {"HAP_HOME": home, "HF_HUB_OFFLINE": "1"}
            tally = part.attack(asked.seed, count)
        faults += len(tally.faults)
        print(json.dumps(asdict(tally), indent=1, ensure_ascii=True), flush=True)
        if not asked.short:
            write(name, tally)
    return min(1, faults)


def write(name: str, tally: Tally) -> None:
    """Put a part's tally beside those of the others."""
    file = DOCS / "campaign.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found[name] = asdict(tally)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (DOCS / "campaign.md").write_text(report(found), encoding="utf-8")


def report(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The report in Markdown."""
    rows, notes = [], []
    for name, part in PARTS.items():
        if name not in found:
            continue
        tally = found[name]
        counts = [len(tally[key]) if isinstance(tally[key], list) else tally[key] for key in COLUMNS]
        cells = [tally["part"], tally["seed"], *counts, f"{tally['seconds'] / 60:.1f}"]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
        told = ", ".join(f"{key} {value}" for key, value in tally["notes"].items())
        notes.append(f"- **{tally['part']}**: {part.about}" + (f" Measured: {told}." if told else ""))
        notes += [f"    - `{fault[:300]}`" for key in COLUMNS[3:] for fault in tally[key]]
    return HEAD + "\n".join(rows) + "\n\n## What each part does\n\n" + "\n".join(notes) + "\n"


if __name__ == "__main__":
    sys.exit(main())

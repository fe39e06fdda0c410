"""The list of models that work, from the tests' table: ``python -m docs.generate.models``.

It writes the list in README.md, between its marks, and docs/families.md with the whole table: of each family its
layers' way of computing attention, as opening a tiny model of it measures. Takes two minutes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from hap_engine.models.supported import REFUSED
from hap_engine.transformer.load import Model
from tests.builders.family_zoo import FAMILIES, GROUPS, Family, build
from tests.builders.tiny_models import made_of

ROOT = Path(__file__).parents[2]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "families.md"
LISTED = re.compile(r"(<!-- models:begin -->\n).*?(<!-- models:end -->)", re.DOTALL)
HEAD = """# Families of models

Made by `python -m docs.generate.models` from the tests' table of {count} families and variants, each of which the tests
open as a tiny random model and compare with the model's own code: both ends, gradients, sparse circuits, scores.

**Attention** is computed in one of three ways, all exact: *closed* is written out by the engine, and needs the fewest
operations; *prepared* is the family's own code up to where its queries, keys and values meet; *replayed* is all of
its attention's own code. A *norm writer* carries what the change of scale of a layer's heads adds. *Parallel*: heads
and MLP read the same. *Coupled*: heads act on each other inside attention, which the engine measures and counts.
"""
TABLE = "| family | models | attention | besides |\n|---|---|---|---|"
NOT_WORKING = """
## What is refused, and why

Before a download, from the config alone.

| why | types | what works instead |
|---|---|---|"""


def names() -> list[str]:
    """The people's models, in the table's order."""
    return list(dict.fromkeys(family.known for family in FAMILIES.values() if family.known))


def listed() -> str:
    """README's list."""
    return (
        f"<details><summary>{len(FAMILIES)} families and variants are opened and checked in the tests</summary>\n\n"
        f"{'; '.join(names())}.\n\n</details>\n\n"
        "[The table](docs/families.md) says how each is computed, and which are refused and why.\n"
    )


def row(name: str, model: Model) -> str:
    """A family's row, from what its opened model is."""
    ways, graph = model.parts.ways, model.graph
    way = " and ".join(f"{way} ({count})" if len(ways) > 1 else way for way, count in ways.items())
    said = {"norm writer": graph.post_norm, "parallel": graph.parallel, "coupled": bool(graph.coupled)}
    besides = ", ".join(word for word, true in said.items() if true)
    return f"| `{name}` | {FAMILIES[name].known} | {way} | {besides} |"


def opened(name: str) -> Model:
    """A tiny random model of a family."""
    return made_of(build(name), name)


def refused() -> str:
    """The table of what cannot work."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for kind, reason in REFUSED.items():
        reasons.setdefault(reason, []).append(kind)
    rows = [f"| {why} | {' '.join(f'`{k}`' for k in kinds)} | {near} |" for (why, near), kinds in reasons.items()]
    return "\n".join([NOT_WORKING, *rows])


def page(rows: Mapping[str, str]) -> str:
    """docs/families.md."""

    def section(title: str, families: Mapping[str, Family]) -> str:
        return "\n".join([f"\n## {title[0].upper()}{title[1:]}\n", TABLE, *(rows[name] for name in families)])

    parts = [section(title, families) for title, families in GROUPS.items()]
    return "\n".join([HEAD.format(count=len(FAMILIES)), *parts, refused()]) + "\n"


def readme(text: str) -> str:
    """README.md with the list in its place."""
    return LISTED.sub(lambda found: found[1] + listed() + found[2], text)


def main() -> None:
    README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")
    PAGE.write_text(page({name: row(name, opened(name)) for name in FAMILIES}), encoding="utf-8")


if __name__ == "__main__":
    main()

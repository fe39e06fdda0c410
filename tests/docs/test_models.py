"""README's list of models and docs/families.md say what the table of the tests says."""

from __future__ import annotations

import pytest

from docs.generate.models import LISTED, PAGE, README, listed, names, opened, page, readme, refused, row
from hap_engine.models.supported import REFUSED
from tests.builders.family_zoo import FAMILIES, GROUPS


def test_readme_lists_the_families_of_the_table() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(LISTED.findall(text)) == 1
    assert readme(text) == text, "run python -m docs.generate.models"
    assert all(name in text for name in names())
    assert f"{len(FAMILIES)} families" in listed()


def test_the_page_has_a_row_of_every_family_and_every_refusal() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert list(rows) == list(FAMILIES)
    assert page(rows) == text, "run python -m docs.generate.models"
    assert all(f"`{kind}`" in refused() for kind in REFUSED)


@pytest.mark.parametrize("name", [*(next(iter(group)) for group in GROUPS.values()), "gemma2", "olmo2", "smollm3"])
def test_a_row_says_how_a_family_is_computed(name: str) -> None:
    """One of each group; tests/anatomy opens them all."""
    assert row(name, opened(name)) in PAGE.read_text(encoding="utf-8").splitlines()

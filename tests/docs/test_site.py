"""The documentation site: it builds, says what the code says, and loads nothing from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import hap_engine as hap
from app import serve
from app.glossary import TERMS
from docs.generate import slopes
from docs.generate.method_pictures import ON_THE_PAGE, OUT, PICTURES, SHIPPED
from docs.generate.parts import citation, fill_in, relinked, section
from hap_engine.cli.options import make_parser
from tests.builders.site import ROOT, Loaded, pages

DOCS = ROOT / "docs"
NAMED = re.compile(r"`((?:hap_engine|app|tests|studies|docs|assets|benchmarks)/[\w./-]+)`")


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


def test_pages_load_nothing_from_elsewhere(docs_site: Path) -> None:
    found = list(pages(docs_site))
    assert len(found) > 20
    for page in found:
        for address in Loaded(page).addresses:
            assert not re.match(r"(?i)[a-z]+:(?!image/)|//", address), f"{page.name} loads {address}"
    for style in docs_site.rglob("*.css"):
        for address in re.findall(r"(?:url\(|@import)\s*[\"']?([^)\"';]+)", style.read_text(encoding="utf-8")):
            assert not re.match(r"(?i)https?:|//", address), f"{style.name} loads {address}"


def test_every_option_and_command_is_on_the_page(docs_site: Path) -> None:
    shown = text_of(docs_site / "terminal.html")
    (commands,) = [action.choices for action in make_parser()._actions if action.dest == "command"]
    for name, command in {**commands, "app": serve.parser()}.items():
        assert f'id="{name}"' in (docs_site / "terminal.html").read_text(encoding="utf-8")
        for option in (option for action in command._actions for option in action.option_strings[-1:]):
            assert option in shown or option == "--help", f"{name} {option}"


def test_every_public_name_is_on_the_page(docs_site: Path) -> None:
    ids = Loaded(docs_site / "reference.html").ids
    for name, module in hap._PUBLIC.items():
        assert f"hap_engine.{module}.{name}" in ids


def test_every_word_is_in_the_glossary(docs_site: Path) -> None:
    shown = text_of(docs_site / "glossary.html")
    assert all(name in shown for name in TERMS)


def test_the_drawings_are_those_of_the_code() -> None:
    for name, draw in PICTURES.items():
        path = OUT / f"{name}.svg"
        assert path.read_text(encoding="utf-8") == draw(), "python -m docs.generate.method_pictures draws it again"


def test_the_slopes_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = json.loads(slopes.FOUND.read_text(encoding="utf-8"))
    assert tuple(kept["points"]) == slopes.POINTS
    text = (DOCS / "method.md").read_text(encoding="utf-8")
    bent = kept["edges"][1]["curve"]
    assert f"cutting all of it costs {bent[0] - bent[-1]:.2f}" in " ".join(text.split())
    monkeypatch.setattr(slopes, "POINTS", slopes.POINTS[::5])
    for one, again in zip(kept["edges"], slopes.measured(), strict=True):
        assert one["edge"] == again["edge"]
        assert one["score"] == pytest.approx(again["score"], abs=2e-3)
        assert one["curve"][::5] == pytest.approx(again["curve"], abs=2e-3)


def test_files_that_pages_name_are_there() -> None:
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        for name in NAMED.findall(page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_every_link_of_the_readme_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](method.md)" in relinked(text, "README.md", "index.md")


def test_a_section_of_a_file_is_put_in_with_its_links() -> None:
    shown = fill_in("before\n<!-- made: section README.md -->\nafter", "studies/index.md")
    assert shown.startswith("before\n")
    assert "](../images/first-screen-1440x900-light.png)" in shown
    assert "## " not in shown, "only what stands above the first heading"
    assert section("README.md", "Limits").startswith("Templates are")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("<!-- made: nothing -->", "asks for 'nothing'; there are options"),
        ('<!-- made: section README.md "No such" -->', "README.md has no heading 'No such'"),
    ],
)
def test_a_page_that_asks_for_what_nobody_makes(asked: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fill_in(asked, "x.md")


def test_links_of_a_file() -> None:
    def made(text: str, page: str = "studies/x.md") -> str:
        return relinked(text, "README.md", page)

    assert made("[a](docs/api.md#errors)") == "[a](../api.md#errors)"
    assert made("[a](CHANGELOG.md)", "x.md") == "[a](changelog.md)"
    assert made("[the builder](tests/builders/toys.py)") == "the builder (`tests/builders/toys.py`)"
    assert made("[a](https://arxiv.org/abs/1)") == "[a](https://arxiv.org/abs/1)"
    with pytest.raises(ValueError, match=r"links to gone\.py, which is not there"):
        made("[a](gone.py)")


def test_what_to_cite() -> None:
    shown = citation()
    for number in re.findall(r"arxiv\.org/abs/([\d.]+)", (ROOT / "CITATION.cff").read_text(encoding="utf-8")):
        assert f"eprint = {{{number}}}" in shown
    assert "@misc{gu2025," in shown


def test_the_page_how_it_works_has_the_pictures_that_the_command_draws() -> None:
    for name in ON_THE_PAGE:
        shipped = (SHIPPED / f"{name}.svg").read_text(encoding="utf-8")
        assert shipped == (OUT / f"{name}.svg").read_text(encoding="utf-8")

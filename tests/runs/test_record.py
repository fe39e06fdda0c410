"""A run shows itself: the page in a frame, the names that it takes, and what it needs for it."""

from __future__ import annotations

import base64
import gzip
import re
import subprocess
import sys
from html import unescape

import pytest

import hap_engine as hap
from hap_engine.errors import UnknownNameError
from hap_engine.runs.record import Run
from tests.builders.fakes import fake_run
from tests.conftest import ROOT

ATTACK = '"></iframe><script>alert(1)</script>'


@pytest.fixture(scope="module")
def run() -> Run:
    return hap.example("hap-mini")


def page_in(output: str) -> str:
    """The page that a notebook's output holds."""
    frame = re.search(r'srcdoc="([^"]*)"', output)
    assert frame is not None
    packed = re.search(r'atob\("([^"]*)"\)', unescape(frame[1]))
    assert packed is not None
    return gzip.decompress(base64.b64decode(packed[1])).decode()


def test_a_run_shows_both_circuits_the_verdict_and_the_metrics(run: Run) -> None:
    output = run._repr_html_()
    page = page_in(output)
    assert page == run.show().page
    assert hap.verdict(run).sentence in unescape(page)
    for row in run.metrics.values():
        assert f"<td>{row['kl']:.2f}</td>" in page
    assert '"label": "EAP only"' in page.replace('\\"', '"').replace('":"', '": "')
    assert len(output) < 700_000


def test_an_output_asks_for_nothing_and_reaches_nothing(run: Run) -> None:
    output = run._repr_html_()
    assert "http" not in output.replace(re.search(r"atob\(&quot;([^&]*)", output)[1], "")  # type: ignore[index]
    assert 'sandbox="allow-scripts allow-downloads"' in output
    assert "default-src 'none'" in page_in(output)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", page_in(output))


@pytest.mark.parametrize("view", ["sentence", "together", "pair", "overlay", "roles", "matrix"])
def test_the_circuits_and_the_view_are_those_asked_for(run: Run, view: str) -> None:
    page = run.show(left="hap", right="eap", view=view).page
    assert f'"view": "{view}"' in page
    assert page.index("Kept by HAP") < page.index("Kept by EAP")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"left": "eapp"}, r"no circuit named 'eapp'. Did you mean 'eap'\? Known: "),
        ({"right": "HAP"}, r"no circuit named 'HAP'. Did you mean 'hap'\?"),
        (
            {"view": "role"},
            r"no view named 'role'. Did you mean 'roles'\? Known: sentence, together, roles, pair, overlay, matrix",
        ),
        ({"view": 3}, r"no view named '3'"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(run: Run, options: dict[str, str], words: str) -> None:
    with pytest.raises(UnknownNameError, match=words):
        run.show(**options)


def test_a_run_of_one_circuit_shows_it_on_both_sides(run: Run) -> None:
    alone = fake_run(
        circuits={"eap": run.circuits["eap"]}, graph=run.graph, settings={"method": "eap", "sparsity": 0.9}
    )
    assert alone.sides == ("eap", "eap")
    assert "EAP only" in page_in(alone._repr_html_())


def test_names_cannot_leave_their_place() -> None:
    output = fake_run(name=ATTACK)._repr_html_()
    assert output.count("<iframe") == output.count("</iframe>") == output.count("<script>") == 1
    assert "<script>alert" not in page_in(output)


def test_a_run_and_its_picture_are_one_line_on_a_terminal(run: Run) -> None:
    assert repr(run) == f"Run {run.id}: {run.title} (hap 30 edges, eap 30 edges, eap-ig-kl 30 edges)"
    assert "\n" not in repr(run.show())
    assert len(repr(run.show())) < 200


def test_showing_a_stored_run_needs_neither_torch_nor_a_page() -> None:
    code = (
        "import sys, hap_engine as hap; hap.example('hap-mini')._repr_html_(); "
        "print([m for m in ('torch', 'transformers', 'streamlit', 'tqdm', 'IPython', 'app') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_there_is_no_example_of_everything() -> None:
    with pytest.raises(UnknownNameError, match="no shipped run named 'gpt5 on ioi'"):
        hap.example("gpt5")

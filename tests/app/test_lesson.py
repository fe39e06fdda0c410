"""The lesson and the glossary: every number from the run, every answer computed, every term defined."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from app import glossary, lesson
from app.glossary import rich
from app.pages import about, compare
from app.pages import lesson as lesson_page
from hap_engine.errors import UnknownNameError
from hap_engine.picture.scene import Scene
from hap_engine.report.missed_heads import missed_heads
from hap_engine.runs.examples import SHIPPED, example
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load, runs_folder, save
from tests.builders.fakes import fake_run

SHIPPED_RUNS = [load(path) for path in sorted(SHIPPED.glob("*.json"))]
RUNS = [run for run in SHIPPED_RUNS if lesson.suits(run)] + [fake_run(seed=seed) for seed in range(3)]


def changed(run: Run, name: str, **values: float) -> Run:
    return replace(run, metrics={**run.metrics, name: {**run.metrics[name], **values}})


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.id)
def test_seven_steps_for_every_run(run: Run) -> None:
    steps = lesson.steps(run)
    assert len(steps) == 7
    known = {*run.graph.writer_index, "logits"}
    for step in steps:
        assert rich(step.text)
        assert rich(step.reveal)
        assert "[[" not in step.question.ask + step.question.because + step.look  # these are plain
        assert 0 <= step.question.right < len(step.question.options)
        assert len(set(step.question.options)) == len(step.question.options)
        assert set(step.pins) <= known
        assert set(step.cut) <= known
        assert "None" not in step.text + step.question.because


def test_answers_follow_the_numbers() -> None:
    run = fake_run()
    for accuracy, option in ((0.1, 0), (0.5, 1), (0.8, 2), (0.99, 3)):
        assert lesson.steps(changed(run, "full", accuracy=accuracy))[0].question.right == option
        assert lesson.steps(changed(run, "empty", accuracy=accuracy))[1].question.right == option
    for eap, hap, option in ((1.0, 2.0, 0), (2.0, 1.0, 1), (1.0, 1.01, 2)):
        asked = lesson.steps(changed(changed(run, "eap", kl=eap), "hap", kl=hap))[5].question
        assert asked.right == option


def test_what_eap_missed_is_counted_and_named() -> None:
    run = fake_run()
    missed = missed_heads(run, "eap", run.main)
    assert missed
    assert set(missed) == run.circuits["hap"].circuit.heads - run.circuits["eap"].circuit.heads
    step = lesson.steps(run)[4]
    assert step.question.options[step.question.right] == str(len(missed))
    assert f"**{missed[0]}**" in step.reveal
    assert missed[0] not in step.text  # the guess comes first


def test_a_run_in_which_eap_missed_nothing_says_so() -> None:
    run = fake_run()
    same = replace(run, circuits={**run.circuits, "eap": run.circuits["hap"]})
    step = lesson.steps(same)[4]
    assert "drops no head" in step.reveal
    assert step.question.options[step.question.right] == "0"


def test_runs_without_eap_beside_another_circuit_do_not_suit() -> None:
    run = fake_run()
    assert lesson.suits(run)
    assert not lesson.suits(replace(run, settings={**run.settings, "method": "eap"}))
    assert not lesson.suits(replace(run, metrics={}))


@pytest.mark.parametrize("run", [run for run in SHIPPED_RUNS if run.task["name"] == "ioi"], ids=lambda run: run.id)
def test_the_exercise_is_marked_against_the_run(run: Run) -> None:
    asked = lesson.exercise(run)
    assert asked is not None
    found = {h: r["attention"][asked[1]] for h, r in run.heads.items() if asked[1] in r.get("attention", {})}
    best, worst = max(found, key=found.get), min(found, key=found.get)  # type: ignore[arg-type]
    layer, number = re.findall(r"\d+", best)
    for answer in (best, f"{layer}.{number}", f" head {layer}.{number}", f"L{layer}H{number}", best.upper()):
        assert lesson.check(run, answer).right, answer
    wrong = lesson.check(run, worst)
    assert not wrong.right
    place = re.search(rf"place (\d+) of {len(found)}", wrong.words)
    assert place is not None
    assert int(place[1]) > len(found) / 2
    assert best not in wrong.words
    assert "no head a99.h0" in lesson.check(run, "99.0").words


@given(st.text(max_size=30))
def test_any_answer_is_answered(text: str) -> None:
    assert lesson.check(SHIPPED_RUNS[0], text).words


@pytest.mark.parametrize("text", ["31", "a31", "hello", "", "3.1.2", "-3.1", "3,"])
def test_what_is_not_a_head(text: str) -> None:
    assert lesson.parse_head(text) is None


# --- the glossary --------------------------------------------------------------------------------


def test_every_alias_leads_to_a_definition_that_is_not_circular() -> None:
    for alias in glossary.ALIASES:
        assert glossary.define(alias)
    for name, text in glossary.TERMS.items():
        assert text.endswith("."), name
        assert len(text) < 330, name
    with pytest.raises(UnknownNameError, match="Did you mean 'faithfulness'"):
        glossary.define("faithfullness")


def test_the_pages_use_defined_terms_only() -> None:
    for text in (
        *(part["text"] for part in about.TEXTS["method"]),
        *(about.TEXTS[name] for name in ("teaching", "picture")),
        *(t for run in RUNS for step in lesson.steps(run) for t in (step.text, step.reveal)),
    ):
        assert rich(text)


@given(st.text())
def test_no_text_becomes_markup(text: str) -> None:
    try:
        made = rich(text)
    except UnknownNameError:
        return
    body = made.split("</style>")[1]
    tags = set(re.findall(r"</?(\w+)", body))
    assert tags <= {"div", "p", "ul", "li", "strong", "em", "code", "dfn", "span"}


def test_marks() -> None:
    made = rich("**b** and *i* and `a5.h1<q>` and [[EP|pruning]] <i>x</i>")
    assert "<strong>b</strong>" in made
    assert "<code>a5.h1&lt;q&gt;</code>" in made
    assert '<dfn tabindex="0">pruning<span role="tooltip">' in made
    assert "&lt;i&gt;" in made
    assert unescape(made).count(glossary.define("EP")) == 1


# --- the pages -----------------------------------------------------------------------------------


def opened(**query: Any) -> AppTest:
    app = AppTest.from_string("from app.pages import lesson\nlesson.page({})", default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = str(value)
    return app.run()


def texts(app: AppTest) -> str:
    groups = [app.markdown, app.caption, app.error, app.info, app.success, app.warning, app.header]
    return " ".join(str(element.value).replace("\\", "") for group in groups for element in group)


def test_the_lesson_is_walked_from_start_to_exercise() -> None:
    app = opened()
    next(b for b in app.button if b.label == "Start").click().run()
    for number in range(1, 8):
        assert not app.exception
        assert app.query_params["step"] == str(number)
        assert app.header[0].value.startswith(f"{number}. ")
        assert len(app.radio) == 1
        label = "Next" if number < 7 else "Exercise"
        next(b for b in app.button if b.label == label).click().run()
    assert app.header[0].value == "Your turn"
    app.text_input[0].set_value("99.9").run()
    assert "no head a99.h9" in texts(app)


def test_a_guess_shows_the_answer_whether_right_or_wrong() -> None:
    app = opened(step=6)
    run = next(run for run in SHIPPED_RUNS if run.model["name"] == "hap-mini")
    question = lesson.steps(run)[5].question
    assert question.because not in texts(app)
    app.radio[0].set_value(question.options[question.right]).run()
    assert "Right." in texts(app)
    app.radio[0].set_value(question.options[question.right - 1]).run()
    assert f"It is “{question.options[question.right]}”" in texts(app)


def test_a_deep_link_opens_its_step_with_its_run() -> None:
    run = fake_run(name="my <b>run</b>")
    save(run, runs_folder() / f"{run.id}.json")
    app = opened(step=3, run=run.id)
    assert not app.exception
    assert app.header[0].value.startswith("3. ")
    assert str(run.graph.n_edges) in " ".join(app.radio[0].options)


@pytest.mark.parametrize("query", [{"step": 99}, {"step": "x"}, {"run": "gone"}, {"run": "gone", "step": 2}])
def test_wrong_links_lead_to_a_working_page(query: dict[str, Any]) -> None:
    app = opened(**query)
    assert not app.exception
    assert app.button
    if "run" in query:
        assert "cannot use the run gone of this link" in texts(app)


def test_how_it_works_lists_every_term() -> None:
    app = AppTest.from_string("from app.pages import about\nabout.page({})", default_timeout=60).run()
    assert not app.exception
    shown = " ".join(element.body for element in app.get("html")) if app.get("html") else ""
    for name in glossary.TERMS:
        assert name in unescape(shown), name


def test_the_exercise_does_not_contain_its_answer() -> None:
    for path in SHIPPED.glob("*.json"):
        run = load(path)
        asked = lesson.exercise(run) or ("",)
        heads = set(re.findall(r"\d+\.\d+", asked[0]))
        assert not any(lesson.check(run, head).right for head in heads)
        app = AppTest.from_string("from app.pages import lesson\nlesson.page({})", default_timeout=60)
        app.query_params["step"], app.query_params["run"] = "8", run.id
        for answer in app.run().text_input:
            assert not lesson.check(run, answer.placeholder.removeprefix("for example ")).right


def test_the_lesson_and_the_comparison_have_every_edge_to_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """They drew 400 of a circuit's edges at most; now the slider goes to all of them."""
    drawn: list[Scene] = []
    for page in (lesson_page, compare):
        monkeypatch.setattr(page, "comparison", lambda scene, **_: drawn.append(scene) or [])
    run = example("SmolLM2")
    other = replace(run, id="another", seed=1, name="another")
    save(other, runs_folder() / "another.json")
    for page, query in (("lesson", {"step": "3"}), ("compare", {"with": "another"})):
        app = AppTest.from_string(f"from app.pages import {page}\n{page}.page({{}})", default_timeout=60)
        for key, value in {"run": run.id, **query}.items():
            app.query_params[key] = value
        assert not app.run().exception
    in_lesson, compared = drawn
    eap, hap = run.circuits["eap"].circuit, run.circuits["hap"].circuit
    assert len(in_lesson.edges) == len(eap | hap) > 400
    assert len(compared.edges) == len(hap)

"""The address of a page, and the settings with it, survive a visit to another page."""

from __future__ import annotations

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.testing.v1 import AppTest

from hap_engine.runs.examples import example
from tests.builders.pages import arrive, open_app, turn_to

MINI = example("hap-mini").id


def settings(app: AppTest) -> dict[str, object]:
    return {
        "model": app.selectbox(key="model").value,
        "task": app.selectbox(key="task").value,
        "kept": app.select_slider(key="kept").value,
        "effort": app.segmented_control(key="effort").value,
        "seed": app.number_input(key="seed").value,
        "method": app.selectbox(key="method").value,
        "scorer": app.selectbox(key="scorer").value,
        "keep": app.slider(key="keep").value,
        "steps": app.number_input(key="steps-quick").value,
        "memory": app.number_input(key="memory").value,
    }


@pytest.fixture
def chosen() -> AppTest:
    """The first page with every setting changed: by its widget, as a visitor does."""
    app = open_app()
    app.selectbox(key="model").set_value("gpt2").run()
    app.selectbox(key="task").set_value("induction").run()
    app.select_slider(key="kept").set_value(4.0).run()
    app.segmented_control(key="effort").set_value("quick").run()
    app.number_input(key="seed").set_value(7).run()
    app.selectbox(key="method").set_value("ep").run()
    app.selectbox(key="scorer").set_value("eap").run()
    app.toggle(key="automatic").set_value(False).run()
    app.slider(key="keep").set_value(25).run()
    app.number_input(key="steps-quick").set_value(33).run()
    return app.number_input(key="memory").set_value(2.0).run()


def test_settings_survive_a_visit_to_another_page(chosen: AppTest) -> None:
    before = settings(chosen)
    assert before["kept"] == 4.0
    assert before["keep"] == 25
    turn_to(chosen, "Runs")
    assert "kept" not in chosen.query_params
    assert settings(turn_to(chosen, "Explore")) == before
    assert not chosen.exception


def test_settings_survive_a_link_to_a_run(chosen: AppTest) -> None:
    before = settings(chosen)
    turn_to(turn_to(chosen, "Runs"), "Explore", run=MINI)
    assert settings(chosen) == before
    assert chosen.query_params["run"] == MINI
    assert chosen.query_params["kept"] == "4.0"


def test_a_corruption_that_another_task_lacks_is_forgotten_with_its_task() -> None:
    app = open_app()
    app.selectbox(key="corruption-ioi").set_value("s2").run()
    app.selectbox(key="task").set_value("induction").run()
    assert not app.exception
    app.selectbox(key="task").set_value("ioi").run()
    assert app.selectbox(key="corruption-ioi").value == "s2"


def test_what_a_link_names_counts(chosen: AppTest) -> None:
    turn_to(turn_to(chosen, "Your prompts"), "Explore", task="custom", kept="1.0")
    assert settings(chosen) | {"task": "custom", "kept": 1.0} == settings(chosen)
    assert settings(chosen)["model"] == "gpt2"


def test_the_run_on_screen_and_its_pins_survive_too() -> None:
    app = open_app(run=MINI, pin=["a0.h1", "a0.h3"], ask="numbers")
    turn_to(turn_to(app, "How it works"), "Explore")
    assert app.query_params["run"] == MINI
    assert app.query_params["pin"] == ["a0.h1", "a0.h3"]
    assert app.segmented_control(key="ask").value == "numbers"


def test_large_type_that_was_switched_off_elsewhere_stays_off() -> None:
    app = open_app(run=MINI, present="1")
    turn_to(app, "Runs")
    next(b for b in app.button if b.label == "Normal type").click().run()
    turn_to(app, "Explore")
    assert "present" not in app.query_params


def test_a_choice_whose_page_was_left_in_the_same_moment_is_no_error() -> None:
    """The browser may send a choice after its widget is gone."""

    def page() -> None:
        import streamlit as st

        from app import url

        st.query_params["model"] = "gpt2"
        url.to_url("model", "hap-mini")
        url.with_choice("prompt-of-x", lambda index: st.write(f"chose {index}"))()
        url.with_row("edges-x", ["a", "b"], st.write)()

    app = AppTest.from_function(page).run()
    assert not app.exception
    assert app.query_params["model"] in ("gpt2", ["gpt2"])
    assert not app.markdown


def test_a_key_press_that_meets_a_change_of_page_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both pages choose a model: the value that arrives is of a widget whose name is the other page's by then.

    It was a KeyError, "model", in the callback.
    """
    app = open_app()
    app.selectbox(key="model").set_value("gpt2")
    pressed = app._tree.get_widget_states()
    arrive(app, "Your prompts", WidgetStates(), monkeypatch)  # the page is left, and the key press is on its way
    arrive(app, "Explore", pressed, monkeypatch)
    assert not app.exception
    assert app.selectbox(key="model").value in ("hap-mini", "gpt2")
    assert not app.selectbox(key="task").set_value("induction").run().exception
    assert app.selectbox(key="task").value == "induction", "the page stays usable"


def test_a_row_that_is_not_there_any_more_is_not_chosen() -> None:
    def page() -> None:
        from types import SimpleNamespace

        import streamlit as st

        from app import url

        st.session_state["table"] = SimpleNamespace(selection=SimpleNamespace(rows=[2]))
        url.with_row("table", ["a", "b"], st.write)()
        url.with_row("table", ["a", "b", "c"], st.write)()

    assert [line.value for line in AppTest.from_function(page).run().markdown] == ["c"]


def test_a_run_that_ended_is_shown_at_its_own_size_whatever_was_chosen_on_another() -> None:
    asked = {"size": "35325", "pin": "a19.h2", "prompt": "3"}
    linked = open_app(run=MINI, **asked)
    assert len(linked.warning) == 2, "a link that names what is not there is told so"
    ended = open_app(run=example("SmolLM2-135M-Instruct.Q4_1.gguf").id, job=MINI, **asked)
    assert not ended.warning
    assert ended.query_params["run"] == MINI
    assert ended.query_params["prompt"] == "3", "what this run has too stays"
    assert not {"size", "pin", "job"} & ended.query_params.keys()
    assert not ended.exception

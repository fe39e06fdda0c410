"""The live panels through Streamlit's test runner, on the bundled model and its shipped run."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.questions.is_there_another import similar_figure
from app.questions.menu import SECTIONS
from app.stored import related_runs
from app.widgets.markdown import plain
from app.work import workers
from hap_engine.picture.finding import finding
from hap_engine.picture.palette import LIGHT
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load, runs_folder, save
from hap_engine.workflows import rivals, search_again
from tests.builders.fakes import fake_run
from tests.builders.pages import open_app, press, texts
from tests.builders.quick_runs import quick

SHIPPED = Path(__file__).parents[2] / "assets" / "runs"


@pytest.fixture(scope="session")
def mini() -> Run:
    """The shipped run of the bundled model."""
    runs = [load(path) for path in SHIPPED.glob("*.json")]
    return next(run for run in runs if run.model["name"] == "hap-mini")


def until(app: AppTest, text: str, seconds: float = 60) -> AppTest:
    """Rerun the page, as its refreshing parts do, until it says `text`."""
    end = time.time() + seconds
    while text not in _all(app) and time.time() < end:
        assert not app.exception, app.exception
        time.sleep(0.3)
        app.run()
    assert text in _all(app), _all(app)[-1500:]
    return app


def _all(app: AppTest) -> str:
    """With what a scorecard says."""
    return " ".join([*(element.proto.body for element in app.get("html")), texts(app)])


def buttons(app: AppTest) -> dict[str, bool]:
    return {button.label: button.disabled for button in app.main.button}


def test_removing_every_s_inhibition_head_shows_its_effect_and_can_be_undone(mini: Run) -> None:
    app = open_app(run=mini.id)
    (label,) = [label for label in buttons(app) if label.startswith("Remove every S-inhibition")]
    assert not buttons(app)[label]
    assert buttons(app)["Undo"]
    app.button(key="remove-role").click().run()
    until(app, "the preference for the right answer falls")
    numbers = {metric.label: float(metric.delta) for metric in app.metric}
    assert numbers["Logit difference"] < 0 < numbers["KL to the full model"]
    app.button(key="undo").click().run()
    assert "do" not in app.query_params
    assert "the preference for the right answer" not in texts(app)
    assert not app.exception


def _why_missed() -> None:
    import streamlit as st

    from app.questions import why_missed
    from hap_engine.runs.run_file import load

    run = load(st.session_state["shown"])
    why_missed.show(run, *run.sides, [st.session_state["head"]])


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_the_question_and_the_drawer_say_one_thing_of_a_missed_head(path: Path) -> None:
    run = load(path)
    dropped, live = finding(run, *run.sides)["dropped"], len(run.circuits["eap"].circuit)
    ranks = {head: run.heads[head]["eap_rank"] for head in dropped}
    dead = [head for head, rank in ranks.items() if live < rank <= run.circuits["eap"].n_raw]
    for head in {*dead, min(ranks, key=ranks.__getitem__), max(ranks, key=ranks.__getitem__)}:
        app = AppTest.from_function(_why_missed)
        app.session_state["shown"], app.session_state["head"] = path, head
        app.run()
        assert plain(dropped[head]) in [caption.value for caption in app.caption], head


def test_a_link_with_changes_shows_their_effect(mini: Run) -> None:
    app = open_app(run=mini.id, do="-a0.h3", base="full", prompt="4")
    until(app, "the preference for the right answer")
    assert "`-a0.h3`" in texts(app)
    assert [box.value for box in app.selectbox if box.label == "Test prompt"] == [4]


@pytest.mark.parametrize("change", ["-a99.h1", "nonsense", "+m3->a0.h0<q>"])
def test_changes_that_do_not_fit_are_dropped_with_a_reason(mini: Run, change: str) -> None:
    app = open_app(run=mini.id, do=change, prompt="9999")
    assert not app.exception
    assert "The changes in the address do not fit this run" in texts(app)


def test_without_weights_the_controls_are_off_and_say_what_to_do() -> None:
    run = fake_run(model={"name": "m.gguf", "source": "gguf", "reference": "m.gguf", "sha256": "a" * 64})
    save(run, runs_folder() / f"{run.id}.json")
    app = open_app(run=run.id)
    assert "not on this machine" in texts(app)
    assert buttons(app)["Restore it"]
    path = next(box for box in app.text_input if box.label == "Path of the weights")
    path.set_value("/nowhere/at/all.gguf").run()
    assert "There is no file or folder" in texts(app)
    assert not app.exception


def test_an_own_circuit_is_tested_saved_and_shown_beside_the_others(mini: Run) -> None:
    app = open_app(run=mini.id, do=["-a0.h3", "+a2.h7"])
    until(app, "the preference for the right answer")
    app.button(key="save-own").click().run()
    end = time.time() + 180
    while "Mine" not in bases(app) and time.time() < end:
        time.sleep(0.3)
        app.run()
        assert not app.exception, app.exception
    assert "Mine" in bases(app)
    saved = load(runs_folder() / f"{mini.id}.json")
    assert saved.metrics["mine"]["kl"] > saved.metrics["hap"]["kl"]
    assert "Example with what you added, computed before" in texts(app)
    app.button(key="see-own").click().run()
    assert not app.exception
    assert (app.query_params["left"], app.query_params["right"]) == ("hap", "mine")
    (start,) = [group for group in app.button_group if group.label == "Start from"]
    start.set_value("mine").run()
    app.button(key="drop-own").click().run()
    assert "Mine" not in bases(app)
    assert "right" not in app.query_params
    assert not app.exception


def bases(app: AppTest) -> list[str]:
    (group,) = [group for group in app.button_group if group.label == "Start from"]
    return list(group.options)


def test_an_older_run_is_measured_prompt_by_prompt(mini: Run) -> None:
    bare = {
        name: {key: value for key, value in row.items() if key != "per_prompt"} for name, row in mini.metrics.items()
    }
    save(replace(mini, metrics=bare), runs_folder() / f"{mini.id}.json")
    app = open_app(run=mini.id, ask="prompts")
    assert "before numbers per prompt were stored" in texts(app)
    app.button(key="measure-prompts").click().run()
    until(app, "test prompts HAP")
    (table,) = [frame.value for frame in app.dataframe if "Outcome" in frame.value]
    assert len(table) == len(mini.prompts["test"])
    assert "closer to the full model than EAP" in texts(app)


def test_every_number_is_read_aloud(mini: Run) -> None:
    app = open_app(run=mini.id, ask="numbers")
    (card, _) = (e.proto.body for e in app.get("html") if "hap-card" in e.proto.body)
    assert "nats from the full model&#x27;s" in card
    assert "95 % interval over prompts" in card
    assert card.count("✓") > card.count('aria-label="does not pass"')
    assert not app.exception


def test_a_run_without_single_cuts_gets_them_on_its_page(mini: Run) -> None:
    save(replace(mini, cuts={}), runs_folder() / f"{mini.id}.json")
    app = open_app(run=mini.id)
    app.button(key="compute-cuts").click().run()
    end = time.time() + 180
    while "compute-cuts" in {button.key for button in app.button} and time.time() < end:
        assert not app.exception, app.exception
        time.sleep(0.3)
        app.run()
    found = load(runs_folder() / f"{mini.id}.json").cuts
    assert found["circuits"].keys() == mini.cuts["circuits"].keys()
    assert found["circuits"]["hap"]["off"].keys() == mini.cuts["circuits"]["hap"]["off"].keys()
    assert not [button for button in open_app(run=mini.id).button if button.key == "compute-cuts"]


def test_a_typed_sentence_is_read_by_the_model_and_by_both_circuits(mini: Run) -> None:
    head = next(iter(mini.roles["heads"]))
    app = open_app(run=mini.id, ask="sentence", pin=head)
    if "what it says to your sentence-sentence" in {button.key for button in app.button}:
        app.button(key="what it says to your sentence-sentence").click().run()
    until(app, f"Where {head} looks from the last token")
    (looks,) = [frame.value for frame in app.dataframe if "Token" in frame.value]
    assert looks["Your sentence"].sum() == pytest.approx(1, abs=1e-3)
    app.text_input(key=f"typed-corrupt-{mini.id}").set_value("Something else").run()
    assert "The clean prompt has" in app.error[0].value
    app.text_input(key=f"typed-{mini.id}").set_value("x" * 700).run()
    assert "at most 600 characters, got 700" in app.error[0].value
    assert not app.exception


def test_a_run_without_weights_says_so_in_every_section() -> None:
    run = fake_run()
    save(run, runs_folder() / f"{run.id}.json")
    for section in SECTIONS:
        app = open_app(run=run.id, ask=section)
        assert not app.exception, section


def test_a_missed_head_is_measured_and_explained(mini: Run) -> None:
    app = open_app(run=mini.id, ask="missed")
    if "none was missed" in texts(app):
        return  # then that sentence is the whole answer
    app.button(key="measure-missed").click().run()
    until(app, "For the full model EAP expects")
    assert app.get("plotly_chart")
    assert "Change of the logit difference when one edge is cut" in texts(app)


def test_details_of_every_kind_of_node(mini: Run) -> None:
    head = next(iter(mini.roles["heads"]))
    app = open_app(run=mini.id, pin=[head, "m2", "logits", "input"])
    assert not app.exception
    assert "Kept by" in texts(app)
    assert "Thresholds of this run" in texts(app)
    assert [tab.label for tab in app.tabs][:4] == ["input", "logits", "m2", head]
    edges = [frame.value for frame in app.dataframe if "Score" in frame.value]
    assert edges
    assert all((frame["Score"] < 0).all() or (frame["Score"] > 0).all() for frame in edges)


def test_attention_of_a_prompt_that_the_run_does_not_hold_is_computed_live(mini: Run) -> None:
    workers.models.clear()  # another test may have opened it
    head = next(iter(mini.roles["heads"]))
    app = open_app(run=mini.id, pin=head, prompt="17")
    assert f"holds no pattern of {head} for this prompt" in texts(app)
    before = len(app.get("plotly_chart"))
    press(app, "Open the model to see it on this prompt")
    until(app, "Rows look, columns are looked at")
    assert len(app.get("plotly_chart")) == before + 2


def test_a_model_that_does_not_fit_is_refused_in_every_panel_that_waits(mini: Run) -> None:
    other = replace(fake_run(), model=dict(mini.model), prompts=dict(mini.prompts))
    save(other, runs_folder() / f"{other.id}.json")
    app = open_app(run=other.id, pin=["a0.h0", "a1.h1", "logits"], do="-a0.h1", prompt="3")
    app.session_state[f"want-model-{other.id}"] = True
    until(app.run(), "The run was made on hap-mini (4 layers of 4 heads, 343 edges)")
    assert not app.exception


def test_a_run_is_put_to_the_test_and_its_seeds_are_compared(mini: Run) -> None:
    bare = {
        name: {key: value for key, value in row.items() if key != "per_prompt"} for name, row in mini.metrics.items()
    }
    few = {**mini.prompts, "train": mini.prompts["train"][:8], "test": mini.prompts["test"][:6]}
    run = replace(mini, id="few-prompts", metrics=bare, prompts=few, statistics={}, stability={})
    save(run, runs_folder() / f"{run.id}.json")
    other = replace(run, id="other-seed", seed=run.seed + 1)
    save(other, runs_folder() / f"{other.id}.json")
    app = open_app(run=run.id, ask="numbers")
    app.button(key="scrutinise").click().run()
    until(app, "of the logit difference between the full model and everything corrupted", 180)
    assert "Is it all of the mechanism?" in _all(app)
    assert "scrutinise" not in [button.key for button in app.main.button]
    assert load(runs_folder() / f"{run.id}.json").statistics["n_prompts"] == 6
    app.button(key="seeds").click().run()
    until(app, "circuits share 100% of their edges")
    assert not app.exception


def shorten(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, **fewer: int) -> None:
    work = getattr(module, name)
    monkeypatch.setattr(module, name, update_wrapper(partial(work, **fewer), work))


def test_a_run_is_searched_again_on_samples_of_its_prompts(mini: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, search_again, "bootstrap", resamples=2, steps=3)
    few = {**mini.prompts, "train": mini.prompts["train"][:20]}
    run = replace(mini, id="few-samples", prompts=few, stability={})
    save(run, runs_folder() / f"{run.id}.json")
    app = open_app(run=run.id, ask="numbers")
    app.button(key="samples").click().run()
    end = time.monotonic() + 60
    while not (states := list(runs_folder().glob("few-samples-*.state"))) and time.monotonic() < end:
        time.sleep(0.01)
    workers.short_work().forget("revise-few-samples")  # stopped: what was found is kept
    app.run().button(key="samples").click().run()
    until(app, "0.8 is asked of a stable circuit")
    assert "Would other prompts and another seed find the same?" in _all(app)
    assert "samples" not in [button.key for button in app.main.button]
    kept = load(runs_folder() / f"{run.id}.json").stability
    assert (kept["resamples"], kept["steps"]) == (2, 3)
    assert not states[0].exists()
    assert not app.exception


def test_a_rival_is_sought_and_shown_beside_the_circuit(mini: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, rivals, "find_rival", steps=2)
    few = {**mini.prompts, "train": mini.prompts["train"][:20], "test": mini.prompts["test"][:20]}
    settings = {**mini.settings, "pruning": {**mini.settings["pruning"], "steps": 4}}
    bare = {name: {key: row[key] for key in row if key != "per_prompt"} for name, row in mini.metrics.items()}
    run = replace(mini, id="rivals", prompts=few, settings=settings, metrics=bare)
    save(run, runs_folder() / f"{run.id}.json")
    app = open_app(run=run.id, ask="another")
    assert "does not say that it is the only one" in texts(app)
    app.button(key="find-rival").click().run()
    until(app, "The rival of HAP's circuit has KL")
    assert app.get("plotly_chart")
    app.button(key="see-rival").click().run()
    assert (app.query_params["left"], app.query_params["right"]) == ("hap", "rival")
    assert load(runs_folder() / f"{run.id}.json").rival["steps"] == 2
    assert not app.exception


def test_each_prompt_gets_a_circuit_of_its_own(mini: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, search_again, "per_prompt", steps=2)
    bare = {name: {key: row[key] for key in row if key != "per_prompt"} for name, row in mini.metrics.items()}
    run = replace(mini, id="own-circuits", prompts={**mini.prompts, "test": mini.prompts["test"][:6]}, metrics=bare)
    save(run, runs_folder() / f"{run.id}.json")
    app = open_app(run=run.id, ask="another")
    assert app.button(key="own-circuits").label == "Find a circuit for each of 6 prompts"
    app.button(key="own-circuits").click().run()
    until(app, "On its prompt a circuit of its own has KL")
    assert "IO, S1, S2" in texts(app)
    assert app.get("plotly_chart")
    assert len(load(runs_folder() / f"{run.id}.json").prompt_circuits["prompts"]) == 6
    assert not app.exception


def test_groups_are_drawn_apart() -> None:
    rows = [{"edges": [0], "cluster": place % 2} for place in range(4)]
    run = fake_run(prompt_circuits={"prompts": rows}, prompts={"test": [{"roles": {"A": 1, "B": 2}}] * 4})
    drawn = similar_figure(run, LIGHT)
    assert [text.split(" ")[0] for text in drawn.layout.yaxis.ticktext] == ["1", "3", "2", "4"]
    assert len(drawn.layout.shapes) == 2


def test_one_seed_alone_offers_to_find_another(mini: Run) -> None:
    run = replace(mini, id="one-seed", statistics={}, stability={})
    save(run, runs_folder() / f"{run.id}.json")
    app = open_app(run=run.id, ask="numbers")
    labels = buttons(app)
    assert labels[f"Find it again with seed {run.seed + 1}"] is False
    assert not app.exception


def test_the_settings_of_another_seed_are_the_runs_own(mini: Run) -> None:
    config = related_runs.again(mini, 7)
    assert config is not None
    assert config.seed == 7
    made = {key: value for key, value in config.to_dict().items() if value is not None}
    assert {key: mini.settings[key] for key in made if key != "seed"} == {
        key: value for key, value in made.items() if key != "seed"
    }
    assert related_runs.again(replace(mini, settings={**mini.settings, "pruning": {"steps": "many"}}), 7) is None
    assert related_runs.again(replace(mini, model={"name": "m"}), 7) is None


def test_a_run_is_pruned_on_to_a_smaller_circuit(mini: Run) -> None:
    """From the page: choose a size, watch, and see both sizes of the descent on one curve."""
    save(quick(mini, "on"), runs_folder() / "on.json")
    app = open_app(run="on", ask="smaller")
    assert "One size so far" in texts(app)
    button = app.button(key="prune-on")
    assert button.label == "Prune on to 15 edges"
    button.click().run()
    assert "job" in app.query_params
    while "job" in app.query_params:
        time.sleep(0.5)
        app.run()
    (made,) = [run for path in runs_folder().glob("*.json") if (run := load(path)).id != "on"]
    assert made.settings["continues"] == "on"
    assert len(made.circuits["hap"].circuit) <= 15
    before, after = (set(one.circuits["hap"].circuit.names()) for one in (mini, made))
    assert after < before
    assert made.model == {**mini.model, "ways": {"closed": 4}}, "an older run does not say the way"
    app = open_app(run=made.id, ask="smaller")
    assert "30 edges, KL" in " ".join(buttons(app))
    assert "this run" in texts(app)
    assert not app.exception
    app.button(key="size-on").click().run()
    assert app.query_params["run"] == "on"


def test_what_cannot_be_made_smaller_says_why(mini: Run) -> None:
    plain = replace(mini, id="eap-only", settings={**mini.settings, "method": "eap"})
    save(plain, runs_folder() / "eap-only.json")
    assert "There is nothing to go on from" in texts(open_app(run="eap-only", ask="smaller"))

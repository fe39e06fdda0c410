"""The page of a run that was interrupted: who computes it, where it was, what can be done."""

from __future__ import annotations

from hap_engine.runs.run_file import runs_folder
from hap_engine.runs.unfinished import Unfinished, every_interrupted
from hap_engine.settings import DiscoveryConfig
from tests.builders.pages import open_app, press, texts


def test_an_interrupted_run_is_offered_where_it_is_not_computed() -> None:
    state = Unfinished(runs_folder())
    with state.opened("abc123", DiscoveryConfig(), {}):
        state.write("prune", "pruning, step 4 of 16")
        assert "Another window or program computes this run now" in texts(open_app(job="abc123"))
    app = open_app(job="abc123")
    assert "this run was interrupted while pruning, step 4 of 16" in texts(app)
    press(app, "Close this message")
    assert "interrupted while" not in texts(app)
    assert any(button.label.startswith("Interrupted: hap-mini") for button in app.button)
    app = press(open_app(job="abc123"), "Forget it")
    assert not app.exception
    assert every_interrupted(runs_folder()) == []
    assert "Nothing is kept of that run" in texts(app)

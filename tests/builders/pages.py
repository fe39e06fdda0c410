"""Open the explorer's pages in Streamlit's own test driver, and wait for its jobs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.testing.v1 import AppTest

from app.work.worker import Snapshot, Worker


def wait_for(jobs: Worker, job: str, state: str, timeout: float = 5) -> Snapshot:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found = jobs.get(job)
        if found and found.state == state:
            return found
        time.sleep(0.01)
    raise AssertionError(f"expected {state}, got {jobs.get(job)}")


SCRIPT = str(Path(__file__).parents[2] / "app" / "pages" / "navigation.py")


def open_app(**query: str | list[str]) -> AppTest:
    app = AppTest.from_file(SCRIPT, default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


def texts(app: AppTest) -> str:
    parts = [app.markdown, app.caption, app.error, app.info, app.success, app.warning, app.title]
    return " ".join(str(element.value) for group in parts for element in group)


def press(app: AppTest, label: str) -> AppTest:
    """Click the button whose label begins so."""
    return next(button for button in app.button if button.label.startswith(label)).click().run()


def arrive(app: AppTest, title: str, states: WidgetStates, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """Run a page with the widgets' values that a browser sent, which may be those of the page before."""
    with monkeypatch.context() as patch:
        patch.setattr(type(app._tree), "get_widget_states", lambda tree: states)
        return turn_to(app, title)


def turn_to(app: AppTest, title: str, **query: str) -> AppTest:
    """Open another page, as a click on the navigation (or a link within the explorer) does: its query is its own."""
    app._page_hash = next(key for key, page in app._registered_pages.items() if page["page_name"] == title)
    app.query_params.clear()
    app.query_params.update(query)
    return app.run()

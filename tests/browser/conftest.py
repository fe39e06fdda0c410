"""A real browser and a real Streamlit server for browser tests.

Chromium is the system's, found on the path (never downloaded); without it these tests are skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps

ROOT = Path(__file__).parents[2]
PATIENT = 90_000  # milliseconds
LOOKS = (("light", 1440), ("dark", 700))  # every interaction works in both: scheme and page width
QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

# Notebooks set an output as HTML, whose scripts a browser does not run, and then put each script in anew.
NOTEBOOK = """(html) => {
  const place = document.getElementById("output");
  place.innerHTML = html;
  for (const old of place.querySelectorAll("script")) {
    const script = document.createElement("script");
    script.textContent = old.textContent;
    old.replaceWith(script);
  }
}"""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A Playwright browser."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        refuse = pytest.fail if os.environ.get("HAP_REQUIRE_BROWSER") else pytest.skip  # as in .ci/run
        refuse(f"no browser on the path (looked for {', '.join(names)})")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield Patient(browser)
        browser.close()


class Patient:
    """A browser whose pages wait as long as a busy machine needs, wherever a test names no time of its own."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def new_context(self, **settings: Any) -> Any:
        context = self.browser.new_context(**settings)
        context.set_default_timeout(PATIENT)
        return context

    def new_page(self, **settings: Any) -> Any:
        page = self.browser.new_page(**settings)
        page.set_default_timeout(PATIENT)
        return page


@pytest.fixture(scope="session")
def serve(
    start_server: Callable[[Path, Path], tuple[Any, str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., str]:
    """``streamlit run script`` with the explorer's settings; returns the address.

    One server a script serves the whole session, since each costs imports and the opening of models;
    a test that counts on an untouched one asks for it (`fresh`).
    """
    known: dict[Path, str] = {}

    def get(script: Path, fresh: bool = False) -> str:
        if fresh:
            return start_server(script, tmp_path_factory.mktemp("home"))[1]
        if script not in known:
            known[script] = get(script, fresh=True)
        return known[script]

    return get


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path, Path], tuple[Any, str]]]:
    """Start a script on a home of its own; returns the process and the address."""
    servers: list[subprocess.Popen[bytes]] = []

    def start(script: Path, home: Path) -> tuple[Any, str]:
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        log = tmp_path_factory.mktemp("server") / "log.txt"
        command = [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}"]
        with log.open("wb") as out:
            server = subprocess.Popen(
                [*command, "--server.headless=true"],
                cwd=ROOT / "app",  # whose settings hold for a script of the tests too
                env=os.environ | {"HAP_HOME": str(home), "PYTHONPATH": str(ROOT)},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        servers.append(server)
        address = f"http://localhost:{port}"
        for _ in range(150):
            if server.poll() is None and _healthy(address):
                return server, address
            time.sleep(0.2)
        pytest.fail(f"Streamlit did not start:\n{log.read_text(errors='replace')[-2000:]}")

    yield start
    for server in servers:
        server.terminate()
        server.wait(timeout=10)


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Visit:
    """A page that records what must not happen: console errors and requests that leave localhost."""

    def __init__(self, browser: Any, scheme: str = "light", width: int = 1440) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.requests: list[str] = []
        self.frames: list[int] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._console)
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._frame))
        self.page.route("**/*", self._route)

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _frame(self, payload: Any) -> None:
        self.frames.append(len(payload))

    def _route(self, route: Any) -> None:
        url = route.request.url
        self.requests.append(url)
        if url.startswith(("http://localhost", "blob:", "data:")):
            route.continue_()
        else:
            self.outside.append(url)
            route.abort()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Visit]]:
    """Open a fresh page: ``visit(address)``; at the end of the test it must have been quiet and local."""
    yield from _visits(chromium)


@pytest.fixture(scope="module")
def stay(chromium: Any) -> Iterator[Callable[..., Visit]]:
    """As `visit`, for a page that the tests of one file share."""
    yield from _visits(chromium)


def _visits(chromium: Any) -> Iterator[Callable[..., Visit]]:
    visits: list[Visit] = []

    def go(address: str, scheme: str = "light", width: int = 1440) -> Visit:
        visits.append(Visit(chromium, scheme, width))
        visits[-1].page.goto(address)
        return visits[-1]

    yield go
    for one in visits:
        one.context.close()
        assert one.errors == []
        assert one.outside == []


def press(page: Any, what: Any, there: Any) -> None:
    """Click until it shows: what is pressed does nothing while the page before is still being built."""
    for tenth in range(900):
        if tenth % 200 == 0:
            what.click(timeout=PATIENT)
        if there.is_visible():
            return
        page.wait_for_timeout(100)
    there.wait_for(timeout=10_000)


def choose(box: Any, option: Any) -> None:
    """Take an option of a menu: a menu closes by itself when what stands above it moves, as on a page being built."""
    closed = pytest.importorskip("playwright.sync_api").TimeoutError
    for _ in range(30):
        box.click(timeout=PATIENT)
        with contextlib.suppress(closed):
            option.click(timeout=3_000)
            return
    pytest.fail("the menu never stayed open for its option")


def bring(page: Any, run: Run, tmp_path: Path) -> None:
    """Import a run file on the Runs page."""
    path = tmp_path / "run.json"
    path.write_text(dumps(run), encoding="utf-8")
    importing = page.get_by_text("Import a run file")
    press(page, page.get_by_role("link", name="Runs"), importing)
    importing.click(timeout=PATIENT)
    page.locator("input[type=file]").set_input_files(path)

"""Make the README's pictures from the real app: ``python -m docs.make_screenshots``.

Needs Chromium on the path and Playwright (requirements-dev.txt). Starts its own server with an empty
home folder, so that the pictures show what a first visitor sees.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images"
PORT = 8599
PLOT = ".js-plotly-plot .nsewdrag"


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app/main.py", f"--server.port={PORT}"],
            cwd=ROOT,
            env=os.environ | {"HAP_HOME": home},
        )
        try:
            _wait()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox"]
                )
                _shots(browser)
                browser.close()
        finally:
            server.terminate()
            server.wait()


def _wait() -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://localhost:{PORT}/_stcore/health", timeout=1)
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise SystemExit("the app did not start")


def _open(browser: Any, scheme: str, query: str = "") -> Any:
    context = browser.new_context(
        viewport={"width": 1440, "height": 1180}, color_scheme=scheme, device_scale_factor=1
    )
    page = context.new_page()
    page.goto(f"http://localhost:{PORT}/{query}")
    return page


def _shots(browser: Any) -> None:
    for scheme in ("light", "dark"):
        page = _open(browser, scheme)
        page.wait_for_selector(PLOT, timeout=90_000)
        time.sleep(3)
        page.screenshot(path=OUT / f"first-paint-{scheme}.png")
    page = _open(browser, "light", "?effort=thorough")
    page.get_by_role("button", name="Find the circuit").click(timeout=90_000)
    page.get_by_text("Pruning edges").wait_for(timeout=180_000)
    time.sleep(20)
    page.screenshot(path=OUT / "run-in-progress.png")
    page.get_by_text("Computed on this machine").wait_for(timeout=600_000)
    address = page.url
    for scheme in ("light", "dark"):
        page = _open(browser, scheme, "?" + address.split("?", 1)[1])
        page.wait_for_selector(PLOT, timeout=90_000)
        page.get_by_role("button", name="Pin the S-inhibition heads").click()
        page.get_by_text("S-inhibition head.").first.wait_for(timeout=60_000)
        page.locator("text=What does it do?").scroll_into_view_if_needed()
        time.sleep(3)
        page.screenshot(path=OUT / f"result-{scheme}.png")


if __name__ == "__main__":
    main()

"""Make the README's pictures from the real app: ``python -m docs.make_screenshots [part ...]``.

Parts: ``first-paint``, ``run`` (with the result) and ``animation``; all of them by default.

Needs Chromium on the path and Playwright (requirements-dev.txt). Starts its own server with an empty
home folder, so that the pictures show what a first visitor sees.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images"
PORT = 8599
PLOT = ".js-plotly-plot .nsewdrag"
FRAMES = 36  # of the animation at most
WIDTH = 900  # of the animation in pixels
COLOURS = 48  # enough for two panels and their text; keeps the file below 1.5 MB


def main(wanted: list[str]) -> None:
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
                for name in wanted or PARTS:
                    PARTS[name](browser)
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


def _first_paint(browser: Any) -> None:
    for scheme in ("light", "dark"):
        page = _open(browser, scheme)
        page.wait_for_selector(PLOT, timeout=90_000)
        time.sleep(3)
        page.screenshot(path=OUT / f"first-paint-{scheme}.png")


def _run(browser: Any) -> None:
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


def _animation(browser: Any) -> None:
    """A run of the bundled model from the button to the result, then the pruning replayed, as a GIF."""
    page = _open(browser, "light", "?seed=1")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("button", name="Find the circuit").click(timeout=90_000)
    page.get_by_role("button", name="Cancel").wait_for(timeout=90_000)
    frames: list[Image.Image] = []
    result = page.get_by_text("Computed on this machine")
    while not result.count():
        frames.append(_frame(page))
        time.sleep(1.5)
    frames = frames[:: 1 + len(frames) // (FRAMES // 2)]  # evenly, however long it took
    page.wait_for_selector(PLOT, timeout=90_000)
    page.locator(".hap-bar").first.scroll_into_view_if_needed()
    page.get_by_role("button", name="Replay pruning").click()
    slider = page.locator(".hap-replay input")
    if page.locator(".hap-replay [data-do=play]").text_content() == "Pause":
        page.locator(".hap-replay [data-do=play]").click()
    last = int(slider.get_attribute("max") or 0)
    steps = FRAMES - len(frames)
    for step in range(steps):
        slider.evaluate(
            "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }",
            round(last * step / (steps - 1)),
        )
        time.sleep(0.4)
        frames.append(_frame(page))
    times = [350] * (len(frames) - 1) + [3000]
    frames[0].save(
        OUT / "run.gif",
        save_all=True,
        append_images=frames[1:],
        duration=times,
        loop=0,
        optimize=True,
    )


def _frame(page: Any) -> Image.Image:
    """What is on screen, without the settings, in few colours."""
    whole = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    sidebar = page.get_by_test_id("stSidebar").bounding_box()
    left = int(sidebar["x"] + sidebar["width"]) if sidebar else 0
    shown = whole.crop((left, 60, whole.width, whole.height))
    small = shown.resize(
        (WIDTH, round(shown.height * WIDTH / shown.width)), Image.Resampling.LANCZOS
    )
    return small.quantize(COLOURS, dither=Image.Dither.NONE)


PARTS = {"first-paint": _first_paint, "run": _run, "animation": _animation}

if __name__ == "__main__":
    main(sys.argv[1:])

"""Make the README's pictures from the real app: ``python -m docs.generate.screenshots [part ...]``.

Parts: ``first-screen``, ``run``, ``result`` and ``animation``; all of them by default. Beside these
``positions=RUN.json``, the first picture of a run of the study of positions.

Needs Chromium on the path and Playwright (requirements-dev.txt). Starts its own server with an empty
home folder, so that the pictures show what a first visitor sees.
"""

from __future__ import annotations

import io
import os
import re
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

from hap_engine.runs.examples import example

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs" / "images"
PORT = 8599
PLOT = ".hap-head-box, .nsewdrag"
SCREENS = ((1280, 720), (1440, 900), (390, 844), (3840, 2160))  # a projector, a laptop, a phone, a large display
SHADES = 128  # of a picture of the first screen
FRAMES = 14  # of the animation
WIDTH = 640  # of the animation in pixels
COLOURS = 48  # of all frames together: enough for the few of the picture, and keeps the file below 1.5 MB


def main(wanted: list[str]) -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "runs").mkdir()
        for path in (Path(part.partition("=")[2]) for part in wanted if "=" in part):
            shutil.copy(path, Path(home) / "runs")
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app/main.py", f"--server.port={PORT}"],
            cwd=ROOT,
            env=os.environ | {"HAP_HOME": home},
        )
        try:
            _wait()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                for part in wanted or PARTS:
                    name, _, run = part.partition("=")
                    _positions(browser, Path(run).stem) if run else PARTS[name](browser)
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
    context = browser.new_context(viewport={"width": 1440, "height": 1180}, color_scheme=scheme, device_scale_factor=1)
    page = context.new_page()
    page.set_default_timeout(90_000)
    page.goto(f"http://localhost:{PORT}/{query}")
    return page


def _first_screen(browser: Any) -> None:
    for scheme in ("light", "dark"):
        for width, height in SCREENS:
            page = _open(browser, scheme)
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_selector(PLOT, timeout=90_000)
            page.mouse.move(width - 1, height - 1)
            time.sleep(5)
            shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            shot.quantize(SHADES).save(OUT / f"first-screen-{width}x{height}-{scheme}.png", optimize=True)
            page.context.close()


def _started(browser: Any, effort: str) -> Any:
    page = _open(browser, "light", f"?new=1&effort={effort}")
    page.get_by_role("button", name="Find the circuit").click(timeout=90_000)
    page.mouse.move(720, 1170)  # away from the button, whose tooltip would be in the picture
    return page


def _run(browser: Any) -> None:
    page = _started(browser, "thorough")
    step = re.compile(r"Pruning edges · ([4-9]\d|\d{3}) of")  # curves and a preview, far from the end
    page.get_by_text(step).wait_for(timeout=600_000)
    page.wait_for_selector(".hap-panel[data-side=right] .hap-edges path", state="attached")
    time.sleep(1)
    page.screenshot(path=OUT / "run-in-progress.png")
    page.get_by_role("button", name="Cancel").click()


def _result(browser: Any) -> None:
    page = _started(browser, "standard")
    page.get_by_text("Computed on this machine").wait_for(timeout=600_000)
    address = page.url
    for scheme in ("light", "dark"):
        page = _open(browser, scheme, "?" + address.split("?", 1)[1])
        page.wait_for_selector(PLOT, timeout=90_000)
        page.get_by_role("searchbox", name="Find a node").fill("S-inhibition", timeout=60_000)
        page.keyboard.press("Enter")
        page.get_by_text("S-inhibition head.").first.wait_for(timeout=60_000)
        page.locator("text=What does it do?").scroll_into_view_if_needed()
        time.sleep(3)
        page.screenshot(path=OUT / f"result-{scheme}.png")


def _positions(browser: Any, run: str) -> None:
    """Both circuits at the spans of the prompt."""
    for scheme in ("light", "dark"):
        page = _open(browser, scheme, f"?run={run}")
        page.wait_for_selector(".hap-panel[data-side=right] .hap-head-box")
        page.mouse.move(1439, 1179)
        time.sleep(5)
        box = page.locator(".hap-panels").bounding_box()
        shot = Image.open(io.BytesIO(page.screenshot(clip=box, full_page=True))).convert("RGB")
        shot.quantize(SHADES).save(OUT / f"positions-{scheme}.png", optimize=True)


def _animation(browser: Any) -> None:
    """The pruning of the example, replayed step by step on the first page, as a GIF."""
    page = _open(browser, "light", f"?run={example('hap-mini').id}&view=pair")  # few enough candidates to be replayed
    page.set_viewport_size({"width": 1440, "height": 1180})
    page.wait_for_selector(PLOT, timeout=90_000)
    page.get_by_role("button", name="Replay pruning").click()
    play, slider = (page.locator(f".hap-replay {part}") for part in ("[data-do=play]", "input"))
    there = "() => Number(document.querySelector('.hap-replay input').max) > 1"  # the steps arrived
    page.wait_for_function(there, timeout=60_000)
    time.sleep(1)
    if play.text_content() == "Pause":
        play.click()
    last = slider.evaluate("(input) => Number(input.max)")
    frames = []
    for index in range(FRAMES):
        slider.evaluate(
            "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }",
            round(last * index / (FRAMES - 1)),
        )
        time.sleep(0.5)
        frames.append(_frame(page))
    palette = frames[-1].quantize(COLOURS)  # one for all: colours must not flicker
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    frames[0].save(
        OUT / "replay.gif",
        save_all=True,
        append_images=frames[1:],
        loop=0,
        optimize=True,
        duration=[1200, *[350] * (FRAMES - 2), 3000],
    )


def _frame(page: Any) -> Image.Image:
    """The comparison as it is on screen."""
    box = page.locator(".hap").bounding_box()
    clip = {key: box[key] for key in ("x", "y", "width")} | {"height": 1180 - box["y"]}
    shown = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    return shown.resize((WIDTH, round(shown.height * WIDTH / shown.width)), Image.Resampling.LANCZOS)


PARTS = {"first-screen": _first_screen, "run": _run, "result": _result, "animation": _animation}

if __name__ == "__main__":
    main(sys.argv[1:])

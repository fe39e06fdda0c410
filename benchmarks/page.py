"""How fast the explorer answers, measured in Chromium by the page's own clock.

    python -m benchmarks.page [--rounds 7] [run.json]

The server is a real one with a folder of its own; the page shows the first example, or the run of a file; clicks are
measured on hap-mini's. Times are medians of `rounds`, in milliseconds: of a load from the start of the navigation, of
everything else from the event of the hand to the frame in which its answer stands.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from hap_engine.runs.examples import example
from hap_engine.runs.run_file import load, save

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
EDGES = 1000  # of a circuit that is drawn while the slider moves
WIDE = {"width": 1440, "height": 900}

# When each thing first stood on the page.
WATCH = """
window.seen = {};
new MutationObserver(() => {
  const note = (name, there) => { if (there) window.seen[name] ??= performance.now(); };
  note("text", (document.querySelector("[data-testid=stMain]")?.innerText.length ?? 0) > 40);
  note("picture", ["left", "right"].every((side) => {
    const panel = document.querySelector(`.hap-panel[data-side=${side}]`);
    return panel?.querySelector(".hap-head-box, .hap-edges path");
  }));
}).observe(document, { childList: true, subtree: true });
"""

# Move the slider to a number of edges and wait for the frame in which both panels have drawn another number.
DRAG = """async (edges) => {
  const slider = document.querySelector(".hap-sizes input");
  const drawn = () => [...document.querySelectorAll(".hap-panel .hap-edges [data-edges]")]
    .reduce((sum, path) => sum + Number(path.dataset.edges), 0);
  const frame = () => new Promise(requestAnimationFrame), before = drawn(), start = performance.now();
  slider.value = -Math.log(edges);
  slider.dispatchEvent(new InputEvent("input", { bubbles: true }));
  while (drawn() === before) await frame();
  await frame();
  return performance.now() - start;
}"""

# Point at a head and wait for its tip.
HOVER = """async (at) => {
  const plot = document.querySelector(".hap-panel[data-side=left] .hap-plot");
  const tip = document.querySelector(".hap-panel[data-side=left] .hap-tip");
  const rects = [...plot.parentElement.querySelectorAll(".hap-nodes rect")].filter((r) => r.dataset.id.includes("."));
  const rect = rects[(at * 7) % rects.length], box = rect.getBoundingClientRect();
  const where = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true };
  const frame = () => new Promise(requestAnimationFrame), start = performance.now();
  plot.dispatchEvent(new PointerEvent("pointermove", where));
  while (tip.hidden || !tip.textContent.includes(rect.dataset.id)) await frame();
  return performance.now() - start;
}"""


# Press what `press` finds and wait for the frame in which `stands` holds.
UNTIL = """async ([press, stands]) => {
  const there = new Function(`return ${stands}`), frame = () => new Promise(requestAnimationFrame);
  const target = new Function(`return ${press}`)(), start = performance.now();
  if (!target) throw new Error(`nothing there: ${press}`);
  target.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
  while (!there()) {
    if (performance.now() - start > 20_000) throw new Error(`it never came: ${stands}`);
    await frame();
  }
  await frame();
  return performance.now() - start;
}"""
BOX = 'document.querySelector(`.hap-panel[data-side=right] .hap-head-box[data-id="%s"]`)'
HEADS = ("a3.h0", "a3.h1")  # of hap-mini, in both circuits
BUTTON = '[...document.querySelectorAll(`%s`)].find((one) => one.textContent.trim().endsWith("%s"))'
DRAWER = 'document.querySelector(".hap-drawer h2")?.textContent.includes("%s")'
BARS = '[...document.querySelectorAll(".hap-answer output")].some((one) => /→ \\d/.test(one.textContent))'
SAYS = 'document.querySelector("[data-testid=stMain]").innerText.includes("%s")'
TITLED = 'document.querySelector("h1")?.textContent.includes("%s")'
SETTLED = '[data-testid="stApp"][data-test-script-state="notRunning"]'


def page_loads(browser: Any, address: str, rounds: int) -> dict[str, float]:
    """First text and first picture in new profiles, the server being warm."""
    found = []
    for _ in range(rounds + 1):
        with visited(browser, address, WATCH) as page:
            page.wait_for_function("() => window.seen.picture", timeout=120_000)
            found.append(page.evaluate("() => window.seen"))
    return {f"first {name}": statistics.median(each[name] for each in found[1:]) for name in ("text", "picture")}


def redraw(browser: Any, address: str, rounds: int) -> dict[str, float]:
    """The slider is dragged about `EDGES` edges: both circuits, all of their edges, their curves and numbers."""
    with visited(browser, with_query(address, view="pair", drawn="5000")) as page:
        page.wait_for_selector(".hap-panel[data-side=right] .js-plotly-plot .nsewdrag", timeout=120_000)
        page.wait_for_selector(".hap-sizes:not([hidden])", timeout=120_000)
        page.wait_for_timeout(2000)
        page.evaluate(DRAG, EDGES)
        times = [page.evaluate(DRAG, EDGES + 10 * (1 + at % 5)) for at in range(rounds)]
    return {f"slider at {EDGES:,} edges": statistics.median(times)}


def hover(browser: Any, address: str, rounds: int) -> dict[str, float]:
    """The pointer goes onto a head."""
    with visited(browser, with_query(address, view="pair")) as page:
        page.wait_for_selector(".hap-panel[data-side=left] .js-plotly-plot .nsewdrag", timeout=120_000)
        page.wait_for_timeout(2000)
        times = [page.evaluate(HOVER, at) for at in range(rounds + 1)][1:]
    return {"hover": statistics.median(times)}


def clicks(browser: Any, address: str, rounds: int) -> dict[str, float]:
    """In hap-mini: a head into the drawer, another view, a question, a cut that the run stores, another page."""
    found: dict[str, list[float]] = {}
    with visited(browser, with_query(address, run=example("hap-mini").id)) as page:
        page.wait_for_selector(".hap-head-box", timeout=120_000)
        page.get_by_text("How this run was made").wait_for(timeout=120_000)

        def time_of(name: str, press: str, stands: str) -> None:
            page.wait_for_selector(SETTLED, state="attached", timeout=60_000)
            page.wait_for_timeout(700)
            found.setdefault(name, []).append(page.evaluate(UNTIL, [press, stands]))

        for at in range(rounds + 1):
            head = HEADS[at % 2]
            time_of("click to drawer", BOX % head, DRAWER % head[1:].replace(".h", "."))
            time_of("cut to new bars", BUTTON % (".hap-cuts button", "offDel"), BARS)
            time_of("undo", BUTTON % (".hap-cuts button", "Undo"), f"!{BARS}")
            for view, drawn in (("By role", ".hap-group"), ("On the sentence", ".hap-head-box")):
                shown = f"document.querySelector('{drawn}')?.getClientRects().length"
                time_of("view switch", BUTTON % (".hap-modes button", view), shown)
            page.keyboard.press("Escape")
            for question, answer in (("good is it?", "Not tested yet"), ("missed?", "EAP ranks the best edge")):
                time_of("question tab", BUTTON % (".st-key-ask button", question), SAYS % answer)
            for link, title in (("Runs", "Runs"), ("Explore", "hap-mini")):
                time_of("page change", BUTTON % ('[data-testid="stTopNavLink"]', link), TITLED % title)
            page.wait_for_selector(".hap-head-box", timeout=120_000)
    del found["undo"]
    return {name: statistics.median(times[len(times) // (rounds + 1) :]) for name, times in found.items()}


def with_query(address: str, **query: str) -> str:
    return f"{address}{'&' if '?' in address else '/?'}{urlencode(query)}"


GOALS = {
    "first text": 1500,
    "first picture": 2500,
    "hover": 30,
    f"slider at {EDGES:,} edges": 100,
    "click to drawer": 200,
    "view switch": 150,
    "question tab": 300,
    "cut to new bars": 400,
    "page change": 300,
}
CASES: tuple[Callable[[Any, str, int], dict[str, float]], ...] = (page_loads, hover, redraw, clicks)


@contextmanager
def visited(browser: Any, address: str, script: str = "") -> Iterator[Any]:
    """A page of a new profile at an address."""
    context = browser.new_context(viewport=WIDE)
    try:
        page = context.new_page()
        if script:
            page.add_init_script(script)
        page.goto(address)
        yield page
    finally:
        context.close()


@contextmanager
def served(home: Path) -> Iterator[str]:
    """The explorer on a free port with a home of its own."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app.serve", "--port", str(port)]
    environment = os.environ | {"HAP_HOME": str(home), "STREAMLIT_SERVER_HEADLESS": "true"}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://localhost:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("run", nargs="?", type=Path, help="a run file; without it the first example")
    args = parser.parse_args()
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise SystemExit(f"error: no browser on the path (looked for {', '.join(BROWSERS)}); install chromium")
    from playwright.sync_api import sync_playwright  # a tool of the developers only

    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        suffix = ""
        if args.run:
            run = load(args.run)
            save(run, Path(home) / "runs" / f"{run.id}.json")
            suffix = f"/?run={run.id}"
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        with served(Path(home)) as address:
            print("| what | median | goal |\n|---|---:|---:|")
            for case in CASES:
                for name, value in case(browser, f"{address}{suffix}", args.rounds).items():
                    print(f"| {name} | {value:.0f} ms | {GOALS[name]} ms |", flush=True)
        browser.close()


if __name__ == "__main__":
    main()

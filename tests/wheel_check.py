"""Build the wheel, install it into an environment of its own and use it there: ``python -m tests.wheel_check``.

Away from the checkout, in a folder whose own files have the explorer's names: the terminal command, the explorer and
the notebook's import must work there. It downloads what the wheel declares, about 2 GB, unless pip has it at hand.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUICK = "discover --model hap-mini --task ioi --sparsity 0.98 --preset quick --out run.json"
LOADED = """
import hap_engine as hap
run = hap.load("run.json")
print(hap.__version__, len(run.circuits["hap"].circuit.live), hap.__file__)
"""
PAGE = """
from pathlib import Path
import hap_engine
from streamlit.testing.v1 import AppTest
script = Path(hap_engine.__file__).parents[1] / "app/pages/navigation.py"
page = AppTest.from_file(str(script), default_timeout=60).run()
assert not page.exception, page.exception
assert any("S-inhibition" in part.value for part in page.markdown), "the example run is not shown"
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        programs = install(place)
        elsewhere = place / "elsewhere"
        (elsewhere / "app").mkdir(parents=True)
        for name in ("app/__init__.py", "streamlit.py"):
            (elsewhere / name).write_text("raise SystemExit('a file of the folder was imported')")
        os.environ["HAP_HOME"] = str(place / "home")
        os.chdir(elsewhere)
        check([programs / "hap", *QUICK.split()])
        check([programs / "python", "-P", "-c", LOADED])
        check([programs / "python", "-P", "-c", PAGE])
        answers([programs / "hap", "app"])
        answers([programs / "python", "-P", "-m", "hap_engine", "app"])
    print("the wheel works away from its checkout")


def install(place: Path) -> Path:
    """The folder of the programs of a fresh environment that holds the wheel and what it declares."""
    check([sys.executable, "-m", "venv", place / "bare"])
    programs = place / "bare" / ("Scripts" if os.name == "nt" else "bin")
    check([programs / "python", "-m", "pip", "wheel", "-q", "--no-deps", "-w", place, ROOT])
    (wheel,) = place.glob("hap_explorer-*.whl")
    check([programs / "python", "-m", "pip", "install", "-q", wheel])
    return programs


def check(command: list[str | Path]) -> None:
    """Run a command and say how long it took; its failure ends the check."""
    started = time.monotonic()
    subprocess.run(command, check=True)
    words = " ".join([Path(command[0]).name, *map(str, command[1:])]).split()
    print(f"[{time.monotonic() - started:5.1f} s] {' '.join(words[:9])}", flush=True)


def answers(command: list[str | Path]) -> None:
    """Start the explorer, wait until it answers on its port, and stop it."""
    with socket.create_server(("localhost", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen([*command, "--port", str(port)])
    try:
        for _ in range(150):
            time.sleep(0.2)
            if server.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=1):
                    return
            except OSError:
                continue
        raise SystemExit(f"the explorer did not answer on port {port}")
    finally:
        server.terminate()
        server.wait(timeout=10)


if __name__ == "__main__":
    main()

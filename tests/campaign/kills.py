"""Runs of the terminal, killed at random moments: no file breaks, nothing is lost, the same command ends the same.

A run of hap-mini is over before its first state is due, so here one is written each tenth of a second.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from hap_engine.errors import HapError
from hap_engine.files import check_writable, home
from hap_engine.runs.run_file import load, runs_folder, save
from tests.builders.servers import ROOT, proxy, through
from tests.builders.whole_runs import whole_run
from tests.campaign.tally import Tally, counted

DISCOVER = ("discover", "--model", "hap-mini", "--preset", "quick")
EAGER = """import sys
from hap_engine.cli.commands import main
from hap_engine.runs import unfinished
unfinished.EVERY, unfinished.SHARE = 0.1, 1.0
sys.exit(main(sys.argv[1:]))"""
RESUMED = b"It goes on from there"
LONGEST = 600  # seconds for one run on a busy machine


def attack(seed: int, count: int) -> Tally:
    """`count` kills; a run that was killed is started again until it ends by itself, then another is begun."""
    chance = Random(seed)
    with counted(Tally("kills", seed)) as tally, ExitStack() as stack:
        address, asked = stack.enter_context(proxy())
        kept = save(whole_run(id="kept"), home() / "runs" / "kept.json")
        content = kept.read_bytes()
        start = time.monotonic()
        whole, _ = _result(tally, _begin(address, home() / "undisturbed"), home() / "undisturbed")
        wanted, length, went_on = _circuits(whole), time.monotonic() - start, 0
        while True:
            run, last = _begin(address, home()), tally.tried == count
            try:
                run.wait(timeout=LONGEST if last else chance.uniform(0.3, length))
            except subprocess.TimeoutExpired:
                os.kill(run.pid, signal.SIGKILL)
                told, _ = run.communicate()
                went_on += RESUMED in told
                tally.tried += 1
                tally.wrong += [f"after kill {tally.tried}: {broken}" for broken in _broken(home())]
                continue
            result, told = _result(tally, run, home())
            went_on += RESUMED in told
            tally.accepted += _ended(tally, result, wanted)
            if last:
                break
        tally.notes = {"half-written files": len(list(home().rglob("*.part")))}
        tally.wrong += [f"{name} is not swept up" for name in _left_a_minute_later()]
        if kept.read_bytes() != content:
            tally.lost.append("the run that was finished before")
        tally.notes |= {"starts that went on from a state": went_on, "seconds of an undisturbed run": round(length, 1)}
        tally.outside += [told.decode(errors="replace") for told in asked]
    return tally


def _begin(address: str, place: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", EAGER, *DISCOVER]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=ROOT, env=through(address, place), **both)


def _ended(tally: Tally, result: Path | None, wanted: Any) -> int:
    """Look at what a run left that ended by itself, and take it away."""
    if result is None:
        return 0
    if _circuits(result) != wanted:
        tally.wrong.append(f"after kill {tally.tried}: another circuit than undisturbed")
    left = [path.name for path in home().rglob("*.state")]
    tally.wrong += [f"after kill {tally.tried}: {name} is left" for name in left]
    result.unlink()
    return 1


def _result(tally: Tally, run: subprocess.Popen[bytes], place: Path) -> tuple[Path | None, bytes]:
    """The run file of a process that ends by itself, and what that said."""
    told, _ = run.communicate(timeout=LONGEST)
    made = [path for path in (place / "runs").glob("*.json") if path.name != "kept.json"]
    if run.returncode or len(made) != 1:
        tally.lost.append(f"after kill {tally.tried}: {told.decode(errors='replace')[-300:]}")
        return None, told
    return made[0], told


def _left_a_minute_later() -> list[str]:
    """Temporary files of killed processes that are there when the next run begins, a minute later."""
    for path in home().rglob("*.part"):
        os.utime(path, (0, 0))
    check_writable(runs_folder() / "run.json")
    return [path.name for path in home().rglob("*.part")]


def _circuits(path: Path | None) -> Any:
    return path and json.loads(path.read_text(encoding="utf-8"))["circuits"]


def _broken(place: Path) -> list[str]:
    """Files that a killed process left half-written under a name that others read."""
    found = []
    for path in place.rglob("*.json"):
        try:
            json.loads(path.read_text(encoding="utf-8"))
            if path.parent.name == "runs":
                load(path)
        except (ValueError, HapError) as error:
            found.append(f"{path.name}: {error}")
    return found

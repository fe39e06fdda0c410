"""Runs of the terminal, killed at random moments: no file breaks, nothing is lost, the same command ends the same."""

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
from hap_engine.files import home
from hap_engine.runs.run_file import load, save
from tests.builders.servers import ROOT, proxy, through
from tests.builders.whole_runs import whole_run
from tests.campaign.tally import Tally, counted

DISCOVER = ("discover", "--model", "hap-mini", "--preset", "quick")
LONGEST = 600  # seconds for one run on a busy machine


def attack(seed: int, count: int) -> Tally:
    """`count` kills; a run that was killed is started again by the same command, until one ends."""
    chance = Random(seed)
    with counted(Tally("kills", seed)) as tally, ExitStack() as stack:
        address, asked = stack.enter_context(proxy())
        kept = save(whole_run(id="kept"), home() / "runs" / "kept.json")
        content = kept.read_bytes()
        start = time.monotonic()
        wanted = _circuits(_result(tally, _begin(address, home() / "undisturbed"), home() / "undisturbed"))
        length, ended = time.monotonic() - start, 0
        while tally.tried < count:
            run = _begin(address, home())
            try:
                run.wait(timeout=chance.uniform(0.3, length))
            except subprocess.TimeoutExpired:
                os.kill(run.pid, signal.SIGKILL)
                run.communicate()
                tally.tried += 1
                tally.wrong += [f"after kill {tally.tried}: {told}" for told in _broken(home())]
            else:
                ended += _ended(tally, run, wanted)
        ended += _ended(tally, _begin(address, home()), wanted)
        if kept.read_bytes() != content:
            tally.lost.append("the run that was finished before")
        tally.accepted = ended
        tally.notes = {"runs that ended with the circuits of the undisturbed one": ended}
        tally.notes["seconds of an undisturbed one"] = round(length, 1)
        tally.outside += [told.decode(errors="replace") for told in asked]
    return tally


def _begin(address: str, place: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hap_engine", *DISCOVER]
    environment = through(address, place)
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _ended(tally: Tally, run: subprocess.Popen[bytes], wanted: Any) -> int:
    """Look at what a run left that ended by itself, and take it away."""
    result = _result(tally, run, home())
    if result is None:
        return 0
    if _circuits(result) != wanted:
        tally.wrong.append(f"after kill {tally.tried}: another circuit than undisturbed")
    left = [path.name for path in home().rglob("*") if path.suffix in (".part", ".state")]
    tally.wrong += [f"after kill {tally.tried}: {name} is left" for name in left]
    result.unlink()
    return 1


def _result(tally: Tally, run: subprocess.Popen[bytes], place: Path) -> Path | None:
    """The run file of a process that ends by itself."""
    told, _ = run.communicate(timeout=LONGEST)
    made = [path for path in (place / "runs").glob("*.json") if path.name != "kept.json"]
    if run.returncode or len(made) != 1:
        tally.lost.append(f"after kill {tally.tried}: {told.decode(errors='replace')[-300:]}")
        return None
    return made[0]


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

"""The terminal's command in several processes, as `torchrun -m hap_engine discover` is; one of them may be killed.

Arguments: ``whole``, ``killed`` (process 1 dies while edges are pruned) or ``differ`` (process 1 has another seed).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from hap_engine.cli.commands import main
from hap_engine.runs import unfinished
from hap_engine.runs.run_file import runs_folder

COMMAND = ["discover", "--model", "hap-mini", "--sparsity", "0.98", "--prompts", "32,8,8", "--steps", "20"]
FLOAT = ["--dtype", "float32"]


def die_while_pruning() -> None:
    while not any("pruning" in left.told for left in map(_left, runs_folder().glob("*.state")) if left):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


def _left(path: object) -> unfinished.Interrupted | None:
    return unfinished.interrupted(runs_folder(), path.stem)  # type: ignore[attr-defined]


if __name__ == "__main__":
    unfinished.EVERY, unfinished.SHARE = 0.0, 1e9  # a state is written whenever there is one
    (how,) = sys.argv[1:]
    other = os.environ["RANK"] == "1"
    if how == "killed" and other:
        threading.Thread(target=die_while_pruning, daemon=True).start()
    sys.exit(main([*COMMAND, *FLOAT, "--seed", "1" if how == "differ" and other else "0"]))

"""How torch's threads wait for one another (no torch)."""

from __future__ import annotations

import os

# Turns that a waiting thread spins before it lets others run. GNU OpenMP, as in torch's Linux builds, spins 300,000
# times: on two cores with one other process at work a run of hap-mini took 40 times as long as undisturbed, with
# this number 2.4 times. Undisturbed it costs nothing; with 1,000 the run took half as long again.
TURNS = "10000"


def wait_briefly() -> None:
    """Call it before torch is imported; what the user has set stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", TURNS)

"""The heavy libraries, loaded by the first work that needs them.

Streamlit collects garbage after every script run and holds all threads meanwhile. What these libraries
leave in memory stays for good, so it is taken out of the collector's sight: 0.4 s became 0.15 s, twice a
second while a panel watches work, which on a slow machine had left nothing for the work itself.
"""

from __future__ import annotations

import gc
from functools import cache
from importlib import import_module

NEEDED = ("transformer_lens", "transformers", "hap_engine.workflows.discover", "hap_engine.explain.what_if")


@cache
def load() -> None:
    """Import torch and all that the engine needs with it."""
    for name in NEEDED:
        import_module(name)
    gc.collect()
    gc.freeze()

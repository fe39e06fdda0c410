"""The heavy libraries, loaded by the first work that needs them.

Streamlit collects garbage after every script run and holds all threads meanwhile. What these libraries
leave in memory stays for good, so it is taken out of the collector's sight: 0.4 s became 0.15 s, twice a
second while a panel watches work, which on a slow machine had left nothing for the work itself.
"""

from __future__ import annotations

import gc
import sys
from functools import cache
from importlib import import_module

from app.words import say
from hap_engine.errors import SettingsError

NEEDED = ("transformer_lens", "transformers", "hap_engine.workflows.discover", "hap_engine.explain.what_if")


@cache
def load() -> None:
    """Import torch and all that the engine needs with it. Raises SettingsError where that fails, with the remedy."""
    try:
        for name in NEEDED:
            import_module(name)
    except (ImportError, OSError) as error:  # a library of torch that the system lacks is an OSError
        first = str(error).strip().split("\n")[0]
        raise SettingsError(say("torch.broken", why=first, python=sys.executable)) from error
    gc.collect()
    gc.freeze()

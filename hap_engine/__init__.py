"""HAP: transformer circuits by hybrid attribution and pruning (arXiv 2510.03282).

The public names below are loaded when they are first used, so that ``import hap_engine`` costs nothing
and needs no torch; docs/api.md shows them at work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    **dict.fromkeys(
        (
            "attribute",
            "discover",
            "encoded",
            "evaluate",
            "logits",
            "open_model",
            "prompts",
            "prune_on",
        ),
        "api",
    ),
    **dict.fromkeys(
        ("Circuit", "empty_circuit", "full_circuit", "random_circuit", "top_edges", "top_live"),
        "circuit",
    ),
    **dict.fromkeys(("Graph",), "graph"),
    **dict.fromkeys(("HapError",), "errors"),
    **dict.fromkeys(("Run", "load", "save"), "runs"),
    **dict.fromkeys(("DiscoveryConfig", "PruningConfig"), "settings"),
    **dict.fromkeys(("PromptPair", "SplitSizes"), "tasks"),
    **dict.fromkeys(("read_eapig", "write_eapig"), "eapig"),
    **dict.fromkeys(("examine", "with_stability"), "examination"),
}

__all__ = [
    "Circuit",
    "DiscoveryConfig",
    "Graph",
    "HapError",
    "PromptPair",
    "PruningConfig",
    "Run",
    "SplitSizes",
    "__version__",
    "attribute",
    "discover",
    "empty_circuit",
    "encoded",
    "evaluate",
    "examine",
    "full_circuit",
    "load",
    "logits",
    "open_model",
    "prompts",
    "prune_on",
    "random_circuit",
    "read_eapig",
    "save",
    "top_edges",
    "top_live",
    "with_stability",
    "write_eapig",
]

if TYPE_CHECKING:
    from hap_engine.api import (
        attribute,
        discover,
        encoded,
        evaluate,
        logits,
        open_model,
        prompts,
        prune_on,
    )
    from hap_engine.circuit import (
        Circuit,
        empty_circuit,
        full_circuit,
        random_circuit,
        top_edges,
        top_live,
    )
    from hap_engine.eapig import read_eapig, write_eapig
    from hap_engine.errors import HapError
    from hap_engine.examination import examine, with_stability
    from hap_engine.graph import Graph
    from hap_engine.runs import Run, load, save
    from hap_engine.settings import DiscoveryConfig, PruningConfig
    from hap_engine.tasks import PromptPair, SplitSizes


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hap_engine' has no attribute {name!r}")
    return getattr(import_module(f"hap_engine.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

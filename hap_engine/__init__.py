"""HAP: transformer circuits by hybrid attribution and pruning (arXiv 2510.03282).

The public names below are loaded when they are first used, so that ``import hap_engine`` costs nothing
and needs no torch; docs/api.md shows them at work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hap_engine.version import __version__

_PUBLIC = {
    **dict.fromkeys(
        ("attribute", "discover", "encoded", "evaluate", "logits", "open_model", "prompts", "prune_on"), "api"
    ),
    **dict.fromkeys(("Circuit", "empty_circuit", "full_circuit", "random_circuit"), "graph.circuit"),
    **dict.fromkeys(("top_edges", "top_live"), "graph.ranking"),
    "Graph": "graph.graph",
    "HapError": "errors",
    "Run": "runs.record",
    **dict.fromkeys(("load", "save"), "runs.run_file"),
    **dict.fromkeys(("DiscoveryConfig", "PruningConfig"), "settings"),
    "PromptPair": "tasks.pair",
    "SplitSizes": "tasks.task",
    **dict.fromkeys(("read_eapig", "write_eapig"), "graph.eapig_file"),
    **dict.fromkeys(("examine", "with_stability"), "workflows.retest"),
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
    from hap_engine.api import attribute, discover, encoded, evaluate, logits, open_model, prompts, prune_on
    from hap_engine.errors import HapError
    from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit, random_circuit
    from hap_engine.graph.eapig_file import read_eapig, write_eapig
    from hap_engine.graph.graph import Graph
    from hap_engine.graph.ranking import top_edges, top_live
    from hap_engine.runs.record import Run
    from hap_engine.runs.run_file import load, save
    from hap_engine.settings import DiscoveryConfig, PruningConfig
    from hap_engine.tasks.pair import PromptPair
    from hap_engine.tasks.task import SplitSizes
    from hap_engine.workflows.retest import examine, with_stability


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hap_engine' has no attribute {name!r}")
    return getattr(import_module(f"hap_engine.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

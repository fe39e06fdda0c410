"""HAP: transformer circuits by hybrid attribution and pruning (arXiv 2510.03282).

The public names below are loaded when they are first used, so that ``import hap_engine`` costs nothing
and needs no torch; docs/api.md shows them at work.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hap_engine.version import __version__

# The one list of public names: editors and type checkers take them from here, and so does `_PUBLIC`.
if TYPE_CHECKING:
    from hap_engine.api import (
        attribute,
        bootstrap,
        discover,
        encoded,
        evaluate,
        examine,
        find_rival,
        logits,
        open_model,
        per_prompt,
        prompts,
        prune_on,
        why_missed,
    )
    from hap_engine.errors import HapError
    from hap_engine.graph.circuit import Circuit, empty_circuit, full_circuit, random_circuit
    from hap_engine.graph.eapig_file import read_eapig, write_eapig
    from hap_engine.graph.graph import Graph
    from hap_engine.graph.ranking import top_edges, top_live
    from hap_engine.report.every_size import circuit_at
    from hap_engine.report.missed_heads import missed_heads
    from hap_engine.report.verdict import verdict
    from hap_engine.runs.examples import example
    from hap_engine.runs.record import Run
    from hap_engine.runs.run_file import load, save
    from hap_engine.settings import DiscoveryConfig, PruningConfig
    from hap_engine.tasks.pair import PromptPair
    from hap_engine.tasks.span_file import read_span_file
    from hap_engine.tasks.task import SplitSizes
    from hap_engine.workflows.retest import with_stability

_PUBLIC = {
    alias.name: node.module.removeprefix("hap_engine.")
    for block in ast.parse(Path(__file__).read_text(encoding="utf-8")).body
    if isinstance(block, ast.If)
    for node in block.body
    if isinstance(node, ast.ImportFrom) and node.module
    for alias in node.names
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hap_engine' has no attribute {name!r}")
    return getattr(import_module(f"hap_engine.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""New settings from a finished run: once more with a change, or on to a tighter budget (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from hap_engine.errors import SettingsError
from hap_engine.models.locate import identity_of
from hap_engine.runs.record import Run
from hap_engine.settings import DiscoveryConfig, EarlierRun, PruningConfig
from hap_engine.tasks.custom import prompts_hash, shares_corruptions
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.span_file import SpanFile
from hap_engine.tasks.task import SplitSizes


def again(run: Run, **changes: Any) -> DiscoveryConfig:
    """The settings of `run` with some of them changed.

    Raises:
        SettingsError: if the file does not hold all that is needed.
    """
    reference = run.model.get("reference")
    if not isinstance(reference, str):
        raise SettingsError("The run file does not say where its model is. Start the run anew (discover --model).")
    if "continues" in run.settings:
        raise SettingsError(f"This run goes on from run {run.settings['continues']}. Continue that one again instead.")
    prompts = _own_prompts(run)
    given = {"bos": "never"} | {key: value for key, value in run.settings.items() if key != "prompts"}
    try:
        given["pruning"] = PruningConfig(**_known(PruningConfig, given.get("pruning")))
        given["sizes"] = SplitSizes(**_known(SplitSizes, {} if prompts else given.get("sizes")))
        known = {**_known(DiscoveryConfig, given), "model": reference, "seed": run.seed}
        if "spans" in known:
            known["spans"] = SpanFile.from_dict(known["spans"])
        return DiscoveryConfig(**{**known, "prompts": prompts, **changes})
    except (TypeError, ValueError) as error:
        raise SettingsError(f"The settings of this run cannot be used again: {error}") from None


def further(run: Run, sparsity: float) -> DiscoveryConfig:
    """The settings that go on from the circuit of `run` to a tighter budget.

    Its edges are the new candidates and start in the order of their gates. Everything else stays as it
    was, so prompts and weights are those that the run has seen.

    Raises:
        SettingsError: if the run learned no gates, `sparsity` is not higher than the run's, or its rows are split
            otherwise today.
    """
    record = run.circuits[run.main]
    gates = np.asarray(record.values.get("gates", []), float)
    if len(gates) != len(record.circuit) or not np.isfinite(gates).all():
        raise SettingsError(
            f"Expected a run of hap or ep, whose edges have gates; this one is {run.main}. "
            "There is nothing to go on from."
        )
    if not run.sparsity < sparsity < 1:
        raise SettingsError(f"Expected a sparsity above the run's {run.sparsity:g} and below 1, got {sparsity:g}.")
    names = tuple(record.circuit.names())
    config = again(_unchained(run))
    if shares_corruptions(config.prompts) and "split_by" not in run.settings:
        raise SettingsError(
            "Expected a run whose splits share no prompt, got an older one: by today's splits it would be tested on "
            "what it learned from. Start it anew (discover --task custom, with its file) and continue that one."
        )
    share = len(names) / run.graph.n_edges
    start = EarlierRun(run.id, identity_of(run.model), names, tuple(gates.tolist()), share)
    return replace(config, sparsity=sparsity, keep=None, keep_level=None, start=start)


def _unchained(run: Run) -> Run:
    """A continued run can itself be continued: its own circuit is all that counts."""
    return replace(run, settings={k: v for k, v in run.settings.items() if k != "continues"})


def _own_prompts(run: Run) -> tuple[PromptPair, ...]:
    """The pairs of a run on prompts of one's own, of which its settings hold the hash alone."""
    wanted = run.settings.get("prompts")
    if not wanted:
        return ()
    try:
        pairs = [PromptPair.from_dict(row) for split in run.prompts.values() for row in split]
    except (KeyError, TypeError):
        pairs = []
    if prompts_hash(pairs) != wanted:
        raise SettingsError(
            "The run was made on prompts of your own, and its file does not hold all of them. Start it with their file."
        )
    return tuple(pairs)


def _known(cls: Any, given: Any) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    return {k: v for k, v in given.items() if k in names} if isinstance(given, Mapping) else {}

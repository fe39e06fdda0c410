"""Discover a circuit: score every edge, keep a loose set, prune it, test what is left.

`discover` is one generator for the app, the terminal and the tests: it yields `Progress` records and
returns a `Run`. Stopping to iterate cancels it within one step of the work at hand.

    load model -> prompts -> can the model do it? -> EAP scores -> keep the best share -> Edge Pruning on those
    -> exact target -> remove dead edges -> EAP circuit of the same live size -> held-out evaluation -> roles

The EAP circuit grows (in EAP's own order) until it has as many live edges as the pruned one, so the
two are compared at equal size.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

import torch

from hap_engine.attribution.scorers import Scores
from hap_engine.errors import OutOfMemoryError, SettingsError
from hap_engine.evaluation.evaluate import Setting, evaluate
from hap_engine.evaluation.measure import measure, measure_on
from hap_engine.evaluation.sizes import grid, measure_sizes
from hap_engine.explain.head_facts import describe_heads
from hap_engine.files import short_hash
from hap_engine.graph.circuit import Circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.graph import WHOLE
from hap_engine.graph.ranking import edge_budget, top_live
from hap_engine.machine import memory
from hap_engine.machine.estimate import limits_within
from hap_engine.machine.memory import Limits, out_of_memory
from hap_engine.machine.workload import RUN_BATCH, first_beyond, memory_on_cards
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.masked.processes import check_alike
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.masked.self_check import check_prompts
from hap_engine.progress import Progress, relabelled
from hap_engine.pruning.budgets import BUDGETS
from hap_engine.runs.record import Run
from hap_engine.runs.unfinished import Place, Unfinished
from hap_engine.settings import VALIDATED, DiscoveryConfig, prompts_at_sizes, run_id
from hap_engine.tasks.task import PromptSets
from hap_engine.transformer.cards import free_on
from hap_engine.transformer.load import Model, loading
from hap_engine.version import __version__
from hap_engine.words import say
from hap_engine.workflows.ask_model import CHECKED, ask, check_task, spaces_in_doubt
from hap_engine.workflows.assemble_run import assemble
from hap_engine.workflows.run_prompts import at_spans, make_prompts, scored, settled, told_spans, try_prompts, with_data
from hap_engine.workflows.two_stages import SearchResult, find_circuit, score_edges


def discover(
    config: DiscoveryConfig, model: Model | None = None, unfinished: Unfinished | None = None
) -> Generator[Progress, None, Run]:
    """Run the whole method.

    Args:
        model: an opened model; loaded from ``config.model`` when None.
        unfinished: keeps the state, from which the same run goes on after an interruption. Whoever saves the run
            forgets it. None: nothing is kept.

    Yields:
        Progress records of the phases load, prompts, score, prune, evaluate, roles.

    Raises:
        HapError: with a plain message for everything a user can cause.
    """
    try:
        return (yield from _stages(config, model, unfinished or Unfinished()))
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        failed = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    memory.trim()  # outside the handler: the error holds the frames, and they the tensors
    torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    raise OutOfMemoryError(say("workflows.memory", config=config, failed=failed))


def _stages(config: DiscoveryConfig, model: Model | None, state: Unfinished) -> Generator[Progress, None, Run]:
    masked = yield from _open(config, model)
    asked, config = config, settled(config, masked.model.reader)
    state.lap("load")
    sets = yield from _prompts(config, masked)
    masked.workspace.clear()  # of the checks
    memory.trim()
    sets = at_spans(config, sets, masked.model.reader)
    if sets.spans != WHOLE:
        masked = masked.at_spans(sets.spans)
        graph = masked.graph.checked()  # its file must be read again
        kept = say("workflows.at_spans", kept=edge_budget(graph, config.sparsity), graph=graph)
        yield Progress("prompts", 1, 1, "Divided the prompts into spans", {"spans": f"{told_spans(sets)} {kept}"})
    source = masked.model.source
    if source.path and source.kind in ("folder", "gguf"):  # it may go on from another folder
        asked = replace(asked, model=str(source.path))
    decides = _decides(config, masked.model, sets)
    with state.opened(run_id(config, masked.model.identity), asked, decides) as said:
        check_alike(decides | {"state of the run": state.summary()}, masked.device)
        if said:
            yield Progress("prompts", 1, 1, said, {"resumed": said})
        return (yield from _found(config, masked, sets, state))


def _decides(config: DiscoveryConfig, model: Model, sets: PromptSets) -> dict[str, str]:
    """What a run's numbers depend on, each as a hash or a version."""
    ids = [
        [pair.clean_ids, pair.corrupt_ids, pair.answer_ids, pair.distractor_ids]
        for pair in (*sets.train, *sets.validation, *sets.test)
    ]
    return {
        "choice of settings": short_hash(config.to_dict()),
        "model": model.identity,
        "set of prompts": short_hash(ids),
        "version of the program": f"{__version__}, torch {torch.__version__}",
    }


def _found(
    config: DiscoveryConfig, masked: MaskedModel, sets: PromptSets, state: Unfinished
) -> Generator[Progress, None, Run]:
    limits = _limits(config, masked.model, sets)
    if len(masked.stretches) > 1:
        yield Progress("prompts", 1, 1, _on_cards(config, masked, sets, limits))
    setting = Setting("test", "resample", config.to_dict()["corruption"], config.seed)
    few = yield from Prepared(masked, sets.test[: prompts_at_sizes(len(sets.test))], limits).run()
    scores, search, known, learned = yield from _search(config, masked, sets, limits, few, setting, state)
    memory.trim()

    circuits = _equal_size(config.method, search.circuit, scores)
    live = {name: circuit.live for name, circuit in circuits.items()}
    target, batch = len(live[config.method]), min(RUN_BATCH, limits.batch)
    at = state.at("evaluate/circuits")
    metrics = yield from evaluate(
        masked, sets.test, live, setting, control_size=target, few=few, batch_size=batch, place=at
    )
    metrics[config.method] |= learned
    at = state.at("evaluate/sizes")
    sizes = yield from _at_sizes(config, few, search, scores, target, setting, batch, known, at)
    state.lap("evaluate")
    memory.trim()

    yield Progress("roles", 0, 1, "Measuring what each head does")
    facts = describe_heads(masked, sets, scores["eap"])
    yield Progress("roles", 1, 1, "Measured the roles of the heads")
    state.lap("roles")
    return assemble(config, masked, sets, scores["eap"], search, circuits, metrics, sizes, facts, state.seconds())


def _open(config: DiscoveryConfig, model: Model | None) -> Generator[Progress, None, MaskedModel]:
    yield from with_data(config.find_task())
    if model is None:
        try_prompts(config)
        model = yield from loading(config.model, config.device, config.layers_on)
    if config.start is not None and config.start.weights not in (model.identity, model.sha256):
        raise SettingsError(say("workflows.other_weights", config=config, model=model))
    edge_budget(model.graph, config.sparsity)  # refuses a sparsity that leaves no edge
    masked = open_masked(model)
    yield Progress("load", 1, 1, f"Opened {model.name}: its masked pass reproduces it")
    return masked


def _prompts(config: DiscoveryConfig, masked: MaskedModel) -> Generator[Progress, None, PromptSets]:
    """The prompts, and what the model makes of some of them."""
    model = masked.model
    sets = make_prompts(config, model.reader)
    yield Progress("prompts", 0, 1, "Comparing the engine with the model itself on some of the prompts")
    check_prompts(masked, [*sets.train, *sets.validation, *sets.test])
    few = [*sets.validation, *sets.train][:CHECKED]
    able = yield from check_task(masked, few)
    doubts = spaces_in_doubt((yield from ask(masked, few))) if config.prompts else sets.note
    tokens = scored(model.reader, [*sets.train, *sets.validation, *sets.test])
    yield Progress("prompts", 1, 1, able.sentence, {"check": {"scored": tokens, **able.to_dict(), "doubts": doubts}})
    return sets


def _search(
    config: DiscoveryConfig,
    masked: MaskedModel,
    sets: PromptSets,
    limits: Limits,
    few: Prepared,
    setting: Setting,
    state: Unfinished,
) -> Generator[Progress, None, tuple[dict[str, Scores], SearchResult, dict[str, Any], dict[str, float]]]:
    """Score and prune. What is kept of these prompts, the most of a run's memory, is gone when this ends.

    What the scores alone give at every size is tested in between, on `few` test prompts, so that a page can draw it
    while the descent goes on; what was learned is tested at the end on prompts that it was learned from.
    """
    fast = masked.with_dtype(getattr(torch, config.dtype))
    training = yield from Prepared(fast, sets.train, limits).run()
    validation = yield from Prepared(fast, sets.validation[:VALIDATED], limits).run()
    state.lap("prompts")

    scores = yield from score_edges(masked, training, config.candidate_scorer, state.at("score"))
    state.lap("score")
    masked.workspace.clear()  # learning has other buffers

    budget, known = edge_budget(masked.graph, config.sparsity), dict[str, Any]()
    if config.method != "eap" and BUDGETS[config.pruning.budget].ranks_sizes:
        orders, sizes = _by_score(masked, scores), grid(masked.graph, budget)
        at = state.at("evaluate/scores alone")
        work = measure_sizes(few, orders, sizes, setting, min(RUN_BATCH, limits.batch), place=at)
        known = yield from relabelled(work, phase="score", message="Testing what the scores alone give at every size")
        yield Progress(
            "score", 1, 1, "Tested what the scores alone give at every size", {"sizes": known, "graph": masked.graph}
        )
        state.lap("evaluate")
    search = yield from find_circuit(config, training, validation, scores, budget, place=state.at("prune"))
    state.lap("prune")
    masked.workspace.clear()
    learned = dict[str, float]()
    if search.history:
        at, some = state.at("evaluate/training"), training.first(prompts_at_sizes(len(training)))
        learned = yield from _on_training(masked, some, search.circuit.live, min(RUN_BATCH, limits.batch), at)
    state.lap("evaluate")
    return scores, search, known, learned


def _on_training(
    masked: MaskedModel, some: Prepared, circuit: Circuit, batch: int, place: Place
) -> Generator[Progress, None, dict[str, float]]:
    """The circuit's own KL on prompts that it was learned from. That of the descent is of its open gates."""
    text = "Testing the circuit on prompts that it was learned from"
    exact = some.masked is masked  # else they were run in half precision
    work = (
        measure_on(some, {0: circuit}, batch, place)
        if exact
        else measure(masked, some.pairs, {0: circuit}, batch, place=place)
    )
    _, outcomes = yield from relabelled(work, message=text)
    return {"train_kl": float(outcomes[0]["kl"].mean()), "n_train": len(some)}


def _at_sizes(
    config: DiscoveryConfig,
    few: Prepared,
    search: SearchResult,
    scores: Mapping[str, Scores],
    target: int,
    setting: Setting,
    batch: int,
    known: Mapping[str, Any],
    place: Place,
) -> Generator[Progress, None, dict[str, Any]]:
    """Every order of the edges that the run has, measured at every size; nothing of a run for one size."""
    if not BUDGETS[config.pruning.budget].ranks_sizes:
        return {}
    orders = _by_score(few.masked, scores)
    if search.order is not None:
        orders[config.method] = search.order.then(orders["eap"])  # two scorers err differently
    sizes = grid(few.masked.graph, target)
    return (yield from measure_sizes(few, orders, sizes, setting, batch, known, place))


def _by_score(masked: MaskedModel, scores: Mapping[str, Scores]) -> dict[str, EdgeOrder]:
    return {name: EdgeOrder.by_score(masked.graph, values, name) for name, values in scores.items()}


def _limits(config: DiscoveryConfig, model: Model, sets: PromptSets) -> Limits:
    """What the run may hold at once. Raises SettingsError if one prompt is already too much."""
    if config.memory is None or (shape := model.shape) is None:
        return Limits()
    return limits_within(config, shape, _longest(sets))


def _on_cards(config: DiscoveryConfig, masked: MaskedModel, sets: PromptSets, limits: Limits) -> str:
    """What the run will hold on each card that has layers, by the estimate, and what will not fit there."""
    if (shape := masked.model.shape) is None:
        return "The memory of each card is not known: the model's config does not tell its sizes"
    layers = [stretch.end - stretch.first for stretch in masked.stretches]
    every = memory_on_cards(config, shape, _longest(sets), layers, limits)
    said = []
    for stretch, held in zip(masked.stretches, every, strict=True):
        needed, room = sum(held.values()), free_on(stretch.device) + held["weights"]  # which are there already
        beyond = first_beyond(held, room)
        lacks = f" (no room for {beyond}: give less --memory, or more cards)" if beyond else ""
        said.append(f"{stretch.device} {needed / 1e9:.1f} of {room / 1e9:.1f} GB{lacks}")
    return f"About to hold on {', '.join(said)}"


def _longest(sets: PromptSets) -> int:
    return max(len(pair.clean_ids) for pair in (*sets.train, *sets.validation, *sets.test))


def _equal_size(method: str, found: Circuit, scores: Mapping[str, Scores]) -> dict[str, Circuit]:
    """The found circuit and, at the same number of live edges, those of the scorers alone."""
    size = max(1, len(found.live))
    alone = {name: top_live(found.graph, values, size) for name, values in scores.items() if name != method}
    return {method: found, **alone}

"""Add to a finished run: one's own circuit beside those that were found, numbers per test prompt.

Both are measured on the run's own held-out prompts, which its file holds as text, so the new numbers
stand beside the old ones. The model must be the run's (`locate.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from hap_engine.errors import SettingsError
from hap_engine.evaluation.evaluate import Setting, evaluate
from hap_engine.evaluation.measure import compact, measure
from hap_engine.evaluation.sizes import grid, measure_sizes
from hap_engine.evaluation.stored_prompts import stored_prompts
from hap_engine.explain.what_if import Bench
from hap_engine.files import short_hash
from hap_engine.findings import EDGE_VALUES, CircuitRecord
from hap_engine.graph.circuit import Circuit, empty_circuit
from hap_engine.graph.edge_order import EdgeOrder
from hap_engine.graph.edits import Change, apply
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import Progress
from hap_engine.report.every_size import circuit_at
from hap_engine.report.titles import METHOD_TITLES, OWN, RIVAL
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps
from hap_engine.runs.schema import ADDED, ADDED_VERSION
from hap_engine.runs.unfinished import NOWHERE, Place, Unfinished
from hap_engine.settings import prompts_at_sizes
from hap_engine.version import __version__
from hap_engine.words import say
from hap_engine.workflows.two_stages import ordered, score_edges

CUT_PROMPTS = 4  # as many as have their attention in the file, so that the picture can show both
LEAST_WORD = 0.0005  # change of a probability: less is written as 0.0 %
STORED_WORDS = 3  # that a head promotes: with five the largest shipped run would grow by a tenth
LONGEST = 40  # letters of a run's id in the name of a state, which are at most 64
Result = TypeVar("Result")


def adding(
    state: Unfinished,
    work: Callable[..., Generator[Progress, None, Result]],
    masked: MaskedModel,
    run: Run,
    **asked: Any,
) -> Generator[Progress, None, Result]:
    """Add to a run, or go on where the same was interrupted. Whoever keeps what comes of it forgets the state.

    Args:
        work: `add_circuit`, `hap_engine.workflows.rivals.find_rival` or another that takes what is `asked` and a place.

    Raises:
        UnfinishedError: if another process does the same; and as the work does.
    """
    of = {"version of the program": f"{__version__}, torch {torch.__version__}", "model": masked.model.identity}
    # What else was added since then changes nothing here.
    bare: dict[str, Any] = {name: {} for name in ADDED.keys() - {"sizes"}}
    settings = {name: value.names() if isinstance(value, Circuit) else value for name, value in asked.items()}
    of |= {
        "run": short_hash(dumps(replace(run, name=None, **bare))),
        "work": work.__name__,
        "choice of settings": short_hash(settings),
    }
    with state.opened(f"{run.id[:LONGEST]}-{short_hash(of)}", None, of) as said:
        if said:
            yield Progress("load", 1, 1, said, {"resumed": said})
        return (yield from work(masked, run, place=state.at(work.__name__), **asked))


def add_circuit(
    masked: MaskedModel, run: Run, circuit: Circuit, name: str = OWN, place: Place = NOWHERE
) -> Generator[Progress, None, Run]:
    """Evaluate `circuit` on the run's test prompts and return the run with it as `name`.

    Raises:
        SettingsError: if nothing of the circuit is live, `name` is one that a method found, or the
            run was measured with another ablation than resampling.
    """
    live = circuit.live
    if not len(live):
        raise SettingsError(say("workflows.no_path"))
    if name not in (OWN, RIVAL) and name in {**run.circuits, **METHOD_TITLES}:
        raise SettingsError(say("workflows.taken", name=name))
    setting = _setting(run)
    masked, pairs = stored_prompts(masked, run, "test")
    rows = yield from evaluate(masked, pairs, {name: live}, setting, control_size=len(live), place=place)
    metrics = _with_per_prompt(run, {key: rows[key]["per_prompt"] for key in ("full", "empty")})
    record = CircuitRecord(live, len(circuit), _values(run, live))
    return replace(
        run,
        circuits={**run.circuits, name: record},
        metrics={**metrics, name: {**rows[name], "random_kl": rows["random"]["kl"]}},
    )


def add_per_prompt(masked: MaskedModel, run: Run, place: Place = NOWHERE) -> Generator[Progress, None, Run]:
    """Measure every circuit of an older run on each of its test prompts; its means stay as they are.

    Raises:
        SettingsError: if the run was measured with another ablation than resampling.
    """
    _setting(run)
    circuits = {"empty": empty_circuit(run.graph)} | {key: record.circuit for key, record in run.circuits.items()}
    masked, pairs = stored_prompts(masked, run, "test")
    full, outcomes = yield from measure(masked, pairs, circuits, place=place)
    per_prompt = {key: compact(outcome) for key, outcome in {"full": full, **outcomes}.items()}
    return replace(run, metrics=_with_per_prompt(run, per_prompt))


def add_size(masked: MaskedModel, run: Run, size: int, place: Place = NOWHERE) -> Generator[Progress, None, Run]:
    """Measure the circuits of one more size, on the prompts of the others.

    Raises:
        SettingsError: if the run has no circuits of this size.
    """
    circuit_at(run, run.main, size)  # refuses what there is not
    masked, pairs = stored_prompts(masked, run, run.sizes["split"], run.sizes["n_prompts"])
    sizes = sorted({*run.sizes["grid"], size}, reverse=True)
    few = yield from Prepared(masked, pairs).run()
    found = yield from measure_sizes(few, run.orders, sizes, _setting(run), known=run.sizes, place=place)
    return replace(run, sizes=found)


def add_curves(masked: MaskedModel, run: Run, place: Place = NOWHERE) -> Generator[Progress, None, Run]:
    """Give a run of one size circuits of every size: by its scores, made anew, and by its own order inside its circuit.

    Raises:
        SettingsError: if the file lacks prompts, or was measured with another ablation than resampling.
    """
    setting, graph, own = _setting(run), run.graph, run.circuits[run.main]
    masked, pairs = stored_prompts(masked, run, "train")
    training = yield from Prepared(masked, pairs).run()
    scores = yield from score_edges(masked, training, str(run.settings.get("scorer", "eap")), place.at("score"))
    orders = {name: EdgeOrder.by_score(graph, values, name) for name, values in scores.items()}
    learned = "gates" in own.values and run.main not in orders
    if learned:
        orders[run.main] = ordered(own.circuit, own.values["gates"])
    target = len(own.circuit)
    masked, pairs = stored_prompts(masked, run, "test")
    few = yield from Prepared(masked, pairs[: prompts_at_sizes(len(pairs))]).run()
    sizes = yield from measure_sizes(few, orders, grid(graph, target), setting, place=place.at("sizes"))
    if learned:  # areas over all sizes would be those of another method
        row = {key: values for key, values in sizes["metrics"][run.main].items() if key not in ("cpr", "cmd")}
        sizes["metrics"][run.main] = row
    return replace(run, sizes=sizes)


def _with_per_prompt(run: Run, values: dict[str, Any]) -> dict[str, Any]:
    return {key: {**row, "per_prompt": values[key]} if key in values else row for key, row in run.metrics.items()}


def add_cuts(masked: MaskedModel, run: Run, place: Place = NOWHERE) -> Generator[Progress, None, Run]:
    """The answer's probability in either circuit with each single head switched off, or restored where it lacks it.

    Of the heads that either keeps, or that have a role, on the first test prompts, with the words that these and the
    MLPs promote: a picture answers "what if" without the weights.

    Raises:
        SettingsError: if the file lacks prompts.
    """
    bench = Bench(*stored_prompts(masked, run, "test", CUT_PROMPTS))
    sides = {name: run.circuits[name].circuit for name in run.sides}
    known = set(run.roles.get("heads") or {}).union(*(circuit.heads for circuit in sides.values()))
    heads = [head for head in run.graph.heads if head in known]
    found = place.found()  # whole circuits
    for name, circuit in sides.items():
        if name in found:
            continue
        row: dict[str, Any] = {"base": _answers(bench, circuit), "off": {}, "on": {}}
        for done, head in enumerate(heads):
            yield Progress("evaluate", done, len(heads), f"Measuring what follows from each head in {name}'s circuit")
            on = head not in circuit.heads
            row["on" if on else "off"][head] = _answers(bench, apply(circuit, [Change(on, (head,))]))
        found[name] = row
        place.offer(f"measuring single heads of {name}'s circuit", lambda: {**found})
    cuts = {"version": ADDED_VERSION, "n_prompts": len(bench.pairs), "circuits": found}
    return replace(run, cuts=cuts | {"promoted": _promoted(bench, heads)})


def _promoted(bench: Bench, heads: Sequence[str]) -> dict[str, list[dict[str, dict[str, float]]]]:
    """By head and MLP, for each prompt, the words that it promotes and holds back, with the change of their share."""
    mlps = [writer.name for writer in bench.masked.graph.writers if writer.kind == "mlp"]

    def said(node: str, prompt: int) -> dict[str, dict[str, float]]:
        told = zip(("promotes", "holds"), bench.promoted(node, STORED_WORDS, prompt), strict=True)
        return {name: {word: round(x, 4) for word, x in words if abs(x) >= LEAST_WORD} for name, words in told}

    return {node: [said(node, prompt) for prompt in range(len(bench.pairs))] for node in (*heads, *mlps)}


def _answers(bench: Bench, circuit: Circuit) -> list[float]:
    return [round(float(share), 4) for share in bench.read(circuit).answer]


def _setting(run: Run) -> Setting:
    row = run.metrics.get(run.main, {})
    setting = Setting(str(row.get("split", "test")), "resample", str(run.task.get("corruption", "?")), run.seed)
    if row.get("ablation") != setting.ablation or not run.prompts.get("test"):
        raise SettingsError(say("workflows.ablation", setting=setting, found=row.get("ablation", "none")))
    return setting


def _values(run: Run, circuit: Circuit) -> dict[str, np.ndarray]:
    """What the run's circuits know about these edges: NaN for an edge that none of them keeps."""
    tables = {}
    for key in EDGE_VALUES:
        table = np.full(circuit.kept.shape, np.nan)
        for record in run.circuits.values():
            if key in record.values:
                known = record.values[key]
                cells = np.argwhere(record.circuit.kept)[~np.isnan(known)]
                table[tuple(cells.T)] = known[~np.isnan(known)]
        tables[key] = table[circuit.kept]
    return tables

"""The engine from a notebook: each function runs to its end and returns plain objects.

Everything here is also reachable as ``hap_engine.<name>`` (docs/api.md has a worked example)::

    import hap_engine as hap

    model = hap.open_model("hap-mini")
    run = hap.discover(model, sparsity=0.98)
    rows = hap.evaluate(model, run, ablation="mean")

The app and the terminal use the generators below these functions (`workflows.discover`,
`evaluation.evaluate`), which yield progress records and can be stopped. Here a live bar shows them, in a
notebook and on a terminal; a callback `progress` gets the records in its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hap_engine.attribution import scorers
from hap_engine.errors import SettingsError
from hap_engine.evaluation import evaluate as evaluation
from hap_engine.evaluation.full_tests import PROMPTS
from hap_engine.evaluation.stored_prompts import bos_of, stored_prompts
from hap_engine.explain.why_missed import explain
from hap_engine.graph.circuit import Circuit, full_circuit
from hap_engine.live_bar import follow
from hap_engine.masked.ablation import Ablation
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import is_model_of, open_masked
from hap_engine.masked.prompt_cache import Prepared
from hap_engine.progress import Progress
from hap_engine.report.missed_heads import Explanation
from hap_engine.runs.continue_run import further
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import runs_folder
from hap_engine.runs.unfinished import Unfinished, forget
from hap_engine.settings import OWN_CIRCUITS, RESAMPLES, SHORT, DiscoveryConfig
from hap_engine.tasks.custom import NAME as CUSTOM
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.pair import EncodedPair, PromptPair
from hap_engine.tasks.reader import encode_rows
from hap_engine.tasks.task import PromptSets, SplitSizes
from hap_engine.transformer.batches import in_batches
from hap_engine.transformer.load import loading
from hap_engine.words import say
from hap_engine.workflows import discover as discovery
from hap_engine.workflows import retest, rivals, search_again
from hap_engine.workflows.add_to_run import adding
from hap_engine.workflows.run_prompts import task_prompts, with_data

T = TypeVar("T")
Watch = Callable[[Progress], object]
Prompts = Run | Sequence[EncodedPair] | Sequence[PromptPair]


def open_model(
    reference: str, device: str = "cpu", *, layers_on: str | None = None, progress: Watch | None = None
) -> MaskedModel:
    """Open a bundled or Hub model, a folder or a ``.gguf`` file, ready for the masked pass.

    Args:
        layers_on: cards for its layers: ``auto``, or such as ``cuda:0,cuda:1``; None: all of it is on `device`.

    Raises:
        ModelError: if it cannot be opened, or its masked pass does not reproduce it.
    """
    return open_masked(follow(loading(reference, device, layers_on), progress))


def discover(
    model: MaskedModel | str,
    task: str | Sequence[PromptPair] = "ioi",
    *,
    progress: Watch | None = None,
    **settings: Any,
) -> Run:
    """Find a circuit. Called again after an interruption it goes on, and so does all that adds to a run.

    Args:
        model: an opened model, or what `open_model` takes.
        task: the name of a task, or your own prompt pairs (they are split by the seed).
        progress: called with each progress record, in place of the live bar.
        settings: any field of `DiscoveryConfig`, such as ``sparsity``, ``method``, ``seed``, ``pruning``.

    Raises:
        HapError: with a plain message for everything a user can cause.
    """
    known = DiscoveryConfig.__dataclass_fields__
    wrong = [name for name in settings if name not in known or name in ("model", "task")]
    if wrong:
        raise SettingsError(
            say("api.no_setting", wrong=wrong, known=", ".join(name for name in known if name not in ("model", "task")))
        )
    opened = open_model(model, progress=progress) if isinstance(model, str) else model
    if not isinstance(task, str):
        if wrong_type := [pair for pair in task if not isinstance(pair, PromptPair)]:
            raise SettingsError(say("api.no_task", kind=type(wrong_type[0]).__name__))
        task, settings = CUSTOM, {**settings, "prompts": tuple(task)}
    config = DiscoveryConfig(model=opened.model.source.reference, task=task, **settings)
    return _kept_up(lambda state: discovery.discover(config, opened.model, state), progress)


def prune_on(
    model: MaskedModel | str, run: Run, sparsity: float, *, steps: int | None = None, progress: Watch | None = None
) -> Run:
    """Go on from the circuit of `run` to a tighter budget: a whole curve of KL comes from one descent.

    Args:
        sparsity: above that of `run`.
        steps: of Edge Pruning; None: as many as `run` had.

    Raises:
        SettingsError: if the run learned no gates, or was made on other weights.
    """
    opened = open_model(model, progress=progress) if isinstance(model, str) else model
    config = further(run, sparsity)
    if steps is not None:
        config = replace(config, pruning=replace(config.pruning, steps=steps))
    return _kept_up(lambda state: discovery.discover(config, opened.model, state), progress)


def prompts(
    model: MaskedModel,
    task: str = "ioi",
    sizes: SplitSizes | None = None,
    seed: int = 0,
    corruption: str | None = None,
    bos: str = "auto",
) -> PromptSets:
    """Disjoint train, validation and test prompts of a task, encoded for the model; `bos` as in `DiscoveryConfig`."""
    chosen = get_task(task)
    follow(with_data(chosen))
    return task_prompts(model.model.reader.feeding(bos), chosen, sizes or SplitSizes(), seed, corruption)


def evaluate(
    model: MaskedModel,
    circuits: Run | Circuit | Mapping[str, Circuit],
    on: Prompts | None = None,
    *,
    ablation: str = "resample",
    seed: int = 0,
    progress: Watch | None = None,
) -> dict[str, dict[str, Any]]:
    """Metrics of circuits beside their controls ``full``, ``empty`` and ``random``.

    Args:
        circuits: one circuit, several by name, or those of a run.
        on: prompts; of a run, its test prompts. May be left out when `circuits` is a run. Texts begin as its do.
        ablation: what cut edges carry: ``resample``, ``mean`` or ``zero``.
    """
    given, corruption, bos = circuits, "as given", "auto"
    if isinstance(given, Run):
        on = given if on is None else on
        corruption, bos = str(given.task.get("corruption", corruption)), bos_of(given)
        named = {name: record.circuit for name, record in given.circuits.items()}
    else:
        named = {"circuit": given} if isinstance(given, Circuit) else dict(given)
    if not named or on is None:
        raise SettingsError("Expected at least one circuit and the prompts to evaluate it on.")
    pairs, model = encoded(model, on, bos), model.at_spans(next(iter(named.values())).graph.spans)
    setting = evaluation.Setting("test", ablation, corruption, seed)
    size = len(next(iter(named.values())).live)
    return follow(evaluation.evaluate(model, pairs, named, setting, control_size=size), progress)


def examine(model: MaskedModel, run: Run, *, prompts: int = PROMPTS, progress: Watch | None = None) -> Run:
    """The run with its circuits put to the test: completeness, minimality, curves, paired tests, other ablations.

    Args:
        prompts: test prompts for the parts that measure many circuits.

    Raises:
        SettingsError: if the run lacks prompts, was made on another model, or corruption does not move its metric.
    """
    return _kept_up(lambda state: adding(state, retest.examine, model, run, prompts=prompts), progress)


def bootstrap(
    model: MaskedModel, run: Run, resamples: int = RESAMPLES, *, steps: int = SHORT, progress: Watch | None = None
) -> Run:
    """The run with its ``stability``: searches on samples of its training prompts, each with a seed of its own.

    Args:
        steps: of Edge Pruning in each of these searches.

    Raises:
        SettingsError: for fewer than two samples or prompts, a circuit of one edge, or another model.
    """
    work = search_again.bootstrap
    return _kept_up(lambda state: adding(state, work, model, run, resamples=resamples, steps=steps), progress)


def find_rival(model: MaskedModel, run: Run, *, steps: int = SHORT, progress: Watch | None = None) -> Run:
    """The run with the circuit ``rival``: as many edges, about as good if there is such a one, few of the same.

    Args:
        steps: of Edge Pruning in each of the short searches; the last search has as many as the run.

    Raises:
        SettingsError: for a run of scores alone, a circuit of one edge, or another model.
    """
    return _kept_up(lambda state: adding(state, rivals.find_rival, model, run, steps=steps), progress)


def per_prompt(
    model: MaskedModel, run: Run, prompts: int = OWN_CIRCUITS, *, steps: int = SHORT, progress: Watch | None = None
) -> Run:
    """The run with its ``prompt_circuits``: one for each of its first test prompts, in groups that resemble each other.

    Args:
        steps: of Edge Pruning for each of them.

    Raises:
        SettingsError: for fewer than two prompts or more than there are, a circuit of one edge, or another model.
    """
    work = search_again.per_prompt
    return _kept_up(lambda state: adding(state, work, model, run, prompts=prompts, steps=steps), progress)


def attribute(
    model: MaskedModel,
    on: Prompts,
    *,
    scorer: str = "eap",
    metric: str | scorers.Metric | None = None,
    progress: Watch | None = None,
) -> Float[np.ndarray, "writer reader"]:
    """Scores of all edges, ``[writer, reader]``.

    Args:
        metric: None for the scorer's own, a name, or your own function
            ``(logits, full, answer, distractor) -> [batch]`` of the logits at the scored position, the full
            model's log-probabilities there, and token ids ``[batch, tokens]`` (padded with -1). It must be
            differentiable in the logits.
    """
    prepared = Prepared(model, encoded(model, on))
    follow(prepared.run(), progress)
    return follow(scorers.score(prepared, scorer, metric), progress)


def why_missed(model: MaskedModel, run: Run, head: str, *, progress: Watch | None = None) -> Explanation:
    """Why EAP misses a head that the run's own circuit keeps: print its ``how`` and ``why``.

    Args:
        head: one of `missed_heads` of the run's two circuits.

    Raises:
        SettingsError: if the run's circuit does not keep the head.
    """
    _compare(model, run)
    return follow(explain(model, run, head, *run.sides), progress)


@torch.no_grad()
def logits(
    model: MaskedModel, on: Prompts, circuit: Circuit | None = None, *, ablation: str = "resample"
) -> Float[Tensor, "prompt vocab"]:
    """Logits at the scored position of each prompt, for metrics of your own; the full model's by default."""
    pairs = encoded(model, on)
    if circuit is not None:
        model = model.at_spans(circuit.graph.spans)
    cutting = Ablation(model, pairs, ablation)
    mask = cutting.mask(full_circuit(model.graph) if circuit is None else circuit)
    rows: dict[int, Tensor] = {}
    for indices, batch in in_batches(pairs, 32, model.device):
        of_batch = model.logits(mask, model.embed(batch.clean), cutting.base(batch), batch.last, batch.spans)
        rows.update(zip(indices, of_batch, strict=True))
    return torch.stack([rows[index] for index in range(len(pairs))])


def encoded(model: MaskedModel, on: Prompts, bos: str = "auto") -> list[EncodedPair]:
    """Prompts for the model: a run's test prompts, pairs of texts (no space is added to them), or encoded pairs.

    Args:
        bos: of texts, as in `DiscoveryConfig`.

    Raises:
        TaskError: naming the pairs that the model cannot use: not aligned, an answer of several tokens, longer than
            it reads, with tokens that it does not know.
        SettingsError: if there are no prompts.
    """
    if isinstance(on, Run):
        _compare(model, on)
        return stored_prompts(model, on, "test")[1]
    if not on:
        raise SettingsError("Expected at least one prompt pair, got none.")
    return list(encode_rows(model.model.reader.feeding(bos), on))


def _kept_up(work: Callable[[Unfinished], Generator[Progress, None, Run]], progress: Watch | None) -> Run:
    """Drive work that goes on from its state, which nobody needs when it is done."""
    state = Unfinished(runs_folder())
    run = follow(work(state), progress)
    forget(runs_folder(), state.run)
    return run


def _compare(model: MaskedModel, run: Run) -> None:
    """Warn of a model that is not the run's. It may be meant: does a circuit hold for another checkpoint?"""
    if model.graph.whole == run.graph.whole and not is_model_of(model.model, run):
        warnings.warn(say("api.other_model", name=model.model.name, run=run.id), stacklevel=3)

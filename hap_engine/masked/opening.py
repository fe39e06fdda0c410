"""The one way to a masked model: build it, then check that its masked pass is what it claims."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

from hap_engine.errors import ModelError
from hap_engine.masked import self_check
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.models.catalog import Source
from hap_engine.models.locate import identity_of
from hap_engine.progress import Progress
from hap_engine.runs.record import Run
from hap_engine.transformer.load import Model, in_words, loading
from hap_engine.words import say


def open_masked(model: Model) -> MaskedModel:
    """The masked pass of `model`, after the self-check (`hap_engine.masked.self_check`).

    m = 1 must reproduce the model's clean logits, m = 0 its corrupt ones, circuits must not depend on what is left out,
    and the mask's gradient must agree with differences of logits.

    Raises:
        UnsupportedModelError: naming the model, the difference and the part that does not fit.
    """
    with in_words(f"{self_check.named(model)} fails inside the masked pass"):
        masked = MaskedModel(model)
        self_check.check(masked)
    return masked


def open_run_model(source: Source, model: Mapping[str, Any]) -> Generator[Progress, None, MaskedModel]:
    """Open the weights that `locate` found for a run's ``model`` section."""
    opened = yield from loading(source.reference)
    if opened.source.name != model["name"]:  # the converted copy of a .gguf, a moved folder
        named = replace(opened.source, name=str(model["name"]), kind=str(model["source"]))
        opened = replace(opened, source=named, sha256=str(model["sha256"]))
    opened = replace(opened, reading=str(model.get("reading", "")))  # which `locate` compared
    yield Progress("load", 1, 1, "Checking that the masked pass reproduces the model")
    return open_masked(opened)


def is_model_of(model: Model, run: Run) -> bool:
    """Whether a model's weights, config and tokenizer are the run's (an older run tells of its weights only)."""
    return identity_of(run.model) in (model.identity, model.sha256)


def on_graph_of(masked: MaskedModel, run: Run) -> MaskedModel:
    """The model on a run's graph, which may be positional.

    Raises:
        ModelError: if the model's graph is another.
    """
    if masked.graph == run.graph:
        return masked
    if replace(masked.graph, spans=run.graph.spans) == run.graph:
        return masked.at_spans(run.graph.spans)
    graphs = (run.graph, masked.graph)
    theirs, ours = (f"{g.n_layers} layers of {g.n_heads} heads, {g.n_edges:,} edges" for g in graphs)
    raise ModelError(say("masked.other_graph", run=run, theirs=theirs, masked=masked, ours=ours))

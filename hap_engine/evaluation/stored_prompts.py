"""The prompts of a run file, encoded again for its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hap_engine.errors import SettingsError, TaskError
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import on_graph_of
from hap_engine.runs.record import Run
from hap_engine.tasks.pair import EncodedPair, PromptPair
from hap_engine.tasks.reader import encode_rows
from hap_engine.words import say


def stored_prompts(
    masked: MaskedModel, run: Run, split: str, first: int | None = None, bos: str | None = None
) -> tuple[MaskedModel, list[EncodedPair]]:
    """The model on the run's graph, and the prompts of a split (the first of them), encoded for it.

    Args:
        bos: as in `DiscoveryConfig`, other than the run was made; the roles' places are then left out.

    Raises:
        ModelError: if the model is not the run's.
        SettingsError: if there are none.
        TaskError: as `encode_prompts` does.
    """
    masked = on_graph_of(masked, run)
    if not run.prompts.get(split):
        raise SettingsError(say("evaluation.no_prompts", split=split))
    pairs = encode_prompts(masked, run.prompts[split][:first], bos or bos_of(run))
    last = len(masked.graph.spans) - 1
    if masked.graph.positional and not all(_in_spans(pair, last) for pair in pairs):
        raise TaskError(say("evaluation.damaged_spans"))
    return masked, [replace(pair, roles={}) for pair in pairs] if bos else pairs


def _in_spans(pair: EncodedPair, last: int) -> bool:
    """Whether each token is in a span, and the scored one alone in the last."""
    *before, end = pair.spans or (-1,)
    return len(pair.spans) == len(pair.clean_ids) and end == last and all(0 <= span < last for span in before)


def bos_of(run: Run) -> str:
    """Whether a run's prompts begin with the beginning-of-text token: ``always`` or ``never``."""
    return str(run.settings.get("bos", "never"))


def encode_prompts(masked: MaskedModel, prompts: Sequence[Mapping[str, Any]], bos: str = "never") -> list[EncodedPair]:
    """Prompts of a run file as token ids.

    Args:
        bos: as in `DiscoveryConfig`.

    Raises:
        TaskError: if the model cannot read one.
    """
    keys = ("clean", "corrupt", "answer", "distractor")
    if not all(isinstance(prompt.get(key), str) for prompt in prompts for key in keys):
        raise TaskError(say("evaluation.damaged"))
    rows = encode_rows(masked.model.reader.feeding(bos), list(map(PromptPair.from_dict, prompts)))
    roles = [prompt.get("roles") or {} for prompt in prompts]
    return [
        replace(row, roles={str(role): int(at) for role, at in places.items()}, spans=tuple(prompt.get("spans", ())))
        for row, places, prompt in zip(rows, roles, prompts, strict=True)
    ]

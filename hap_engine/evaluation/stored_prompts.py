"""The prompts of a run file, encoded again for its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hap_engine.errors import SettingsError, TaskError
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import check_same_graph
from hap_engine.runs.record import Run
from hap_engine.tasks.pair import EncodedPair, PromptPair, encode_pair


def stored_prompts(masked: MaskedModel, run: Run, split: str, first: int | None = None) -> list[EncodedPair]:
    """The prompts of a split (the first of them), encoded for the model.

    Raises:
        ModelError: if the model is not the run's.
        SettingsError: if there are none.
        TaskError: as `encode_prompt` does.
    """
    check_same_graph(masked, run)
    if not run.prompts.get(split):
        raise SettingsError(
            f"The run file holds no {split} prompts, so there is nothing to evaluate on. Compute the run again."
        )
    return [encode_prompt(masked, prompt) for prompt in run.prompts[split][:first]]


def encode_prompt(masked: MaskedModel, prompt: Mapping[str, Any]) -> EncodedPair:
    """A prompt of the run file as token ids.

    Raises:
        TaskError: if the text does not fit the model's tokenizer.
    """
    texts = [prompt.get(key) for key in ("clean", "corrupt", "answer", "distractor")]
    if not all(isinstance(text, str) for text in texts):
        raise TaskError(
            "Expected a prompt with clean, corrupt, answer and distractor texts in the run file. "
            "The file is damaged; compute the run again."
        )
    encoded = encode_pair(masked.model.tokenizer, PromptPair.from_dict(prompt))
    roles = prompt.get("roles") or {}
    return replace(encoded, roles={str(role): int(at) for role, at in roles.items()})

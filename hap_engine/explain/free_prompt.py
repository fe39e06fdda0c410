"""A prompt pair that somebody types: no task and no right answer, only what the model itself goes on with."""

from __future__ import annotations

import numpy as np

from hap_engine.errors import TaskError
from hap_engine.explain.what_if import Bench
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.tasks.editing import align
from hap_engine.tasks.pair import EncodedPair, PromptPair
from hap_engine.tasks.reader import Reader, encode_rows, problem


def free_bench(masked: MaskedModel, clean: str, corrupt: str) -> Bench:
    """A bench of one typed pair.

    Its answer is the token that the full model puts first after `clean`, its distractor the one that it puts first
    after `corrupt` (the next one where that is the same), so that a logit difference says how far a circuit tells
    the two prompts apart.

    Raises:
        TaskError: if the two have not equally many tokens, are the same, or are too long for the model.
    """
    reader = masked.model.reader
    known = Bench(masked, [_encoded(reader, clean, corrupt, 0, 1)])
    said = int(np.argmax(known.full().probabilities))
    other = next(int(t) for t in np.argsort(-known.corrupted().probabilities)[:2] if t != said)
    return Bench(masked, [_encoded(reader, clean, corrupt, said, other)])


def _encoded(reader: Reader, clean: str, corrupt: str, answer: int, distractor: int) -> EncodedPair:
    if wrong := align(reader.tokenizer, clean, corrupt).message:
        raise TaskError(wrong)
    pair = PromptPair(clean, corrupt, "", "", answer_ids=(answer,), distractor_ids=(distractor,))
    if wrong := problem(reader, pair):
        raise TaskError(f"{wrong[0].upper()}{wrong[1:]}")
    return encode_rows(reader, [pair])[0]

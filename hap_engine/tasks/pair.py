"""What a task is: a generator of aligned clean/corrupt prompt pairs.

A pair is usable when, for the model's own tokenizer and without special tokens,

* ``clean`` and ``corrupt`` have the same number of tokens (so that patching is position by position),
* they differ somewhere (so that there is something to patch),
* ``answer`` and ``distractor`` each add exactly one token to ``clean`` without changing its tokens.

Some questions have several right answers (any later year, any kind word). Such a pair lists the others
in ``more_answers`` and ``more_distractors``; each is one token too, and `hap_engine.evaluation.metrics` compares the
two sets. ``answer`` and ``distractor`` are then the ones that are shown.

The scored position is the last token of the prompt; `roles` name the token positions that a
task cares about (for IOI: ``IO``, ``S1``, ``S1+1``, ``S2``, ``END``).

Nothing here imports torch: a page can show prompts as soon as it has a `tokenizers.Tokenizer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer

from hap_engine.errors import TaskError


@dataclass(frozen=True)
class PromptPair:
    """One clean prompt, its corrupt twin, and the two tokens (or sets of them) that are compared.

    `marks` maps a role to ``(character, shift)``: the role's token is the one that covers that
    character of `clean`, moved by `shift` tokens (``S1+1`` is ``S1`` with shift 1).
    """

    clean: str
    corrupt: str
    answer: str
    distractor: str
    marks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    more_answers: tuple[str, ...] = ()
    more_distractors: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> PromptPair:
        """The pair that `to_dict` wrote (roles are not read back: they are token positions there)."""

        def texts(key: str) -> tuple[str, ...]:
            value = row.get(key)
            return tuple(map(str, value)) if isinstance(value, list) else ()

        return cls(
            clean=str(row["clean"]),
            corrupt=str(row["corrupt"]),
            answer=str(row["answer"]),
            distractor=str(row["distractor"]),
            more_answers=texts("more_answers"),
            more_distractors=texts("more_distractors"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The texts, as a run file and a prompts file hold them."""
        sets = {"more_answers": self.more_answers, "more_distractors": self.more_distractors}
        return {
            **{key: getattr(self, key) for key in ("clean", "corrupt", "answer", "distractor")},
            **{key: list(texts) for key, texts in sets.items() if texts},
        }

    @property
    def answers(self) -> tuple[str, ...]:
        return (self.answer, *self.more_answers)

    @property
    def distractors(self) -> tuple[str, ...]:
        return (self.distractor, *self.more_distractors)


@dataclass(frozen=True)
class EncodedPair:
    """A `PromptPair` as token ids, with its roles as token positions (0-based)."""

    pair: PromptPair
    clean_ids: tuple[int, ...]
    corrupt_ids: tuple[int, ...]
    answer_id: int
    distractor_id: int
    roles: Mapping[str, int]
    more_answer_ids: tuple[int, ...] = ()
    more_distractor_ids: tuple[int, ...] = ()

    @property
    def answer_ids(self) -> tuple[int, ...]:
        return (self.answer_id, *self.more_answer_ids)

    @property
    def distractor_ids(self) -> tuple[int, ...]:
        return (self.distractor_id, *self.more_distractor_ids)


def encode(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Token ids of `text` without special tokens."""
    return tuple(tokenizer.encode(text, add_special_tokens=False).ids)


def single_token(tokenizer: Tokenizer, prefix: str, continuation: str) -> int | None:
    """The id that `continuation` adds after `prefix`, or None if it is not exactly one token."""
    return _added(encode(tokenizer, prefix), encode(tokenizer, prefix + continuation))


def _added(before: tuple[int, ...], after: tuple[int, ...]) -> int | None:
    """The last of `after` if that is all it has more than `before`."""
    return after[-1] if after and after[:-1] == before else None


def encode_pair(tokenizer: Tokenizer, pair: PromptPair) -> EncodedPair:
    """Tokenise one pair and check it.

    Raises:
        TaskError: if the pair breaks one of the rules in the module docstring.
    """
    clean = tokenizer.encode(pair.clean, add_special_tokens=False)
    corrupt_ids = encode(tokenizer, pair.corrupt)
    clean_ids = tuple(clean.ids)
    if not clean_ids:
        raise TaskError("Expected a prompt with at least one token, got an empty text.")
    if len(clean_ids) != len(corrupt_ids):
        raise TaskError(
            f"Clean and corrupt prompt must have the same number of tokens, got {len(clean_ids)} "
            f"and {len(corrupt_ids)} for {pair.clean!r} / {pair.corrupt!r}. "
            "Exchange words for others of equal token count."
        )
    if clean_ids == corrupt_ids:
        raise TaskError(
            f"Clean and corrupt prompt are the same: {pair.clean!r}. "
            "Change the words that carry the information the task tests."
        )
    answers = _one_token_each(tokenizer, pair.clean, clean_ids, "answer", pair.answers)
    distractors = _one_token_each(tokenizer, pair.clean, clean_ids, "distractor", pair.distractors)
    if both := set(answers) & set(distractors):
        raise TaskError(
            f"Answer and distractor are the same token {tokenizer.decode([min(both)])!r} after "
            f"{pair.clean!r}. Choose a distractor that is wrong."
        )
    roles = {
        role: _token_covering(clean.offsets, character, pair.clean) + shift
        for role, (character, shift) in pair.marks.items()
    }
    outside = {role: position for role, position in roles.items() if not 0 <= position < len(clean_ids)}
    if outside:
        raise TaskError(f"Roles {outside} lie outside the {len(clean_ids)} tokens of {pair.clean!r}.")
    return EncodedPair(pair, clean_ids, corrupt_ids, answers[0], distractors[0], roles, answers[1:], distractors[1:])


def _one_token_each(
    tokenizer: Tokenizer, prompt: str, prompt_ids: tuple[int, ...], kind: str, texts: tuple[str, ...]
) -> tuple[int, ...]:
    ids = []
    for text in texts:
        token = _added(prompt_ids, encode(tokenizer, prompt + text))
        if token is None:
            raise TaskError(
                f"The {kind} {text!r} must be exactly one token after {prompt!r}, and is not "
                "for this model's tokenizer. Choose a word that is one token (mind the leading space)."
            )
        ids.append(token)
    return tuple(ids)


def _token_covering(offsets: list[tuple[int, int]], character: int, text: str) -> int:
    for position, (start, end) in enumerate(offsets):
        if start <= character < end:
            return position
    raise TaskError(f"No token covers character {character} of {text!r}.")

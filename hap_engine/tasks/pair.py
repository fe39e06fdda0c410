"""What a task is: a generator of aligned clean/corrupt prompt pairs.

A pair is usable when, for the model's own tokenizer and without special tokens,

* ``clean`` and ``corrupt`` have the same number of tokens (so that patching is position by position),
* they differ somewhere (so that there is something to patch),
* ``answer`` and ``distractor`` each add exactly one token to ``clean`` without changing its tokens.

Some questions have several right answers (any later year, any kind word). Such a pair lists the others
in ``more_answers`` and ``more_distractors``; each is one token too, and `hap_engine.evaluation.metrics` compares
the two sets. ``answer`` and ``distractor`` are then the ones that are shown. A token that is named twice counts once.

Where no text says which token is meant (GPT-2 writes 1300 as one token, so ``00`` never follows ``13``),
``answer_ids`` and ``distractor_ids`` give its number in the model's vocabulary.

The scored position is the last token of the prompt; `roles` name the token positions that a
task cares about (for IOI: ``IO``, ``S1``, ``S1+1``, ``S2``, ``END``).

Nothing here imports torch: a page can show prompts as soon as it has a `tokenizers.Tokenizer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.tasks.marking.braces import token_names
from hap_engine.words import say

KEYS = ("clean", "corrupt", "answer", "distractor")
SETS: dict[str, Any] = {
    "more_answers": str,
    "more_distractors": str,
    "answer_ids": int,
    "distractor_ids": int,
    "marked": str,
}


@dataclass(frozen=True)
class PromptPair:
    """One clean prompt, its corrupt twin, and the two tokens (or sets of them) that are compared.

    `marks` maps a role to ``(character, shift)``: the role's token is the one that covers that
    character of `clean`, moved by `shift` tokens (``S1+1`` is ``S1`` with shift 1). The texts are exact: no space
    is put before an answer here (`hap_engine.tasks.spaces` does that for files and the editor). Ids, where given,
    are what is scored; the texts beside them only name it and may be empty. `marked` is `clean`, and perhaps `corrupt`,
    with its spans in braces (`hap_engine.tasks.marking.braces`).
    """

    clean: str
    corrupt: str
    answer: str
    distractor: str
    marks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    more_answers: tuple[str, ...] = ()
    more_distractors: tuple[str, ...] = ()
    answer_ids: tuple[int, ...] = ()
    distractor_ids: tuple[int, ...] = ()
    marked: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> PromptPair:
        """The pair that `to_dict` wrote (roles are not read back: they are token positions there)."""
        found: dict[str, Any] = {key: str(row[key]) for key in KEYS}
        found |= {key: tuple(map(kind, row[key])) for key, kind in SETS.items() if isinstance(row.get(key), list)}
        return cls(**found)

    def to_dict(self) -> dict[str, Any]:
        """The texts, as a run file and a prompts file hold them."""
        texts = {key: getattr(self, key) for key in KEYS}
        return texts | {key: list(getattr(self, key)) for key in SETS if getattr(self, key)}

    @property
    def answers(self) -> tuple[str, ...]:
        return (self.answer, *self.more_answers)

    @property
    def distractors(self) -> tuple[str, ...]:
        return (self.distractor, *self.more_distractors)


@dataclass(frozen=True)
class EncodedPair:
    """A `PromptPair` as token ids, with its roles as token positions (0-based).

    `spans` are the numbers of the spans that its tokens lie in (`hap_engine.tasks.spans`); empty where nobody asks.
    `names` are those of the spans that its tokens are marked as, "" for the others; empty where none is.
    """

    pair: PromptPair
    clean_ids: tuple[int, ...]
    corrupt_ids: tuple[int, ...]
    answer_id: int
    distractor_id: int
    roles: Mapping[str, int]
    more_answer_ids: tuple[int, ...] = ()
    more_distractor_ids: tuple[int, ...] = ()
    spans: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def answer_ids(self) -> tuple[int, ...]:
        """Each once: a token that is named twice must not count twice."""
        return tuple(dict.fromkeys((self.answer_id, *self.more_answer_ids)))

    @property
    def distractor_ids(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys((self.distractor_id, *self.more_distractor_ids)))


def encode(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Token ids of `text` without special tokens."""
    return tuple(tokenizer.encode(text, add_special_tokens=False).ids)


def single_token(tokenizer: Tokenizer, prefix: str, continuation: str) -> int | None:
    """The id that `continuation` adds after `prefix`, or None if it is not exactly one token."""
    return _added(encode(tokenizer, prefix), encode(tokenizer, prefix + continuation))


def spelling_token(tokenizer: Tokenizer, prefix: str, continuation: str) -> int | None:
    """The token that spells `continuation` after `prefix`, also where the tokenizer joins the two into one.

    The model can say it, though no text is cut there: GPT-2 reads ``1300`` as one token, and after ``13`` it can go
    on with ``00``. Studies of years compare such tokens.
    """
    before, alone = encode(tokenizer, prefix), encode(tokenizer, continuation)
    if len(alone) != 1:
        return None
    return alone[0] if tokenizer.decode([*before, *alone]) == tokenizer.decode([*before]) + continuation else None


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token as text, a special one (``<|im_end|>``) by its name."""
    return str(tokenizer.decode([token], skip_special_tokens=False))


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
        raise TaskError(say("tasks.lengths", clean=len(clean_ids), corrupt=len(corrupt_ids), pair=pair))
    if clean_ids == corrupt_ids:
        raise TaskError(say("tasks.same", pair=pair))
    pair, answers = _tokens(tokenizer, pair, clean_ids, "answer")
    pair, distractors = _tokens(tokenizer, pair, clean_ids, "distractor")
    if both := set(answers) & set(distractors):
        raise TaskError(say("tasks.common", both=token_text(tokenizer, min(both)), pair=pair))
    roles = {
        role: _token_covering(clean.offsets, character, pair.clean) + shift
        for role, (character, shift) in pair.marks.items()
    }
    outside = {role: position for role, position in roles.items() if not 0 <= position < len(clean_ids)}
    if outside:
        raise TaskError(f"Roles {outside} lie outside the {len(clean_ids)} tokens of {pair.clean!r}.")
    return EncodedPair(
        pair,
        clean_ids,
        corrupt_ids,
        answers[0],
        distractors[0],
        roles,
        answers[1:],
        distractors[1:],
        names=_marked_as(tokenizer, pair),
    )


def _marked_as(tokenizer: Tokenizer, pair: PromptPair) -> tuple[str, ...]:
    """The span of each token of a marked pair."""
    sides = [
        token_names(marked, tokenizer.encode(text, add_special_tokens=False).offsets)
        for text, marked in zip((pair.clean, pair.corrupt), pair.marked, strict=False)
    ]
    for at, (name, other) in enumerate(zip(sides[0], sides[-1], strict=True) if sides else ()):
        if name != other:
            raise TaskError(say("tasks.marks_differ", at=at + 1, clean=name or "none", corrupt=other or "none"))
    return sides[0] if sides else ()


def _tokens(
    tokenizer: Tokenizer, pair: PromptPair, clean_ids: tuple[int, ...], kind: str
) -> tuple[PromptPair, tuple[int, ...]]:
    """The ids of the pair's answers or distractors, each once; the pair with their texts where it gives ids."""
    more, given = f"more_{kind}s", getattr(pair, f"{kind}_ids")
    if given:
        names = tuple(_named(tokenizer, kind, token) for token in given)
        written = [text.strip() for text in getattr(pair, f"{kind}s") if text.strip()]
        if other := [text for text in written if text not in {name.strip() for name in names}]:
            raise TaskError(say("tasks.id_and_text", kind=kind, given=given, names=names, other=other))
        texts: dict[str, Any] = {kind: names[0], more: names[1:]}
        return replace(pair, **texts), tuple(dict.fromkeys(given))
    ids: dict[int, None] = {}
    for text in getattr(pair, f"{kind}s"):
        token = _added(clean_ids, encode(tokenizer, pair.clean + text))
        if token is None:
            raise TaskError(say("tasks.several_tokens", kind=kind, text=text, pair=pair))
        ids[token] = None
    return pair, tuple(ids)


def _named(tokenizer: Tokenizer, kind: str, token: int) -> str:
    if not 0 <= token < 2**31 or tokenizer.id_to_token(token) is None:
        raise TaskError(say("tasks.no_such_id", kind=kind, known=tokenizer.get_vocab_size(), token=token))
    return token_text(tokenizer, token)


def _token_covering(offsets: list[tuple[int, int]], character: int, text: str) -> int:
    for position, (start, end) in enumerate(offsets):
        if start <= character < end:
            return position
    raise TaskError(f"No token covers character {character} of {text!r}.")

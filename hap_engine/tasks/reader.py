"""The one door through which prompts reach a model, whoever brings them (page, terminal, API, files, a run file).

A `Reader` is what decides about a prompt: the model's tokenizer, how many tokens it reads at once and how many
it knows. `encode_rows` turns pairs into tokens, or says for each row that the model cannot read what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from tokenizers import Tokenizer

from hap_engine.errors import SettingsError, TaskError, UnknownNameError
from hap_engine.tasks.editing import align
from hap_engine.tasks.pair import EncodedPair, PromptPair, encode, encode_pair, single_token, spelling_token, token_text
from hap_engine.tasks.rows import complaint, refuse
from hap_engine.tasks.spaces import calls_for_space
from hap_engine.tasks.task import PromptSets
from hap_engine.words import say

MAX_TOKENS = 128  # of a row to learn from: memory grows with the length, and 1,000 pairs of these fit a laptop
BOS = ("auto", "always", "never")  # when prompts begin with the beginning-of-text token; auto: as the tokenizer has it
SMALL = 5_000  # words of a vocabulary in which a misspelled one is looked for


@dataclass(frozen=True, eq=False)
class Reader:
    """How a model reads prompts.

    Attributes:
        tokenizer: the model's own.
        name: of the model, for messages.
        longest: tokens that it reads at once (its positions); None: any number.
        known: tokens of its embedding; None: as many as the tokenizer has. (A tokenizer may have more.)
        bos: the token that stands for the beginning of a text; None: it has none.
        begins: that token comes before every prompt, as most models with one were trained.
    """

    tokenizer: Tokenizer
    name: str = "this model"
    longest: int | None = None
    known: int | None = None
    bos: int | None = None
    begins: bool = False

    def feeding(self, bos: str) -> Reader:
        """The same with the beginning-of-text token ``always``, ``never`` or as the tokenizer has it (``auto``).

        Raises:
            UnknownNameError: for another choice.
            SettingsError: if it should always come first, and there is none.
        """
        if bos not in BOS:
            raise UnknownNameError("choice for the beginning-of-text token", bos, BOS)
        if bos == "always" and self.bos is None:
            raise SettingsError(say("tasks.no_bos", self=self))
        return self if bos == "auto" else replace(self, begins=bos == "always")

    def first(self, *sides: Sequence[int]) -> tuple[int, ...]:
        """What comes before a pair's prompts: that token, unless one of their texts begins with it."""
        begun = any(side[0] == self.bos for side in sides if side)
        return () if begun or self.bos is None or not self.begins else (self.bos,)


def reader_with(tokenizer: Tokenizer, name: str, longest: int | None, known: int | None, bos: object) -> Reader:
    """A model's reader: whether its tokenizer begins a text with a token, and with which.

    Args:
        bos: what the model's config calls so, a token or several.
    """
    own = _put_first(tokenizer)
    named = bos[0] if isinstance(bos, list) and bos else bos
    token = own if own is not None else named if isinstance(named, int) else None
    return Reader(tokenizer, name, longest, known, token, own is not None)


def _put_first(tokenizer: Tokenizer) -> int | None:
    """The token that a tokenizer puts before a text."""
    for text in ("a", *filter(None, map(tokenizer.id_to_token, range(20)))):  # it may not know the first ones
        with suppress(Exception):  # the library's own: no word for unknown words
            plain, whole = (tokenizer.encode(text, add_special_tokens=special).ids for special in (False, True))
            same, moved = (whole[start : start + len(plain)] == plain for start in (0, 1))
            if same != moved:  # else the text is empty, or is that token
                return int(whole[0]) if moved else None
    return None


def _begun(reader: Reader, pair: EncodedPair) -> EncodedPair:
    """The pair with the beginning-of-text token first where it belongs there."""
    first = reader.first(pair.clean_ids, pair.corrupt_ids)
    return replace(
        pair,
        clean_ids=(*first, *pair.clean_ids),
        corrupt_ids=(*first, *pair.corrupt_ids),
        roles={role: place + len(first) for role, place in pair.roles.items()},
        names=pair.names and (*[""] * len(first), *pair.names),
    )


def encode_rows(
    reader: Reader, pairs: Sequence[PromptPair | EncodedPair], most: int | None = None
) -> tuple[EncodedPair, ...]:
    """The pairs as tokens that the model can read. Encoded ones are checked and stay as they are.

    Args:
        most: tokens of a prompt; None: as many as the model reads.

    Raises:
        TaskError: naming the rows (from 1) that this model cannot use, each with its remedy.
    """
    looked = [_look(reader, pair, most) for pair in pairs]
    refuse([(row, wrong) for row, wrong in enumerate(looked, 1) if isinstance(wrong, str)], len(pairs))
    return tuple(encoded for encoded in looked if not isinstance(encoded, str))


def encode_sets(reader: Reader, sets: PromptSets) -> PromptSets:
    """The prompts of a task, once they are seen to fit the model.

    Raises:
        TaskError: if one is too long for it or has a token that it does not know.
    """
    splits = (sets.train, sets.validation, sets.test)
    train, validation, test = (tuple(_begun(reader, pair) for pair in split) for split in splits)
    sets = PromptSets(train, validation, test, note=sets.note)
    for pair in (*sets.train, *sets.validation, *sets.test):
        if wrong := _unreadable(reader, pair):
            raise TaskError(f"{wrong[0].upper()}{wrong[1:]}")
    return sets


def problem(reader: Reader, pair: PromptPair) -> str:
    """What keeps a model from learning from a pair, and the remedy; nothing if it can be used."""
    looked = _look(reader, pair, MAX_TOKENS)
    return looked if isinstance(looked, str) else ""


def _look(reader: Reader, pair: PromptPair | EncodedPair, most: int | None) -> EncodedPair | str:
    """The pair as tokens, or what is wrong with it (asked again and closely, for most pairs are fine)."""
    if isinstance(pair, EncodedPair):
        return _malformed(pair) or _unreadable(reader, pair) or pair
    if wrong := complaint(pair):
        return wrong
    tokenizer = reader.tokenizer
    if most is not None and (length := len(encode(tokenizer, pair.clean))) > most:
        return f"the prompt has {length} tokens; at most {most} are possible. Shorten it."
    try:
        encoded = _begun(reader, encode_pair(tokenizer, pair))
    except TaskError as error:
        return _unknown(tokenizer, pair) or _explain(tokenizer, pair) or _lower(str(error))
    ids = {*encoded.clean_ids, *encoded.corrupt_ids, *encoded.answer_ids, *encoded.distractor_ids}
    wrong = _unknown(tokenizer, pair) if _unknown_token(tokenizer) in ids else ""
    return wrong or _unreadable(reader, encoded) or encoded


def _malformed(pair: EncodedPair) -> str:
    """What is wrong with token ids that somebody put together."""
    clean, corrupt = len(pair.clean_ids), len(pair.corrupt_ids)
    if not clean or clean != corrupt:
        return f"expected a clean and a corrupted prompt of equally many tokens, got {clean} and {corrupt}."
    if both := {*pair.answer_ids} & {*pair.distractor_ids}:
        return f"token {min(both)} is both answer and distractor. Choose a distractor that is wrong."
    return ""


def _unreadable(reader: Reader, pair: EncodedPair) -> str:
    """Why a model cannot read tokens: too many, or one that it does not know."""
    length = len(pair.clean_ids)
    if reader.longest is not None and length > reader.longest:
        return say("tasks.too_long", length=length, prompt=pair.pair.clean[:60], reader=reader)
    for token in {*pair.clean_ids, *pair.corrupt_ids, *pair.answer_ids, *pair.distractor_ids}:
        if token < 0 or (reader.known is not None and token >= reader.known):
            text = token_text(reader.tokenizer, token) if token >= 0 else ""
            return say("tasks.unknown_number", reader=reader, known=reader.known or 0, token=token, text=text)
    return ""


# --- What is wrong, in words -----------------------------------------------------------------------


def _explain(tokenizer: Tokenizer, pair: PromptPair) -> str:
    """Why a pair cannot be encoded, where more can be said than `encode_pair` says."""
    alignment = align(tokenizer, pair.clean, pair.corrupt)
    if not alignment.aligned:
        return _lower(alignment.message)
    for kind in ("answer", "distractor"):
        for text in () if getattr(pair, f"{kind}_ids") else getattr(pair, f"{kind}s"):
            if single_token(tokenizer, pair.clean, text) is None:
                return _split_answer(tokenizer, pair.clean, kind, text)
    return ""


def _split_answer(tokenizer: Tokenizer, prompt: str, kind: str, text: str) -> str:
    """An answer that is not one token after the prompt, and every way to say what may be meant."""
    word, ways = text.lstrip(" "), []
    usual = f" {word}" if calls_for_space(prompt, word) else word
    others = (other for other in (usual, usual.rstrip()) if other != text)
    if one := next((other for other in others if single_token(tokenizer, prompt, other) is not None), ""):
        ways.append(f"{one!r} is one: write that if it is meant.")
    elif text == f" {word}" and single_token(tokenizer, f"{prompt} ", word) is not None:
        ways.append(say("tasks.space_apart", word=word))
    if (token := spelling_token(tokenizer, prompt, text)) is not None:
        ways.append(say("tasks.read_in_one", kind=kind, token=token))
    if ways:
        return f"the {kind} {text!r} is not one token after the prompt. {' '.join(ways)}"
    pieces = [token_text(tokenizer, token) for token in encode(tokenizer, text)]
    way = "Choose a shorter or more common word."
    if prompt[-1:].isspace() and spelling_token(tokenizer, prompt, f" {word}") is not None:
        way = f"{f' {word}'!r} is one: let both prompts end in a word and not in white space, or choose another answer."
    return f"the {kind} {text!r} is {len(pieces)} tokens for this model ({' · '.join(pieces)}), and must be one. {way}"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _unknown(tokenizer: Tokenizer, pair: PromptPair) -> str:
    """Says which word the tokenizer does not know, if there is one."""
    token = _unknown_token(tokenizer)
    for text in (pair.clean, pair.corrupt, *pair.answers, *pair.distractors):
        encoded = tokenizer.encode(text, add_special_tokens=False)
        if token in encoded.ids:
            start, end = encoded.offsets[encoded.ids.index(token)]
            word = text[start:end]
            return say("tasks.unknown_word", word=word, nearest=_nearest(tokenizer, word))
    return ""


def _unknown_token(tokenizer: Tokenizer) -> int | None:
    """The id of the unknown-word token, if the tokenizer has one."""
    unknown = getattr(tokenizer.model, "unk_token", None)
    return tokenizer.token_to_id(unknown) if unknown else None


def _nearest(tokenizer: Tokenizer, word: str) -> str:
    """A word that is spelled like an unknown one, where the vocabulary is small enough to look through."""
    if tokenizer.get_vocab_size() > SMALL:
        return ""
    near = difflib.get_close_matches(word, tokenizer.get_vocab(), n=1, cutoff=0.75)
    return f" Did you mean {near[0]!r}?" if near else ""

"""Your own prompts as a task: what a tokenizer makes of them, how they are split, the task itself.

The rows come from `hap_engine.tasks.prompts_file`. They are split by a hash of their clean prompts and the
seed: rows that share a clean prompt stay together, and so do two rows that are each other's corruption; the
order of the rows does not matter. So a run can be repeated from the prompts that its file holds.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence

from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.files import short_hash
from hap_engine.tasks.editing import align
from hap_engine.tasks.pair import EncodedPair, PromptPair, encode, encode_pair, single_token
from hap_engine.tasks.rows import complaint, refuse
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import check_corruption

NAME = "custom"
MAX_TOKENS = 128  # memory grows with the length: 1,000 pairs of 128 tokens still fit a laptop
SMALL = 5_000  # words of a vocabulary in which a misspelled one is looked for
SHARES = (("train", 0.5), ("validation", 0.1), ("test", 0.4))
CORRUPTIONS = {"given": "The corrupted prompts are those of the prompts file."}


def encode_rows(tokenizer: Tokenizer, pairs: Sequence[PromptPair]) -> tuple[EncodedPair, ...]:
    """The pairs as tokens.

    Raises:
        TaskError: naming the rows that this model's tokenizer cannot use, each with its remedy.
    """
    looked = [_look(tokenizer, pair) for pair in pairs]
    refuse([(row, one) for row, one in enumerate(looked, 1) if isinstance(one, str)], len(pairs))
    return tuple(one for one in looked if not isinstance(one, str))


def problems(tokenizer: Tokenizer, pairs: Sequence[PromptPair]) -> list[tuple[int, str]]:
    """Every row (from 1) that cannot be used with this tokenizer, with what to do about it."""
    return [(row, message) for row, pair in enumerate(pairs, 1) if (message := problem(tokenizer, pair))]


def problem(tokenizer: Tokenizer, pair: PromptPair) -> str:
    """What keeps this tokenizer from using a pair, and the remedy; nothing if it can be used."""
    looked = _look(tokenizer, pair)
    return looked if isinstance(looked, str) else ""


def _look(tokenizer: Tokenizer, pair: PromptPair) -> EncodedPair | str:
    """The pair as tokens, or what is wrong with it (asked again and closely, for most pairs are fine)."""
    if wrong := complaint(pair):
        return wrong
    try:
        encoded = encode_pair(tokenizer, pair)
    except TaskError as error:
        return _explain(tokenizer, pair) or str(error)
    return _explain(tokenizer, pair) if _unusual(tokenizer, encoded) else encoded


def _unusual(tokenizer: Tokenizer, encoded: EncodedPair) -> bool:
    """Whether it is too long, or has a word that the tokenizer does not know."""
    ids = (*encoded.clean_ids, *encoded.corrupt_ids, *encoded.answer_ids, *encoded.distractor_ids)
    return len(encoded.clean_ids) > MAX_TOKENS or _unknown_token(tokenizer) in ids


def _explain(tokenizer: Tokenizer, pair: PromptPair) -> str:
    length = len(encode(tokenizer, pair.clean))
    if length > MAX_TOKENS:
        return f"the prompt has {length} tokens; at most {MAX_TOKENS} are possible. Shorten it."
    if unknown := _unknown_word(tokenizer, pair):
        return (
            f"this model does not know {unknown!r}.{_nearest(tokenizer, unknown)} Use words of its "
            "vocabulary, or choose a model with a larger one."
        )
    found = align(tokenizer, pair.clean, pair.corrupt)
    if not found.aligned:
        return found.message[0].lower() + found.message[1:]
    for kind, texts in (("answer", pair.answers), ("distractor", pair.distractors)):
        for text in texts:
            if single_token(tokenizer, pair.clean, text) is None:
                return _split_answer(tokenizer, pair.clean, kind, text)
    return ""


def _split_answer(tokenizer: Tokenizer, prompt: str, kind: str, text: str) -> str:
    other = text[1:] if text.startswith(" ") else f" {text}"
    if single_token(tokenizer, prompt, other) is not None:
        return f"the {kind} {text!r} is not one token after the prompt, but {other!r} is. Write that."
    pieces = [tokenizer.decode([token]) for token in encode(tokenizer, text)]
    return (
        f"the {kind} {text!r} is {len(pieces)} tokens for this model ({' · '.join(pieces)}), and must be "
        "one. Choose a shorter or more common word."
    )


def _unknown_token(tokenizer: Tokenizer) -> int | None:
    """The id of the unknown-word token, if the tokenizer has one."""
    unknown = getattr(tokenizer.model, "unk_token", None)
    return tokenizer.token_to_id(unknown) if unknown else None


def _unknown_word(tokenizer: Tokenizer, pair: PromptPair) -> str:
    """The first text that the tokenizer does not know."""
    token = _unknown_token(tokenizer)
    for text in (pair.clean, pair.corrupt, *pair.answers, *pair.distractors):
        encoded = tokenizer.encode(text, add_special_tokens=False)
        if token in encoded.ids:
            start, end = encoded.offsets[encoded.ids.index(token)]
            return text[start:end]
    return ""


def _nearest(tokenizer: Tokenizer, word: str) -> str:
    """A word that is spelled like an unknown one, where the vocabulary is small enough to look through."""
    if tokenizer.get_vocab_size() > SMALL:
        return ""
    near = difflib.get_close_matches(word, tokenizer.get_vocab(), n=1, cutoff=0.75)
    return f" Did you mean {near[0]!r}?" if near else ""


# --- The task --------------------------------------------------------------------------------------


def split_rows(pairs: Sequence[PromptPair], seed: int) -> dict[str, tuple[PromptPair, ...]]:
    """The pairs by split, about in `SHARES`; nothing that is learned from is tested on.

    Raises:
        TaskError: with fewer than three groups of rows that can be apart.
    """
    groups = _groups(pairs)
    if len(groups) < len(SHARES):
        raise TaskError(
            f"The rows have {len(groups)} different clean prompt{'s' if len(groups) > 1 else ''}, and those of "
            "one (or of two that are each other's corruption) must stay together. Add rows with other "
            "prompts, at least three in all."
        )
    left = sorted(groups, key=lambda clean: hashlib.sha256(f"{seed} {clean}".encode()).hexdigest())
    dealt: dict[str, tuple[PromptPair, ...]] = {}
    for after, (split, share) in zip((2, 1, 0), SHARES, strict=True):
        mine: list[PromptPair] = []
        while left and (not mine or not after or len(mine) < share * len(pairs)) and len(left) > after:
            mine += groups[left.pop(0)]
        dealt[split] = tuple(mine)
    return dealt


def _groups(pairs: Sequence[PromptPair]) -> dict[str, list[PromptPair]]:
    """Rows that must stay together: of one clean prompt, or of two that are each other's corruption."""
    first = {pair.clean: pair.clean for pair in pairs}  # leads to the first prompt of the group

    def group(clean: str) -> str:
        while first[clean] != clean:
            clean = first[clean]
        return clean

    there = {(pair.clean, pair.corrupt) for pair in pairs}
    for clean, corrupt in there:
        if (corrupt, clean) in there:
            one, other = sorted((group(clean), group(corrupt)))
            first[other] = one
    groups: dict[str, list[PromptPair]] = {}
    for pair in sorted(pairs, key=lambda pair: (pair.clean, pair.corrupt)):
        groups.setdefault(group(pair.clean), []).append(pair)
    return groups


def prompts_hash(pairs: Sequence[PromptPair]) -> str:
    """Identifies a set of prompts, in whatever order."""
    return short_hash(sorted(json.dumps(pair.to_dict(), sort_keys=True) for pair in pairs))


def custom_task(pairs: Sequence[PromptPair]) -> Task:
    """The task that these pairs are; equal pairs make equal prompts."""

    def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
        """All pairs, split by the seed (the sizes are those of the file)."""
        check_corruption(corruption, CORRUPTIONS)
        encoded = {(one.pair.clean, one.pair.corrupt): one for one in encode_rows(tokenizer, pairs)}
        return PromptSets(
            **{
                split: tuple(encoded[pair.clean, pair.corrupt] for pair in mine)
                for split, mine in split_rows(pairs, seed).items()
            }
        )

    return Task(
        name=NAME,
        title="Your own prompts",
        summary=(
            "The pairs of a prompts file. In each, the model should say the answer after the clean prompt "
            "and has no reason to after the corrupted one; the circuit is what carries the difference. One "
            "half of the pairs is used for learning, and the results are measured on pairs that were not."
        ),
        role_names=(),
        corruptions=CORRUPTIONS,
        generate=generate,
    )

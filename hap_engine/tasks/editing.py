"""Help for somebody who writes prompts by hand: align two of them, propose a corruption for a span.

Pure functions of a tokenizer and texts, without torch, for the page's editor and for the messages about
a prompts file::

    align(tokenizer, "Mary went home", "Wilhelmina went home").message
    # "The clean prompt has 1 token ('Mary') where the corrupted one has 4 ('Wilhelmina'), at token 1. …"

    propose(tokenizer, "Later, Mary and John left. John thanked", 7, 11)
    # Proposal(corrupt="Later, Kate and John left. John thanked", reason="Mary → Kate (names)"), …
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from random import Random

from tokenizers import Tokenizer

from hap_engine.tasks.builtin import word_pools
from hap_engine.tasks.pair import encode

Pools = Mapping[str, Sequence[str]]

TRIES = 400  # candidates that are tokenised before a span is given up
WORD = re.compile(r"\w+")
TWINS = (
    ("singular nouns", "plural nouns"),
    ("good adjectives", "bad adjectives"),
)  # pools whose words correspond, one by one


@dataclass(frozen=True)
class Alignment:
    """Two prompts side by side.

    Attributes:
        clean, corrupt: the texts of their tokens.
        changed: positions at which aligned prompts differ; empty when they are not aligned.
        mismatch: first token position (0-based) at which one has more tokens than the other.
        message: what is wrong and what to do about it; empty when the prompts can be used.
        fix: a corrupted prompt that would align, where one was found.
    """

    clean: tuple[str, ...]
    corrupt: tuple[str, ...]
    changed: tuple[int, ...] = ()
    mismatch: int | None = None
    message: str = ""
    fix: str | None = None

    @property
    def aligned(self) -> bool:
        return not self.message


@dataclass(frozen=True)
class Proposal:
    """A corrupted prompt of the same token count, and what was exchanged for what."""

    corrupt: str
    reason: str


def align(tokenizer: Tokenizer, clean: str, corrupt: str, pools: Pools | None = None) -> Alignment:
    """Compare two prompts token by token.

    Args:
        pools: words to draw a fix from, by kind; the tasks' own when None.
    """
    ids, other = encode(tokenizer, clean), encode(tokenizer, corrupt)
    texts = tuple(tokenizer.decode([token]) for token in ids)
    twins = tuple(tokenizer.decode([token]) for token in other)
    if not ids or not other:
        which = "clean" if not ids else "corrupted"
        return Alignment(texts, twins, mismatch=0, message=f"The {which} prompt is empty. Write one.")
    if len(ids) == len(other):
        changed = tuple(at for at, pair in enumerate(zip(ids, other, strict=True)) if len({*pair}) == 2)
        message = "" if changed else ("Both prompts are the same. Change the words that carry what the task asks for.")
        return Alignment(texts, twins, changed, message=message)
    i1, i2, j1, j2 = _first_gap(ids, other)
    fix = _mend(tokenizer, clean, corrupt, (i1, i2), (j1, j2), pools)
    has, twin_has = _span(tokenizer, clean, i1, i2), _span(tokenizer, corrupt, j1, j2)
    advice = "Add words to the shorter prompt or take them out of the longer one."
    if fix or (j2 > j1 and i2 > i1):
        advice = f"Try: {fix}" if fix else f"Exchange it for words of {_count(i2 - i1)}."
    message = f"The clean prompt has {has} where the corrupted one has {twin_has}, at token {i1 + 1}. {advice}"
    return Alignment(texts, twins, mismatch=i1, message=message, fix=fix)


def propose(
    tokenizer: Tokenizer,
    prompt: str,
    start: int,
    end: int,
    *,
    count: int = 5,
    seed: int = 0,
    pools: Pools | None = None,
) -> tuple[Proposal, ...]:
    """Corrupted prompts in which the characters from `start` to `end` are exchanged for others.

    Words are replaced by others of their kind (a name by a name, a number by one of as many digits);
    a word of no known kind by any word. Where the prompt holds another word of the kind, that one
    is proposed too (names are swapped). All proposals have as many tokens as the prompt and differ
    from it in the marked words only; there may be none.
    """
    rng = Random(f"{seed} {prompt[start:end]}")
    pools = pools or word_pools()
    marked = list(WORD.finditer(prompt, start, end))
    kinds = {match[0]: _kind(match[0], pools) for match in marked}
    if any(kinds.values()):  # of "Mary and John", the names are meant
        kinds = {word: kind for word, kind in kinds.items() if kind}
    length, reasons = len(encode(tokenizer, prompt)), dict[str, str]()  # by corrupted prompt
    for index, exchange in enumerate(_exchanges(kinds, prompt, pools, rng)):
        if len(reasons) == count or index == TRIES:
            break
        corrupt = _exchanged(prompt, marked, exchange)
        if corrupt != prompt and len(encode(tokenizer, corrupt)) == length:
            reasons.setdefault(corrupt, _reason(exchange, kinds))
    return tuple(Proposal(corrupt, reason) for corrupt, reason in reasons.items())


def first_corruption(tokenizer: Tokenizer, prompt: str) -> str:
    """A corrupted prompt to begin with, or nothing: a word that comes twice is another one at its last place; where
    none does, all words of a known kind are exchanged."""
    words = list(WORD.finditer(prompt))
    again = [match for at, match in enumerate(words) if match[0] in {other[0] for other in words[:at]}]
    named = [match for match in again if _kind(match[0], word_pools())]
    spans = [(match.start(), match.end()) for match in named[-1:]] + [(0, len(prompt))]
    found = (propose(tokenizer, prompt, start, end, count=1) for start, end in spans)
    return next((some[0].corrupt for some in found if some), "")


# --- Aligning --------------------------------------------------------------------------------------


def _first_gap(ids: Sequence[int], other: Sequence[int]) -> tuple[int, int, int, int]:
    """The first stretch that is longer in one of two sequences of different length."""
    matcher = SequenceMatcher(None, ids, other, autojunk=False)
    return next((i1, i2, j1, j2) for _, i1, i2, j1, j2 in matcher.get_opcodes() if i2 - i1 != j2 - j1)


def _mend(
    tokenizer: Tokenizer, clean: str, corrupt: str, gap: tuple[int, int], twin_gap: tuple[int, int], pools: Pools | None
) -> str | None:
    """`corrupt` with the words of the gap exchanged so that it has as many tokens as `clean`."""
    if gap[0] == gap[1] or twin_gap[0] == twin_gap[1]:
        return None
    pools = pools or word_pools()
    length = len(encode(tokenizer, clean))
    word = _words_at(tokenizer, clean, gap)
    offsets = tokenizer.encode(corrupt, add_special_tokens=False).offsets
    start, end = offsets[twin_gap[0]][0], offsets[twin_gap[1] - 1][1]
    while start > 0 and re.fullmatch(r"\w\w", corrupt[start - 1 : start + 1]):
        start -= 1  # the whole word
    while end < len(corrupt) and re.fullmatch(r"\w\w", corrupt[end - 1 : end + 1]):
        end += 1
    before, after = corrupt[:start], corrupt[end:]
    space = " " if corrupt[start:end].startswith(" ") else ""
    for candidate in _candidates(_kind(word, pools), word, pools, Random(corrupt), clean)[:TRIES]:
        mended = f"{before}{space}{candidate}{after}"
        if len(encode(tokenizer, mended)) == length and mended != clean:
            return mended
    return None


def _words_at(tokenizer: Tokenizer, text: str, gap: tuple[int, int]) -> str:
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    start, end = offsets[gap[0]][0], offsets[gap[1] - 1][1]
    return next((m[0] for m in WORD.finditer(text) if m.start() < end and m.end() > start), "")


def _span(tokenizer: Tokenizer, text: str, start: int, end: int) -> str:
    """How many tokens, and their text in whole characters (one token may hold a part of one)."""
    if start == end:
        return "nothing"
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets[start:end]
    return f"{_count(end - start)} ({text[offsets[0][0] : offsets[-1][1]].strip()!r})"


def _count(tokens: int) -> str:
    return f"{tokens} token" if tokens == 1 else f"{tokens} tokens"


# --- Proposing -------------------------------------------------------------------------------------


def _kind(word: str, pools: Pools) -> str:
    """The pool that holds `word`, ``number`` for digits, else nothing."""
    if word.isdecimal():
        return "number"
    return next((kind for kind, words in pools.items() if word in words), "")


def _candidates(kind: str, word: str, pools: Pools, rng: Random, prompt: str) -> list[str]:
    """Words that may stand for `word`, in random order; none that the prompt holds already."""
    if kind == "number":
        low, high = 10 ** (len(word) - 1) if len(word) > 1 else 0, 10 ** len(word) - 1
        return [str(rng.randint(low, high)) for _ in range(20)]
    any_kind = [other for words in pools.values() for other in words]
    pool = pools[kind] if kind else [other for other in any_kind if other.istitle() == word.istitle()]
    taken = set(WORD.findall(prompt))
    left = sorted(set(pool) - taken)
    return rng.sample(left, len(left))


def _exchanges(kinds: Mapping[str, str], prompt: str, pools: Pools, rng: Random) -> Iterator[dict[str, str]]:
    """What to exchange: a word's twin, then fresh words of the kind, then what the prompt holds."""
    twins = {word: twin for word, kind in kinds.items() if (twin := _twin(word, kind, pools))}
    if twins:
        yield twins
    queues = {word: _candidates(kind, word, pools, rng, prompt) for word, kind in kinds.items()}
    longest = max(map(len, queues.values()), default=0)
    swaps = _swaps(prompt, kinds, pools)
    for index in range(max(longest, 2)):
        exchange: dict[str, str] = {}
        for word, queue in queues.items():
            free = [other for other in queue[index:] if other not in exchange.values()]
            exchange.update({word: free[0]} if free else {})
        if exchange:
            yield exchange
        if index == 1:  # two fresh ones come first
            yield from swaps


def _twin(word: str, kind: str, pools: Pools) -> str:
    """The word of the opposite pool in the same place ("dogs" for "dog"), or nothing."""
    for pool, twins in (*TWINS, *(pair[::-1] for pair in TWINS)):
        if kind == pool and twins in pools:
            return str(pools[twins][list(pools[pool]).index(word)])
    return ""


def _swaps(prompt: str, kinds: Mapping[str, str], pools: Pools) -> list[dict[str, str]]:
    """Exchanges of a marked word for another of its kind that the prompt holds (both, if both are marked)."""
    there = dict.fromkeys(WORD.findall(prompt))
    return [
        {word: other, **({other: word} if other in kinds else {})}
        for word, kind in kinds.items()
        if kind and kind != "number"
        for other in there
        if other != word and other in pools[kind]
    ][:2]


def _exchanged(prompt: str, marked: Sequence[re.Match[str]], exchange: Mapping[str, str]) -> str:
    for match in reversed(marked):
        prompt = prompt[: match.start()] + exchange.get(match[0], match[0]) + prompt[match.end() :]
    return prompt


def _reason(exchange: Mapping[str, str], kinds: Mapping[str, str]) -> str:
    return ", ".join(
        f"{word} → {other}" + (f" ({kinds[word]})" if kinds[word] else "") for word, other in exchange.items()
    )

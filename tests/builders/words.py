"""Word-level tokenizers that know the words of every task: what tests of tasks and prompts read with."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteLevel as Bytes
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split, Whitespace

from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.templates import agreement, capital, docstring, greater_than, ioi, pronoun, sentiment

NUMBERS = [f"{number:02d}" for number in range(100)]


def word_tokenizer(texts: Iterable[str], digits: int = 2) -> Tokenizer:
    """One token a word and per `digits` digits; what stands in none of `texts` is unknown."""
    splitter = Sequence([Whitespace(), Split(Regex(rf"\d{{1,{digits}}}"), "isolated")])
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(text)}
    vocabulary = {word: index for index, word in enumerate(["[UNK]", *sorted(words)])}
    made = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = splitter
    made.add_special_tokens(["[UNK]"])
    return made


def byte_tokenizer(words: Iterable[str]) -> Tokenizer:
    """Byte pairs as GPT-2 has them: `words`, each with the space before it if it has one, and two digits a token.

    Centuries keep their space (`` 13``), and round years are one token (`` 1300``), as in GPT-2's vocabulary.
    """
    centuries = [f" {number}" for number in range(11, 18)]
    pieces = [*words, *centuries, *NUMBERS, *(f"{century}00" for century in centuries)]
    pieces.sort(key=lambda piece: not piece.startswith(" "))  # a space is merged with its word first
    merges: dict[tuple[str, str], None] = {}
    for piece in (text.replace(" ", "Ġ").replace("\n", "Ċ") for text in pieces):
        if piece.endswith("00") and len(piece) == 5:
            merges[piece[:3], "00"] = None
        else:
            merges.update({(piece[:end], piece[end]): None for end in range(1, len(piece))})
    tokens = [*sorted(ByteLevel.alphabet()), *("".join(merge) for merge in merges)]
    made = Tokenizer(BPE({token: index for index, token in enumerate(dict.fromkeys(tokens))}, list(merges)))
    made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    made.decoder = Bytes()
    return made


def all_texts() -> list[str]:
    pools = [word for task in TASKS.values() for pool in task.pools.values() for word in pool]
    templates = [*ioi.TEMPLATES, greater_than.TEMPLATE, *pronoun.TEMPLATES, *agreement.TEMPLATES]
    templates += [*capital.TEMPLATES, *sentiment.TEMPLATES, *docstring.NOTES, *docstring.TITLES]
    code = 'def f(self, x):\n """ :param 1+2=3,'
    templates += [code, *docstring.FUNCTIONS, *sentiment.GOOD, *sentiment.BAD, *map(str, range(10))]
    verbs = [*agreement.SINGULAR, *agreement.PLURAL, " he", " she"]
    return [*pools, *templates, *verbs, *NUMBERS]


WORDS = word_tokenizer(all_texts())
BY_DIGIT = word_tokenizer(all_texts(), digits=1)

"""Word-level tokenizers that know the words of every task: what tests of tasks and prompts read with."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Sequence, Split, Whitespace

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

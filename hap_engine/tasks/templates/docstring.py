'''Docstring: name the next argument of a function (Heimersheim and Janiak 2023).

    def walk(self, size, name, page, list):
                   A     B     C
        """make the first one

        :param size: the new key
        :param name: all old files
               A2    B2
        :param  ->  page
            END

The corrupt prompt has other names in the definition and in the documentation, so that the right one
cannot be found; the distractors are the other names of the definition. No name of a clean prompt is in
two splits.
'''

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.tasks.pair import PromptPair, encode
from hap_engine.tasks.templates.making import Draw, read_data
from hap_engine.words import say

DATA = read_data("docstring")
NAMES, FUNCTIONS = dict.fromkeys(DATA.words["names"]), DATA.words["functions"]
NOTES, TITLES, (TEMPLATE,) = (DATA.texts[kind] for kind in ("notes", "titles", "template"))
DEFINED, BELOW = ("A", "B", "C", "D", "E"), ("A2", "B2")  # slots of the definition (C is asked for), of the text below
MIN_NAMES = 30  # validation then has 6


def make_pair(
    function: str, arguments: Sequence[str], others: Sequence[str], notes: Sequence[str], title: str, corruption: str
) -> PromptPair:
    """One prompt and its twin: `others` replace the five names of the definition (and the two below)."""
    words = dict(zip((*DEFINED, *BELOW, "NOTE1", "NOTE2"), (*arguments, *arguments[:2], *notes), strict=True))
    changed = {"random": (*DEFINED, *BELOW), "definition": DEFINED}[corruption]
    return DATA.pair(
        TEMPLATE,
        {"FUNCTION": function, "TITLE": title, **words},
        dict(zip(changed, others, strict=False)),
        [f" {arguments[2]}"],
        [f" {name}" for name in arguments if name != arguments[2]],
    )


def prepare(tokenizer: Tokenizer, seed: int, corruption: str) -> tuple[Sequence[str], Draw[str]]:
    """Names, and how a prompt is drawn of them.

    Raises:
        TaskError: if the tokenizer leaves too few names or cannot write code.
    """
    names = DATA.one_token(tokenizer, NAMES, "names", MIN_NAMES)
    functions = DATA.one_token(tokenizer, FUNCTIONS, "functions", 4)
    unknown = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "")
    sample = make_pair(functions[0], names[:5], names[5:12], NOTES[:2], TITLES[0], "random").clean
    if unknown is not None and unknown in encode(tokenizer, sample):
        raise TaskError(say("tasks.no_code"))

    def draw(rng: Random, mine: Sequence[str], index: int) -> PromptPair:
        arguments = rng.sample(mine, len(DEFINED))
        others = rng.sample([name for name in names if name not in arguments], len(DEFINED) + len(BELOW))
        return make_pair(rng.choice(functions), arguments, others, rng.sample(NOTES, 2), rng.choice(TITLES), corruption)

    return names, draw


DOCSTRING = DATA.task("docstring", prepare, {"arguments": tuple(NAMES)})

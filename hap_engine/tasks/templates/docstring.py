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
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import check_corruption, make_sets, one_token_words, word_list

NAMES = word_list("""
    size name page list file text code data key value item path line word user time date count index
    result source target state type mode level role label score offset length width height color image
    table field group message event object node edge root leaf left right first last parent child model
    option context content title token query order limit start end port host server client
""")
FUNCTIONS = word_list("run walk load send make read test find save open build check update start")
NOTES = (
    "the new value",
    "all old files",
    "a short text",
    "what to use",
    "the second part",
    "some other thing",
    "how it is done",
    "not in use",
)
TITLES = ("make the first one", "take the next step", "do what was asked", "change the world a bit")
CORRUPTIONS = {
    "random": "Other names stand in the definition and in the documentation: none is the next.",
    "definition": "Only the names of the definition become others: the documentation no longer matches.",
}
ROLES = ("A", "B", "C", "A2", "B2", "END")
ARGUMENTS = 5  # of the definition; the third one is asked for
MIN_NAMES = 30  # validation then has 6


def make_pair(
    function: str, arguments: Sequence[str], others: Sequence[str], notes: Sequence[str], title: str, corruption: str
) -> PromptPair:
    """One prompt and its twin: `others` replace the five names of the definition (and the two below)."""
    text, marks = _write(function, arguments, arguments[:2], notes, title)
    below = {"random": others[ARGUMENTS:], "definition": arguments[:2]}[corruption]
    corrupt, _ = _write(function, others[:ARGUMENTS], below, notes, title)
    right = arguments[2]
    wrong = [f" {name}" for name in arguments if name != right]
    return PromptPair(text, corrupt, f" {right}", wrong[0], marks, (), tuple(wrong[1:]))


def _write(
    function: str, arguments: Sequence[str], below: Sequence[str], notes: Sequence[str], title: str
) -> tuple[str, dict[str, tuple[int, int]]]:
    text, marks = f"def {function}(self", {}
    for role, name in zip("ABCDE", arguments, strict=True):
        text += ", "
        marks[role] = (len(text), 0)
        text += name
    text += f'):\n    """{title}\n\n'
    for role, name, note in zip(("A2", "B2"), below, notes, strict=True):
        text += "    :param "
        marks[role] = (len(text), 0)
        text += f"{name}: {note}\n"
    text += "    :param"
    marks["END"] = (len(text) - 1, 0)
    return text, {role: marks[role] for role in ROLES}


def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
    """Disjoint splits. Raises TaskError if the tokenizer leaves too few names or cannot write code."""
    check_corruption(corruption, CORRUPTIONS)
    names = one_token_words(tokenizer, dict.fromkeys(NAMES), "Docstring", "names", MIN_NAMES)
    functions = one_token_words(tokenizer, FUNCTIONS, "Docstring", "functions", 4)
    unknown = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "")
    sample, _ = _write(functions[0], names[:ARGUMENTS], names[:2], NOTES[:2], TITLES[0])
    if unknown is not None and unknown in encode(tokenizer, sample):
        raise TaskError(
            "Docstring needs a tokenizer that can write Python, and this model's has no token for some of "
            "its signs. Choose another model or another task."
        )

    def draw(rng: Random, mine: Sequence[str], index: int) -> PromptPair:
        arguments = rng.sample(mine, ARGUMENTS)
        others = rng.sample([name for name in names if name not in arguments], ARGUMENTS + 2)
        return make_pair(rng.choice(functions), arguments, others, rng.sample(NOTES, 2), rng.choice(TITLES), corruption)

    return make_sets("docstring", tokenizer, sizes, seed, names, draw)


DOCSTRING = Task(
    name="docstring",
    title="Docstring argument",
    summary=(
        "A Python function lists its arguments, and its documentation describes them in the same order: after “:param"
        " size: …” and “:param name: …” the next “:param” must be followed by the third argument. The model has to find"
        " where it stands in the list and copy the next name. Heimersheim and Janiak (2023, “A circuit for Python"
        " docstrings in a 4-layer attention-only transformer”) found heads at four depths that do this by induction of"
        " a kind: earlier heads move the order of the arguments into the documentation, and the last ones (3.0 and 3.6"
        " in their model) attend from the end to the right name of the definition and copy it. The distractors are the"
        " other four arguments: the score is the log-odds of the right one against all of them."
    ),
    role_names=ROLES,
    corruptions=CORRUPTIONS,
    generate=generate,
    pools={"arguments": tuple(dict.fromkeys(NAMES))},
)

"""Subject-verb agreement: the verb has the number of its subject (Linzen et al. 2016, arXiv 1611.01368).

    The dogs near the car  ->  are, were, have
        SUBJECT       OTHER = END

Nothing but the subject tells its number, and the other noun, which stands closer to the verb, agrees
with it in one half of the prompts only. The corrupt prompt has the subject in its other number. No subject
noun is in two splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tokenizers import Tokenizer

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import check_corruption, is_one_token, make_sets, need, word_list

# [S] is the subject, [O] the other noun.
TEMPLATES = (
    "The [S] near the [O]",
    "The [S] behind the [O]",
    "The [S] with the [O]",
    "The old [S] from the [O]",
    "Yesterday the [S] next to the [O]",
    "I think that the [S] by the [O]",
    "We saw that the [S] under the [O]",
    "They say the small [S] close to the [O]",
)
SUBJECTS = word_list("""
    dog/dogs cat/cats bird/birds boy/boys girl/girls friend/friends teacher/teachers doctor/doctors
    horse/horses brother/brothers sister/sisters player/players student/students farmer/farmers
    lawyer/lawyers driver/drivers worker/workers writer/writers singer/singers actor/actors guest/guests
    neighbor/neighbors soldier/soldiers king/kings queen/queens artist/artists author/authors
    manager/managers officer/officers pilot/pilots judge/judges nurse/nurses baby/babies uncle/uncles
    cow/cows duck/ducks lion/lions bear/bears wolf/wolves man/men woman/women child/children
""")
OTHERS = word_list("""
    car/cars tree/trees house/houses table/tables door/doors wall/walls boat/boats bridge/bridges
    road/roads window/windows garden/gardens building/buildings
""")
SINGULAR, PLURAL = (" is", " was", " has"), (" are", " were", " have")
CORRUPTIONS = {"number": "The subject changes its number: now the other verb forms agree."}
MIN_SUBJECTS, MIN_OTHERS = 5, 2

Noun = tuple[str, str]  # singular, plural


def nouns(tokenizer: Tokenizer, pool: Sequence[str]) -> list[Noun]:
    """The nouns of which both forms are one token and differ."""
    pairs = [(one, many) for one, many in (entry.split("/") for entry in pool)]
    return [pair for pair in pairs if all(is_one_token(tokenizer, word) for word in pair)]


def make_pair(template: str, subject: Noun, other: str, plural: bool) -> PromptPair:
    """One prompt with a subject of the given number, and its twin in the other number."""
    before, rest = template.split("[S]")
    rest = rest.replace("[O]", other)
    clean = before + subject[plural] + rest
    right, wrong = (PLURAL, SINGULAR) if plural else (SINGULAR, PLURAL)
    return PromptPair(
        clean,
        before + subject[not plural] + rest,
        right[0],
        wrong[0],
        {"SUBJECT": (len(before), 0), "END": (len(clean) - 1, 0)},
        right[1:],
        wrong[1:],
    )


def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
    """Disjoint splits. Raises TaskError if the tokenizer leaves too few nouns."""
    check_corruption(corruption, CORRUPTIONS)
    subjects, others = nouns(tokenizer, SUBJECTS), nouns(tokenizer, OTHERS)
    need("Subject-verb agreement", "subjects (both numbers)", len(subjects), MIN_SUBJECTS)
    need("Subject-verb agreement", "other nouns (both numbers)", len(others), MIN_OTHERS)

    def draw(rng: Random, mine: Sequence[Noun], index: int) -> PromptPair:
        plural, other = index % 2 == 0, rng.choice(others)[index // 2 % 2]
        return make_pair(rng.choice(TEMPLATES), rng.choice(mine), other, plural)

    return make_sets("agreement", tokenizer, sizes, seed, subjects, draw)


AGREEMENT = Task(
    name="agreement",
    title="Subject-verb agreement",
    summary=(
        "“The dogs near the car …” — “are”, not “is”. The verb must have the number of “dogs”, although "
        "“car” stands right before it. So the model cannot look at the last noun: it has to find the subject "
        "and bring its number to the last token. Linzen et al. (2016, arXiv 1611.01368) made this a test of "
        "whether networks learn syntax; Ferrando and Costa-jussà (2024, arXiv 2410.06496) found that in Gemma 2B "
        "one attention head late in the model writes a “number of the subject” direction that MLP neurons read, in "
        "English and in Spanish alike. Three singular forms (is, was, has) are compared with three plural ones "
        "(are, were, have): the score is the log-odds of the agreeing set."
    ),
    role_names=("SUBJECT", "END"),
    corruptions=CORRUPTIONS,
    generate=generate,
    pools={
        "singular nouns": tuple(entry.split("/")[0] for entry in (*SUBJECTS, *OTHERS)),
        "plural nouns": tuple(entry.split("/")[1] for entry in (*SUBJECTS, *OTHERS)),
    },
)

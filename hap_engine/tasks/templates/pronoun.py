"""Gendered pronoun: the pronoun that fits a first name (Mathwin et al. 2023; Edge Pruning 2024).

    So Mary is a very good friend, isn't  ->  she
       NAME                        END

The corrupt prompt has a name of the other gender in the same place. No name is in two splits.
First names are a crude guide to gender; the task asks what a model has learned about them, not what
is true of a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tokenizers import Tokenizer

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import check_corruption, make_sets, one_token_words, word_list

# Tag questions: after "isn't" only a pronoun can follow, so that the model's answer is about gender.
TEMPLATES = (
    "So [NAME] is a very good friend, isn't",
    "So [NAME] was at the market this morning, wasn't",
    "Well, [NAME] is quite tired today, isn't",
    "Yes, [NAME] was happy with the new book, wasn't",
    "I think [NAME] is from the north, isn't",
    "You know that [NAME] was here before, wasn't",
    "And [NAME] is the best singer in town, isn't",
    "Surely [NAME] was late for school again, wasn't",
    "But [NAME] is very kind to animals, isn't",
    "Of course [NAME] was born in the city, wasn't",
    "The doctor said [NAME] is well again, isn't",
    "We all know [NAME] is a great teacher, isn't",
)
FEMALE = word_list("""
    Alice Amy Angela Anna Anne Barbara Carol Caroline Catherine Charlotte Christine Claire Diana
    Elizabeth Ellen Emily Emma Eva Hannah Helen Jane Jennifer Jessica Joan Julia Karen Kate Laura Linda
    Lisa Lucy Margaret Maria Mary Nancy Nicole Rachel Rebecca Ruth Sarah Susan Victoria
""")
# Single tokens of most large vocabularies, so that women's names are as many as men's. hap-mini never read them.
MORE_FEMALE = word_list("""
    Abigail Alexandra Alison Amanda Amelia Annie Bella Beth Betty Christina Clara Deborah Dorothy Edith
    Eleanor Eliza Ella Esther Harriet Heather Helena Isabel Isabella Janet Jenny Jill Judith Julie Kathleen
    Katie Katherine Lauren Lily Louise Martha Melissa Michelle Miranda Molly Monica Naomi Nina Olivia
    Patricia Rosa Sally Samantha Sandra Sara Sharon Shirley Sofia Sophia Sophie Stephanie Teresa Wendy
""")
MALE = word_list("""
    Aaron Adam Ahmed Alan Albert Andrew Anthony Arthur Benjamin Brian Bruce Carl Carlos Charles Daniel
    David Donald Edward Eric Frank Fred Gary George Harry Henry Howard Ian Ivan Jack Jacob James Jason Jim
    Joe John Jonathan Joseph Keith Kevin Larry Lawrence Lewis Louis Matthew Michael Nathan Neil Nicholas
    Oliver Oscar Patrick Paul Peter Philip Ralph Richard Robert Roger Ryan Simon Stephen Steve Thomas Tim
    Tom Tony Vincent Walter William
""")
CORRUPTIONS = {"other_gender": "The name becomes one of the other gender: now the other pronoun fits."}
MIN_NAMES = 5  # of each gender: 2 / 1 / 2


def make_pair(template: str, name: str, other: str, female: bool) -> PromptPair:
    """One prompt about `name`, and its twin about `other`, who is of the other gender."""
    clean, corrupt = template.replace("[NAME]", name), template.replace("[NAME]", other)
    answer, distractor = (" she", " he") if female else (" he", " she")
    marks = {"NAME": (template.index("[NAME]"), 0), "END": (len(clean) - 1, 0)}
    return PromptPair(clean, corrupt, answer, distractor, marks)


def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
    """Disjoint splits. Raises TaskError if the tokenizer leaves too few names."""
    check_corruption(corruption, CORRUPTIONS)
    pools = [
        one_token_words(tokenizer, pool, "Gendered pronoun", f"{kind} names", MIN_NAMES)
        for kind, pool in (("female", (*FEMALE, *MORE_FEMALE)), ("male", MALE))
    ]
    rng = Random(f"pronoun couples {seed}")  # couples only deal both genders to every split
    couples = list(zip(*(rng.sample(pool, min(map(len, pools))) for pool in pools), strict=True))

    def draw(rng: Random, mine: Sequence[tuple[str, ...]], index: int) -> PromptPair:
        female = index % 2 == 0
        name, other = rng.choice(mine)[not female], rng.choice(mine)[female]
        return make_pair(rng.choice(TEMPLATES), name, other, female)

    return make_sets("pronoun", tokenizer, sizes, seed, couples, draw)


PRONOUN = Task(
    name="pronoun",
    title="Gendered pronoun",
    summary=(
        "“So Mary is a very good friend, isn't …” — “she”. The sentence fixes that a pronoun comes next, "
        "and only the name says which. The model has to carry what it has learned about the name, usually in "
        "the first MLPs, to the last token. Mathwin et al. (2023, “Identifying a preliminary circuit for "
        "predicting gendered pronouns in GPT-2 small”) found a few attention heads that do the carrying; "
        "Edge Pruning (Bhaskar et al. 2024, arXiv 2406.16778) uses the task as one of its four tests. The score is "
        "the logit difference between the fitting pronoun and the other one. It is also a small picture of how "
        "models store stereotypes about names."
    ),
    role_names=("NAME", "END"),
    corruptions=CORRUPTIONS,
    generate=generate,
    pools={"female names": (*FEMALE, *MORE_FEMALE), "male names": MALE},
)

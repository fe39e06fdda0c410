"""Capital-country: recall one fact (Geva et al. 2023, arXiv 2304.14767).

    The president of Austria lives in the capital,  ->  Vienna
                     COUNTRY                    END

The corrupt prompt names another country, and the distractor is its capital. No country is in two splits,
neither as the question nor as the corruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tokenizers import Tokenizer

from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.task import PromptSets, SplitSizes, Task
from hap_engine.tasks.templates.making import check_corruption, is_one_token, make_sets, need, word_list

TEMPLATES = (
    "The president of [COUNTRY] lives in the capital,",
    "The embassy in [COUNTRY] is in the capital,",
    "The government of [COUNTRY] meets in the capital,",
    "The largest museum of [COUNTRY] is in the capital,",
    "The train through [COUNTRY] stops in the capital,",
    "The news from [COUNTRY] came from the capital,",
    "Her flight to [COUNTRY] landed in the capital,",
    "The oldest university of [COUNTRY] is in its capital,",
)
# Unambiguous capitals in their English spelling, country/capital.
CAPITALS = word_list("""
    France/Paris Germany/Berlin Italy/Rome Spain/Madrid Austria/Vienna Poland/Warsaw Russia/Moscow
    Japan/Tokyo China/Beijing Egypt/Cairo Greece/Athens Ireland/Dublin Sweden/Stockholm Portugal/Lisbon
    Turkey/Ankara Iraq/Baghdad Iran/Tehran Cuba/Havana Peru/Lima Kenya/Nairobi Canada/Ottawa Norway/Oslo
    Denmark/Copenhagen Finland/Helsinki Hungary/Budapest Belgium/Brussels Ukraine/Kiev Syria/Damascus
    Lebanon/Beirut Thailand/Bangkok Indonesia/Jakarta Vietnam/Hanoi England/London Scotland/Edinburgh
    Wales/Cardiff Taiwan/Taipei Serbia/Belgrade Bulgaria/Sofia Romania/Bucharest
    Afghanistan/Kabul Pakistan/Islamabad Bangladesh/Dhaka Nepal/Kathmandu Libya/Tripoli Tunisia/Tunis
    Qatar/Doha Australia/Canberra Philippines/Manila Venezuela/Caracas Chile/Santiago Croatia/Zagreb
""")
CORRUPTIONS = {"country": "The country becomes another one, whose capital is the distractor."}
MIN_COUNTRIES = 10  # 4 / 2 / 4

Fact = tuple[str, str]


def facts(tokenizer: Tokenizer) -> list[Fact]:
    """Countries and capitals that are one token each."""
    pairs = [(country, capital) for country, capital in (entry.split("/") for entry in CAPITALS)]
    return [pair for pair in pairs if all(is_one_token(tokenizer, word) for word in pair)]


def make_pair(template: str, fact: Fact, other: Fact) -> PromptPair:
    """The question about `fact`, and its twin about another country."""
    clean = template.replace("[COUNTRY]", fact[0])
    marks = {"COUNTRY": (template.index("[COUNTRY]"), 0), "END": (len(clean) - 1, 0)}
    corrupt = template.replace("[COUNTRY]", other[0])
    return PromptPair(clean, corrupt, f" {fact[1]}", f" {other[1]}", marks)


def generate(tokenizer: Tokenizer, sizes: SplitSizes, seed: int, corruption: str) -> PromptSets:
    """Disjoint splits. Raises TaskError if the tokenizer leaves too few countries."""
    check_corruption(corruption, CORRUPTIONS)
    known = facts(tokenizer)
    need("Capital-country", "countries with their capitals", len(known), MIN_COUNTRIES)

    def draw(rng: Random, mine: Sequence[Fact], index: int) -> PromptPair:
        return make_pair(rng.choice(TEMPLATES), *rng.sample(mine, 2))

    return make_sets("capital", tokenizer, sizes, seed, known, draw)


CAPITAL = Task(
    name="capital",
    title="Capital of a country",
    summary=(
        "“The president of Austria lives in the capital, …” — “Vienna”. The sentence asks for a capital, and the "
        "country says which one; the rest is memory. Geva et al. (2023, arXiv 2304.14767) describe three steps: the "
        "early MLPs enrich the position of the country with what is known about it, the words that follow tell the "
        "last position which relation is asked for, and attention heads in the upper layers pick the "
        "attribute out of the country's position. Meng et al. (2022, arXiv 2202.05262) could edit such facts in the "
        "MLPs of the middle layers. The score is the logit difference between the right capital and that of "
        "the country in the corrupted prompt."
    ),
    role_names=("COUNTRY", "END"),
    corruptions=CORRUPTIONS,
    generate=generate,
    pools={
        "countries": tuple(entry.split("/")[0] for entry in CAPITALS),
        "capitals": tuple(entry.split("/")[1] for entry in CAPITALS),
    },
)

"""What holds for every task: aligned prompts, disjoint splits, equal seeds, plain refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Sequence, Split, Whitespace

from hap_engine.errors import TaskError, UnknownNameError
from hap_engine.tasks import (
    TASKS,
    EncodedPair,
    PromptPair,
    PromptSets,
    SplitSizes,
    Task,
    agreement,
    arithmetic,
    capital,
    docstring,
    encode_pair,
    greater_than,
    induction,
    ioi,
    pronoun,
    sentiment,
)
from hap_engine.tasks.making import SHARES, deal, distinct, make_sets

SPLITS = tuple(split for split, _ in SHARES)
SIZES = SplitSizes(train=40, validation=20, test=40)
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


@pytest.fixture(params=list(TASKS.values()), ids=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


def make(
    task: Task, seed: int = 0, corruption: str = "", tokenizer: Tokenizer = WORDS
) -> PromptSets:
    return task.generate(tokenizer, SIZES, seed, corruption or task.default_corruption)


def check(task: Task, tokenizer: Tokenizer, sets: PromptSets) -> None:
    """Sizes, alignment, one-token answers, roles, no unknown word, no prompt twice."""
    unknown = tokenizer.token_to_id("[UNK]")
    everything: list[EncodedPair] = []
    for split in SPLITS:
        pairs = getattr(sets, split)
        assert len(pairs) == getattr(SIZES, split)
        everything += pairs
    for pair in everything:
        assert encode_pair(tokenizer, pair.pair) == pair
        assert len(pair.clean_ids) == len(pair.corrupt_ids)
        assert pair.clean_ids != pair.corrupt_ids
        assert not set(pair.answer_ids) & set(pair.distractor_ids)
        assert unknown not in (*pair.clean_ids, *pair.corrupt_ids, *pair.answer_ids)
        assert set(pair.roles) == set(task.role_names)
        assert pair.roles["END"] == len(pair.clean_ids) - 1
    prompts = [{pair.pair.clean for pair in getattr(sets, split)} for split in SPLITS]
    assert not prompts[0] & prompts[1] | prompts[0] & prompts[2] | prompts[1] & prompts[2]
    twins = [(pair.pair.clean, pair.pair.corrupt) for pair in everything]
    assert len(set(twins)) == len(twins)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31), data=st.data())
def test_every_prompt_of_every_seed(seed: int, data: st.DataObject) -> None:
    task = data.draw(st.sampled_from(list(TASKS.values())))
    for corruption in task.corruptions:
        check(task, WORDS, make(task, seed, corruption))


def test_each_task_on_word_tokens(task: Task) -> None:
    sets = make(task)
    check(task, WORDS, sets)
    assert sets == make(task)
    assert sets != make(task, seed=1)


def test_each_task_on_the_real_tokenizer(task: Task, smollm2_tokenizer: Tokenizer) -> None:
    check(task, smollm2_tokenizer, make(task, tokenizer=smollm2_tokenizer))


def test_the_default_sizes_can_be_made(task: Task, smollm2_tokenizer: Tokenizer) -> None:
    sets = task.generate(smollm2_tokenizer, SplitSizes(), 3, task.default_corruption)
    assert [len(getattr(sets, split)) for split in SPLITS] == [600, 100, 256]


def test_more_training_prompts_leave_the_others_as_they_are(task: Task) -> None:
    few = task.generate(WORDS, SplitSizes(5, 8, 9), 0, task.default_corruption)
    many = task.generate(WORDS, SplitSizes(20, 8, 9), 0, task.default_corruption)
    assert (few.validation, few.test) == (many.validation, many.test)
    assert many.train[:5] == few.train


def test_a_student_is_told_what_is_known(task: Task) -> None:
    assert 300 < len(task.summary) < 1600
    assert "20" in task.summary, "names a year of publication"
    assert all(text.endswith(".") for text in (task.summary, *task.corruptions.values()))


def test_an_unknown_corruption_is_named(task: Task) -> None:
    with pytest.raises(UnknownNameError, match="no corruption named 'nonsense'"):
        make(task, corruption="nonsense")


def test_a_tokenizer_that_splits_the_words_is_refused(task: Task) -> None:
    with pytest.raises(TaskError, match=r"(least \d+ .*got [02]|does neither).* Choose a"):
        make(task, tokenizer=word_tokenizer(["nothing of use"]))


def items(sets: PromptSets, of: Callable[[EncodedPair], object]) -> list[set[object]]:
    return [{of(pair) for pair in getattr(sets, split)} for split in SPLITS]


def word_at(pair: EncodedPair, role: str) -> str:
    return WORDS.id_to_token(pair.clean_ids[pair.roles[role]])


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("greater-than", lambda pair: word_at(pair, "XX") + word_at(pair, "YY")),
        ("pronoun", lambda pair: word_at(pair, "NAME")),
        ("agreement", lambda pair: word_at(pair, "SUBJECT")),
        ("induction", lambda pair: word_at(pair, "S2")),
        ("capital", lambda pair: word_at(pair, "COUNTRY")),
        ("sentiment", lambda pair: frozenset(sentiment_pair(word_at(pair, "FIRST")))),
        ("arithmetic", lambda pair: frozenset((word_at(pair, "A"), word_at(pair, "B")))),
        ("docstring", lambda pair: word_at(pair, "C")),
    ],
)
def test_splits_share_nothing_that_matters(name: str, of: Callable[[EncodedPair], object]) -> None:
    train, validation, test = items(make(TASKS[name]), of)
    assert len(train | validation | test) == len(train) + len(validation) + len(test)


def sentiment_pair(word: str) -> tuple[str, ...]:
    return next(both for entry in sentiment.ADJECTIVES if word in (both := tuple(entry.split("/"))))


# --- Greater-than ----------------------------------------------------------------------------------


def test_greater_than_by_hand() -> None:
    form, years = greater_than.usable_years(WORDS)
    assert len(form.ends) == 100
    assert len(years) == 7 * 97
    pair = greater_than.make_pair(form, "siege", "17", "97", "98")
    assert pair.clean == "The siege lasted from the year 1797 to the year 17"
    assert pair.corrupt == "The siege lasted from the year 1701 to the year 17"
    assert pair.answers == ("98", "99")
    assert pair.distractors[0] == "97"
    assert sorted(pair.distractors) == NUMBERS[:98]


def test_greater_than_digit_by_digit_asks_for_the_tens() -> None:
    form, years = greater_than.usable_years(BY_DIGIT)
    assert form.ends == tuple("0123456789")
    assert {year[0] for _, year in years} == set("12345678"), "both sides need an end"
    pair = greater_than.make_pair(form, "war", "12", "63", "7")
    assert pair.answers == ("7", "8", "9")
    assert sorted(pair.distractors) == list("012345"), "6 could be either"
    check(TASKS["greater-than"], BY_DIGIT, make(TASKS["greater-than"], tokenizer=BY_DIGIT))


def test_years_in_one_piece_are_refused() -> None:
    whole = word_tokenizer(all_texts() + [f"{year}" for year in range(1000, 1900)], digits=4)
    with pytest.raises(TaskError, match="one or two digits a token"):
        make(TASKS["greater-than"], tokenizer=whole)


# --- Pronouns, agreement, induction ----------------------------------------------------------------


def test_pronoun_by_hand() -> None:
    pair = pronoun.make_pair(pronoun.TEMPLATES[0], "Mary", "Tom", female=True)
    assert pair.clean == "So Mary is a very good friend, isn't"
    assert pair.corrupt == "So Tom is a very good friend, isn't"
    assert (pair.answer, pair.distractor) == (" she", " he")
    assert not set(pronoun.FEMALE) & set(pronoun.MALE)
    assert {*pronoun.FEMALE, *pronoun.MALE} <= set(ioi.NAMES)


def test_pronouns_are_balanced_and_names_change_gender() -> None:
    train = make(TASKS["pronoun"]).train
    assert sum(pair.pair.answer == " she" for pair in train) == len(train) / 2
    for pair in train:
        corrupt = WORDS.id_to_token(pair.corrupt_ids[pair.roles["NAME"]])
        assert (word_at(pair, "NAME") in pronoun.FEMALE) != (corrupt in pronoun.FEMALE)


def test_agreement_by_hand() -> None:
    pair = agreement.make_pair(agreement.TEMPLATES[0], ("dog", "dogs"), "car", plural=True)
    assert pair.clean == "The dogs near the car"
    assert pair.corrupt == "The dog near the car"
    assert pair.answers == (" are", " were", " have")
    assert pair.distractors == (" is", " was", " has")


def test_the_other_noun_agrees_half_of_the_time() -> None:
    others = {word for one in agreement.OTHERS for word in one.split("/")[1:]}
    train = make(TASKS["agreement"]).train
    agree = sum((word_at(p, "END") in others) == (p.pair.answer == " are") for p in train)
    assert agree == len(train) / 2


def test_nouns_with_one_form_are_left_out() -> None:
    assert agreement.nouns(word_tokenizer(["the dog dogs cat to"]), agreement.SUBJECTS) == [
        ("dog", "dogs")
    ]
    assert all(one != many for one, many in (entry.split("/") for entry in agreement.SUBJECTS))


@pytest.mark.parametrize(
    ("corruption", "corrupt"),
    [("fresh", "a p q r s t u v w b c d"), ("next_word", "a b c d h f g h i b c d")],
)
def test_induction_by_hand(corruption: str, corrupt: str) -> None:
    pair = induction.make_pair("a", list("bcdefghi"), 3, 6, list("pqrstuvw"), corruption)
    assert pair.clean == "a b c d e f g h i b c d"
    assert pair.corrupt == corrupt
    assert (pair.answer, pair.distractor) == (" e", " h")
    assert pair.marks == {"S1": (6, 0), "S1+1": (6, 1), "S2": (22, 0), "END": (22, 0)}


def test_induction_copies_what_stood_behind_the_word() -> None:
    for pair in make(TASKS["induction"]).test:
        assert word_at(pair, "S1") == word_at(pair, "S2")
        assert word_at(pair, "S1+1") == pair.pair.answer.strip()
        row = pair.clean_ids[1 : 1 + induction.LENGTH]
        assert len(set(row)) == induction.LENGTH


# --- Capitals, sentiment, arithmetic, docstrings ---------------------------------------------------


def test_capital_by_hand() -> None:
    pair = capital.make_pair(capital.TEMPLATES[0], ("Austria", "Vienna"), ("Peru", "Lima"))
    assert pair.clean == "The president of Austria lives in the capital,"
    assert pair.corrupt == "The president of Peru lives in the capital,"
    assert (pair.answer, pair.distractor) == (" Vienna", " Lima")
    columns = zip(*(entry.split("/") for entry in capital.CAPITALS), strict=True)
    assert all(len(set(column)) == len(capital.CAPITALS) for column in columns)


def test_sentiment_by_hand() -> None:
    text = "The [1] food and the [2] room were very"
    one, two = ("great", "awful"), ("nice", "bad")
    pair = sentiment.make_pair(text, one, two, True, [("good", "kind"), ("poor", "sad")])
    assert pair.clean == "The awful food and the bad room were very"
    assert pair.corrupt == "The great food and the nice room were very"
    assert (pair.answers, pair.distractors) == ((" poor", " sad"), (" good", " kind"))
    words = [word for entry in sentiment.ADJECTIVES for word in entry.split("/")]
    assert len(set(words)) == len(words)


def test_arithmetic_by_hand() -> None:
    pair = arithmetic.make_pair([(1, 4), (6, 2)], (3, 4), 5, first=True)
    assert pair.clean == "1+4=5, 6+2=8, 3+4="
    assert pair.corrupt == "1+4=5, 6+2=8, 5+4="
    assert (pair.answer, pair.distractor) == ("7", "9")


@pytest.mark.parametrize(("tokenizer", "top"), [(WORDS, 99), (BY_DIGIT, 9)])
def test_sums_are_right_and_of_one_token(tokenizer: Tokenizer, top: int) -> None:
    assert arithmetic.numbers_of(tokenizer) == list(range(top + 1))
    for pair in make(TASKS["arithmetic"], tokenizer=tokenizer).train:
        solved, asked = pair.pair.clean.rsplit(", ", 1)
        for line in (*solved.split(", "), asked + pair.pair.answer):
            left, result = line.split("=")
            assert sum(map(int, left.split("+"))) == int(result) <= top
        assert eval_sum(pair.pair.corrupt) == int(pair.pair.distractor) != int(pair.pair.answer)


def eval_sum(prompt: str) -> int:
    return sum(map(int, prompt.rsplit(", ", 1)[-1].rstrip("=").split("+")))


@pytest.mark.parametrize("corruption", ["random", "definition"])
def test_docstring_by_hand(corruption: str) -> None:
    others = ["text", "code", "key", "path", "line", "user", "time"]
    pair = docstring.make_pair(
        "walk", ["size", "name", "page", "list", "file"], others, ["a b", "c"], "do it", corruption
    )
    assert pair.clean == (
        'def walk(self, size, name, page, list, file):\n    """do it\n\n'
        "    :param size: a b\n    :param name: c\n    :param"
    )
    assert "def walk(self, text, code, key, path, line)" in pair.corrupt
    assert (":param user: a b" in pair.corrupt) == (corruption == "random")
    assert (":param size: a b" in pair.corrupt) == (corruption == "definition")
    assert pair.answers == (" page",)
    assert set(pair.distractors) == {" size", " name", " list", " file"}


# --- The shared making -----------------------------------------------------------------------------


@given(count=st.integers(0, 200), label=st.text(max_size=5))
def test_dealing_is_a_partition(count: int, label: str) -> None:
    dealt = deal(range(count), label)
    assert sorted(item for part in dealt.values() for item in part) == list(range(count))
    assert abs(len(dealt["train"]) - 0.4 * count) <= 1


def test_running_out_of_prompts_is_said() -> None:
    pair = PromptPair("a", "b", " c", " d")
    with pytest.raises(TaskError, match="Expected 2 different prompts in one split, got 1"):
        list(distinct(lambda index: pair, 2))


def test_sets_of_answers_are_encoded_and_kept_apart() -> None:
    tokenizer = word_tokenizer(["a b c d e f"])
    pair = PromptPair("a", "b", " c", " d", {}, (" e",), (" f",))
    encoded = encode_pair(tokenizer, pair)
    assert [tokenizer.id_to_token(i) for i in encoded.answer_ids] == ["c", "e"]
    assert [tokenizer.id_to_token(i) for i in encoded.distractor_ids] == ["d", "f"]
    with pytest.raises(TaskError, match=r"same token 'c'.*Choose a distractor"):
        encode_pair(tokenizer, PromptPair("a", "b", " c", " d", {}, (), (" c",)))
    with pytest.raises(TaskError, match="answer ' e f' must be exactly one token"):
        encode_pair(tokenizer, PromptPair("a", "b", " c", " d", {}, (" e f",)))


@given(
    st.builds(
        PromptPair,
        clean=st.text(),
        corrupt=st.text(),
        answer=st.text(),
        distractor=st.text(),
        marks=st.just({}),
        more_answers=st.lists(st.text()).map(tuple),
        more_distractors=st.lists(st.text()).map(tuple),
    )
)
def test_pairs_survive_the_run_file(pair: PromptPair) -> None:
    assert PromptPair.from_dict(pair.to_dict()) == pair


def test_items_are_drawn_from_their_own_split() -> None:
    tokenizer = word_tokenizer([" ".join(f"w{i} v{i}" for i in range(50)) + " a b to"])

    def draw(rng, mine, index):  # type: ignore[no-untyped-def]
        number = mine[index % len(mine)]
        return PromptPair(f"w{number}", f"v{number}", " a", " b")

    sets = make_sets("toy", tokenizer, SplitSizes(5, 5, 5), 0, range(50), draw)
    chosen = items(sets, lambda pair: pair.pair.clean)
    assert [len(part) for part in chosen] == [5, 5, 5]
    assert not chosen[0] & chosen[2]

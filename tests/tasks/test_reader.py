"""The one door: whatever brings prompts to a model, none that it cannot read gets in, and each is told why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tokenizers import Tokenizer

from hap_engine.errors import TaskError
from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.pair import EncodedPair, PromptPair, encode, encode_pair, spelling_token
from hap_engine.tasks.reader import Reader, encode_rows, encode_sets, problem
from hap_engine.tasks.task import PromptSets, SplitSizes
from hap_engine.tasks.templates import greater_than
from tests.builders.words import byte_tokenizer

NOUNS = [" war", " siege", " strike", " festival", " project"]
WORDS = ["The", " lasted", " from", " the", " year", " to", " cold", " warm", " hot", " is", " a"]
WORDS += ["cold", "warm", "un", "believ", "able", " able"]
GPT2 = byte_tokenizer([*WORDS, *NOUNS])
YEARS = [f"{year:02d}" for year in range(100)]
PLAIN = PromptPair("The war is", "The siege is", " cold", " warm")


def published(year: int, century: int = 13) -> PromptPair:
    """A row of the published greater-than data."""
    clean, corrupt = (f"The war lasted from the year {century}{start:02d} to the year {century}" for start in (year, 1))
    later, earlier = YEARS[year + 1 :], YEARS[: year + 1]
    return PromptPair(
        clean, corrupt, later[0], earlier[0], more_answers=tuple(later[1:]), more_distractors=tuple(earlier[1:])
    )


# --- Ids say which token is meant ------------------------------------------------------------------


def test_greater_than_as_published_needs_ids_with_a_vocabulary_like_gpt2s() -> None:
    row = published(52)
    message = problem(Reader(GPT2), row)
    assert message == (
        "the distractor '00' is not one token after the prompt. This model reads it and the end of the prompt in one; "
        "to compare the token all the same, as published data on years do, give its id "
        f"(distractor_ids: {GPT2.token_to_id('00')})."
    )
    assert "' 00'" not in message, "no year goes on with it"
    ids = {year: GPT2.token_to_id(year) for year in YEARS}
    given = replace(
        row,
        answer_ids=tuple(ids[year] for year in row.answers),
        distractor_ids=tuple(ids[year] for year in row.distractors),
    )
    (encoded,) = encode_rows(Reader(GPT2), [given])
    assert set(encoded.answer_ids) == {ids[f"{year}"] for year in range(53, 100)}
    assert len(encoded.distractor_ids) == 53


def test_the_builtin_task_has_all_hundred_years_with_such_a_vocabulary() -> None:
    """It was refused, though the task was published with this very vocabulary."""
    sets = TASKS["greater-than"].generate(GPT2, SplitSizes(20, 5, 5), 0, "year_01")
    for pair in sets.train:
        year = int(pair.pair.clean.split(" to ")[0][-2:])
        assert set(pair.answer_ids) == {GPT2.token_to_id(end) for end in YEARS[year + 1 :]}
        assert set(pair.distractor_ids) == {GPT2.token_to_id(end) for end in YEARS[: year + 1]}
        assert pair.pair.answer == YEARS[year + 1]
        assert GPT2.id_to_token(pair.clean_ids[pair.roles["YY"]]) == YEARS[year]
    assert greater_than.usable_years(GPT2)[0].ids


def test_ids_name_their_texts_and_must_be_those_of_the_model() -> None:
    cold, warm = (GPT2.token_to_id(f"Ġ{word}") for word in ("cold", "warm"))
    (encoded,) = encode_rows(
        Reader(GPT2), [replace(PLAIN, answer="", distractor="", answer_ids=(cold,), distractor_ids=(warm,))]
    )
    assert (encoded.pair.answer, encoded.pair.distractor) == (" cold", " warm")
    assert encode_rows(Reader(GPT2), [encoded.pair])[0] == encoded, "as a run file gives it back"
    assert problem(Reader(GPT2), replace(PLAIN, answer="cold", answer_ids=(cold,))) == "", "the space is said by the id"
    for ids, complaint in (
        ((warm,), "answer_ids .* is ' warm' in this model's vocabulary, and the answer says 'cold'"),
        ((10**6,), r"Expected answer_ids from the model's vocabulary of .* tokens, got 1000000"),
        ((-1,), "got -1"),
        ((2**40,), "got 1099511627776"),
    ):
        with pytest.raises(TaskError, match=complaint):
            encode_pair(GPT2, replace(PLAIN, answer_ids=ids))
    assert "same token" in problem(Reader(GPT2), replace(PLAIN, answer="", answer_ids=(warm,)))


def test_a_token_that_spells_the_answer_is_found_only_where_it_does() -> None:
    assert spelling_token(GPT2, "the year 13", "00") == GPT2.token_to_id("00")
    assert spelling_token(GPT2, "unbeliev", "able") == GPT2.token_to_id("able")
    assert spelling_token(GPT2, "the", "xyz") is None


# --- A token counts once ---------------------------------------------------------------------------


def test_a_set_counts_each_token_once() -> None:
    cold = GPT2.token_to_id("Ġcold")
    doubles = [
        replace(PLAIN, more_answers=(" cold",)),
        replace(PLAIN, answer_ids=(cold, cold)),
        replace(encode_pair(GPT2, PLAIN), more_answer_ids=(cold, cold)),
    ]
    for encoded in encode_rows(Reader(GPT2), doubles):
        assert encoded.answer_ids == (cold,)
    with pytest.raises(TaskError, match=r"Row 1: answer and distractor are the same token ' cold'"):
        encode_rows(Reader(GPT2), [replace(PLAIN, distractor="", distractor_ids=(cold,))])
    both = replace(encode_pair(GPT2, PLAIN), more_distractor_ids=(cold,))
    with pytest.raises(TaskError, match=f"Row 1: token {cold} is both answer and distractor"):
        encode_rows(Reader(GPT2), [both])


# --- What a model reads ----------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["texts", "tokens"])
def test_prompts_that_the_model_cannot_read_are_refused(given: str) -> None:
    tokens = encode_pair(GPT2, PLAIN)
    pairs: list[PromptPair | EncodedPair] = [PLAIN] if given == "texts" else [tokens]
    assert encode_rows(Reader(GPT2, longest=3), pairs) == (tokens,)
    with pytest.raises(TaskError, match=r"Row 1: the prompt has 3 tokens \('The war is' …\), and tiny reads at most 2"):
        encode_rows(Reader(GPT2, "tiny", longest=2), pairs)
    known = max(tokens.clean_ids + tokens.corrupt_ids + tokens.answer_ids + tokens.distractor_ids)
    named = GPT2.decode([known])
    with pytest.raises(TaskError, match=rf"tiny knows {known:,} tokens, and .* number {known} \({named!r}\)"):
        encode_rows(Reader(GPT2, "tiny", known=known), pairs)
    sets = PromptSets((tokens,), (tokens,), (tokens,))
    assert encode_sets(Reader(GPT2), sets) == sets
    with pytest.raises(TaskError, match="The prompt has 3 tokens"):
        encode_sets(Reader(GPT2, longest=2), sets)


def test_tokens_that_do_not_align_are_refused() -> None:
    tokens = encode_pair(GPT2, PLAIN)
    for wrong in (replace(tokens, corrupt_ids=(1, 2)), replace(tokens, clean_ids=(), corrupt_ids=())):
        with pytest.raises(TaskError, match="Row 2: expected a clean and a corrupted prompt of equally many tokens"):
            encode_rows(Reader(GPT2), [tokens, wrong])
    with pytest.raises(TaskError, match="number -1"):
        encode_rows(Reader(GPT2), [replace(tokens, answer_id=-1)])


# --- Remedies that lead somewhere ------------------------------------------------------------------


def test_each_remedy_works_when_it_is_followed(smollm2_tokenizer: Tokenizer) -> None:
    reader = Reader(smollm2_tokenizer)
    number = PromptPair("2 plus 3 is", "2 plus 6 is", " 5", " 8")
    assert problem(reader, number) == (
        "the answer ' 5' is not one token after the prompt. It is a space and '5' for this model: end both prompts "
        'with the space, give \'5\' without it, and say "spaces": "as written".'
    )
    assert problem(reader, PromptPair("2 plus 3 is ", "2 plus 6 is ", "5", "8")) == ""
    bare = PromptPair("France is", "Spain is", "Vienna", " Rome")
    assert problem(reader, bare).endswith("' Vienna' is one: write that if it is meant.")
    line = PromptPair("France\n", "Spain\n", "Vienna", "Rome")
    assert problem(reader, line) == (
        "the answer 'Vienna' is 2 tokens for this model (Vi · enna), and must be one. ' Vienna' is one: let both "
        "prompts end in a word and not in white space, or choose another answer."
    )
    assert problem(reader, replace(bare, answer=" Vienna")) == ""
    part = PromptPair("That is truly unbeliev", "That is mostly unbeliev", "able", "ably")
    token = smollm2_tokenizer.token_to_id("able")
    assert f"give its id (answer_ids: {token})" in problem(reader, part)
    assert problem(reader, replace(part, answer_ids=(token,))) == ""


CHAT = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nCapital of {}?<|im_end|>\n<|im_start|>assistant\n"
SHOTS = "Country: Italy\nCapital: Rome\n\nCountry: Japan\nCapital: Tokyo\n\nCountry: {}\nCapital:"


@pytest.mark.parametrize(
    ("prompt", "answer"), [(CHAT, "Paris"), (SHOTS, " Paris"), ("La capitale de la {} est", " Paris")]
)
def test_chats_examples_and_french_are_read_as_they_are(prompt: str, answer: str, smollm2_tokenizer: Tokenizer) -> None:
    pair = PromptPair(prompt.format("France"), prompt.format("Spain"), answer, answer.replace("Paris", "Rome"))
    (encoded,) = encode_rows(Reader(smollm2_tokenizer), [pair])
    assert encoded.clean_ids == encode(smollm2_tokenizer, pair.clean)
    assert smollm2_tokenizer.decode([encoded.answer_id]) == answer
    if prompt is CHAT:
        assert smollm2_tokenizer.token_to_id("<|im_start|>") in encoded.clean_ids

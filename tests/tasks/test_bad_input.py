"""Prompts that cannot be used: every message names the row and the remedy."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hap_engine.errors import HapError, TaskError
from hap_engine.progress import drain
from hap_engine.settings import DiscoveryConfig
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.prompts_file import parse_rows, read_rows
from hap_engine.tasks.reader import MAX_TOKENS, Reader, encode_rows
from hap_engine.tasks.rows import check_rows, sift
from hap_engine.workflows import discover
from tests.builders.prompt_files import ANTONYMS, as_csv, changed, jsonl, parse_prompts, problems
from tests.builders.words import WORDS

# --- Files that do not -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "name", "complaint"),
    [
        (changed(3, answer=None), "x.jsonl", "Row 3: it has no 'answer'. Every row needs"),
        (changed(4, clean=7), "x.jsonl", "Row 4: expected 'clean' as text in quotation marks, got 7"),
        (changed(4, answer=[]), "x.jsonl", "Row 4: expected 'answer' as text"),
        (changed(5, clean="  "), "x.jsonl", "Row 5: clean is empty. Write a text"),
        (changed(5, answer=""), "x.jsonl", "Row 5: answer is empty"),
        (
            changed(6, corrupt="The opposite of rich is", clean="The opposite of rich is"),
            "x.jsonl",
            "Row 6: clean and corrupt are the same",
        ),
        (changed(6, answer=" a", distractor=" a"), "x.jsonl", "Row 6: ' a' is both answer and distractor"),
        (jsonl([*ANTONYMS, ANTONYMS[1]]), "x.jsonl", "Row 25: it repeats row 2 ('The opposite of big is'). Remove"),
        (
            changed(2, clean="abc \u202egnp.exe"),
            "x.jsonl",
            "Row 2: clean holds an invisible character (U+202E, right-to-left override). Delete it",
        ),
        (changed(2, corrupt="a\u200bb"), "x.jsonl", "U+200B, zero width space"),
        (changed(2, corrupt="a\xadb"), "x.jsonl", "U+00AD, soft hyphen"),
        (changed(2, clean="a\x93b"), "x.jsonl", "U+0093, a control character"),
        (changed(2, clean="fran\ufffdais"), "x.jsonl", "Row 2: clean holds the sign for a character that was lost"),
        (
            jsonl(ANTONYMS[:-1]) + b'\n{"clean": "a", "clean": "b", "corrupt": "c", "answer": "d", "distractor": "e"}',
            "x.jsonl",
            "Row 24: it names 'clean' twice. Keep one of them",
        ),
        (
            json.dumps(ANTONYMS).encode()[:-1] + b', {"clean": "a", "clean": "b"}]',
            "x.json",
            "Row 25: it names 'clean' twice",
        ),
        (
            jsonl(ANTONYMS) + b'\n{"clean": ' + b"9" * 5000 + b"}",
            "x.jsonl",
            "Row 25: it is not JSON: the number 99999999999999999999 … is too large",
        ),
        (
            jsonl(ANTONYMS) + b'\n{"clean": NaN}',
            "x.jsonl",
            "Row 25: expected 'clean' as text in quotation marks, got nan",
        ),
        (as_csv(ANTONYMS) + b'a, "b",c,d\r\n', "x.csv", "Row 25: corrupt has a space before its quotation mark"),
        (changed(2, corrupt="a\x00b"), "x.jsonl", "U+0000, a control character"),
        (
            jsonl(ANTONYMS).replace(b" cold", b" \\ud800", 1),
            "x.jsonl",
            "Row 1: it is not JSON: it holds half a character",
        ),
        (jsonl(ANTONYMS[:9]), "x.jsonl", "at least 10 rows, got 9. Add pairs"),
        (b"", "x.jsonl", "at least 10 rows, got 0"),
        (jsonl(ANTONYMS * 417), "x.jsonl", "at most 1,000 rows, got 10,008. Keep a random"),
        (as_csv(ANTONYMS * 417), "x.csv", "at most 1,000 rows, got 10,008"),
        (as_csv(ANTONYMS).replace(b"\r\n", b"\r\n\r\n", 3), "x.csv", "Rows 1, 3, 5: it is empty. Delete the line"),
        (jsonl(ANTONYMS[:5]) + b"\n\n" + jsonl(ANTONYMS[5:]), "x.jsonl", "Row 6: it is empty. Delete the line"),
        (jsonl(ANTONYMS) + b"\n{'clean': 1}", "x.jsonl", "Row 25: it is not JSON"),
        (
            jsonl(ANTONYMS) + b"\n" + b"[" * 100_000,
            "x.jsonl",
            "Row 25: it is not JSON: it is nested more than 32 levels deep",
        ),
        (
            json.dumps(ANTONYMS, indent=1).encode()[:-1],
            "x.jsonl",
            "The file is not JSON: Expecting ',' delimiter in line 146. Write a list of rows, or one object a line",
        ),
        (jsonl([*ANTONYMS, 5]), "x.jsonl", "Row 25: expected an object with the keys clean"),
        (
            jsonl(ANTONYMS).decode().encode("utf-16")[:-1],
            "x.jsonl",
            "of the file is not UTF-8 text (it looks like UTF-16)",
        ),
        (
            jsonl(ANTONYMS).decode().encode("utf-16-le"),
            "x.jsonl",
            "Line 1 of the file is not UTF-8 text (it looks like UTF-16)",
        ),
        (
            jsonl(ANTONYMS) + '\n{"clean": "für"}'.encode("latin-1"),
            "x.jsonl",
            "Line 25 of the file is not UTF-8 text. Save",
        ),
        (b"one,two\n1,2\n", "x.csv", "must name the columns clean, corrupt, answer, distractor; clean, corrupt"),
        (
            as_csv([*ANTONYMS, {**ANTONYMS[0], "clean": "=HYPERLINK(1)"}]),
            "x.csv",
            "Row 25: clean begins with '=', which a spreadsheet runs as a formula",
        ),
        (as_csv([{**ANTONYMS[0], "answer": "@SUM(A1)"}, *ANTONYMS]), "x.csv", "Row 1: answer begins with '@'"),
        (as_csv([{**ANTONYMS[0], "answer": "-2+3+cmd|' /C calc'!A0"}, *ANTONYMS]), "x.csv", "answer begins with '-'"),
        (as_csv([{**ANTONYMS[0], "answer": "\tx"}, *ANTONYMS]), "x.csv", "or use JSONL, where a text is only text"),
        (as_csv(ANTONYMS) + b"a,b,c,d,e\r\n", "x.csv", "Row 25: it has more cells"),
        (as_csv(ANTONYMS) + b"a,b\r\n", "x.csv", "Row 25: it has no 'answer'"),
        (as_csv(ANTONYMS) + b",,,\r\n", "x.csv", "Row 25: clean is empty"),
        (as_csv(ANTONYMS) + b'"' + b"a" * 200_000, "x.csv", "cannot be read as CSV"),
        (b" " * (5 * 2**20) + jsonl(ANTONYMS), "x.jsonl", "at most 4 MB, got 5.0 MB"),
        (b" " * (5 * 2**20) + as_csv(ANTONYMS), "x.csv", "at most 4 MB, got 5.0 MB"),
        (b'{"format": "hap-run"' + b" " * (21 * 2**20), "x.json", "at most 4 MB, got 21.0 MB"),
    ],
)
def test_bad_files_name_the_row_and_the_remedy(data: bytes, name: str, complaint: str) -> None:
    with pytest.raises(TaskError) as caught:
        parse_prompts(data, name)
    assert complaint in str(caught.value)


def test_a_row_of_many_names_and_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    row = b"{" + b"".join(b'"k%d": 0, ' % i for i in range(100_000)) + b'"k99999": 1}'
    started = time.process_time()
    with pytest.raises(TaskError, match="Row 25: it names 'k99999' twice"):
        parse_prompts(jsonl(ANTONYMS) + b"\n" + row)
    assert time.process_time() - started < 5  # it took minutes
    os.mkfifo(tmp_path / "prompts.jsonl")
    with pytest.raises(TaskError, match="is no file"):
        read_rows(tmp_path / "prompts.jsonl")


def test_numbers_are_no_formulas() -> None:
    rows = [{**row, "answer": "-5", "distractor": "+3.5"} for row in ANTONYMS]
    assert parse_prompts(as_csv(rows), "x.csv")[0].answer == "-5"


def test_every_bad_row_is_told_at_once() -> None:
    rows = [PromptPair.from_dict(row) for row in ANTONYMS]
    rows[1] = PromptPair("a", "a", " b", " c")
    rows[3] = rows[4] = PromptPair("", "b", " c", " d")
    with pytest.raises(TaskError) as caught:
        check_rows(rows)
    assert str(caught.value).splitlines() == [
        "3 of 24 rows cannot be used.",
        "Row 2: clean and corrupt are the same ('a'). Change the words that carry what the task asks for.",
        "Rows 4, 5: clean is empty. Write a text or delete the row.",
    ]
    for number in range(15):
        rows[number] = PromptPair(f"{number}", f"{number}", " b", " c")
    with pytest.raises(TaskError, match=r"Row 10: clean .*\nLook at rows 11, 12, 13, 14, 15 too\.$"):
        check_rows(rows)


def test_rows_that_cannot_be_read_are_told_with_the_others() -> None:
    rows = [*ANTONYMS[:20], 5, {"clean": "a"}, {**ANTONYMS[20], "clean": ""}]
    data = jsonl(rows) + b"\n{\n"
    with pytest.raises(TaskError) as caught:
        parse_prompts(data)
    told = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in told[1:]] == ["Row 21", "Row 22", "Row 23", "Row 24"]
    assert told[0] == "4 of 24 rows cannot be used."
    good, wrong = sift(parse_rows(data).rows)
    assert [number for number, _ in wrong] == [21, 22, 23, 24]
    assert good == check_rows([PromptPair.from_dict(row) for row in ANTONYMS[:20]])


@pytest.mark.parametrize(
    ("pair", "complaint"),
    [
        (PromptPair("So Mary left", "So Wilhelmina left", " a", " b"), "the clean prompt has 1 token ('Mary')"),
        (PromptPair("So hot", "So big", " refrigerator magnets", " b"), "tokens for this model"),
        (PromptPair("So hot", "So big", " Wilhelmina", " b"), "Choose a shorter or more common word"),
        (PromptPair("So hot", "So big", " 🪁", " b"), "must be one"),
        (PromptPair("So hot", "So big", "\ncold", " b"), "is 2 tokens for this model"),
        (PromptPair("a " * 129, "b " + "a " * 128, " c", " d"), "at most 128 are possible. Shorten it"),
    ],
)
def test_rows_that_the_tokenizer_splits(pair: PromptPair, complaint: str, smollm2_tokenizer: Tokenizer) -> None:
    good = parse_prompts(jsonl(ANTONYMS))
    with pytest.raises(TaskError) as caught:
        encode_rows(Reader(smollm2_tokenizer), [*good[:3], pair, *good[3:], pair], MAX_TOKENS)
    assert str(caught.value).startswith("2 of 26 rows cannot be used.\nRows 4, 26: ")
    assert complaint in str(caught.value)


def test_another_space_is_suggested(smollm2_tokenizer: Tokenizer) -> None:
    ((row, message),) = problems(smollm2_tokenizer, [PromptPair("So hot", "So big", "  cold", " b")])
    assert row == 1
    assert message == (
        "the answer '  cold' is not one token after the prompt. ' cold' is one: write that if it is meant."
    )
    ((_, message),) = problems(smollm2_tokenizer, [PromptPair("So hot", "So big", " cold ", " b")])
    assert message.endswith(
        "the answer ' cold ' is not one token after the prompt. ' cold' is one: write that if it is meant."
    )


def test_words_that_a_word_level_model_does_not_know() -> None:
    with pytest.raises(TaskError, match=r"Rows 1, 2, .*: this model does not know 'opposite'"):
        encode_rows(Reader(WORDS), parse_prompts(jsonl(ANTONYMS)))
    misspelled = PromptPair("the teachrs near the car", "the teacher near the car", " are", " is")
    ((_, message),) = problems(WORDS, [misspelled])
    assert message.startswith("this model does not know 'teachrs'. Did you mean 'teachers'?")


HEBREW, ARABIC, FAMILY = "שלום לכולם", "سافر إلى", "👩\u200d👩\u200d👧"


@pytest.mark.parametrize("text", [HEBREW, ARABIC, FAMILY, "می\u200cخواهم", "🙂👍🏽"])
def test_foreign_scripts_and_emoji_are_taken_as_they_are(text: str, smollm2_tokenizer: Tokenizer) -> None:
    rows = [{**row, "clean": f"{text} {row['clean']}", "corrupt": f"{text} {row['corrupt']}"} for row in ANTONYMS]
    for data, name in ((jsonl(rows), "x.jsonl"), (as_csv(rows), "x.csv")):
        pairs = parse_prompts(data, name)
        assert pairs[0].clean == f"{text} {ANTONYMS[0]['clean']}"
        assert problems(smollm2_tokenizer, pairs) == []
    with pytest.raises(TaskError, match=r"^Row 3: this model does not know"):
        encode_rows(Reader(WORDS), [*[PromptPair("the cat", "the dog", " is", " are")] * 2, pairs[0]])


def test_a_foreign_row_that_does_not_align_is_quoted_in_whole_characters(smollm2_tokenizer: Tokenizer) -> None:
    rows = changed(7, clean="I am 🙂 today", corrupt=f"I am {FAMILY} today")
    with pytest.raises(TaskError) as caught:
        encode_rows(Reader(smollm2_tokenizer), parse_prompts(rows))
    message = str(caught.value)
    assert message.startswith("Row 7: the clean prompt has 1 token ('🙂') where the corrupted one has 13")
    assert repr(FAMILY) in message
    assert "\ufffd" not in message


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_any_bytes_give_pairs_or_one_message(name: str, data: bytes) -> None:
    with pytest.raises(HapError):
        parse_prompts(data, name)


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x, max_size=3))


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["clean", "corrupt", "answer", "distractor"]), JSON), min_size=10, max_size=12
    )
)
def test_any_values_give_pairs_or_one_message(rows: list[Any]) -> None:
    data = "\n".join(json.dumps(row) for row in rows).encode()
    with suppress(HapError):
        assert parse_prompts(data)


def test_prompts_are_refused_before_the_model_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capital on hap-mini, antonyms on hap-mini, a prompt longer than its 64 positions."""

    def never(*_: object) -> None:
        raise AssertionError("the model was opened")

    monkeypatch.setattr(discover, "loading", never)
    long = [
        PromptPair(f"the {noun} " * 40 + "near", f"the {noun}s " * 40 + "near", " is", " are")
        for noun in ("dog", "cat", "boy", "girl", "teacher", "friend", "student", "car", "tree", "bird")
    ]
    for chosen, words in (
        ({"task": "capital"}, "“Capital of a country” needs at least 10"),
        ({"task": "custom", "prompts": parse_prompts(jsonl(ANTONYMS))}, "does not know 'opposite'"),
        ({"task": "custom", "prompts": tuple(long)}, r"81 tokens \('the .*hap-mini reads at most 64"),
    ):
        with pytest.raises(TaskError, match=words):
            drain(discover.discover(DiscoveryConfig(**chosen)))  # type: ignore[arg-type]

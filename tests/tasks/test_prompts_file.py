"""Files as others publish and save them: read as they are, or the one thing to change is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hap_engine.errors import TaskError
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.prompts_file import parse_rows, to_jsonl
from tests.builders.prompt_files import ANTONYMS, as_csv, changed, jsonl, parse_prompts

EXPECTED = parse_prompts(jsonl(ANTONYMS))
AUTO_CIRCUIT = [
    {"clean": row["clean"], "corrupt": row["corrupt"], "answers": [row["answer"]], "wrong_answers": [row["distractor"]]}
    for row in ANTONYMS
]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (json.dumps(ANTONYMS).encode(), "one line.json"),
        (json.dumps(ANTONYMS, indent=2).encode(), "list.json"),
        (json.dumps({"seq_labels": ["a"], "word_idxs": {}, "prompts": AUTO_CIRCUIT}, indent=2).encode(), "ioi.json"),
        (json.dumps({"prompts": AUTO_CIRCUIT}).encode(), "prompts.jsonl"),
        (as_csv(ANTONYMS, "\t"), "pairs.tsv"),
        (b"sep=;\r\n" + as_csv(ANTONYMS, ";"), "excel.csv"),
        (b"\xef\xbb\xbfsep=;\r\n" + as_csv(ANTONYMS, ";"), "excel.csv"),
        (as_csv(ANTONYMS, "\t").decode().encode("utf-16"), "unicode text.tsv"),
        (jsonl(ANTONYMS).decode().encode("utf-16"), "notepad.jsonl"),
        (b"\xef\xbb\xbf" + json.dumps(ANTONYMS).encode(), "list.json"),
        (
            as_csv([{"corrupted" if key == "corrupt" else key: text for key, text in row.items()} for row in ANTONYMS]),
            "x.csv",
        ),
    ],
)
def test_files_of_others_give_the_same_pairs(data: bytes, name: str) -> None:
    assert parse_prompts(data, name) == EXPECTED


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("correct_idx", "incorrect_idx"),  # IOI
        ("country_idx", "corrupted_country_idx"),  # facts
        ("clean_answer_idx", "corrupted_answer_idx"),  # gender
        ("answers_idx", "corrupted_answers_idx"),  # hypernyms: lists
        ("answer_id", "distractor_id"),
        ("answer_ids", "distractor_ids"),
    ],
)
def test_ids_in_the_columns_of_published_data(right: str, wrong: str) -> None:
    rows: list[dict[str, Any]] = [
        {"": index, "clean": row["clean"], "corrupted": row["corrupt"], "corrupted_hard": "x", right: [5, 6], wrong: 7}
        for index, row in enumerate(ANTONYMS)
    ]
    expected = PromptPair(ANTONYMS[3]["clean"], ANTONYMS[3]["corrupt"], "", "", answer_ids=(5, 6), distractor_ids=(7,))
    assert parse_prompts(as_csv(rows), "ioi.csv")[3] == expected
    assert parse_prompts(jsonl(rows))[3] == expected


def test_ids_are_read_as_numbers_or_not_at_all() -> None:
    for cell, ids in (("5", (5,)), ("5.0", (5,)), ("[5, 6]", (5, 6)), ("[5 6]", (5, 6))):
        rows = [{**row, "answer_ids": cell} for row in ANTONYMS]
        assert parse_prompts(as_csv(rows), "x.csv")[0].answer_ids == ids
    for cell in ("5.5", "tensor(5)", "five", "9" * 5000):
        with pytest.raises(TaskError, match="expected 'answer_ids' as the number of a token"):
            parse_prompts(as_csv([{**row, "answer_ids": cell} for row in ANTONYMS]), "x.csv")


def test_a_file_can_say_once_that_its_spaces_are_meant() -> None:
    rows = [{**row, "answer": row["answer"].strip(), "distractor": row["distractor"].strip()} for row in ANTONYMS]
    said = {"spaces": "as written"}
    exact = [PromptPair.from_dict(row) for row in rows]
    for data, name in (
        (jsonl([said, *rows]), "x.jsonl"),
        (json.dumps({**said, "prompts": rows}).encode(), "x.json"),
        (as_csv([{**row, **said} for row in rows]), "x.csv"),
    ):
        assert list(parse_prompts(data, name)) == exact
    mixed = parse_prompts(
        as_csv([{**row, "spaces": ""} for row in rows[:5]] + [{**row, **said} for row in rows[5:]]), "x.csv"
    )
    assert (mixed[0].answer, mixed[5].answer) == (" cold", exact[5].answer)


@pytest.mark.parametrize(
    ("data", "name", "complaint"),
    [
        (
            b"clean,corrupted,label\nThe war lasted from the year 1352 to the year 13,x,52\n",
            "greater_than_data.csv",
            "answer, distractor is missing in 'clean,corrupted,label'. If the labels are years, this is greater-than, "
            "which is built in: --task greater-than.",
        ),
        (
            b"clean,corrupted,correct_idx\na,b,52\n",
            "x.csv",
            "distractor is missing in 'clean,corrupted,correct_idx'. If",
        ),
        (
            b"prompt,label,x,y\n1,2,3,4\n",
            "x.csv",
            "clean, corrupt, answer, distractor is missing in 'prompt,label,x,y'",
        ),
        (b"clean,corrupt,corrupted,answer,distractor\n", "x.csv", "names 'corrupt' twice ('clean,corrupt,corrupted"),
        (
            json.dumps({"prompts": [{"clean": "a"}] * 10}).encode(),
            "x.json",
            "it has no 'corrupt'. Every row needs the keys",
        ),
        (
            json.dumps([{**row, "answers": ["x"]} for row in ANTONYMS]).encode(),
            "x.json",
            "it has 'answer' and 'answers', which",
        ),
        (json.dumps([*ANTONYMS, 5]).encode(), "x.json", "Row 25: expected an object with the keys clean"),
        (
            json.dumps([{**ANTONYMS[0], "answer_id": "x"}] * 10).encode(),
            "x.json",
            "expected 'answer_ids' as the number of a",
        ),
        (json.dumps([{**ANTONYMS[0], "answer_ids": []}] * 10).encode(), "x.json", "a token or a list of them, got []"),
        (json.dumps([{**ANTONYMS[0], "answer_id": True}] * 10).encode(), "x.json", "got True"),
        (b'{\n "prompts": [\n  {"clean": 1},,\n ]\n}', "x.json", "The file is not JSON: Expecting value in line 3"),
        (json.dumps(ANTONYMS * 42).encode(), "x.json", "at most 1,000 rows, got 1,008"),
        (b"PK\x03\x04...", "pairs.xlsx", "as text, got a workbook (or another zip file). Save it as CSV"),
        (b"PAR1...", "train.parquet", "got a Parquet file. Write it as JSON"),
    ],
)
def test_what_cannot_be_read_names_the_one_thing_to_change(data: bytes, name: str, complaint: str) -> None:
    with pytest.raises(TaskError) as caught:
        parse_prompts(data, name)
    assert complaint in str(caught.value)


# --- What was written is what is read --------------------------------------------------------------


def test_an_unclosed_quotation_mark_swallows_nothing() -> None:
    header, *lines = as_csv(ANTONYMS).decode().splitlines()
    for wrong in ('"Hi he said,b,c,d', '"Hi" he said,b,c,d'):
        data = "\n".join([header, *lines[:4], wrong, *lines[4:]]).encode()
        with pytest.raises(
            TaskError, match=r"Line 6 cannot be read as CSV .* are written twice \(\"\"\"Hi\"\", he said\"\)"
        ):
            parse_rows(data, "x.csv")


def test_texts_of_several_lines_and_with_quotation_marks_are_kept() -> None:
    texts = {"clean": 'Q: "1" | 2\nA:', "corrupt": 'Q: "3" || 4\nA:', "answer": ' "', "distractor": " ||"}
    for delimiter, name in ((",", "x.csv"), ("\t", "x.tsv")):
        read = parse_prompts(as_csv([*ANTONYMS, texts], delimiter), name)[-1]
        assert read == PromptPair.from_dict(texts)
        windows = as_csv([*ANTONYMS, texts], delimiter).replace(b"\n", b"\r\n").replace(b"\r\r\n", b"\r\n")
        assert parse_prompts(windows, name)[-1] == read
    middle = {**ANTONYMS[0], "clean": 'He said "hi" to'}
    line = "clean,corrupt,answer,distractor\n" + "\n".join(
        f"{row['clean']},{row['corrupt']},{row['answer']},{row['distractor']}" for row in [middle, *ANTONYMS[1:]]
    )
    assert parse_prompts(line.encode(), "x.csv")[0].clean == 'He said "hi" to'


def test_spans_are_braces_in_a_key_of_their_own() -> None:
    first, *others = [dict(each) for each in ANTONYMS]
    said = first["clean"].replace("hot", "{word:hot}")
    for spans in (said, [said], [said, first["corrupt"].replace("big", "{word:big}")]):
        pair, *_ = parse_prompts(jsonl([first | {"spans": spans}, *others]))
        assert (pair.clean, pair.corrupt) == (first["clean"], first["corrupt"])
        assert pair.marked == tuple([spans] if isinstance(spans, str) else spans)
        assert parse_prompts(to_jsonl([pair, *parse_prompts(jsonl(others))]).encode())[0] == pair
    columns = [each | {"spans": said if each["clean"] == first["clean"] else ""} for each in (first, *others)]
    assert [pair.marked for pair in parse_prompts(as_csv(columns), "pairs.csv")][:2] == [(said,), ()]


def test_braces_in_the_prompts_are_marks_only_where_the_file_says_so() -> None:
    rows = [each | {"clean": each["clean"].replace("opposite", "{of:opposite}")} for each in ANTONYMS]
    assert all("{of:opposite}" in pair.clean and not pair.marked for pair in parse_prompts(jsonl(rows)))
    for pair, was in zip(parse_prompts(jsonl([{"spans": "marked"}, *rows])), ANTONYMS, strict=True):
        assert pair.clean == was["clean"]
        assert len(pair.marked) == 1
    rows = [each | {"corrupt": each["corrupt"].replace("opposite", "{of:opposite}")} for each in rows]
    assert len(parse_prompts(jsonl([{"spans": "marked"}, *rows]))[0].marked) == 2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"spans": 3}, 'or "marked", got 3'),
        ({"spans": ["a", "b", "c"]}, "expected spans as the clean prompt"),
        ({"spans": [0, 1, 2]}, "expected spans as the clean prompt"),
        ({"spans": "The opposite of {hot"}, "nothing closes"),
        ({"spans": "The opposite of {big} is"}, "Write the same text"),
        ({"spans": "marked", "clean": "The {opposite of hot is"}, "nothing closes"),
    ],
)
def test_spans_that_cannot_be_read_name_their_row(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(TaskError, match="Row 3: ") as failed:
        parse_prompts(changed(3, **changes))
    assert complaint in str(failed.value)

"""Your own prompts: what a file may hold, what is refused and how, and runs from the terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hap_engine.__main__ import main
from hap_engine.errors import HapError, SettingsError, TaskError
from hap_engine.runs import load, runs_folder, save
from hap_engine.settings import DiscoveryConfig, run_id
from hap_engine.tasks import PromptPair, SplitSizes, get_task
from hap_engine.tasks.custom import encode_rows, problems, prompts_hash, split_rows
from hap_engine.tasks.prompts_file import MAX_ROWS, check_rows, parse_prompts, read_prompts
from tests.words import WORDS

OPPOSITES = """
    hot cold/big small/old new/good bad/high low/long short/fast slow/hard soft/rich poor/dark light/
    early late/happy sad/strong weak/clean dirty/full empty/open closed/right wrong/true false/up down/
    inside outside/first last/wet dry/love hate/war peace
"""
PAIRS = [tuple(entry.split()) for entry in OPPOSITES.split("/")]
ANTONYMS = [
    {"clean": f"The opposite of {one} is", "corrupt": f"The opposite of {two} is",
     "answer": f" {other}", "distractor": f" {another}"}
    for (one, other), (two, another) in zip(PAIRS, PAIRS[1:] + PAIRS[:1], strict=True)
]  # fmt: skip
SUBJECTS = [
    "dog",
    "cat",
    "boy",
    "girl",
    "king",
    "teacher",
    "bird",
    "friend",
    "brother",
    "student",
    "car",
    "tree",
]
PLURALS = [
    {"clean": f"I know that the {noun}s", "corrupt": f"I know that the {noun}",
     "answer": "are", "distractor": "is"}
    for noun in SUBJECTS
]  # fmt: skip
FAST = ["--sparsity", "0.6", "--keep", "0.8", "--steps", "2", "--batch-size", "4"]


def jsonl(rows: list[Any]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def changed(row: int, **changes: Any) -> bytes:
    """The antonyms with one row (counted from 1) changed; a value of None takes the key away."""
    rows: list[dict[str, Any]] = [dict(each) for each in ANTONYMS]
    rows[row - 1].update(changes)
    rows[row - 1] = {key: value for key, value in rows[row - 1].items() if value is not None}
    return jsonl(rows)


def toy_rows(count: int = 12) -> list[dict[str, str]]:
    """Pairs for the tiny test models, whose vocabulary is that of IOI."""
    words = ["Aaron", "Adam", "Ahmed", "Alan", "Albert", "Alex", "Alice", "Amy", "Andrew", "Angela"]
    rows = []
    for index in range(count):
        one, two, three = Random(index).sample(words, 3)
        rows.append({"clean": f"{one} and {two} walked to", "corrupt": f"{three} and {two} walked to",
                     "answer": f" {one}", "distractor": f" {three}"})  # fmt: skip
    return list({row["clean"] + row["corrupt"]: row for row in rows}.values())


# --- Files that work -------------------------------------------------------------------------------


def test_jsonl_csv_and_any_delimiter_give_the_same_pairs() -> None:
    expected = parse_prompts(jsonl(ANTONYMS))
    assert len(expected) == len(ANTONYMS)
    assert expected[0] == PromptPair(
        "The opposite of hot is", "The opposite of big is", " cold", " small"
    )
    for delimiter in ",;\t":
        assert parse_prompts(as_csv(ANTONYMS, delimiter), "pairs.CSV") == expected
    assert (
        parse_prompts(b"\xef\xbb\xbf" + jsonl(ANTONYMS).replace(b"\n", b"\r\n") + b"\n") == expected
    )


def test_spaces_are_put_where_they_belong() -> None:
    bare = [
        {**row, "answer": row["answer"].strip(), "distractor": row["distractor"].strip()}
        for row in ANTONYMS
    ]
    trailing = [
        {**row, "clean": row["clean"] + " ", "corrupt": row["corrupt"] + " "} for row in bare
    ]
    assert (
        parse_prompts(jsonl(bare))
        == parse_prompts(jsonl(ANTONYMS))
        == parse_prompts(jsonl(trailing))
    )
    years = parse_prompts(changed(3, clean="from 1732 to 17", answer="45", distractor="12"))
    assert years[2].answer == "45", "digits go on where the prompt stopped"


def test_lists_of_answers_are_sets() -> None:
    rows = parse_prompts(changed(2, answer=[" small", " little"], distractor=[" cold", " cool"]))
    assert rows[1].answers == (" small", " little")
    assert rows[1].distractors == (" cold", " cool")


@pytest.mark.parametrize("rows", [ANTONYMS, PLURALS], ids=["antonyms", "plural agreement"])
def test_files_that_nobody_tuned_for_fit_the_real_tokenizer(
    rows: list[dict[str, str]], smollm2_tokenizer: Tokenizer
) -> None:
    pairs = parse_prompts(jsonl(rows))
    assert problems(smollm2_tokenizer, pairs) == []
    sets = get_task("custom", pairs).generate(smollm2_tokenizer, SplitSizes(), 0, "given")
    assert len(sets.train) + len(sets.validation) + len(sets.test) == len(rows)
    assert len(sets.train) == len(rows) / 2


def test_right_to_left_and_emoji_text_works_where_it_aligns(smollm2_tokenizer: Tokenizer) -> None:
    made = PromptPair("שלום 🙂 red", "שלום 🙂 blue", " dog", " cat")
    assert problems(smollm2_tokenizer, [made]) == []


# --- Files that do not -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "name", "complaint"),
    [
        (changed(3, answer=None), "x.jsonl", "Row 3 has no 'answer'. Every row needs"),
        (changed(4, clean=7), "x.jsonl", "Row 4: expected 'clean' as text in quotation marks, got 7"),
        (changed(4, answer=[]), "x.jsonl", "Row 4: expected 'answer' as text"),
        (changed(5, clean="  "), "x.jsonl", "Row 5: clean is empty. Write a text"),
        (changed(5, answer=""), "x.jsonl", "Row 5: answer is empty"),
        (changed(6, corrupt="The opposite of rich is", clean="The opposite of rich is"), "x.jsonl",
         "Row 6: clean and corrupt are the same"),
        (changed(6, answer=" a", distractor=" a"), "x.jsonl", "Row 6: ' a' is both answer and distractor"),
        (jsonl([*ANTONYMS, ANTONYMS[1]]), "x.jsonl", "Row 25 repeats row 2 ('The opposite of big is'). Remove"),
        (changed(2, clean="abc \u202egnp.exe"), "x.jsonl",
         "Row 2: clean holds an invisible character (U+202E, right-to-left override). Delete it"),
        (changed(2, corrupt="a\u200bb"), "x.jsonl", "U+200B, zero width space"),
        (changed(2, corrupt="a\x00b"), "x.jsonl", "U+0000, a control character"),
        (jsonl(ANTONYMS).replace(b" cold", b" \\ud800", 1), "x.jsonl", "Row 1: answer holds an invisible"),
        (jsonl(ANTONYMS[:9]), "x.jsonl", "at least 10 rows, got 9. Add pairs"),
        (b"", "x.jsonl", "at least 10 rows, got 0"),
        (jsonl(ANTONYMS * 417), "x.jsonl", "at most 1,000 rows, got 10,008. Keep a random"),
        (as_csv(ANTONYMS * 417), "x.csv", "at most 1,000 rows, got 10,008"),
        (jsonl(ANTONYMS[:5]) + b"\n\n" + jsonl(ANTONYMS[5:]), "x.jsonl", "Row 6 is empty. Delete the line"),
        (jsonl(ANTONYMS) + b"\n{'clean': 1}", "x.jsonl", "Row 25 is not JSON"),
        (jsonl(ANTONYMS) + b"\n" + b"[" * 100_000, "x.jsonl", "Row 25 is not JSON"),
        (json.dumps(ANTONYMS, indent=1).encode(), "x.jsonl", "is JSON, not JSONL"),
        (jsonl([*ANTONYMS, 5]), "x.jsonl", "Row 25: expected an object with the keys clean"),
        (jsonl(ANTONYMS).decode().encode("utf-16"), "x.jsonl", "Line 1 of the file is not UTF-8 text (it looks like UTF-16)"),
        (jsonl(ANTONYMS) + "\n{\"clean\": \"für\"}".encode("latin-1"), "x.jsonl", "Line 25 of the file is not UTF-8 text. Save"),
        (b"one,two\n1,2\n", "x.csv", "must name the columns clean, corrupt, answer, distractor; clean, corrupt"),
        (as_csv([*ANTONYMS, {**ANTONYMS[0], "clean": "=HYPERLINK(1)"}]), "x.csv",
         "Row 25 (below the header): clean begins with '=', which a spreadsheet runs as a formula"),
        (as_csv([{**ANTONYMS[0], "answer": "@SUM(A1)"}, *ANTONYMS]), "x.csv", "Row 1 (below the header): answer begins with '@'"),
        (as_csv(ANTONYMS) + b"a,b,c,d,e\r\n", "x.csv", "Row 25 (below the header) has more cells"),
        (as_csv(ANTONYMS) + b"a,b\r\n", "x.csv", "Row 25 has no 'answer'"),
        (as_csv(ANTONYMS) + b",,,\r\n", "x.csv", "Row 25: clean is empty"),
        (as_csv(ANTONYMS) + b'"' + b"a" * 200_000, "x.csv", "cannot be read as CSV"),
        (b" " * (5 * 2**20) + jsonl(ANTONYMS), "x.jsonl", "at most 4 MB, got 5.0 MB"),
    ],
)  # fmt: skip
def test_bad_files_name_the_row_and_the_remedy(data: bytes, name: str, complaint: str) -> None:
    with pytest.raises(TaskError) as caught:
        parse_prompts(data, name)
    assert complaint in str(caught.value)


def test_numbers_are_no_formulas() -> None:
    rows = [{**row, "answer": "-5", "distractor": "+3"} for row in ANTONYMS]
    assert parse_prompts(as_csv(rows), "x.csv")[0].answer == "-5"


@pytest.mark.parametrize(
    ("pair", "complaint"),
    [
        (
            PromptPair("So Mary left", "So Wilhelmina left", " a", " b"),
            "the clean prompt has 1 token ('Mary')",
        ),
        (PromptPair("So hot", "So big", " refrigerator magnets", " b"), "tokens for this model"),
        (
            PromptPair("So hot", "So big", " Wilhelmina", " b"),
            "Choose a shorter or more common word",
        ),
        (PromptPair("So hot", "So big", " 🪁", " b"), "must be one"),
        (PromptPair("So hot", "So big", "\ncold", " b"), "is 2 tokens for this model"),
        (
            PromptPair("a " * 129, "b " + "a " * 128, " c", " d"),
            "at most 128 are possible. Shorten it",
        ),
    ],
)
def test_rows_that_the_tokenizer_splits(
    pair: PromptPair, complaint: str, smollm2_tokenizer: Tokenizer
) -> None:
    good = parse_prompts(jsonl(ANTONYMS))
    with pytest.raises(TaskError) as caught:
        encode_rows(smollm2_tokenizer, [*good[:3], pair, *good[3:], pair])
    assert str(caught.value).startswith("Row 4: ")
    assert complaint in str(caught.value)
    assert str(caught.value).endswith("Look at rows 26 too.")


def test_another_space_is_suggested(smollm2_tokenizer: Tokenizer) -> None:
    ((row, message),) = problems(
        smollm2_tokenizer, [PromptPair("So hot", "So big", "  cold", " b")]
    )
    assert row == 1
    assert (
        message
        == "the answer '  cold' is not one token after the prompt, but ' cold' is. Write that."
    )


def test_words_that_a_word_level_model_does_not_know() -> None:
    with pytest.raises(TaskError, match="Row 1: this model does not know 'opposite'"):
        encode_rows(WORDS, parse_prompts(jsonl(ANTONYMS)))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_any_bytes_give_pairs_or_one_message(name: str, data: bytes) -> None:
    with pytest.raises(HapError):
        parse_prompts(data, name)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x, max_size=3)
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["clean", "corrupt", "answer", "distractor"]), JSON), min_size=10, max_size=12))  # fmt: skip
def test_any_values_give_pairs_or_one_message(rows: list[Any]) -> None:
    data = "\n".join(json.dumps(row) for row in rows).encode()
    with suppress(HapError):
        assert parse_prompts(data)


# --- Splits and identity ---------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), unique=True, min_size=3, max_size=60),
       st.integers(0, 99), st.randoms())  # fmt: skip
def test_splits_are_a_partition_by_clean_prompt(
    rows: list[tuple[int, int]], seed: int, random: Random
) -> None:
    pairs = [PromptPair(f"clean {a}", f"corrupt {b}", " a", " b") for a, b in rows]
    if len({pair.clean for pair in pairs}) < 3:
        with pytest.raises(TaskError, match="at least three"):
            split_rows(pairs, seed)
        return
    dealt = split_rows(pairs, seed)
    assert all(dealt.values())
    assert sorted(p.clean + p.corrupt for mine in dealt.values() for p in mine) == sorted(
        p.clean + p.corrupt for p in pairs
    )
    cleans = [{pair.clean for pair in mine} for mine in dealt.values()]
    assert sum(map(len, cleans)) == len(set.union(*cleans)), "no clean prompt is in two splits"
    shuffled = random.sample(pairs, len(pairs))
    assert split_rows(shuffled, seed) == dealt
    assert prompts_hash(shuffled) == prompts_hash(pairs)


def test_a_config_knows_its_prompts() -> None:
    pairs = parse_prompts(jsonl(ANTONYMS))
    config = DiscoveryConfig(task="custom", prompts=pairs)
    assert config.to_dict()["sizes"] == {"train": 12, "validation": 3, "test": 9}
    assert config.to_dict()["prompts"] == prompts_hash(pairs)
    assert run_id(config, "x") != run_id(DiscoveryConfig(task="custom", prompts=pairs[1:]), "x")
    assert "prompts" not in DiscoveryConfig().to_dict(), "other runs keep their ids"


def test_prompts_and_task_belong_together() -> None:
    pairs = parse_prompts(jsonl(ANTONYMS))
    for wrong in ({"task": "custom"}, {"task": "ioi", "prompts": pairs}):
        with pytest.raises(SettingsError, match="--prompts-file"):
            DiscoveryConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="used whole"):
        DiscoveryConfig(task="custom", prompts=pairs, sizes=SplitSizes(1, 1, 1))


# --- From the terminal -----------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes, str], Path]:
    def write(data: bytes, name: str = "pairs.jsonl") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def test_a_run_from_a_file_and_again_from_the_run(
    folder: Path, file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = file(jsonl(toy_rows()))
    start = ["discover", "--model", str(folder), "--task", "custom", *FAST]
    assert main([*start, "--prompts-file", str(pairs)]) == 0
    (path,) = runs_folder().glob("*.json")
    run = load(path)
    assert run.id == path.stem
    assert sum(map(len, run.prompts.values())) == len(toy_rows())
    assert run.task["title"] == "Your own prompts"
    assert "--task custom --sparsity 0.6 --seed 0" in run.command
    assert f"--prompts-file {run.id}.json" in run.command
    pairs.unlink()
    assert (
        main([*start, "--prompts-file", path.name, "--out", str(path.parent / "again.json")]) == 0
    )
    again = load(path.parent / "again.json")
    assert again.id == run.id
    assert again.metrics["hap"] == run.metrics["hap"]
    assert main(["evaluate", str(path), "--model", str(folder)]) == 0
    assert "Your own prompts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--task", "custom"], "Name a file: --task custom --prompts-file"),
        (["--task", "custom", "--prompts-file", "nowhere.jsonl"], "nowhere.jsonl cannot be read"),
        (["--task", "custom", "--prompts-file", "{file}", "--prompts", "1,1,1"], "used whole"),
        (["--prompts-file", "{file}"], "--task custom"),
    ],
)
def test_the_terminal_explains(
    arguments: list[str], complaint: str, folder: Path, file: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pairs = str(file(jsonl(toy_rows())))
    assert (
        main(["discover", "--model", str(folder), *(a.format(file=pairs) for a in arguments)]) == 1
    )
    assert complaint in capsys.readouterr().err


def test_a_run_of_a_builtin_task_can_be_read_as_prompts(tmp_path: Path) -> None:
    from tests.fakes import fake_run

    rows = [{**row, "roles": {"END": 3}, "more_answers": [" x"]} for row in ANTONYMS]
    path = save(fake_run(prompts={"train": rows[:12], "test": rows[12:]}), tmp_path / "run.json")
    found = read_prompts(path)
    assert len(found) == len(rows)
    assert found[0].answers == (" cold", " x")


def test_rows_of_an_editor_are_checked_the_same_way() -> None:
    pairs = [PromptPair.from_dict(row) for row in ANTONYMS]
    assert check_rows(pairs) == parse_prompts(jsonl(ANTONYMS))
    with pytest.raises(TaskError, match=f"at most {MAX_ROWS:,} rows"):
        check_rows(pairs * 50)

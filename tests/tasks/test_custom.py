"""Your own prompts: files that work, how they are split, and runs from the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from hap_engine.cli.commands import main
from hap_engine.errors import SettingsError, TaskError
from hap_engine.runs.continue_run import further
from hap_engine.runs.run_file import load, runs_folder, save
from hap_engine.settings import PRESETS, DiscoveryConfig, run_id
from hap_engine.tasks.custom import custom_task, get_task, prompts_hash, shares_corruptions, split_rows
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.rows import MAX_ROWS, check_rows
from hap_engine.tasks.task import SplitSizes
from tests.builders.prompt_files import ANTONYMS, PLURALS, as_csv, changed, jsonl, parse_prompts, problems, toy_rows
from tests.builders.words import word_tokenizer

FAST = ["--sparsity", "0.6", "--keep", "0.8", "--steps", "2", "--batch-size", "4"]


# --- Files that work -------------------------------------------------------------------------------


def test_jsonl_csv_and_any_delimiter_give_the_same_pairs() -> None:
    expected = parse_prompts(jsonl(ANTONYMS))
    assert len(expected) == len(ANTONYMS)
    assert expected[0] == PromptPair("The opposite of hot is", "The opposite of big is", " cold", " small")
    for delimiter in ",;\t":
        assert parse_prompts(as_csv(ANTONYMS, delimiter), "pairs.CSV") == expected
    assert parse_prompts(b"\xef\xbb\xbf" + jsonl(ANTONYMS).replace(b"\n", b"\r\n") + b"\n") == expected


def test_spaces_are_put_where_they_belong() -> None:
    bare = [{**row, "answer": row["answer"].strip(), "distractor": row["distractor"].strip()} for row in ANTONYMS]
    trailing = [{**row, "clean": row["clean"] + " ", "corrupt": row["corrupt"] + " "} for row in bare]
    assert parse_prompts(jsonl(bare)) == parse_prompts(jsonl(ANTONYMS)) == parse_prompts(jsonl(trailing))
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


# --- Splits and identity ---------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), unique=True, min_size=3, max_size=60),
    st.integers(0, 99),
    st.randoms(),
)
def test_splits_are_a_partition_by_clean_prompt(rows: list[tuple[int, int]], seed: int, random: Random) -> None:
    pairs = [PromptPair(f"clean {a}", f"corrupt {b}", " a", " b") for a, b in rows]
    if len({pair.clean for pair in pairs}) < 3:
        with pytest.raises(TaskError, match="Three are needed"):
            split_rows(pairs, seed)
        return
    try:
        dealt = split_rows(pairs, seed)
    except TaskError:  # corrupted prompts join all rows to one or two groups
        assert shares_corruptions(pairs)
        return
    assert all(dealt.values())
    assert sorted(p.clean + p.corrupt for mine in dealt.values() for p in mine) == sorted(
        p.clean + p.corrupt for p in pairs
    )
    cleans = [{pair.clean for pair in mine} for mine in dealt.values()]
    assert sum(map(len, cleans)) == len(set.union(*cleans)), "no clean prompt is in two splits"
    shuffled = random.sample(pairs, len(pairs))
    assert split_rows(shuffled, seed) == dealt
    assert prompts_hash(shuffled) == prompts_hash(pairs)


def test_a_pair_and_its_mirror_image_are_not_learned_from_and_tested_on() -> None:
    ways = [(f"the {noun}s", f"the {noun}") for noun in "abcdefghijkl"]
    pairs = [PromptPair(*way, " are", " is") for way in [*ways, *((b, a) for a, b in ways)]]
    for seed in range(5):
        dealt = split_rows(pairs, seed)
        texts = [{t for pair in mine for t in (pair.clean, pair.corrupt)} for mine in dealt.values()]
        assert sum(map(len, texts)) == len(set.union(*texts)) == len(pairs)
    with pytest.raises(TaskError, match=r"4 rows make 2 such groups\. Three are needed.* or add rows"):
        split_rows([pair for pair in pairs if pair.clean[4] in "ab"], 0)


NOUNS = ["dog", "cat", "boy", "girl", "king", "teacher", "bird", "friend", "brother", "student", "car", "tree"]
APART = [PromptPair(f"I know that the {noun}s", f"I know that the {noun}", " are", " is") for noun in NOUNS]
TURNED = [PromptPair(pair.corrupt, pair.clean, " is", " are") for pair in APART]
ALIKE = [
    PromptPair(f"the {noun}s", f"the {noun} {where}", " are", " is", more_answers=(" were",))
    for noun in NOUNS
    for where in ("here", "there")
]
# When these ids were written down a run had one size.
THEN = DiscoveryConfig(task="custom", prompts=tuple(APART), seed=3, pruning=PRESETS["one-size"])
BASELINE = [PromptPair(f"the {noun}s", "the thing", " are", " is") for noun in NOUNS]


def test_no_prompt_is_in_two_splits_in_any_role() -> None:
    """Of 29 test prompts of a public file on facts 8 were the corrupted prompt of a row to learn from."""
    cities = [
        (f"The capital of {one}", f"The capital of {other}") for one, other in zip(NOUNS[:8], NOUNS[4:], strict=True)
    ]
    shared = [("The capital of tree", "The capital of a"), ("The capital of b", "The capital of a")]
    pairs = [*APART, *(PromptPair(*prompts, " x", " y") for prompts in (*cities, *shared))]
    for seed in range(20):
        dealt = split_rows(pairs, seed)
        texts = [{text for pair in mine for text in (pair.clean, pair.corrupt)} for mine in dealt.values()]
        assert sum(map(len, texts)) == len(set.union(*texts))
        assert sum(map(len, dealt.values())) == len(pairs)


def test_a_chain_through_all_rows_cannot_be_split_and_says_what_to_do() -> None:
    chain = [PromptPair(f"the {a}", f"the {b}", " x", " y") for a, b in zip(NOUNS, [*NOUNS[1:], NOUNS[0]], strict=True)]
    with pytest.raises(TaskError, match=r"12 rows make 1 such group. Three .* no other row's clean prompt"):
        split_rows(chain, 0)
    for seed in range(9):
        dealt = split_rows([*chain, *APART[:4]], seed)
        assert [pair for pair in dealt["train"] if pair in chain] == sorted(chain, key=lambda pair: pair.clean)
        assert len(dealt["test"]) == 2, "the long chain leaves the others to choose by and to test on"


def test_a_baseline_joins_no_rows() -> None:
    dealt = split_rows(BASELINE, 3)
    assert [len(mine) for mine in dealt.values()] == [6, 2, 4]
    leads = [*BASELINE, PromptPair("the thing", "the nothing", " is", " are")]
    with pytest.raises(TaskError, match="13 rows make 1 such group"):  # it is a clean prompt too
        split_rows(leads, 3)


@pytest.mark.parametrize(
    ("pairs", "name", "tested"),
    [
        (APART, "f1ee785741d1", ["trees", "brothers", "dogs", "cats"]),
        ([*APART, *TURNED], "74ed614b66cf", None),
        (ALIKE, "d6ff8e7b8349", ["cats", "cats", "birds", "birds", "teachers", "teachers", "trees", "trees"]),
        (BASELINE, "426d7bd8c566", ["cats", "birds", "teachers", "trees"]),
    ],
    ids=["nothing shared", "turned round", "one clean prompt", "a baseline"],
)
def test_runs_whose_rows_are_split_as_ever_keep_their_ids(
    pairs: list[PromptPair], name: str, tested: list[str] | None
) -> None:
    assert run_id(replace(THEN, prompts=tuple(pairs)), "weights") == name
    if tested:
        assert [pair.clean.split()[-1] for pair in split_rows(pairs, 3)["test"]] == tested


def test_a_run_that_means_something_else_has_another_id() -> None:
    joined = [*APART, PromptPair("the sun", "I know that the dog", " a", " b")]
    assert run_id(replace(THEN, prompts=tuple(joined)), "weights") != "f81c955a3600"
    doubled = [replace(pair, more_answers=(" are",)) for pair in APART]
    assert run_id(replace(THEN, prompts=tuple(doubled)), "weights") != "d29e0f25f717"
    named = [replace(pair, answer_ids=(5,)) for pair in APART]
    assert prompts_hash(named) not in (prompts_hash(APART), prompts_hash([replace(p, answer_ids=(6,)) for p in APART]))
    assert prompts_hash(named) == prompts_hash([replace(pair, answer="") for pair in named]), "the id says it"


def test_a_repeated_row_is_refused_from_a_notebook_too(smollm2_tokenizer: Tokenizer) -> None:
    """Two rows of the same prompts with other answers were both read as the second one."""
    with pytest.raises(TaskError, match="Row 13: it repeats row 1"):
        get_task("custom", [*APART, replace(APART[0], answer=" were")]).generate(
            smollm2_tokenizer, SplitSizes(), 0, "given"
        )


def test_two_spellings_of_one_prompt_are_refused() -> None:
    """With a tokenizer that reads them alike, one could be learned from and the other tested on."""
    words = [f"w{number}" for number in range(12)]
    tokenizer = word_tokenizer([*words, "café noir", "thé noir", "oui", "non"])
    tokenizer.normalizer = normalizers.NFC()
    rows = [PromptPair(f"{word} noir", f"{word} oui", " oui", " non") for word in words]
    one, two = (PromptPair(f"{word} noir", f"{word} oui", " oui", " non") for word in ("café", "cafe\u0301"))
    sets = custom_task([*rows, one]).generate(tokenizer, SplitSizes(), 0, "given")
    assert sum(map(len, (sets.train, sets.validation, sets.test))) == 13
    with pytest.raises(TaskError, match=r"Row 14: 'cafe\u0301 noir' and 'café noir' are the same tokens"):
        custom_task([*rows, one, two]).generate(tokenizer, SplitSizes(), 0, "given")


def test_too_few_rows_are_refused_from_a_notebook_too(smollm2_tokenizer: Tokenizer) -> None:
    pairs = [PromptPair.from_dict(row) for row in ANTONYMS]
    with pytest.raises(TaskError, match="at least 10 rows, got 9"):
        custom_task(pairs[:9]).generate(smollm2_tokenizer, SplitSizes(), 0, "given")


def test_a_config_knows_its_prompts() -> None:
    pairs = parse_prompts(jsonl(ANTONYMS))
    config = DiscoveryConfig(task="custom", prompts=pairs)
    assert config.to_dict()["sizes"] == {"train": 12, "validation": 4, "test": 8}
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
    assert main([*start, "--prompts-file", path.name, "--out", str(path.parent / "again.json")]) == 0
    again = load(path.parent / "again.json")
    assert again.id == run.id
    assert again.metrics["hap"] == run.metrics["hap"]
    onward = path.parent / "onward.json"
    words = ["--sparsity", "0.8", "--model", str(folder), "--out", str(onward)]
    assert main(["continue", str(path), *words]) == 0
    assert load(onward).prompts == run.prompts
    short = replace(run, prompts={**run.prompts, "train": run.prompts["train"][1:]})
    with pytest.raises(SettingsError, match="does not hold all of them"):
        further(short, 0.8)
    assert main(["evaluate", str(path), "--model", str(folder)]) == 0
    assert "Your own prompts" in capsys.readouterr().out


def test_marked_spans_are_in_the_run_and_read_back_from_it(
    folder: Path, file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"spans": re.sub(r"(\w+) and (\w+)", r"{A:\1} and {B:\2}", row["clean"])} for row in toy_rows()]
    start = ["discover", "--model", str(folder), "--task", "custom", "--positions", "roles", *FAST]
    assert main([*start, "--prompts-file", str(file(jsonl(rows)))]) == 0
    assert "Edges act at 5 spans: A, between, B, after, END. " in capsys.readouterr().err
    (path,) = runs_folder().glob("*.json")
    run = load(path)
    assert all(prompt["spans"] == [0, 1, 2, 3, 4] for split in run.prompts.values() for prompt in split)
    assert main([*start, "--prompts-file", path.name, "--out", str(path.parent / "again.json")]) == 0
    again = load(path.parent / "again.json")
    assert (again.id, again.graph, again.metrics["hap"]) == (run.id, run.graph, run.metrics["hap"])
    assert main(["evaluate", str(path), "--model", str(folder)]) == 0
    rows[2] = rows[2] | {"spans": rows[2]["clean"].replace("walked", "wal{k:ked}")}
    del rows[4]["spans"]
    assert main([*start, "--prompts-file", str(file(jsonl(rows)))]) == 1
    assert "Row 3: the span 'ked' cuts the token" in capsys.readouterr().err
    assert main([*start, "--prompts-file", str(file(jsonl(rows))), "--skip-bad-rows"]) == 1
    assert "Row 4: it marks no span, and other rows do" in capsys.readouterr().err


def test_what_is_scored_is_shown_before_it_is_spent_on(
    folder: Path, file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, object]] = [{**row, "answer": row["answer"].strip()} for row in toy_rows()]
    rows[0] = {**rows[0], "answer": [rows[0]["answer"], f" {rows[0]['answer']}"]}
    start = ["--model", str(folder), "--task", "custom", "--prompts-file", str(file(jsonl(rows)))]
    assert main(["discover", *start, *FAST]) == 0
    told = capsys.readouterr().err
    assert f"In {len(rows)} of {len(rows)} rows a space was put before the answers, or moved" in told
    shown = re.search(r"After '(.*)', '(\w+)' \(id \d+\) is compared with '\w+' \(id \d+\)\. In 1 of \d+ rows a", told)
    assert shown
    assert shown.start() < told.index("score: "), "before the run is spent on them"
    assert [row["clean"] for row in rows if str(row["clean"]).endswith(shown[1])]
    assert main(["tasks", *start]) == 0
    assert "is compared with" in capsys.readouterr().out


def test_bad_rows_are_skipped_where_asked(
    folder: Path, file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of rows that cannot be read, that repeat, or that this model's tokenizer splits."""
    good = toy_rows()
    odd = {**good[0], "clean": "Aaron and Zebulon walked to"}
    pairs = file(jsonl([good[0], 5, *good[1:], good[1], odd]))
    start = ["discover", "--model", str(folder), "--task", "custom", *FAST]
    assert main([*start, "--prompts-file", str(pairs)]) == 1
    told = capsys.readouterr().err
    assert f"2 of {len(good) + 3} rows cannot be used.\nRow 2: expected an object" in told
    assert main([*start, "--prompts-file", str(pairs), "--skip-bad-rows"]) == 0
    told = capsys.readouterr().err
    assert f"3 of {len(good) + 3} rows cannot be used.\nRow 2: expected an object" in told
    assert f"Going on with the other {len(good)}." in told
    (path,) = runs_folder().glob("*.json")
    assert sum(map(len, load(path).prompts.values())) == len(good)


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
    arguments: list[str], complaint: str, folder: Path, file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = str(file(jsonl(toy_rows())))
    assert main(["discover", "--model", str(folder), *(a.format(file=pairs) for a in arguments)]) == 1
    assert complaint in capsys.readouterr().err


def test_a_run_of_a_builtin_task_can_be_read_as_prompts(tmp_path: Path) -> None:
    from tests.builders.fakes import fake_run

    rows = [{**row, "roles": {"END": 3}, "more_answers": [" x"]} for row in ANTONYMS]
    path = save(fake_run(prompts={"train": rows[:12], "test": rows[12:]}), tmp_path / "run.json")
    found = parse_prompts(path.read_bytes(), path.name)
    assert len(found) == len(rows)
    assert found[0].answers == (" cold", " x")


def test_rows_of_an_editor_are_checked_the_same_way() -> None:
    pairs = [PromptPair.from_dict(row) for row in ANTONYMS]
    assert check_rows(pairs) == parse_prompts(jsonl(ANTONYMS))
    with pytest.raises(TaskError, match=f"at most {MAX_ROWS:,} rows"):
        check_rows(pairs * 50)

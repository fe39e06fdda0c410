"""The page of one's own prompts: kept at every change, checked row by row, mended, asked about."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from tokenizers import Tokenizer

from app.explore import model_and_task
from app.own_prompts import drafts, tokens
from hap_engine.models.catalog import resolve, tokenizer_file
from hap_engine.tasks.builtin import TASKS
from hap_engine.tasks.editing import align
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.prompts_file import to_jsonl
from hap_engine.tasks.reader import Reader
from hap_engine.tasks.task import SplitSizes
from tests.builders.pages import open_app, press, texts
from tests.builders.prompt_files import parse_prompts


def words() -> Tokenizer:
    path = tokenizer_file(resolve("hap-mini"))
    assert path is not None
    return Tokenizer.from_file(str(path))


def draft(count: int = 12) -> list[drafts.Row]:
    """Pairs that hap-mini knows, from its own IOI task."""
    pairs = TASKS["ioi"].generate(words(), SplitSizes(count, 1, 1), 0, "abc").train
    return [drafts.row_of(one.pair) for one in pairs]


def longer(row: drafts.Row) -> drafts.Row:
    """The row with one word too many in its corrupted prompt."""
    return row | {"corrupt": row["corrupt"].replace(" and ", " and the ", 1)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_HOME", str(tmp_path))


def open_page() -> AppTest:
    def script() -> None:
        from app.pages import own_prompts

        own_prompts.page({"explore": None})

    app = AppTest.from_function(script, default_timeout=60).run()
    assert not app.exception
    return app


def button(app: AppTest, label: str) -> object:
    return next(one for one in app.button if one.label.startswith(label))


# -- the draft -----------------------------------------------------------------------------------


def test_a_draft_is_kept_as_it_is_typed(tmp_path: Path) -> None:
    rows = [
        {"clean": "half", "corrupt": "", "answer": "", "distractor": ""},
        {"clean": "سافر إلى", "corrupt": "🙂 <b>", "answer": " été|=1", "distractor": " x"},
    ]
    drafts.save(rows, [])
    assert drafts.load() == rows
    (tmp_path / Path(*drafts.FILE)).write_text("{broken")
    assert drafts.load() == []


def test_two_tabs_lose_no_row_of_each_other(tmp_path: Path) -> None:
    a, b, c, d = ({"clean": name, "corrupt": "", "answer": "", "distractor": ""} for name in "abcd")
    assert drafts.merged([a], [a, b], [a, c]) == [a, b, c]  # each added one
    assert drafts.merged([a, b], [a, b], [b]) == [b]  # the other took one out
    assert drafts.merged([a, b], [b], [a, b]) == [b]  # this one did
    assert drafts.merged([a], [b], [c]) == [b, c]  # both changed the same row: both versions stay
    assert drafts.merged([a], [b], [b]) == [b]  # in the same way: once
    assert drafts.merged([a, a], [a, a, d], [a]) == [a, d]  # of two equal rows one was taken out
    assert drafts.merged([], [a, b], [a]) == [a, b]  # pasted below what the other wrote
    drafts.save([a], [])
    assert drafts.save([a, b], [a]) == [a, b]
    assert drafts.save([a, c], [a]) == [a, c, b] == drafts.load()
    (tmp_path / Path(*drafts.FILE)).write_text("{broken")
    assert drafts.save([a], [a]) == [a]  # what cannot be read took nothing out


def test_a_row_that_another_tab_wrote_meanwhile_stays() -> None:
    rows = draft(13)
    rows[0] = longer(rows[0])
    drafts.save(rows[:12], [])
    one = open_page()
    drafts.save(rows, rows[:12])
    press(one, "Mend it")
    assert not one.exception
    assert rows[12] in drafts.load()
    assert rows[0] not in drafts.load()
    assert "13 of 13" in texts(one)


def test_a_draft_that_the_disk_refuses_stays_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "file" / "home"))
    app = open_page()
    press(app, "Add 12 pairs")
    assert not app.exception
    assert "12 of 12" in texts(app)
    assert "Download what you typed" in texts(app)
    assert "12 of 12" in texts(app.run())
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "home"))
    assert "Download what you typed" not in texts(app.run())
    assert len(drafts.load()) == 12


def test_rows_and_pairs_are_two_views_of_one_thing() -> None:
    several = PromptPair("19", "18", " 1", " 2", more_answers=(" 3", " 4"))
    for pair in (
        several,
        PromptPair("c d", "e f", " été", " x"),
        PromptPair("c", "d", "|", "y"),
        PromptPair("c", "d", "||", " \\", more_answers=("&&", "a|b\\"), more_distractors=("\\|", "\n")),
        PromptPair("unbeliev", "believ", "able", "ing"),  # the rule would put a space
        PromptPair("2 + 3 is ", "2 + 4 is ", "5", "6"),
        PromptPair("c", "d", "", " x", answer_ids=(7, 8), distractor_ids=(9,)),
        PromptPair("a|b c", "a|d c", " x", " y", marked=("{N:a|b} c", "{N:a|d} c")),
    ):
        assert drafts.pair_of(drafts.row_of(pair)) == pair
        assert drafts.rows_of([drafts.row_of(pair)]) == [drafts.row_of(pair)], "as it is kept on disk"
    assert "spaces" not in drafts.row_of(several)
    row = {"clean": "The cat ", "corrupt": "The dog ", "answer": "sits | lies", "distractor": "is"}
    assert drafts.pair_of(row).answers == (" sits ", " lies"), "what was typed is what is run, or is refused"
    assert drafts.pair_of(row).clean == "The cat"


def test_many_backslashes_take_no_time() -> None:
    text, started = "\\" * 200_000, time.perf_counter()
    for answers in ((text,), (text + "x", text)):
        pair = PromptPair("c", "d", answers[0], "y", more_answers=answers[1:])
        assert drafts.pair_of(drafts.row_of(pair)) == pair
    assert time.perf_counter() - started < 5


def test_a_download_is_a_prompts_file() -> None:
    rows = draft()
    rows[0]["answer"] += "|" + rows[1]["answer"]
    rows[1] = {**rows[1], "answer": rows[1]["answer"].strip(), "spaces": "as written"}
    pairs = tuple(drafts.pair_of(row) for row in rows)
    assert parse_prompts(to_jsonl(pairs).encode(), "prompts.jsonl") == pairs
    assert not pairs[1].answer.startswith(" ")


def test_pasting_from_a_spreadsheet_or_as_text() -> None:
    tabs = "clean\tcorrupt\tanswer\tdistractor\nA b, c\tA d, c\te\tf\n\n"
    row = {"clean": "A b, c", "corrupt": "A d, c", "answer": "e", "distractor": "f"}
    assert drafts.pasted(tabs) == [row]
    assert drafts.pasted('"A b, c","A d, c",e,f') == [row]
    assert drafts.pasted("only one cell") == [{"clean": "only one cell", "corrupt": "", "answer": "", "distractor": ""}]
    assert drafts.pasted(" \n") == []
    long = "x" * 140_000  # more than a reader of CSV takes
    assert [row["clean"] for row in drafts.pasted(f'{long}\tb\tc\td\n"{long}\ny"\tb\tc\td')] == [long, f"{long}\ny"]
    assert len(drafts.pasted('",' * 70_000)) == 1


@pytest.mark.parametrize("ids", ["x", "-1", "1.5", "9" * 5000, "²"])
def test_pasted_ids_that_are_none_are_told_with_their_row(ids: str) -> None:
    names = ("clean", "corrupt", "answer", "distractor")
    text = "\t".join((*names, "answer_ids")) + "\n" + "\t".join((*map(draft()[0].__getitem__, names), ids))
    drafts.save(drafts.pasted(text), [])
    assert "_ids from the model's vocabulary of" in texts(open_page())  # with a backslash before it, as Markdown needs


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ('"Hi" he said\tA "b"\t"e"\tf', ['"Hi" he said', 'A "b"', '"e"', "f"]),
        ('"Hi he said\tb"\te\tf\n', ['"Hi he said', 'b"', "e", "f"]),
        ('"Q: ""1""\nA:"\t"Q: 2\nA:"\te\tf', ['Q: "1"\nA:', "Q: 2\nA:", "e", "f"]),
        ('"Hi he said,b,c,d', ['"Hi he said', "b", "c", "d"]),
        ('"He said ""hi"", so",b,c,d', ['He said "hi", so', "b", "c", "d"]),
        ("a || b,c,||,d", ["a || b", "c", "||", "d"]),
        ('"What do cows like?", Max asked,x y,a,b', ['"What do cows like?", Max asked', "x y", "a", "b"]),
        ('"What do cows like?", Max asked\tx y\ta\tb', ['"What do cows like?", Max asked', "x y", "a", "b"]),
        ("a,b,c,d,e", ["a", "b", "c", "d,e"]),
        ("a\u2028b\tc\td\te", ["a\u2028b", "c", "d", "e"]),
    ],
)
def test_what_is_pasted_is_what_is_run(text: str, cells: list[str]) -> None:
    """Quotation marks went, an unclosed one swallowed the next cells, and what came after the fourth."""
    (row,) = drafts.pasted(text)
    assert list(row.values()) == cells
    (row, other) = drafts.pasted(f"{text.rstrip()}\nx{chr(9) if chr(9) in text else ','}y")
    assert list(row.values()) == cells, "and no row swallows the next"
    assert (other["clean"], other["corrupt"]) == ("x", "y")


def test_a_bar_between_answers_and_one_that_is_an_answer() -> None:
    row = {"clean": "a", "corrupt": "b", "distractor": "x"}
    assert drafts.pair_of({**row, "answer": "c|d"}).answers == (" c", " d")
    assert drafts.pair_of({**row, "answer": r"\|\||&&"}).answers == ("||", "&&")
    assert drafts.pair_of({**row, "answer": r"\d\\|e"}).answers == ("\\d\\", " e")
    assert drafts.pair_of({**row, "answer": "||"}).answers == ("||",), "two bars are an answer of their own"
    assert drafts.pair_of({**row, "answer": "c|||d"}).answers == (" c", "", "", " d"), "and the empty ones are told"


@pytest.mark.parametrize(
    "header", ["clean\tcorrupted\tcorrect_idx\tincorrect_idx", "Clean,corrupted,answer_ids,distractor_ids"]
)
def test_a_header_that_was_pasted_too_names_the_columns(header: str) -> None:
    """In the words of the peers' files, and in any order."""
    between = "\t" if "\t" in header else ","
    (row,) = drafts.pasted(f"{header}\n" + between.join(("A b", "A d", "5", "6")))
    assert row == {
        "clean": "A b",
        "corrupt": "A d",
        "answer": "",
        "distractor": "",
        "answer_ids": "5",
        "distractor_ids": "6",
    }
    (row,) = drafts.pasted(
        between.join(("answers", "clean", "wrong_answers", "corrupted")) + "\n" + between.join("abcd")
    )
    assert row == {"clean": "b", "corrupt": "d", "answer": "a", "distractor": "c"}


# -- the tokens ----------------------------------------------------------------------------------


def test_tokens_are_shown_as_text_never_as_markup() -> None:
    attack = "<img src=x onerror=alert(1)>"
    found = align(words(), attack, attack + " b")
    shown = tokens.aligned(Reader(words()), attack, attack + " b", found)
    assert "<img" not in shown
    assert "&lt;" in shown


def test_characters_of_several_tokens_are_shown_once() -> None:
    from tokenizers import decoders, models, pre_tokenizers

    made = Tokenizer(models.BPE({c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    assert tokens.pieces(made, "a🙂é") == ["a", "🙂", "·", "·", "·", "é", "·"]
    assert "<bdi>" in tokens.aligned(Reader(made), "שלום", "שלוס", align(made, "שלום", "שלוס"))


def test_the_first_mismatch_is_marked() -> None:
    row = longer(draft(1)[0])
    found = align(words(), row["clean"], row["corrupt"])
    shown = tokens.aligned(Reader(words()), row["clean"], row["corrupt"], found)
    assert shown.count('class="wrong"') + shown.count(' wrong"') == 2


# -- the page ------------------------------------------------------------------------------------


def test_an_empty_page_says_how_to_begin() -> None:
    app = open_page()
    assert "No rows yet" in texts(app)
    assert button(app, "Use these prompts").disabled  # type: ignore[attr-defined]


def test_start_from_a_task_and_keep_it_over_a_reload() -> None:
    app = open_page()
    press(app, "Add 12 pairs")
    assert not app.exception
    assert len(drafts.load()) == 12
    again = open_page()
    assert "12 of 12" in texts(again)
    assert not button(again, "Use these prompts").disabled  # type: ignore[attr-defined]


def test_wrong_rows_are_named_and_can_be_dropped() -> None:
    rows = draft(13)
    rows[2] = longer(rows[2])
    rows[5]["answer"] = "Zyxwv"
    rows[7] = dict(rows[6])
    drafts.save(rows, [])
    app = open_page()
    said = texts(app)
    assert "10 of 13" in said
    for number, reason in ((3, "token"), (6, "Zyxwv"), (8, "repeats row 7")):
        assert f"Row {number}: " in said
        assert reason in said.split(f"Row {number}: ")[1][:400]
    assert button(app, "Use these prompts").disabled  # type: ignore[attr-defined]
    assert app.number_input[0].value == 3, "the first row with a problem is shown"
    press(app, "Drop unusable rows")
    assert "10 of 10" in texts(app)


def test_a_mismatch_is_mended_and_a_proposal_taken() -> None:
    rows = draft()
    text = rows[0]["clean"]
    drafts.save([rows[0] | {"corrupt": ""}, *rows[1:]], [])
    app = open_page()
    assert "corrupt is empty" in texts(app)
    pills = app.button_group[0]
    second = text.split()[1]
    pills.set_value([1]).run()
    assert not app.exception
    proposal = next(one for one in app.button if one.label == "Use")
    proposal.click().run()
    taken = drafts.load()[0]["corrupt"]
    assert taken != text
    assert second not in taken.split()[:2]
    assert "12 of 12" in texts(app)


def test_words_are_marked_as_a_span_that_stays_and_goes_into_the_run() -> None:
    drafts.save(draft(), [])
    app = open_page()
    first, second, *_ = drafts.load()[0]["clean"].split()
    app.button_group[0].set_value([1]).run()
    next(one for one in app.text_input if one.label == "Name of the span").set_value("S<1>").run()
    button(app, "Mark as a span").click().run()  # type: ignore[attr-defined]
    assert not app.exception
    assert drafts.load()[0]["spans"].startswith(f"{first} {{S1:{second}}} ")
    assert "12 of 12" in texts(app)
    app = open_page()  # a new session
    assert any('<td class="span s0" colspan="1">S1</td>' in one.proto.body for one in app.get("html"))
    assert model_and_task.own_prompts("custom")[0].marked == (drafts.load()[0]["spans"],)
    button(app, "Remove the marks").click().run()  # type: ignore[attr-defined]
    assert "spans" not in drafts.load()[0]


def test_a_new_mark_takes_the_place_of_those_that_it_overlaps() -> None:
    row = {"clean": "a b c {d}", "corrupt": "a b x {d}", "answer": "e", "distractor": "f", "spans": ""}
    marked = drafts.with_span(drafts.with_span(row, "", [(0, 1), (4, 5)]), "N", [(0, 3)])
    assert marked["spans"] == r"{N:a b} {c} \{d\}"
    assert drafts.with_span(marked | {"clean": "b b c d"}, "N", [(0, 1)])["spans"] == "{N:b} b c d"


def test_a_row_whose_marks_no_longer_fit_is_named() -> None:
    rows = draft()
    rows[1]["spans"] = rows[1]["clean"].replace("and", "{and}", 1) + " more"
    drafts.save(rows, [])
    app = open_page()
    assert "11 of 12" in texts(app)
    assert "Row 2: spans without its marks is" in texts(app)


def test_the_page_shows_which_tokens_are_scored() -> None:
    rows = draft()
    rows[0]["answer"] = rows[0]["answer"].strip()
    drafts.save(rows, [])
    app = open_page()
    shown = texts(app)
    word = rows[0]["answer"]
    assert f"'{word}' (id {words().token_to_id(word)}) is compared with" in shown
    assert "A space was put before them" in shown
    app.number_input[0].set_value(2).run()
    assert "is compared with" in texts(app)
    assert "A space was put before them" not in texts(app)


def test_ids_and_exact_rows_are_shown_in_the_table() -> None:
    rows = draft()
    ids = words().token_to_id(rows[2]["answer"].strip())
    rows[2] |= {"answer": "", "answer_ids": str(ids)}
    rows[3] |= {"spaces": "as written"}
    drafts.save(rows, [])
    app = open_page()
    assert "12 of 12" in texts(app)
    app.number_input[0].set_value(3).run()
    assert f"(id {ids}) is compared with" in texts(app)


def test_the_model_is_asked_in_the_background() -> None:
    import time

    rows = draft()
    rows[3]["answer"], rows[3]["distractor"] = rows[3]["distractor"], rows[3]["answer"]
    drafts.save(rows, [])
    app = open_page()
    press(app, "Ask the model about 12 rows")
    end = time.monotonic() + 120
    while "weakest pairs" not in texts(app):
        assert time.monotonic() < end
        time.sleep(0.5)
        app.run()
    assert not app.exception
    assert "prefers the answer to the distractor on 11 of 12 pairs" in texts(app)


def test_more_rows_than_a_run_can_take_are_refused_not_cut() -> None:
    drafts.save(draft(), [])
    app = open_page()
    many = "\n".join(f"the dog {number}\tthe cat {number}\tis\tare" for number in range(1_000))
    app.text_area[0].set_value(many).run()
    assert not app.exception
    assert "That makes 1,012 rows, and at most 1,000 are possible" in " ".join(one.value for one in app.error)
    assert len(drafts.load()) == 12


# -- beside the picture --------------------------------------------------------------------------


def test_own_prompts_are_a_task_of_the_explore_page() -> None:
    drafts.save(draft(), [])
    app = open_app(task="custom")
    assert not app.exception
    assert not app.sidebar.button[0].disabled
    assert "GB of memory." in texts(app)


def test_the_sample_follows_what_was_written() -> None:
    from app.explore.cost import prompts_key
    from hap_engine.settings import DiscoveryConfig

    pairs = [drafts.pair_of(row) for row in draft(13)]
    one, other = (DiscoveryConfig(task="custom", prompts=tuple(chosen)) for chosen in (pairs[:12], pairs[1:]))
    assert prompts_key(one) != prompts_key(other)
    assert prompts_key(DiscoveryConfig()) != prompts_key(DiscoveryConfig(corruption="s2"))


def test_without_prompts_the_explore_page_says_what_is_missing() -> None:
    app = open_app(task="custom")
    assert "at least 10 rows" in texts(app)
    assert next(one for one in app.button if one.label == "Find the circuit").disabled


def test_a_class_cannot_write_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAP_CLASS", "1")
    assert "In class mode" in texts(open_page())
    assert "Your own prompts" not in open_app().selectbox(key="task").options


def test_what_is_written_is_json_on_disk(tmp_path: Path) -> None:
    drafts.save(draft(2), [])
    assert len(json.loads((tmp_path / "prompts" / "draft.json").read_text(encoding="utf-8"))) == 2

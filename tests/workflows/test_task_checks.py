"""Every task runs through `discover`, and a model is told in advance what it cannot do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from hap_engine.cli.commands import main
from hap_engine.errors import TaskError
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import Source
from hap_engine.progress import Progress
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load, save
from hap_engine.settings import DiscoveryConfig, PruningConfig
from hap_engine.tasks.builtin import MADE, TASKS
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.pair import EncodedPair, PromptPair
from hap_engine.tasks.task import SplitSizes
from hap_engine.tasks.templates import agreement
from hap_engine.transformer.batches import to_batch
from hap_engine.transformer.load import Model, from_hf
from hap_engine.workflows.ask_model import TaskCheck, check_task
from hap_engine.workflows.discover import discover
from tests.builders.prompt_files import ANTONYMS, jsonl, parse_prompts
from tests.builders.tiny_models import finish
from tests.builders.words import WORDS

SIZES = SplitSizes(train=6, validation=4, test=6)


@pytest.fixture(scope="module")
def tiny() -> Model:
    return random_gpt2()


def random_gpt2(positions: int = 64) -> Model:
    """A GPT-2 of two layers that knows the words of all tasks."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=WORDS.get_vocab_size(),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=positions,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config).eval()
        for weight in model.parameters():
            weight.data.add_(torch.randn_like(weight) * 0.1)
    source = Source("tiny", "folder", "tiny", None)
    return from_hf(model, WORDS, source, sha256="0" * 64)


@pytest.mark.parametrize("name", [task.name for task in MADE])
def test_discover_on_every_task(name: str, tiny: Model, tmp_path: Path) -> None:
    config = DiscoveryConfig(
        task=name, sparsity=0.5, keep=0.9, sizes=SIZES, pruning=PruningConfig(steps=2, batch_size=4)
    )
    run: Run = finish(discover(config, tiny))
    assert {"hap", "eap", "full", "empty", "random"} <= set(run.metrics)
    assert run.task["metric"] == TASKS[name].metric
    assert run.metrics["full"]["kl"] == 0
    assert abs(run.metrics["hap"]["prob_diff"]) <= 1
    assert set(run.prompts["test"][0]["roles"]) == set(TASKS[name].role_names)
    assert load(save(run, tmp_path / "run.json")).metrics["hap"] == run.metrics["hap"]


def long_pairs(count: int) -> tuple[PromptPair, ...]:
    """Pairs of 128 tokens, as a prompts file gives them."""
    nouns, rng, rows = agreement.SUBJECTS, Random(0), []
    for index in range(count):
        other = " ".join(str(rng.randint(10, 99)) for _ in range(124))
        one, many = nouns[index % len(nouns)]
        clean, corrupt = (f"The {noun} near {other} the" for noun in (many, one))
        rows.append({"clean": clean, "corrupt": corrupt, "answer": "are", "distractor": "is"})
    return parse_prompts("\n".join(map(json.dumps, rows)).encode())


def test_the_largest_prompts_file_is_read_and_split() -> None:
    sets = get_task("custom", long_pairs(1_000)).generate(WORDS, SplitSizes(), 0, "given")
    assert [len(sets.train), len(sets.validation), len(sets.test)] == [500, 100, 400]
    assert {len(pair.clean_ids) for pair in sets.train} == {128}
    with pytest.raises(TaskError, match="at most 1,000 rows, got 1,001"):
        long_pairs(1_001)


def test_the_longest_prompts_run_to_the_end(tmp_path: Path) -> None:
    config = DiscoveryConfig(
        task="custom", prompts=long_pairs(40), sparsity=0.5, keep=0.9, pruning=PruningConfig(steps=2, batch_size=4)
    )
    run: Run = finish(discover(config, random_gpt2(positions=128)))
    assert run.metrics["hap"]["n_prompts"] == len(run.prompts["test"]) == 16
    assert load(save(run, tmp_path / "run.json")).prompts == run.prompts


def test_the_check_by_hand(tiny: Model) -> None:
    pairs = TASKS["greater-than"].generate(WORDS, SIZES, 0, "year_01").test
    found: TaskCheck = finish(check_task(open_masked(tiny), pairs, batch_size=4))
    differences = {"clean_ids": [], "corrupt_ids": []}
    for side, values in differences.items():
        for pair in pairs:
            ids = torch.tensor([getattr(pair, side)])
            p = tiny.hf_model(ids).logits[0, -1].softmax(-1)
            values.append((p[list(pair.answer_ids)].sum() / p[list(pair.distractor_ids)].sum()).log().item())
    assert found.n_prompts == 6
    clean, corrupt = differences.values()
    assert found.logit_diff == pytest.approx(sum(clean) / 6, abs=1e-3)
    assert found.corrupt_logit_diff == pytest.approx(sum(corrupt) / 6, abs=1e-3)
    assert found.accuracy == pytest.approx(sum(x > 0 for x in clean) / 6)
    assert found.corrupt_accuracy == pytest.approx(sum(x > 0 for x in corrupt) / 6)


GOOD = TaskCheck(64, 0.95, 0.9, 4.0, 0.6, 0.5, 0.0, 0.1, 0.0)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (GOOD, "The model does this task: the answer beats the distractor on 95% of 64 prompts"),
        (replace(GOOD, accuracy=0.6), "cannot do this task well enough: .*60%.* larger model"),
        (replace(GOOD, corrupt_logit_diff=3.9), "hardly changes its answer .*Choose another corruption"),
        (replace(GOOD, top1=0.03), "does this task: .*Yet it would say one of the right words on only 3% of them"),
    ],
)
def test_the_sentence_says_what_to_do(check: TaskCheck, words: str) -> None:
    import re

    assert re.search(words, check.sentence)
    assert check.to_dict()["sentence"] == check.sentence


def test_the_check_comes_before_the_work(tiny: Model) -> None:
    config = DiscoveryConfig(task="pronoun", sparsity=0.5, sizes=SIZES)
    seen: list[Progress] = []
    for record in discover(config, tiny):
        seen.append(record)
        if "check" in record.data:
            break
    assert "score" not in {record.phase for record in seen}
    assert seen[-1].message == seen[-1].data["check"]["sentence"]


def test_sets_of_different_sizes_make_a_batch(pairs: list[EncodedPair]) -> None:
    more = replace(pairs[0], more_answer_ids=(4, 5, 4, pairs[0].answer_id))
    batch = to_batch([more, *pairs[1:3]], torch.device("cpu"))
    assert batch.answer.tolist() == [[more.answer_id, 4, 5], [pairs[1].answer_id, -1, -1], [pairs[2].answer_id, -1, -1]]
    assert batch.distractor.shape == (3, 1)


def test_the_terminal_lists_and_measures_tasks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name}: " in listed for name in TASKS)
    assert main(["tasks", "--model", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "Logit difference" in shown
    assert "cannot do this task well enough" in shown, "a random model"
    assert "capital         cannot be asked: The task “Capital of a country” needs at least 10" in shown
    assert main(["tasks", "--model", str(folder), "--task", "iio"]) == 1
    assert "Did you mean 'ioi'" in capsys.readouterr().err


def test_the_terminal_says_what_a_task_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    for name, task in TASKS.items():
        assert main(["tasks", "--task", name]) == 0
        shown = capsys.readouterr().out
        assert " ".join(task.summary.split()) in " ".join(shown.split())
        assert f"token roles: {', '.join(task.role_names) or 'none'}; score beside KL: {task.metric}" in shown


def test_every_own_pair_is_asked_and_the_weakest_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "clean": f"The {noun}s near the car",
            "corrupt": f"The {noun} near the car",
            "answer": "are",
            "distractor": "is",
        }
        for noun in ("dog", "cat", "boy", "girl", "teacher", "friend", "student", "doctor", "driver", "tree")
    ]
    rows[3] |= {"answer": "is", "distractor": "are"}  # the wrong way round
    rows[6] |= {"corrupt": rows[6]["clean"].replace("car", "tree")}  # changes nothing that matters
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(map(json.dumps, rows)))
    assert main(["tasks", "--model", "hap-mini", "--prompts-file", str(pairs)]) == 0
    shown = capsys.readouterr().out
    assert "prefers the answer to the distractor on 9 of 10 pairs" in shown
    assert "Corruption changes 7 of 10 pairs" in shown
    weakest = shown.split("The weakest pairs")[1].splitlines()
    assert weakest[2].split()[0] == "4"
    assert "(the model says 'were')" in weakest[2]
    assert "cannot do this one" in weakest[3]
    at = next(i for i, line in enumerate(weakest) if line.split()[:1] == ["7"])
    assert "hardly changes the answer: corrupt what decides it" in weakest[at + 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "custom"], "Add --prompts-file"),
        (["--prompts-file", "{file}"], "Add --model"),
        (["--model", "hap-mini", "--prompts-file", "{file}"], "does not know 'opposite'"),
    ],
)
def test_own_pairs_that_cannot_be_asked(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.jsonl").write_bytes(jsonl(ANTONYMS))
    file = str(tmp_path / "x.jsonl")
    assert main(["tasks", *(each.format(file=file) for each in arguments)]) == 1
    assert words in capsys.readouterr().err


def test_a_run_is_warned_of_a_task_that_the_model_cannot_do(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fast = ["--sparsity", "0.6", "--keep", "0.8", "--steps", "2", "--prompts", "8,6,8"]
    assert main(["discover", "--model", str(folder), *fast, "--out", str(tmp_path / "x.json")]) == 0
    assert "cannot do this task well enough" in capsys.readouterr().err

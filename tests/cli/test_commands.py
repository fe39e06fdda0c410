"""The engine from a terminal: exit codes, one-line errors, files that load."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

import pytest

from hap_engine.cli.commands import COMMANDS, _config, main
from hap_engine.cli.options import make_parser
from hap_engine.errors import DiskError
from hap_engine.files import home
from hap_engine.machine import speed
from hap_engine.report.titles import circuit_title
from hap_engine.runs import run_file, unfinished
from hap_engine.runs.record import Run
from hap_engine.runs.run_file import load, runs_folder
from hap_engine.settings import DiscoveryConfig, PruningConfig, offered
from tests.conftest import ROOT

FAST = ["--sparsity", "0.6", "--keep", "0.8", "--steps", "3", "--batch-size", "4", "--prompts", "8,6,8"]


@pytest.fixture(scope="module")
def written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run file that `discover` wrote."""
    out = tmp_path_factory.mktemp("cli") / "run.json"
    assert main(["discover", "--model", str(folder), *FAST, "--out", str(out)]) == 0
    return out


@pytest.fixture
def run(written: Path) -> Run:
    return load(written)


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str, code: int = 1) -> None:
    """`main` explains itself in one line and returns `code`."""
    capsys.readouterr()
    assert main(arguments) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert words in lines[0], lines[0]


def test_discover_writes_a_valid_run(run: Run, folder: Path) -> None:
    assert run.main == "hap"
    assert run.model["name"] == "tiny"
    assert [len(run.prompts[split]) for split in ("train", "test")] == [8, 8]
    assert run.settings["pruning"]["steps"] == 3
    assert run.command.startswith("python -m hap_engine discover --model tiny --task ioi")
    assert str(folder) not in run.command


def test_every_setting_has_one_option() -> None:
    parser = make_parser()
    read = _config(parser.parse_args(["discover", "--dtype", "float32"]))
    assert read == DiscoveryConfig(), "what is not given is the default"
    given = {"keep_level": 0.5, "memory": 4.0, "seed": 3, "corruption": "s2", "device": "cuda", "dtype": "bfloat16"}
    tuned = {"steps": 7, "warm_start": 0.5, "ld_weight": 0.25, "budget": "lagrangian"}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in (given | tuned).items()]
    assert _config(parser.parse_args(["discover", *words])) == DiscoveryConfig(**given, pruning=PruningConfig(**tuned))
    with_others = {field.name for cls in (DiscoveryConfig, PruningConfig) for field in fields(cls)}
    assert with_others - {*offered(DiscoveryConfig), *offered(PruningConfig)} == {
        "pruning",
        "sizes",
        "start",
        "prompts",
        "spans",  # what a file of theirs says: --spans names it
        "layers_on",  # of the machine: an option of each command that starts a run
    }


def test_discover_shows_a_table_and_the_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["discover", "--model", str(folder), *FAST, "--method", "eap"]) == 0
    shown = capsys.readouterr()
    (path,) = runs_folder().iterdir()
    assert f"Written to {path}" in shown.out
    assert path.stem == load(path).id
    for row in ("full", "empty", "random", "eap"):
        assert f"\n{circuit_title(row)} " in shown.out
    assert "faithfulness" in shown.out
    for phase in ("load", "prompts", "score", "evaluate", "roles"):
        assert f"{phase}: " in shown.err


def test_equal_weights_with_another_config_are_another_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two ids, two files; they were one, and the second run was written over the first."""
    copy = Path(shutil.copytree(folder, tmp_path / folder.name))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"layer_norm_epsilon": 2.0}))
    for path in (folder, copy):
        assert main(["discover", "--model", str(path), *FAST, "--method", "eap"]) == 0
    one, two = map(load, sorted(runs_folder().iterdir()))
    assert one.model["sha256"] == two.model["sha256"]
    assert one.metrics["empty"]["kl"] != two.metrics["empty"]["kl"]
    capsys.readouterr()
    assert main(["evaluate", str(runs_folder() / f"{one.id}.json"), "--model", str(folder)]) == 0
    first = "config or tokenizer differ" in capsys.readouterr().err
    assert main(["evaluate", str(runs_folder() / f"{two.id}.json"), "--model", str(folder)]) == 0
    assert first != ("config or tokenizer differ" in capsys.readouterr().err)


def test_evaluate_gives_the_same_numbers(
    written: Path, run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(written), "--model", str(folder)]) == 0
    shown = capsys.readouterr().out
    for name, row in run.metrics.items():
        (line,) = (line for line in shown.splitlines() if line.startswith(f"{circuit_title(name):22}"))
        cells = line[22:].split()
        assert cells[0] == f"{row['n_edges']:,}"
        keys = ("kl", "logit_diff", "faithfulness", "accuracy", "top1", "exact_match", "deviation")
        assert [float(cell) for cell in cells[1:]] == pytest.approx([row[key] for key in keys], abs=2e-3)


def test_models_and_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "hap-mini" in capsys.readouterr().out
    assert main(["tasks"]) == 0
    shown = capsys.readouterr().out
    assert "ioi: Indirect object identification" in shown
    assert "--corruption s2_io" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "get2"], "Did you mean 'gpt2'"),
        (["--model", "./nowhere"], "Check the path"),
        (["--task", "iio"], "Did you mean 'ioi'"),
        (["--method", "happ"], "Did you mean 'hap'"),
        (["--scorer", "eap_ig"], "Did you mean 'eap-ig'"),
        (["--sparsity", "98"], "sparsity between 0 and 1"),
        (["--sparsity", "nan"], "sparsity between 0 and 1"),
        (["--keep", "2"], "keep between 0 and 1"),
        (["--memory", "2e5"], "below 100,000 GB, got 200000 GB"),
        (["--sparsity", "0.999"], "Keeping 0.1 % (sparsity 0.999) leaves 0 of 110 edges"),
        (["--sparsity", "0.999"], "Keep at least 1.8182 % (a sparsity of at most 0.981818)"),
        (["--keep", "0.05"], "10 candidate edges, 9.09 % of all"),
        (["--seed", "-1"], "seed from 0"),
        (["--bos", "alway"], "Did you mean 'always'"),
        (["--steps", "0"], "steps from 1"),
        (["--budget", "projecton"], "Did you mean 'projection'"),
        (["--prompts", "8,6"], "--prompts as train,validation,test"),
        (["--prompts", "0,1,1"], "train prompts, got 0"),
        (["--preset", "quik"], "Did you mean 'quick'"),
        (["--corruption", "abd"], "Did you mean 'abc'"),
        (["--device", "tpu9"], "Use cpu"),
    ],
)
def test_discover_explains_wrong_settings(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    given = [] if "--model" in arguments else ["--model", str(folder)]
    fails(capsys, ["discover", *given, *FAST, *arguments], words)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--memory", "8GB"], "expected a number (GB that the run may take), got '8GB'"),
        (["--sparsity", "98%"], "expected a number (share of edges removed), got '98%'"),
        (["--steps", "1.5"], "expected a whole number (steps of Edge Pruning), got '1.5'"),
    ],
)
def test_what_is_no_number_is_told_in_the_options_own_unit(
    option: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["discover", *option])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["discovr"], ["discover", "--sparsity", "much"], ["evaluate"], ["discover", "x"]]
)
def test_wrong_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m hap_engine" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["a folder", "below a file", "a folder of the system"])
def test_a_place_that_cannot_be_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """Said at the end of minutes of work, a traceback would lose the run."""
    (tmp_path / "file").write_text("")
    places = {"a folder": tmp_path, "below a file": tmp_path / "file" / "run.json"}
    out = places.get(where, Path("/proc/run.json"))
    fails(capsys, ["discover", "--model", str(folder), *FAST, "--out", str(out)], "--out")


def test_a_home_that_cannot_be_written_is_told_before_the_work_and_needed_for_nothing_else(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HAP_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setattr(speed, "known", lambda: None)  # so that this machine is measured, and kept where it can be
    fails(capsys, ["discover", "--model", str(folder), *FAST], "HAP_HOME")
    out = tmp_path / "run.json"
    assert main(["discover", "--model", str(folder), *FAST, "--method", "eap", "--out", str(out)]) == 0
    assert load(out).main == "eap"


def test_a_run_that_cannot_be_written_at_its_end_is_kept_elsewhere(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk filled up meanwhile: minutes of work must not be lost."""
    write = run_file.write_text

    def full(path: Path, text: str) -> Path:
        if path.parent == tmp_path:
            raise DiskError(f"{path} could not be written: the disk is full.")
        return write(path, text)

    monkeypatch.setattr(run_file, "write_text", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    arguments = ["discover", "--model", str(folder), *FAST, "--method", "eap", "--out", str(tmp_path / "run.json")]
    fails(capsys, arguments, "The run is safe in")
    (kept,) = (tmp_path / "temporary").iterdir()
    assert load(kept).main == "eap"


def test_an_unforeseen_error_is_a_sentence_and_a_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setitem(COMMANDS, "models", broken)
    fails(capsys, ["models"], "ZeroDivisionError: oops", 70)
    (report,) = (home() / "reports").iterdir()
    assert "hap models" in report.read_text()


def test_evaluate_explains_what_it_cannot_use(
    written: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(capsys, ["evaluate", str(tmp_path / "gone.json")], "gone.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    fails(capsys, ["evaluate", str(broken)], "not a run file")
    data = json.loads(written.read_text())
    for change, words in (
        ({"graph": {"n_layers": 3, "n_heads": 4, "n_kv_heads": 4}, "sizes": {}}, "the right model"),
        ({"prompts": {"train": []}}, "prompt"),
        ({"prompts": {"test": [{"clean": "x"}]}}, "prompt"),
        ({"prompts": {"test": []}}, "prompt"),
    ):
        broken.write_text(json.dumps(data | change))
        fails(capsys, ["evaluate", str(broken), "--model", str(folder)], words)
    fails(capsys, ["evaluate", str(written), "--model", str(folder), "--bos", "never", "--full"], "Leave --bos out")
    fails(capsys, ["evaluate", str(written), "--model", str(folder), "--bos", "always"], "names none")
    model = {key: value for key, value in data["model"].items() if key != "reference"}
    broken.write_text(json.dumps(data | {"model": model}))
    fails(capsys, ["evaluate", str(broken)], "--model")


def test_a_run_is_searched_again_from_the_terminal(
    written: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "sampled.json", ["--model", str(folder)]
    arguments = ["stability", str(written), *model, "--bootstrap", "2", "--steps", "3", "--out", str(out)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "2 samples of the prompts" in shown
    assert "0.8 is asked of a stable circuit" in shown
    assert load(out).stability["resamples"] == 2
    fails(capsys, ["stability", str(written), str(out), *model, "--bootstrap", "2"], "got 2. Name one")
    fails(capsys, ["stability", str(written), *model, "--bootstrap", "1"], "at least 2 samples")
    assert main(["rival", str(written), *model, "--steps", "2", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "The rival of HAP's circuit has KL" in shown
    assert f"\n{circuit_title('rival')} " in shown
    assert {"hap", "rival"} <= load(out).circuits.keys()
    assert main(["per-prompt", str(written), *model, "--prompts", "3", "--steps", "2", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "group 1: " in shown
    assert "On its prompt a circuit of its own has KL" in shown
    assert len(load(out).prompt_circuits["prompts"]) == 3
    fails(capsys, ["per-prompt", str(written), *model, "--prompts", "9"], "from 2 to 8 prompts")


def test_ctrl_c_is_130(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hap_engine.workflows.discover

    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(hap_engine.workflows.discover, "discover", interrupted)
    assert main(["discover", "--model", str(folder), *FAST]) == 130


def test_the_module_runs_without_torch_where_it_can() -> None:
    """``tasks`` and ``models`` answer at once: they import neither torch nor transformers."""
    code = (
        "import sys; from hap_engine.__main__ import main; "
        "assert main(['tasks']) == 0 and main(['models']) == 0; "
        "sys.exit(sorted({'torch', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_was_interrupted_is_listed_and_goes_on(
    folder: Path, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "EVERY", 0.0)
    monkeypatch.setattr(unfinished, "SHARE", 1e9)
    arguments = ["discover", "--model", str(folder), *FAST, "--out", str(tmp_path / "run.json")]
    write = unfinished.Unfinished.write

    def stopped(state: unfinished.Unfinished, phase: str, told: str) -> None:
        write(state, phase, told)
        if phase == "prune":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(unfinished.Unfinished, "write", stopped)
        assert main(arguments) == 130
        known = load(written).id
        assert f"hap resume {known}" in capsys.readouterr().err
    assert main(["resume"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith(f"hap resume {known}   ")
    assert "pruning, step 1 of 3" in listed
    assert main(["resume", known]) == 0
    assert "It goes on from there" in capsys.readouterr().err
    assert load(tmp_path / "run.json").circuits["hap"].circuit == load(written).circuits["hap"].circuit
    assert list(runs_folder().iterdir()) == []
    fails(capsys, ["resume", known], "Nothing is kept of an interrupted run")
    fails(capsys, ["resume", "../run"], "Nothing is kept of an interrupted run")
    assert main(["resume"]) == 0
    assert capsys.readouterr().out == "No run was interrupted.\n"


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "--full"],
        ["stability", "--bootstrap", "2", "--steps", "2"],
        ["rival", "--steps", "2"],
        ["per-prompt", "--prompts", "3", "--steps", "2"],
    ],
    ids=lambda command: command[0],
)
def test_what_is_added_goes_on_too(
    command: list[str],
    folder: Path,
    written: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unfinished, "EVERY", 0.0)
    monkeypatch.setattr(unfinished, "SHARE", 1e9)
    out = tmp_path / "run.json"
    arguments = [command[0], str(written), "--model", str(folder), *command[1:], "--out", str(out)]
    write, writes = unfinished.Unfinished.write, []

    def stopped(state: unfinished.Unfinished, phase: str, told: str) -> None:
        write(state, phase, told)
        writes.append(told)
        if len(writes) == 12:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(unfinished.Unfinished, "write", stopped)
        assert main(arguments) == 130
    assert "The same command goes on from there." in capsys.readouterr().err
    assert main(["resume"]) == 0
    assert "No run was interrupted" in capsys.readouterr().out, "it is no whole run"
    assert main(arguments) == 0
    assert "It goes on from there" in capsys.readouterr().err
    assert not list(runs_folder().iterdir())
    again = tmp_path / "again.json"
    assert main([*arguments[:-1], str(again)]) == 0
    assert out.read_bytes() == again.read_bytes()


def test_the_weights_must_be_those_of_the_interrupted_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    monkeypatch.setattr("hap_engine.workflows.discover.describe_heads", lambda *_: 1 / 0)
    assert main(["discover", "--model", str(copy), *FAST]) == 70
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"layer_norm_epsilon": 2.0}))
    (state,) = runs_folder().glob("*.state")
    fails(capsys, ["resume", state.stem], f"Run {state.stem} was begun with another model")
    assert main(["resume", state.stem, "--forget"]) == 0
    assert list(runs_folder().iterdir()) == []


def test_a_run_that_no_place_takes_is_written_when_there_is_room(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Path] = []
    write = run_file.write_text

    def full(path: Path, text: str) -> Path:
        tries.append(path)
        if len(tries) < 5:
            raise DiskError(f"{path} could not be written: the disk is full.")
        return write(path, text)

    monkeypatch.setattr(run_file, "write_text", full)
    monkeypatch.setattr("hap_engine.cli.commands.RETRY", 0)
    out = tmp_path / "run.json"
    assert main(["discover", "--model", str(folder), *FAST, "--method", "eap", "--out", str(out)]) == 0
    assert capsys.readouterr().err.count("The run stays in memory and is written when there is room.") == 1
    assert load(out).main == "eap"

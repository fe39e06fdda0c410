"""A sweep from its command to its table, by each engine: nothing lost, nothing computed twice, failures told."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from hap_engine.cli.commands import main
from hap_engine.errors import SettingsError
from hap_engine.progress import drain
from hap_engine.runs.run_file import load
from hap_engine.runs.unfinished import Unfinished, kept
from hap_engine.sweeps import local, on_ray
from hap_engine.sweeps.cell import compute
from hap_engine.sweeps.drive import drive
from hap_engine.sweeps.folder import Folder
from hap_engine.sweeps.study import Cell, cells
from hap_engine.sweeps.table import frame
from hap_engine.sweeps.taking import Taken
from hap_engine.workflows.discover import discover

pytestmark = pytest.mark.usefixtures("own_main")
SMALL = {"steps": [4], "train": [16], "validation": [8], "test": [8]}
FOUR = {**SMALL, "seed": [0, 1], "task": ["ioi", "greater-than"]}


def here(some: Sequence[Cell], folder: Path, workers: int | None) -> Iterator[Taken]:
    """An engine that computes in this process; a cell of the seed 1 meets an error."""
    for cell in some:
        yield Taken(cell, "begun")
        if cell.config.seed == 1:
            yield Taken(cell, "failed", "no room")
        else:
            yield Taken(cell, "done", compute(cell))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "sweep")


def test_a_failed_cell_keeps_its_error_and_the_rest_goes_on(folder: Folder) -> None:
    wanted = cells({**SMALL, "seed": [0, 1, 2]})
    failed = drain(drive(wanted, folder, here))
    assert list(failed.values()) == ["no room"]
    status = folder.status()
    assert (len(status.done), len(status.failed), len(status.waiting), status.driven) == (2, 1, 0, False)
    assert [load(folder.file(cell)).id for cell in status.done] == [cell.id for cell in status.done]
    assert frame(folder)["run"].nunique() == 2
    seen = []

    def again(some: Sequence[Cell], path: Path, workers: int | None) -> Iterator[Taken]:
        seen.extend(some)
        yield from (Taken(cell, "done", compute(cell)) for cell in some)

    assert drain(drive(wanted, folder, again)) == {}
    assert [cell.config.seed for cell in seen] == [1]  # the others are there
    assert not folder.status().failed


def test_a_second_driver_is_refused_and_the_status_tells_what_runs(folder: Folder) -> None:
    wanted = cells({**SMALL, "seed": [0, 2]})
    with closing(drive(wanted, folder, here)) as work:
        next(work)
        next(work)  # the first cell is begun
        assert [cell.id for cell in folder.status().running] == [wanted[0].id]
        with pytest.raises(SettingsError, match="Another process hands out the cells"):
            next(drive(wanted, folder, here))
    assert not folder.status().running


def test_processes_of_this_machine_lose_no_cell_when_one_is_killed(folder: Folder) -> None:
    wanted = cells(FOUR)
    states = []
    killed = False
    for taken in local.compute(wanted, folder.path, 2):
        states.append((taken.cell.id, taken.state))
        if taken.state == "done":
            assert json.loads(taken.text)["id"] == taken.cell.id
            if not killed:
                killed = True
                victim = next(pid for pid in children() if "resource_tracker" not in told(pid))
                os.kill(victim, signal.SIGKILL)
    done = [name for name, state in states if state == "done"]
    assert sorted(done) == sorted(cell.id for cell in wanted)  # each once
    assert "failed" not in {state for _, state in states}


def children() -> list[int]:
    own = os.getpid()
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == own and fields[0] != "Z" and "spawn_main" in told(int(path.parent.name)):
            found.append(int(path.parent.name))
    return found


def told(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def test_the_command_from_a_study_file_to_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "small.toml"
    lines = [f"{name} = {values}" for name, values in {**SMALL, "seed": [0]}.items()]
    study.write_text("\n".join(lines))
    assert main(["sweep", str(study), "--workers", "1"]) == 0
    assert "hap" in capsys.readouterr().out
    out = tmp_path / "small"
    assert (out / "sweep.parquet").exists()
    assert main(["sweep", "--out", str(out), "--status"]) == 0
    assert "1 done, 0 running, 0 failed, 0 waiting" in capsys.readouterr().out
    assert main(["sweep", "--out", str(tmp_path / "nowhere"), "--status"]) == 1
    assert "There is no sweep" in capsys.readouterr().err
    assert main(["sweep", "--sparsity", "1.5", "--out", str(out)]) == 1
    assert "Nothing was started" in capsys.readouterr().err
    assert main(["sweep", "--out", str(out), "--on", "moon"]) == 1


def test_slurm_runs_each_cell_from_the_arrays_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for sbatch runs the script for every number of its array."""
    stub = tmp_path / "bin" / "sbatch"
    stub.parent.mkdir()
    stub.write_text(
        "#!/bin/sh\nlist=$(sed -n 's/^#SBATCH --array=//p' \"$1\" | sed 's/%.*//')\n"
        'for number in $(echo "$list" | tr , " "); do SLURM_ARRAY_TASK_ID=$number sh "$1" || exit 1; done\n'
        "echo Submitted batch job 7\n"
    )
    stub.chmod(stub.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    out = tmp_path / "sweep"
    options = [word for name, (value,) in SMALL.items() for word in (f"--{name}", str(value))]
    assert main(["sweep", *options, "--seed", "0", "1", "--out", str(out), "--on", "slurm", "--workers", "8"]) == 0
    assert "Submitted batch job 7 (2 cells" in capsys.readouterr().out
    script = (out / "sweep.sbatch").read_text()
    assert "--array=0,1%8" in script
    assert "--mem=" in script
    status = Folder(out).status()
    assert (len(status.done), len(status.waiting)) == (2, 0)
    monkeypatch.setenv("PATH", "")
    assert main(["sweep", *options, "--seed", "5", "--out", str(out), "--on", "slurm"]) == 0
    assert "There is no sbatch on this machine" in capsys.readouterr().out


def test_ray_gives_the_same_runs_and_a_killed_workers_cell_to_another(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (requirements-cluster.txt)")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    wanted = cells(FOUR)
    killed = []

    def engine(some: Sequence[Cell], path: Path, workers: int | None) -> Iterator[Taken]:
        for taken in on_ray.compute(some, path, workers):
            yield taken
            if taken.state == "done" and not killed:
                killed.append(next(pid for pid in processes() if "ray::_compute" in told(pid)))
                os.kill(killed[0], signal.SIGKILL)

    before = discover(wanted[0].config, None, Unfinished(folder.path))
    with closing(before):
        next(record for record in before if record.phase == "prune")
    assert kept(folder.path, wanted[0].id)
    assert drain(drive(wanted, folder, engine, 2)) == {}
    assert killed
    assert len(folder.status().done) == len(wanted)
    assert kept(folder.path, wanted[0].id) is None, "it went on from there"
    alone = json.loads(compute(wanted[0]))
    by_ray = json.loads(folder.file(wanted[0]).read_text())
    assert alone["circuits"]["hap"]["edges"] == by_ray["circuits"]["hap"]["edges"]


def processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]

"""Starting the explorer: from any folder, and one sentence where it cannot start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app import serve
from tests.conftest import ROOT

OTHERS = "raise SystemExit('a file of the folder was imported')"


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that was printed as an error."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def elsewhere(folder: Path, code: list[str]) -> subprocess.CompletedProcess[str]:
    """Python in a folder whose own files have the explorer's names."""
    (folder / "app").mkdir()
    for name in ("app/__init__.py", "streamlit.py"):
        (folder / name).write_text(OTHERS)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_starts_this_explorer_and_passes_its_options_on(tmp_path: Path) -> None:
    done = elsewhere(tmp_path, ["-m", "hap_engine", "app", "--class", "--jobs", "0"])
    assert done.returncode == 2
    assert "usage: hap app [-h] [--port PORT] [--class]" in done.stderr
    assert "expected a number from 1 to 100, got '0'" in done.stderr


def test_the_settings_hold_in_every_folder(tmp_path: Path) -> None:
    """Who starts ``streamlit run`` elsewhere opens no port to the network and sends nothing."""
    code = (
        "from streamlit import config;"
        f"config._main_script_path = {str(ROOT / 'app' / 'main.py')!r};"
        "config.get_config_options(force_reparse=True);"
        "print(config.get_option('server.address'), config.get_option('browser.gatherUsageStats'))"
    )
    done = elsewhere(tmp_path, ["-P", "-c", code])
    assert done.stdout.split() == ["localhost", "False"], done.stderr


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that took this process over, none of which does."""
    found: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda program, command, environment: found.append(command))
    return found


def test_a_port_in_use_is_said(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("localhost", 0)) as other:
        port = str(other.getsockname()[1])
        for arguments in (["--port", port], ["--port", port, "--class"]):
            assert serve.main(arguments) == 1
            words = told(capsys)
            assert f"Port {port} is in use" in words
            assert "Choose another one with --port." in words
    assert started == []
    serve.main(["--port", port])  # it is free again
    assert f"--server.port={port}" in started[0]


def test_a_missing_streamlit_is_said() -> None:
    code = "import sys; sys.modules['streamlit'] = None; from app.serve import main; sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: The explorer needs Streamlit, which is not installed here.")
    assert done.stderr.count("\n") == 1
    assert "pip install streamlit" in done.stderr


@pytest.mark.parametrize("place", ["/proc/hap", "file/home"])
def test_a_folder_that_cannot_be_written_is_said(
    tmp_path: Path,
    place: str,
    started: list[list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing could be kept: said at the start, not after minutes of work."""
    (tmp_path / "file").write_text("")
    home = tmp_path / place  # an absolute place stays as it is
    monkeypatch.setenv("HAP_HOME", str(home))
    assert serve.main([]) == 1
    words = told(capsys)
    assert f"{home / 'runs' / 'run.json'} could not be written: " in words
    assert "HAP_HOME" in words
    assert started == []

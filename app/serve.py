"""Start the explorer: ``python -m app.serve``, and for a class ``python -m app.serve --class``.

Without ``--class`` this is ``streamlit run app/main.py``: this machine only. With it, every machine on
the local network can open the explorer, under the rules of `app.classroom`.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from app.classroom import LIMIT, VARIABLE, Rules

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Replace this process by the server."""
    asked = parser().parse_args(arguments)
    command, environment = plan(asked)
    if asked.for_class:
        print(notice(asked.port, asked.jobs), flush=True)
    os.chdir(ROOT)  # where Streamlit finds its settings
    os.execve(command[0], command, environment)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m app.serve", description="Start HAP Explorer.")
    made.add_argument("--port", type=_port, default=8501)
    made.add_argument(
        "--class",
        dest="for_class",
        action="store_true",
        help="serve on the local network, with locked presets and a limit on runs",
    )
    made.add_argument(
        "--jobs", type=_count, default=Rules().jobs, help="runs of the whole class at a time (with --class)"
    )
    return made


def plan(asked: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of the server."""
    address = "0.0.0.0" if asked.for_class else "localhost"
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(ROOT / "app" / "main.py"),
        f"--server.address={address}",
        f"--server.port={asked.port}",
    ]
    environment = {key: value for key, value in os.environ.items() if key not in (VARIABLE, LIMIT)}
    if asked.for_class:
        environment |= {VARIABLE: "1", LIMIT: str(asked.jobs)}
    return command, environment


def notice(port: int, jobs: int) -> str:
    return (
        "Class mode: every machine on this network can open the explorer at\n"
        f"    http://{own_address()}:{port}\n"
        f"Visitors can look, compare, export and start runs of the bundled model (at most {jobs} at a time).\n"
        "They cannot open files, download models, or rename, delete or import runs.\n"
        "There is no password: use it on a network that you trust. Stop it with Ctrl+C."
    )


def own_address() -> str:
    """This machine's address on the local network. A datagram socket is aimed, nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address reserved for documentation
            return str(probe.getsockname()[0])
        except OSError:  # no network
            return socket.gethostname()


def _port(text: str) -> int:
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1024 to 65535, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 100, got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()

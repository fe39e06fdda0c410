"""Start the explorer: ``hap app``, and for a class ``hap app --class``; also ``python -m app.serve``.

Without ``--class`` this is ``streamlit run app/main.py``: this machine only. With it, every machine on
the local network can open the explorer, under the rules of `app.classroom`.
"""

from __future__ import annotations

import argparse
import errno
import os
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before an `app` of the folder it is started in

from app.classroom import LIMIT, VARIABLE, ClassRules
from app.doors import HOSTS
from app.words import say
from hap_engine.crash_report import EXIT_CODE, explain, foreseen
from hap_engine.errors import SettingsError
from hap_engine.files import check_writable
from hap_engine.runs.run_file import runs_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Replace this process by the server; where it cannot start, print the reason and return an exit code."""
    asked = parser().parse_args(arguments)
    command, environment = plan(asked)
    try:
        check_installed()
        check_writable(runs_folder() / "run.json")
        check_port(asked)
    except Exception as error:  # no traceback reaches a user
        print(f"error: {explain(error, 'hap app')}", file=sys.stderr)
        return 1 if foreseen(error) else EXIT_CODE
    if asked.for_class:
        print(notice(asked.port, asked.jobs), flush=True)
    os.execve(command[0], command, environment)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="hap app", description="Start HAP Explorer.")
    made.add_argument("--port", type=_port, default=8501)
    made.add_argument(
        "--class",
        dest="for_class",
        action="store_true",
        help="serve on the local network, with locked presets and a limit on runs",
    )
    made.add_argument(
        "--jobs", type=_count, default=ClassRules().jobs, help="runs of the whole class at a time (with --class)"
    )
    return made


def plan(asked: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of the server."""
    command = [
        sys.executable,
        "-P",  # nor may a streamlit.py of that folder stand before Streamlit
        "-m",
        "streamlit",
        "run",
        str(Path(__file__).resolve().with_name("main.py")),
        f"--server.address={_address(asked)}",
        f"--server.port={asked.port}",
    ]
    environment = {key: value for key, value in os.environ.items() if key not in (VARIABLE, LIMIT)}
    if asked.for_class:
        names = {own_address(), socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
        known = ",".join(sorted(names | {*filter(None, environment.get(HOSTS, "").split(","))}))
        environment |= {VARIABLE: "1", LIMIT: str(asked.jobs), HOSTS: known}
        command.append(f"--browser.serverAddress={own_address()}")  # or Streamlit would ask elsewhere for it
    return command, environment


def check_installed() -> None:
    """Raise SettingsError where the engine was installed without what its pages are made with."""
    if find_spec("streamlit") is None:
        raise SettingsError(
            "The explorer needs Streamlit, which is not installed here. "
            f"Install it with: {sys.executable} -m pip install streamlit"
        )


def check_port(asked: argparse.Namespace) -> None:
    """Raise SettingsError if the port is taken: Streamlit's own words would name no remedy."""
    for family, *_, place in socket.getaddrinfo(_address(asked), asked.port, type=socket.SOCK_STREAM):
        try:
            socket.create_server(place[:2], family=family).close()
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                raise SettingsError(
                    f"Port {asked.port} is in use, perhaps by another explorer (http://localhost:{asked.port}). "
                    "Choose another one with --port."
                ) from None


def notice(port: int, jobs: int) -> str:
    return say("class.notice", address=own_address(), port=port, jobs=jobs).lstrip()


def own_address() -> str:
    """This machine's address on the local network. A datagram socket is aimed, nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address reserved for documentation
            return str(probe.getsockname()[0])
        except OSError:  # no network
            return socket.gethostname()


def _address(asked: argparse.Namespace) -> str:
    return "0.0.0.0" if asked.for_class else "localhost"


def _port(text: str) -> int:
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1024 to 65535, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 100, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

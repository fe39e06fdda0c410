"""A class: many browsers at once on one server, none of which sees another's run, or the host's draft, unasked."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

from app.stored.related_runs import SIZES
from hap_engine.files import home
from tests.builders.servers import free_port, proxy, served
from tests.campaign.tally import Tally, counted

SECRET = "the host writes this"
STARTING = 4  # sessions that start a run; a class may have six
PER_SESSION = 15  # MB of the server's memory; a page of the example holds about five
START, CANCEL = "Find the circuit", "Cancel"


class Session:
    """One browser: it sends what a browser sends, and keeps what it is sent."""

    def __init__(self, port: int) -> None:
        address = f"localhost:{port}"
        opening = connect(
            f"ws://{address}/_stcore/stream",
            origin=f"http://{address}",  # type: ignore[arg-type]
            subprotocols=["streamlit"],  # type: ignore[list-item]
            max_size=None,
            open_timeout=60,
        )
        self.socket: ClientConnection = opening.__enter__()
        self.seen, self.query, self.failed = b"", "", False
        self.buttons: dict[str, str] = {}

    def ask(self, query: str = "", page: str = "", press: str = "") -> None:
        """Draw the page; `press`: as after a click on the button of that label."""
        message = BackMsg()
        message.rerun_script.query_string, message.rerun_script.page_name = query, page
        if press:
            message.rerun_script.widget_states.widgets.add(id=self.buttons[press], trigger_value=True)
        self.socket.send(message.SerializeToString())

    def hear(self, timeout: float = 120.0) -> None:
        """Read until the page is drawn."""
        self.seen, self.buttons = b"", {}
        while True:
            data = self.socket.recv(timeout)
            assert isinstance(data, bytes)
            message = ForwardMsg.FromString(data)
            kind, element = message.WhichOneof("type"), message.delta.new_element
            self.seen += data
            if kind == "page_info_changed":
                self.query = message.page_info_changed.query_string
            if element.WhichOneof("type") == "button":
                self.buttons[element.button.label] = element.button.id
            self.failed |= element.WhichOneof("type") == "exception"
            if kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return


def attack(seed: int, count: int) -> Tally:
    """`count` sessions of a class; the first few start a run each."""
    with counted(Tally("sessions", seed)) as tally, ExitStack() as stack:
        (home() / "prompts").mkdir(parents=True)
        row = {"clean": SECRET, "corrupt": SECRET, "answer": "a", "distractor": "b"}
        (home() / "prompts" / "draft.json").write_text(json.dumps([row]), encoding="utf-8")
        port, through = free_port(), stack.enter_context(proxy())
        server = stack.enter_context(served(port, through[0], home(), "--class"))
        first = Session(port)  # what the first one makes the server load is no session's
        first.ask()
        first.hear()
        before = memory(server)
        guests = list(stack.enter_context(_guests(port, count)))
        for guest in guests:
            guest.ask()
        for guest in guests:
            guest.hear()
        each = (memory(server) - before) / count
        jobs = _start(tally, guests[: min(STARTING, count // 2)], seed)
        _look(tally, guests, jobs)
        _wait(first, jobs)
        _look(tally, guests, jobs)
        tally.tried, tally.accepted = count, count
        tally.notes = {"MB a session": round(each, 1), "MB of the server": round(memory(server)), "runs": len(jobs)}
        if each > PER_SESSION:
            tally.wrong.append(f"{each:.0f} MB a session")
        tally.outside += [told.decode(errors="replace") for told in through[1]]
    return tally


@contextmanager
def _guests(port: int, count: int) -> Iterator[list[Session]]:
    made = [Session(port) for _ in range(count)]
    yield made
    for guest in made:
        guest.socket.close()


def _start(tally: Tally, guests: list[Session], seed: int) -> dict[str, Session]:
    """Each starts a run of its own; by the id of its job."""
    jobs = {}
    for number, guest in enumerate(guests):
        query = f"model=hap-mini&effort=quick&kept={SIZES[(seed + number) % len(SIZES)]}"
        guest.ask(query)
        guest.hear()
        guest.ask(query, press=START)
        guest.hear()
        job = guest.query.partition("job=")[2].partition("&")[0]
        if not job or job in jobs:
            tally.wrong.append(f"guest {number} has no run of its own")
        jobs[job] = guest
    return jobs


def _look(tally: Tally, guests: list[Session], jobs: dict[str, Session]) -> None:
    """Each guest draws two pages: what is there of others that was not asked for?"""
    for number, guest in enumerate(guests):
        own = [job for job, owner in jobs.items() if owner is guest]
        guest.ask(f"job={own[0]}" if own else "")
        guest.hear()
        others = [job for job in jobs if job not in own and job.encode() in _shown(guest, job)]
        tally.wrong += [f"guest {number} sees the run {job}" for job in others]
        if not own and CANCEL in guest.buttons:
            tally.wrong.append(f"guest {number} is offered to cancel")
        tally.tracebacks += [f"guest {number}"] * guest.failed
        guest.ask(page="prompts")
        guest.hear()
        tally.wrong += [f"guest {number} sees the host's draft"] * (SECRET.encode() in guest.seen)


def _shown(guest: Session, job: str) -> bytes:
    """Where no run of another may stand unasked: on the page, but for the button to watch it and the list of those that
    are finished, and in the address."""
    finished = (home() / "runs" / f"{job}.json").is_file()
    return guest.query.encode() + (b"" if finished else guest.seen.replace(f"-watch-{job}".encode(), b""))


def _wait(session: Session, jobs: dict[str, Session]) -> None:
    end = time.monotonic() + 600
    while time.monotonic() < end and not all((home() / "runs" / f"{job}.json").is_file() for job in jobs):
        time.sleep(2)


def memory(server: subprocess.Popen[bytes]) -> float:
    """MB that a server holds."""
    told = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
    return int(told.split("VmRSS:")[1].split()[0]) / 1024

"""Work that is not finished: what it needs to go on as if it had never stopped, in one file beside the finished runs.

`<id>.state` is a safetensors file, which is data alone: arrays, and all else as JSON in its metadata. It is replaced as
a whole while the run goes on, and removed when the run is saved. It says of what it is (settings, weights, prompts,
program), and a run of anything else does not go on from it. Who works on a run holds `<id>.lock`, so no two processes
do; the system lets go of it when a process dies. Whatever is added to a finished run has a state of its own.

The phases are given a `Place` each: what they put there is asked of them only when it is time to write.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hap_engine.errors import DiskError, UnfinishedError
from hap_engine.files import claimed, hold, replacing
from hap_engine.runs.schema import ID
from hap_engine.settings import DiscoveryConfig, EarlierRun, PruningConfig
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.span_file import SpanFile
from hap_engine.tasks.task import SplitSizes
from hap_engine.words import say

VERSION = 1
EVERY = 20.0  # seconds: what a killed run loses, with the step it was in
SHARE = 0.01  # of a run's time goes into writing, unless that would put it off for longer than this
LONGEST = 25.0  # seconds: a state of 150 MB (`--bootstrap` on SmolLM2) takes half a second, and 30 s are promised
MOST = 64  # interrupted runs that are kept: of a sweep many at once, in a class anybody can start and cancel some
LARGEST = 2**33  # bytes; a state has some ten numbers for each edge
WAIT = 0.5  # seconds for a lock: a page that looks who has it takes it for a moment
Values = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Kept:
    """What a state says of itself.

    Attributes:
        run: its name, which is that of the run or, of what is added to one, begins with it.
        told: what it was doing, as a part of a sentence.
        written: when, by the clock of that time (ISO 8601).
        out: where the finished run was to be written; empty: among the runs.
        of: hashes and versions of what decides its numbers, by what they are of.
        seconds: spent so far, by phase.
    """

    run: str
    told: str
    written: str
    out: str
    of: Mapping[str, str]
    seconds: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Interrupted(Kept):
    """That of a whole run, which can go on from its settings alone."""

    config: DiscoveryConfig


class Unfinished:
    """The state of one run while it is computed.

    Args:
        folder: where to keep it; None: nowhere.
        out: where the finished run is to be written, if not there.
        run: the one that is to go on; empty: whichever the settings and the model make.
    """

    def __init__(self, folder: Path | None = None, out: Path | None = None, run: str = "") -> None:
        self.folder, self.out = folder, str(out.absolute()) if out else ""
        self.run = run  # else known once the model is open
        self.entries: dict[str, Values] = {}
        self._about: Kept | None = None
        self._seconds: dict[str, float] = {}
        self._lap = time.monotonic()
        self._next = 0.0

    def at(self, name: str) -> Place:
        """The place of a part; its name begins with the phase that its time counts to."""
        return Place(self, name)

    def summary(self) -> str:
        """What is kept, but for the arrays."""
        return json.dumps(_facts(self.entries), sort_keys=True)

    def lap(self, phase: str) -> None:
        """Count the time since the last lap to a phase."""
        now = time.monotonic()
        self._seconds[phase], self._lap = self._seconds.get(phase, 0.0) + now - self._lap, now

    def seconds(self) -> dict[str, float]:
        """Spent in each phase, before an interruption too, and in total."""
        spent = {phase: round(seconds, 3) for phase, seconds in self._seconds.items()}
        return {**spent, "total": round(sum(self._seconds.values()), 3)}

    @contextmanager
    def opened(self, run: str, config: DiscoveryConfig | None, of: Mapping[str, str]) -> Iterator[str]:
        """Work on a run; gives what there is to say of it: that it goes on from its state, or that none can be kept.

        Args:
            config: of a whole run; None: something is added to one.

        Raises:
            UnfinishedError: if another process works on the run, or its state is of something else.
        """
        if self.run not in ("", run):
            raise UnfinishedError(say("runs.other", run=self.run, what="model"))
        self.run = run
        if self.folder is None:
            yield ""
            return
        with ExitStack() as held:
            try:
                held.enter_context(self._alone(self.folder))
                said = self._begin(self.folder, config, of)
            except DiskError as error:
                said = say("runs.unkept", why=error)
            yield said

    def _alone(self, folder: Path) -> AbstractContextManager[None]:
        return _claimed(folder, self.run)

    def _begin(self, folder: Path, config: DiscoveryConfig | None, of: Mapping[str, str]) -> str:
        _forget_old(folder)
        begun = Kept(self.run, "preparing its prompts", "", self.out, of, {})
        if config is not None:
            begun = Interrupted(**vars(begun), config=config)
        known = kept(folder, self.run)
        if known is None and config is not None:  # what is added may be refused yet
            self._write(begun)
        elif known is not None:
            for what, value in of.items():
                if known.of.get(what) != value:
                    raise UnfinishedError(say("runs.other", run=self.run, what=what))
            self.entries = _entries(_file(folder, self.run))
            for phase, seconds in known.seconds.items():
                self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds
        self._about = begun
        return say("runs.resumed", told=known.told) if known else ""

    def write(self, phase: str, told: str) -> None:
        """Write everything that is known. A disk that is full meanwhile is no reason to stop."""
        if self._about is not None:
            self.lap(phase)
            with suppress(DiskError):
                self._write(replace(self._about, told=told, seconds={**self._seconds}))

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return self._about is not None and time.monotonic() >= self._next

    def _write(self, about: Kept) -> None:
        from safetensors.numpy import save

        assert self.folder is not None
        started = time.monotonic()
        arrays, facts = dict[str, np.ndarray](), _facts(self.entries)
        for place, values in self.entries.items():
            arrays |= {f"{place}/{name}": values[name] for name in values.keys() - facts[place]}
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        text = json.dumps({**asdict(replace(about, written=now)), "version": VERSION, "facts": facts})
        with replacing(_file(self.folder, about.run)) as file:
            file.write(save({name: np.asarray(array, order="C") for name, array in arrays.items()}, {"hap": text}))
        took = time.monotonic() - started
        self._next = started + took + max(EVERY, min(LONGEST, took / SHARE))


class Following(Unfinished):
    """The state of a run that another process writes: this one goes on from it, and writes nothing."""

    def _begin(self, folder: Path, config: DiscoveryConfig | None, of: Mapping[str, str]) -> str:
        known = interrupted(folder, self.run)
        self.entries = _entries(_file(folder, self.run)) if known else {}
        return say("runs.resumed", told=known.told) if known else ""

    def _alone(self, folder: Path) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass(frozen=True)
class Place:
    """Where one part of a run keeps its state: arrays, and what JSON can hold."""

    store: Unfinished
    name: str

    def at(self, name: str) -> Place:
        """The place of a part of this one."""
        return Place(self.store, f"{self.name}/{name}")

    def found(self) -> dict[str, Any]:
        """What was put here before; empty at first."""
        return {**self.store.entries.get(self.name, {})}

    def offer(self, told: str, state: Callable[[], Values]) -> None:
        """Put here how far the part is, if it is time to write; `told` as in `Interrupted`."""
        if self.store.due:
            self.keep(**state())
            self.store.write(self.name.partition("/")[0], told)

    def keep(self, **values: Any) -> None:
        """Put here what came out of the part; it is written with the next state."""
        if self.store.folder is not None:
            self.store.entries[self.name] = values

    def conclude(self, **values: Any) -> None:
        """Put here what came out of the part, in place of all that its own parts kept on the way."""
        for name in [name for name in self.store.entries if name.startswith(f"{self.name}/")]:
            del self.store.entries[name]
        self.keep(**values)


NOWHERE = Place(Unfinished(), "")


def interrupted(folder: Path, run: str) -> Interrupted | None:
    """What the state of a whole run says; as `kept`."""
    found = kept(folder, run)
    return found if isinstance(found, Interrupted) else None


def kept(folder: Path, run: str) -> Kept | None:
    """What a state says; None without one that can be read. Raises UnfinishedError for a newer one."""
    path = _file(folder, run)
    try:
        if not ID.fullmatch(run):
            return None
        return _kept(path, path.stat().st_mtime_ns)
    except OSError:
        return None


def every_interrupted(folder: Path) -> list[Interrupted]:
    """The runs that nobody works on and that can go on, the last one first."""
    found = []
    for path in _by_age(folder):
        with suppress(UnfinishedError):
            if (one := interrupted(folder, path.stem)) and not worked_on(folder, path.stem):
                found.append(one)
    return found


def worked_on(folder: Path, run: str) -> bool:
    """Whether a process works on a run."""
    with suppress(OSError), _lock(folder, run).open("rb") as file:
        return not hold(file)
    return False


def forget(folder: Path, run: str) -> None:
    """Remove the state of a run: it is saved, or nobody wants it. Raises UnfinishedError if a process works on it."""
    if ID.fullmatch(run) and _file(folder, run).exists():
        with _claimed(folder, run):
            _file(folder, run).unlink(missing_ok=True)


def _file(folder: Path, run: str) -> Path:
    return folder / f"{run}.state"


def _lock(folder: Path, run: str) -> Path:
    return folder / f"{run}.lock"


def _by_age(folder: Path) -> list[Path]:
    """All states, the last one first."""
    dated = []
    for path in folder.glob("*.state"):
        with suppress(OSError):
            dated.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(dated, reverse=True)]


def _forget_old(folder: Path) -> None:
    for path in _by_age(folder)[MOST:]:
        with suppress(UnfinishedError, OSError):
            forget(folder, path.stem)


@contextmanager
def _claimed(folder: Path, run: str) -> Iterator[None]:
    with claimed(_lock(folder, run), WAIT) as alone:
        if not alone:
            raise UnfinishedError(say("runs.elsewhere", run=run))
        yield


@lru_cache(maxsize=2 * MOST)
def _kept(path: Path, modified: int) -> Kept | None:
    from safetensors import SafetensorError, safe_open

    try:
        if path.stat().st_size > LARGEST:
            return None
        with safe_open(path, "numpy") as file:
            about = json.loads(file.metadata()["hap"])
        version = int(about.pop("version"))
        if version > VERSION:
            raise UnfinishedError(say("runs.newer", run=path.stem, version=version, known=VERSION))
        del about["facts"]
        if "config" not in about:
            return Kept(**about)
        return Interrupted(**about | {"config": _config(about["config"])})
    except (SafetensorError, TypeError, ValueError, KeyError, AttributeError):
        return None  # damaged: the run starts anew


def _entries(path: Path) -> dict[str, Values]:
    """All that the places held."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        entries: dict[str, dict[str, Any]] = json.loads(file.metadata()["hap"])["facts"]
        for name in file.keys():  # noqa: SIM118 it is no mapping
            place, _, item = name.rpartition("/")
            entries[place][item] = np.array(file.get_tensor(name))
    return dict(entries)


def _facts(entries: Mapping[str, Values]) -> dict[str, dict[str, Any]]:
    """What is no array."""
    return {
        place: {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
        for place, values in entries.items()
    }


def _config(data: Mapping[str, Any]) -> DiscoveryConfig:
    """The settings that `asdict` took apart."""
    start = data["start"]
    if start:
        edges = tuple((writer, reader) for writer, reader in start["edges"])
        start = EarlierRun(**start | {"edges": edges, "gates": tuple(start["gates"])})
    prompts = tuple(
        PromptPair(
            **{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
            | {"marks": {role: tuple(mark) for role, mark in row["marks"].items()}}
        )
        for row in data["prompts"]
    )
    parts = {"pruning": PruningConfig(**data["pruning"]), "sizes": SplitSizes(**data["sizes"])}
    spans = SpanFile.from_dict(data["spans"]) if data.get("spans") else None
    return DiscoveryConfig(**{**data, **parts, "start": start, "prompts": prompts, "spans": spans})

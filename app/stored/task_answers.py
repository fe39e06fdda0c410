"""Which tasks can a model do? Remembered under ``HAP_HOME``, so that the list of tasks can say it (no Streamlit).

An answer comes from every run (which asks first) and from `trying`, which asks about all tasks at once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.stored import json_files
from hap_engine.errors import DiskError
from hap_engine.files import short_hash
from hap_engine.models.catalog import Source
from hap_engine.progress import Progress
from hap_engine.tasks.builtin import ready

FILE = "tasks.json"
REMEMBERED = 50  # models; older answers are forgotten

Answers = dict[str, dict[str, Any]]  # by task: `ask_model.TaskCheck.to_dict`, or what went wrong


def known(source: Source) -> Answers:
    """What was found for these weights before, by the name of the task."""
    answers = _read().get(_identity(source))
    return dict(answers) if isinstance(answers, dict) else {}


def remember(source: Source, answers: Mapping[str, Any]) -> None:
    """Keep answers for these weights. A disk that cannot be written to is no obstacle."""
    identity = _identity(source)
    if not identity:
        return
    everything = _read()
    latest = {identity: {**everything.pop(identity, {}), **answers}}
    with suppress(DiskError):
        json_files.write(dict(list({**latest, **everything}.items())[:REMEMBERED]), FILE)


def usable(answer: Mapping[str, Any]) -> bool:
    """Whether a circuit of this task would mean something."""
    return bool(answer.get("solved")) and bool(answer.get("broken"))


def trying(source: Source) -> Generator[Progress, None, Answers]:
    """Ask the model about every task, a few prompts each."""
    yield Progress("load", 0, 1, "Loading PyTorch and TransformerLens")
    from hap_engine.workflows.ask_model import ask_tasks

    model, answers = yield from ask_tasks(source.reference, ready())
    remember(model.source, answers)
    return answers


def _identity(source: Source) -> str:
    """Names the weights without reading them: a Hub commit, or sizes and times of the files."""
    if source.path is None:
        return ""
    if source.commit:
        return f"{source.name}@{source.commit}"
    parts = ("*.safetensors", "*.json")  # with another tokenizer the answers are others
    files = (
        [source.path] if source.path.is_file() else sorted(file for part in parts for file in source.path.glob(part))
    )
    return short_hash([[file.name, *_stamp(file)] for file in files])


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _read() -> dict[str, Any]:
    data = json_files.read(FILE)
    return data if isinstance(data, dict) else {}

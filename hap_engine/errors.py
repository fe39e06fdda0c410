"""The error tree: every message says what was expected, what came, and the remedy.

    HapError                 anything a user can cause and mend
    ├── SettingsError        a setting is out of its range
    ├── UnknownNameError     no such task, model, head or edge (with the nearest names)
    ├── ModelError           a model cannot be opened
    │   └── UnsupportedModelError   it opens, but the masked forward does not reproduce it
    ├── TaskError            prompts that cannot be used (lengths, answers, too few)
    ├── OutOfMemoryError     the device cannot hold what the run needs
    ├── DiskError            a file that cannot be written: no permission, read-only, full
    ├── RunFileError         a run file that is malformed, too large or too new
    └── UnfinishedError      an interrupted run that cannot go on: of something else, or worked on elsewhere

The app and the terminal print ``str(error)`` and nothing else. Any other error is a bug of ours: see `crash_report`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HapError(Exception):
    """Base of every error that is shown to a user as one plain message."""


class SettingsError(HapError):
    """A setting lies outside its range."""


class UnknownNameError(HapError):
    """A name (task, model, head, edge) that does not exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = list(known)
        lowered = {candidate.lower(): candidate for candidate in known}
        near = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.5)
        message = f"There is no {kind} named {name!r}."
        if near:
            message += f" Did you mean {lowered[near[0]]!r}?"
        listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
        message += f" Known: {listed or 'none'}."
        super().__init__(f"{message} {hint}".strip())


class ModelError(HapError):
    """A model that cannot be opened."""


class UnsupportedModelError(ModelError):
    """A model whose computation is not the sum of its heads and MLPs."""


class TaskError(HapError):
    """Prompts that the engine cannot use."""


class OutOfMemoryError(HapError):
    """The device ran out of memory."""


class DiskError(HapError):
    """A file that cannot be written."""


class RunFileError(HapError):
    """A run file that cannot be read."""


class UnfinishedError(HapError):
    """An interrupted run that cannot go on."""

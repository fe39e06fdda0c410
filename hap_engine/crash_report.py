"""The net under every entry point: an error that nobody foresaw becomes one sentence and a file to send with a report.

The file holds versions, what was being done and the traceback; it stays on this machine. Quoted texts of several
words in an error's message may be somebody's prompts: they are left out unless ``HAP_REPORT_TEXTS=1`` allows them.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hap_engine.errors import DiskError, HapError
from hap_engine.files import FULL, disk_problem, home, write_text
from hap_engine.version import __version__

EXIT_CODE = 70  # of the terminal: an error inside the program (EX_SOFTWARE of sysexits.h)
ALLOW_TEXTS = "HAP_REPORT_TEXTS"
PACKAGES = ("torch", "transformers", "transformer_lens", "tokenizers", "safetensors", "numpy", "streamlit", "plotly")
QUOTED = re.compile(r"""(["'])[^"'\n]*\s[^"'\n]*\1""")  # more than one word between quotes
REFUSED = (*FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)  # the machine's doing, not the program's


def foreseen(error: BaseException) -> bool:
    """Whether the user can mend it: `explain` then needs no report."""
    return isinstance(error, HapError) or (isinstance(error, OSError) and error.errno in REFUSED)


def explain(error: BaseException, doing: str) -> str:
    """What to tell a user of any error: its own message or, where nobody foresaw it, what came and where the report is.

    Args:
        doing: the command or the page, for the report.
    """
    if foreseen(error):
        return disk_problem(error) if isinstance(error, OSError) else str(error)
    told = f"Something went wrong that this program did not foresee ({_last_line(error)})."
    try:
        path = write_report(error, doing)
    except DiskError:
        return f"{told} No report could be written: please send this line and what you did."
    return f"{told} Please report it with the file {path}, which says where it happened."


def write_report(error: BaseException, doing: str) -> Path:
    """Write a report under ``HAP_HOME/reports``; where the disk refuses, into the folder for temporary files."""
    now = datetime.now(UTC)
    name, text = f"{now:%Y-%m-%d-%H%M%S-%f}.txt", report(error, f"{now:%Y-%m-%d %H:%M} UTC, {doing}")
    with suppress(DiskError):
        return write_text(home() / "reports" / name, text)
    return write_text(Path(tempfile.gettempdir()) / f"hap-explorer-{name}", text)


def report(error: BaseException, doing: str) -> str:
    """The report's text: versions, what was being done, and the traceback, the first cause first."""
    head = [
        f"HAP Explorer {__version__}, Python {platform.python_version()}, {platform.platform()}",
        ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        doing,
    ]
    allowed = os.environ.get(ALLOW_TEXTS) == "1"
    texts = []
    for cause in reversed([*_causes(error)]):
        last = _last_line(cause) if allowed else QUOTED.sub("“…”", _last_line(cause))
        texts.append("".join(traceback.format_tb(cause.__traceback__)) + last)
    return "\n\n".join(["\n".join(head), *texts]) + "\n"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _last_line(error: BaseException) -> str:
    """Kind and first line of the message."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"

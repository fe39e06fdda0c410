"""How far long work is: a live bar for each phase, which tqdm draws in notebooks and on terminals alike."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable, Generator
from typing import Any, Self, TypeVar

from hap_engine.progress import Progress, drain

T = TypeVar("T")
LOOK = "{desc:9}{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


def follow(work: Generator[Progress, None, T], watch: Callable[[Progress], object] | None = None) -> T:
    """Run long work to its end; without `watch`, with a live bar where somebody sees it."""
    if watch is not None or not (sys.stderr.isatty() or in_notebook()):
        return drain(work, watch)
    with LiveBar() as bar:
        return drain(work, bar.show)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config


def detail(record: Progress) -> str:
    """What is said beside the count of a record's steps."""
    if "kl" in record.data:
        return f"KL {record.data['kl']:.3f} with {record.data['expected']:,.0f} gates open"
    return "" if said(record) else record.message


def said(record: Progress) -> str:
    """What is said once and stays: from where a run goes on; of a check of its prompts the tokens that are compared,
    whether the model can do it, doubts, and at which spans edges act."""
    check = record.data.get("check", {}) | record.data
    return "\n".join(check[key] for key in ("resumed", "scored", "sentence", "doubts", "spans") if check.get(key))


class LiveBar:
    """One bar after the other, each left standing when its phase is over or the work is interrupted."""

    def __enter__(self) -> Self:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a notebook without ipywidgets has its bar as text
            from tqdm.auto import tqdm
        self._bar: Callable[..., Any] = tqdm
        self.phase, self.shown = "", tqdm(disable=True)
        return self

    def show(self, record: Progress) -> None:
        """Draw a record."""
        if record.phase != self.phase:
            self._end()
            self.phase = record.phase
            self.shown = self._bar(
                desc=record.phase,
                total=record.total,
                bar_format=LOOK,
                file=sys.stderr,
                mininterval=0,  # records are rare: each is drawn
                miniters=0,
                **_size(),
            )
        elif record.total != self.shown.total:
            self.shown.reset(record.total)
        self.shown.set_postfix_str(detail(record), refresh=False)
        self.shown.update(record.step - self.shown.n)
        if text := said(record):  # it may spare a run
            self.shown.write(text, file=sys.stderr if sys.stderr.isatty() else sys.stdout)

    def _end(self) -> None:
        """Work may need fewer steps than it told (pruning stops early): no failure, which a notebook shows red."""
        self.shown.n = self.shown.total = self.shown.n or self.shown.total
        self.shown.close()

    def __exit__(self, failed: object, *_: object) -> None:
        self.shown.close() if failed else self._end()


def _size() -> dict[str, int]:
    """Of the terminal: a line that wraps could not be rewritten. A notebook's bar is as wide as the notebook."""
    if not sys.stderr.isatty():
        return {}
    columns, lines = shutil.get_terminal_size()  # 80 by 24 where a terminal does not tell
    return {"ncols": columns - 1, "nrows": lines}

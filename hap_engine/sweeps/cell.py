"""One cell of a sweep, computed wherever it lands: a worker keeps the model that it opened last."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from hap_engine.crash_report import explain
from hap_engine.errors import SettingsError
from hap_engine.files import PROGRAM, short_hash
from hap_engine.models.catalog import identity, resolve
from hap_engine.progress import drain
from hap_engine.runs.run_file import dumps
from hap_engine.runs.unfinished import Unfinished, forget
from hap_engine.settings import run_id
from hap_engine.sweeps.study import Cell
from hap_engine.words import say


def compute(cell: Cell, folder: Path | None = None) -> str:
    """The run file of a cell, as text.

    Args:
        folder: where its state is kept meanwhile, from which it goes on after an interruption; None: nowhere.

    Raises:
        HapError: if the cell cannot be computed, or this machine has other weights than the sweep was planned with.
    """
    from hap_engine.workflows.discover import discover

    source = resolve(cell.config.model)
    if run_id(cell.config, identity(source) or "") != cell.id:
        raise SettingsError(say("sweeps.other_weights", model=cell.config.model))
    run = drain(discover(cell.config, _opened(cell.config.model, cell.config.device), Unfinished(folder)))
    text = dumps(run)
    if folder is not None:
        forget(folder, run.id)
    return text


def attempt(cell: Cell, folder: Path | None = None) -> tuple[str, str]:
    """`compute`, whose failure is a sentence: the text of the run file and "", or "" and what went wrong."""
    try:
        return compute(cell, folder), ""
    except Exception as error:  # one net for whatever a cell meets: the others go on
        return "", explain(error, f"hap sweep, cell {cell.id}")


def program() -> str:
    """A hash of the engine's code: machines that compute one sweep must have the same."""
    files = sorted((PROGRAM / "hap_engine").rglob("*.py"))
    return short_hash([[str(path.relative_to(PROGRAM)), path.read_text(encoding="utf-8")] for path in files])


@lru_cache(maxsize=1)
def _opened(model: str, device: str):  # type: ignore[no-untyped-def]  # a Model; naming it would import torch here
    from hap_engine.transformer.load import load_model

    return load_model(model, device=device)

"""Where on this machine are the weights that a run was computed with? (no torch, no network)

A run names its model and carries the hash of its weights, never a path. `locate` finds weights of
that hash: the bundled model, the Hub's local cache, the converted copy of a ``.gguf`` file, or a path
that the user gives. Other weights under the same name are refused: live numbers would not be those
of the run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hap_engine.errors import ModelError
from hap_engine.models.catalog import Source, reading_sha256, resolve, weights_sha256
from hap_engine.models.gguf_cache import converted
from hap_engine.words import say

HASH = re.compile(r"[0-9a-f]{64}")  # SHA-256; anything else in a run file is no hash, and might be a path


def locate(model: Mapping[str, Any], given: str = "") -> Source:
    """The weights of a run's ``model`` section.

    Args:
        given: a path or Hub name that the user typed, tried instead of the run's own reference.

    Raises:
        ModelError: saying what is missing and how to mend it.
    """
    wanted, kind = str(model.get("sha256", "")), model.get("source")
    name = str(model.get("name", "the model"))
    if not HASH.fullmatch(wanted):
        raise ModelError(say("models.no_hash", name=name))
    if given:
        return _checked(resolve(given), model)
    if kind == "gguf":
        folder = converted(wanted)
        if folder is not None:
            return Source(str(folder), "folder", name, folder)
    elif kind in ("bundled", "hub"):
        source = resolve(str(model.get("reference", "")))
        if source.path is not None:
            return _checked(source, model)
    what = {
        "gguf": "the path of its .gguf file",
        "folder": "the path of its folder",
        "hub": "its Hub name on the left and start a run, which downloads it,",
    }.get(str(kind), "the path of a copy")
    raise ModelError(f"The weights of {name} are not on this machine. Give {what} to compute live.")


def identity_of(model: Mapping[str, Any]) -> str:
    """What a run's ``model`` section says of its model's `hap_engine.models.catalog.identity`."""
    return f"{model.get('sha256', '')} {model.get('reading', '')}".rstrip()


def _checked(source: Source, model: Mapping[str, Any]) -> Source:
    wanted, name = str(model["sha256"]), str(model.get("name", "the model"))
    if source.path is None:
        raise ModelError(say("models.not_here", source=source))
    try:
        found = weights_sha256(source)
    except OSError as error:
        raise ModelError(f"{source.name} cannot be read: {error.strerror}. Check it.") from None
    if found != wanted:
        raise ModelError(
            say("models.other_weights", wanted=wanted[:12], name=name, source=source, found=(found or "none")[:12])
        )
    if model.get("reading", "") not in ("", reading_sha256(source)):
        raise ModelError(say("models.other_reading", name=name, source=source))
    return source

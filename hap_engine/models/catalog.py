"""Where a model comes from, told without opening it (no torch, no network).

A reference is what a user types: the name of a bundled model, the path of a ``.gguf`` file, the path
of a ``save_pretrained`` folder, or a name on the Hugging Face Hub. `resolve` says which it is.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hap_engine.errors import ModelError, UnknownNameError
from hap_engine.files import assets, file_sha256, files_sha256, short_hash
from hap_engine.graph.graph import Graph
from hap_engine.models import hub
from hap_engine.models.gguf_cache import converted
from hap_engine.models.gguf_header import header, pieces
from hap_engine.models.supported import graph_of_config, read_config
from hap_engine.words import say

BUNDLED = {"hap-mini": assets() / "models" / "hap-mini"}
NOTES = ("_name_or_path", "transformers_version")  # of a config; nothing is computed with them
OLD_TOKENIZERS = ("tokenizer*", "vocab*", "merges*", "*.model", "*tokens*.json")  # without a tokenizer.json


@dataclass(frozen=True)
class HubModel:
    """A model that the page offers by name.

    `config` holds the sizes of its ``config.json``, so that a run can be estimated before the
    download of `gigabytes`. `licence` must be accepted on the Hub before; of `tasks` that it is known to do, where
    that was measured.
    """

    text: str
    gigabytes: float
    config: Mapping[str, Any]
    licence: str = ""  # none must be accepted
    tasks: Mapping[str, str] = field(default_factory=dict)  # not measured


HUB_MODELS = {
    name: HubModel(**told)
    for name, told in tomllib.loads(Path(__file__).with_name("offered.toml").read_text(encoding="utf-8")).items()
}


@dataclass(frozen=True)
class Source:
    """A resolved reference: `kind` is ``bundled``, ``gguf``, ``folder`` or ``hub``.

    `path` is the file or folder on this machine, None for a Hub model that is not downloaded.
    `revision` is the branch, tag or commit asked for (``owner/name@revision``), if any.
    """

    reference: str
    kind: str
    name: str
    path: Path | None
    revision: str | None = None

    @property
    def commit(self) -> str | None:
        """The Hub commit of the weights on this machine."""
        return self.path.name if self.kind == "hub" and self.path else None

    @property
    def weights(self) -> list[Path]:
        """The files with the weights, as far as they are on this machine; of a split ``.gguf`` all pieces."""
        if self.path is None:
            return []
        found = pieces(self.path) if self.kind == "gguf" else sorted(self.path.glob("*.safetensors"))
        return [path for path in found if path.is_file()]  # a pipe would be waited for


def resolve(reference: str) -> Source:
    """Tell what `reference` names; looks at names, the disk and the Hub's local cache only.

    Raises:
        ModelError: if a path does not exist or is of no kind that can be opened.
        UnknownNameError: if it is neither a path nor a possible Hub name.
    """
    reference = reference.strip()
    if reference in BUNDLED:
        return Source(reference, "bundled", reference, BUNDLED[reference])
    if not reference:
        raise ModelError("Expected a model's name or path, got nothing. Try hap-mini.")
    try:
        path = Path(reference).expanduser()
        path.is_dir()
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a zero byte
        raise ModelError(f"There is no file or folder {reference[:200]!r}. Check the path.") from None
    if path.is_dir():
        return Source(reference, "folder", path.resolve().name, path.resolve())
    if path.is_file():
        if path.suffix == ".gguf":
            return _gguf(reference, path.absolute())
        raise ModelError(say("models.no_kind", path=path))
    if path.suffix == ".gguf" or reference.startswith((".", "/", "~")) or os.sep * 2 in reference:
        raise ModelError(f"There is no file or folder {reference}. Check the path.")
    name, at, revision = reference.partition("@")
    sound = re.fullmatch(r"[\w.-]+(/[\w.-]+)*", revision) and ".." not in revision
    if (name in HUB_MODELS or re.fullmatch(r"[\w.-]+/[\w.-]+", name)) and (sound or not at):
        return Source(reference, "hub", name, hub.cached(name, revision or None), revision or None)
    raise UnknownNameError(
        "model",
        reference,
        [*BUNDLED, *HUB_MODELS],
        "Other Hub models need their owner (owner/name, or owner/name@revision); a file or folder needs its path.",
    )


def _gguf(reference: str, path: Path) -> Source:
    files = pieces(path)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelError(say("models.pieces", path=path, files=len(files), missing=", no ".join(missing)))
    return Source(reference, "gguf", files[0].name, files[0])


def config_of(source: Source) -> Mapping[str, Any] | None:
    """A model's ``config.json``, or what stands for it before a download or a conversion.

    For offered Hub models the sizes are known, and a ``.gguf`` file has them in its header.
    """
    folder = source.path
    if source.kind == "gguf" and source.path is not None:
        folder = converted(files_sha256(source.weights))
        if folder is None:
            return header(source.path)
    with suppress(OSError, ValueError):
        if folder:
            return read_config(folder)
    known = HUB_MODELS.get(source.name) if source.kind == "hub" else None
    return known.config if known else None


def graph_of(source: Source) -> Graph | None:
    """The graph of a model by its ``config.json``; None while that is not on this machine."""
    return graph_of_config(config_of(source) or {})


def weights_sha256(source: Source) -> str | None:
    """Hash of the files that hold the weights; None while they are not on this machine."""
    return files_sha256(source.weights) if source.weights else None


def reading_sha256(source: Source) -> str:
    """Hash of config and tokenizer where they are files of their own: with others, equal weights give other numbers.

    Empty for a bundled model and a ``.gguf`` file, whose weights come with theirs, and for a Hub model that is offered
    by name: its runs keep their ids.
    """
    if source.kind not in ("folder", "hub") or source.path is None or source.reference in HUB_MODELS:
        return ""
    words = [source.path / "tokenizer.json"]
    if not words[0].is_file():
        words = sorted(path for name in OLD_TOKENIZERS for path in source.path.glob(name) if path.is_file())
    config = {key: value for key, value in (config_of(source) or {}).items() if key not in NOTES}
    return short_hash([config, [[path.name, file_sha256(path)] for path in words]])


def identity(source: Source) -> str | None:
    """What a run's id knows a model by: equal ones compute equal numbers. None while it is not on this machine."""
    weights = weights_sha256(source)
    return f"{weights} {reading_sha256(source)}".rstrip() if weights else None


def tokenizer_file(source: Source) -> Path | None:
    """The model's ``tokenizer.json`` if it is on this machine already, else None."""
    folder = converted(files_sha256(source.weights)) if source.kind == "gguf" else source.path
    candidate = folder / "tokenizer.json" if folder else None
    return candidate if candidate and candidate.is_file() else None

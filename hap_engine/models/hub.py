"""The Hugging Face Hub: what is in its cache on this machine, and downloads that can be stopped.

Looking into the cache reads names only (no import of the Hub's library, no network). `download`
fetches a model's config, safetensors and tokenizer, and nothing that could run code: no pickle, no
Python file. It writes the cache's own layout, so that other programs find the model too. A part of
a file that an earlier download left is continued, and every file's size and hash are checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hap_engine.errors import ModelError
from hap_engine.models.supported import check_config

# All but the weights that a model needs.
SMALL_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "special_tokens_map.json",
)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")
CHUNK = 1 << 20  # bytes between two looks at whether to stop
TIMEOUT = 15  # seconds without an answer

Report = Callable[[str, float], None]  # (what is going on, share done)


class DownloadStoppedError(ModelError):
    """Somebody cancelled the download; what came so far is kept."""


def cache_folder() -> Path:
    """The Hub's cache, found as its own library finds it."""
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if chosen:
        return Path(os.path.expandvars(chosen)).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(base, "huggingface")
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def cached(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model in the cache if its config and weights are complete, else None."""
    home = _home(name)
    try:
        commit = (home / "refs" / (revision or "main")).read_text().strip()
    except OSError:
        commit = revision or ""
    folder = home / "snapshots" / commit
    complete = commit and (folder / "config.json").is_file() and not missing_weights(folder)
    return folder if complete else None


def missing_weights(folder: Path) -> list[str]:
    """Names of the weight files that transformers would look for in a folder and not find."""
    if (folder / "model.safetensors").is_file():
        return []
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        return sorted(shard for shard in set(index["weight_map"].values()) if not (folder / shard).is_file())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ["model.safetensors"]


def cached_models() -> list[str]:
    """Names of the language models in the cache that can be opened offline, by name."""
    found = []
    for home in sorted(cache_folder().glob("models--*")):
        name = home.name.removeprefix("models--").replace("--", "/")
        folder = cached(name)
        if folder is None:
            continue
        try:
            architectures = json.loads((folder / "config.json").read_text()).get("architectures")
        except (OSError, ValueError, AttributeError):
            continue
        if any(re.search(r"ForCausalLM|LMHeadModel", str(kind)) for kind in architectures or ()):
            found.append(name)
    return found


def _home(name: str) -> Path:
    return cache_folder() / f"models--{name.replace('/', '--')}"


def download(
    name: str,
    revision: str | None = None,
    progress: Report = lambda message, share: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Path:
    """Fetch a model into the cache and return its folder.

    Args:
        revision: a branch, tag or commit; None for the repository's main branch.
        stopped: asked after every piece; True ends the download, keeping what came so far.

    Raises:
        ModelError: offline, unknown, gated, only pickle weights, no room on the disk, damaged.
        DownloadStoppedError: `stopped` said so.
    """
    progress(f"Asking the Hugging Face Hub for {name}", 0.0)
    commit, sizes, hashes = _listing(name, revision)
    weights = _weights(name, list(sizes))
    wanted = [file for file in SMALL_FILES if file in sizes] + weights
    folder = _home(name) / "snapshots" / commit
    total = sum(sizes[file] for file in wanted)
    _check_room(name, folder, total)
    done = 0
    for file in wanted:

        def tell(got: int, before: int = done) -> None:
            share = (before + got) / max(1, total)
            text = f"Downloading {name}: {(before + got) / 1e6:,.0f} of {total / 1e6:,.0f} MB"
            progress(text, min(1.0, share))

        _fetch(name, commit, file, folder / file, (sizes[file], hashes.get(file)), tell, stopped)
        if file == "config.json":  # before the weights: they may be large
            config = json.loads((folder / file).read_text())
            check_config(config, name, _known_to_transformers(config))
        done += sizes[file]
    reference = _home(name) / "refs" / (revision or "main")
    if revision != commit:
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)  # last: a half download has no name
    return folder


def _listing(name: str, revision: str | None) -> tuple[str, dict[str, int], dict[str, str]]:
    """Commit, size of every file, and SHA-256 of the large ones."""
    from huggingface_hub import HfApi

    try:
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
        info = api.model_info(name, revision=revision, files_metadata=True, timeout=TIMEOUT)
    except Exception as error:  # HTTP libraries and the Hub's own errors share no base class
        raise ModelError(_explain(name, revision, error)) from error
    if not re.fullmatch(r"\w+", str(info.sha)):
        raise ModelError(f"The Hub answered with no commit for {name}. Try again later.")
    files = info.siblings or []
    sizes = {file.rfilename: int(file.size or 0) for file in files}
    hashes = {file.rfilename: file.lfs.sha256 for file in files if file.lfs}
    return str(info.sha), sizes, hashes


def _explain(name: str, revision: str | None, error: Exception) -> str:
    kind = type(error).__name__
    if kind == "RepositoryNotFoundError":
        return (
            f"The Hugging Face Hub has no public model named {name!r}. Check the spelling "
            "(owner/name); for a private model log in with `hf auth login`."
        )
    if kind == "RevisionNotFoundError":
        return f"{name} has no revision {revision!r}. Name a branch, a tag or a commit of it."
    if kind == "GatedRepoError":
        return (
            f"{name} asks you to accept its licence first. Accept it on its page of the Hub, then "
            "log in on this machine with `hf auth login`."
        )
    return (
        f"{name} is not on this machine and could not be downloaded from the Hugging Face Hub "
        f"({kind}). Check the connection and try again: a download goes on where it stopped. "
        "Offline, hap-mini, a folder or a .gguf file can be opened."
    )


def _weights(name: str, files: Sequence[str]) -> list[str]:
    """The safetensors files that transformers would open."""
    if "model.safetensors" in files:
        return ["model.safetensors"]
    shards = sorted(f for f in files if re.fullmatch(r"model-\d+-of-\d+\.safetensors", f))
    index = "model.safetensors.index.json"
    if shards and index in files:
        return [index, *shards]
    pickled = next((file for file in files if file.endswith(PICKLES)), None)
    if pickled:
        raise ModelError(
            f"{name} has only pickle weights ({pickled}), which can run code when they are opened. "
            "They are never loaded. Choose a model with model.safetensors."
        )
    raise ModelError(
        f"Expected config.json and model.safetensors in {name}, found no weights of that kind. "
        "Choose a model that transformers can open, or a .gguf file on this machine."
    )


def _check_room(name: str, folder: Path, total: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    there = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    free = shutil.disk_usage(folder).free
    if total - there > free:
        raise ModelError(
            f"{name} needs {(total - there) / 1e9:.1f} GB and the disk with the Hub's cache has "
            f"{free / 1e9:.1f} GB free. Make room, or set HF_HOME to a folder on another disk."
        )


def _fetch(
    name: str,
    commit: str,
    file: str,
    target: Path,
    expected: tuple[int, str | None],
    tell: Callable[[int], None],
    stopped: Callable[[], bool],
) -> None:
    size, sha256 = expected
    if target.is_file() and target.stat().st_size == size:
        tell(size)
        return
    part = target.with_name(target.name + ".part")
    try:
        _receive(name, commit, file, part, size, tell, stopped)
    except DownloadStoppedError:
        raise
    except Exception as error:  # see _listing
        raise ModelError(_explain(name, commit, error)) from error
    got = part.stat().st_size
    if got != size or (sha256 and _sha256(part) != sha256):
        part.unlink()
        raise ModelError(f"{file} of {name} arrived damaged ({got:,} of {size:,} bytes). Start the download again.")
    part.replace(target)


def _receive(
    name: str, commit: str, file: str, part: Path, size: int, tell: Callable[[int], None], stopped: Callable[[], bool]
) -> None:
    """Append what is missing to `part`."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    got = part.stat().st_size if part.is_file() else 0
    if got >= size:
        part.unlink(missing_ok=True)
        got = 0
    url = hf_hub_url(name, file, revision=commit, endpoint=os.environ.get("HF_ENDPOINT") or None)
    # Unpacked on the way, the bytes would not be those whose size and hash are known.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if got:
        headers["Range"] = f"bytes={got}-"
    with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT) as answer:
        answer.raise_for_status()
        if answer.status_code != 206:  # the server sends the whole file
            got = 0
        with part.open("ab" if got else "wb") as out:
            for chunk in answer.iter_bytes(CHUNK):
                if stopped():
                    raise DownloadStoppedError(f"The download of {name} was stopped.")
                out.write(chunk)
                got += len(chunk)
                tell(got)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _known_to_transformers(config: Mapping[str, Any]) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return config.get("model_type") in CONFIG_MAPPING_NAMES

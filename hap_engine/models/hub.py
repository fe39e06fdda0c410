"""The Hugging Face Hub: what is in its cache on this machine, and downloads (models, data sets) that can be stopped.

Looking into the cache reads names only (no import of the Hub's library, no network). `download`
fetches a model's config, safetensors and tokenizer through the Hub's library, and nothing that could run
code: no pickle, no Python file. A part of the weights that an earlier download left is continued, and
their size and hash are checked.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hap_engine.errors import ModelError
from hap_engine.files import MAX_CONFIG, read_json
from hap_engine.models.supported import check_config, read_config
from hap_engine.progress import Report
from hap_engine.tasks.task import SPLITS, HubData
from hap_engine.words import say

# All but the weights that a model needs.
SMALL_FILES = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt"),
    *("merges.txt", "special_tokens_map.json"),
)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")
TIMEOUT = 15  # seconds without an answer


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
    pieces = _pieces(folder)
    return ["model.safetensors"] if pieces is None else [piece for piece in pieces if not (folder / piece).is_file()]


def pieces_beside(folder: Path) -> bool:
    """Whether a folder holds weights in pieces, all that its index names, and none of them the usual single file."""
    pieces = _pieces(folder) or ["model.safetensors"]
    return "model.safetensors" not in pieces and all((folder / piece).is_file() for piece in pieces)


def _pieces(folder: Path) -> list[str] | None:
    """What the index of weights in pieces names; None without one."""
    try:
        index = read_json(folder / "model.safetensors.index.json", MAX_CONFIG)
        return sorted(set(index["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def cached_models() -> list[str]:
    """Names of the language models in the cache that can be opened offline, by name."""
    found = []
    for home in sorted(cache_folder().glob("models--*")):
        name = home.name.removeprefix("models--").replace("--", "/")
        folder = cached(name)
        if folder is None:
            continue
        try:
            config = read_config(folder)
            architectures, mixed = config.get("architectures"), "text_config" in config
        except (OSError, ValueError, AttributeError):
            continue
        kinds = r"ForCausalLM|LMHeadModel" + "|ForConditionalGeneration" * mixed
        if any(re.search(kinds, str(kind)) for kind in architectures or ()):
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
    with _explained(name, revision):
        commit, sizes, hashes = _listing(name, revision)
    weights = _weights(name, list(sizes))
    wanted = [file for file in (*SMALL_FILES, *weights) if file in sizes]
    total = sum(sizes[file] for file in weights)
    told = _teller(name, total, progress, stopped)
    _check_room(name, total)
    told(0)
    with _explained(name, revision):
        folder = _snapshot(name, commit, ["config.json"], told)
    try:
        config = read_config(folder)
    except ValueError as error:
        raise ModelError(say("models.fault", name=name, fault=error)) from None
    check_config(config, name, continues_text(config))  # before the weights: they may be large
    with _explained(name, revision):
        for file in weights:
            if file in hashes:
                _fetch(name, commit, file, sizes[file], hashes[file], told)
        _snapshot(name, commit, wanted, told)
        if not all((folder / file).is_file() for file in wanted):
            raise ConnectionError  # the library hands out what is there where it cannot ask
    reference = _home(name) / "refs" / (revision or "main")
    if revision != commit:
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)  # last: a half download has no name
    return folder


def download_data(
    data: HubData, progress: Report = lambda message, share: None, stopped: Callable[[], bool] = lambda: False
) -> None:
    """Fetch the files of a data set into its folder; those that are there stay.

    Raises:
        ModelError: offline, unknown, no room on the disk, or without such files.
        DownloadStoppedError: `stopped` said so.
    """
    from huggingface_hub import HfApi, hf_hub_download

    name = data.repository
    progress(f"Asking the Hugging Face Hub for {name}", 0.0)
    try:
        info = HfApi(endpoint=_endpoint()).dataset_info(name, files_metadata=True, timeout=TIMEOUT)
        sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or []}
        wanted = [file for split in SPLITS for file in fnmatch.filter(sizes, data.pattern(split))]
        told = _teller(name, sum(sizes[file] for file in wanted), progress, stopped)
        told(0)
        for file in wanted:
            hf_hub_download(
                name,
                file,
                repo_type="dataset",
                revision=info.sha,
                local_dir=data.folder,
                endpoint=_endpoint(),
                etag_timeout=TIMEOUT,
                tqdm_class=_watch(told),
            )
    except ModelError:
        raise
    except Exception as error:  # as in `_explained`
        raise ModelError(say("models.data_offline", name=name, kind=type(error).__name__)) from error
    if not data.here:
        raise ModelError(say("models.no_data", name=name, pattern=data.pattern("train")))


def _teller(name: str, total: int, progress: Report, stopped: Callable[[], bool]) -> Callable[[int], None]:
    """What is to be told how many more bytes have come. It raises DownloadStoppedError once `stopped` says so."""
    got, digits = 0, 0 if total > 1e7 else 1

    def told(more: int) -> None:
        nonlocal got
        if stopped():
            raise DownloadStoppedError(f"The download of {name} was stopped.")
        got += more
        text = f"Downloading {name}: {got / 1e6:,.{digits}f} of {total / 1e6:,.{digits}f} MB"
        progress(text, min(1.0, got / max(1, total)))

    return told


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _listing(name: str, revision: str | None) -> tuple[str, dict[str, int], dict[str, str]]:
    """Commit, size of every file, and SHA-256 of the large ones."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=_endpoint()).model_info(name, revision=revision, files_metadata=True, timeout=TIMEOUT)
    if not re.fullmatch(r"\w+", str(info.sha)):
        raise ModelError(f"The Hub answered with no commit for {name}. Try again later.")
    files = info.siblings or []
    sizes = {file.rfilename: int(file.size or 0) for file in files}
    return str(info.sha), sizes, {file.rfilename: file.lfs.sha256 for file in files if file.lfs}


def _snapshot(name: str, commit: str, files: Sequence[str], told: Callable[[int], None]) -> Path:
    """The folder in the cache's layout, with those of the files that the repository has."""
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        name,
        revision=commit,
        allow_patterns=list(files),
        cache_dir=cache_folder(),
        endpoint=_endpoint(),
        etag_timeout=TIMEOUT,
        max_workers=1,
        tqdm_class=_watch(lambda count: told(0)),
    )
    return Path(folder)


def _watch(told: Callable[[int], None]) -> type:
    """A progress bar, as the Hub's library wants one, that shows nothing and tells of each piece."""
    from tqdm import tqdm

    class Watch(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"disable": True})
            told(int(kwargs.get("initial") or 0))

        def update(self, n: float | None = 1) -> None:
            told(int(n or 0))

    return Watch


@contextmanager
def _explained(name: str, revision: str | None) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # HTTP libraries and the Hub's own errors share no base class
        raise ModelError(_explain(name, revision, error)) from error


def _explain(name: str, revision: str | None, error: Exception) -> str:
    kind = type(error).__name__
    if kind == "RepositoryNotFoundError":
        return say("models.unknown", name=name)
    if kind == "RevisionNotFoundError":
        return f"{name} has no revision {revision!r}. Name a branch, a tag or a commit of it."
    if kind == "GatedRepoError":
        return say("models.gated", name=name)
    return say("models.offline", name=name, kind=kind)


def _weights(name: str, files: Sequence[str]) -> list[str]:
    """The safetensors files that transformers would open."""
    if "config.json" not in files:
        adapter = " It is an adapter: merge it with its model first." if "adapter_config.json" in files else ""
        raise ModelError(f"Expected config.json and safetensors in {name}, found no config.json.{adapter}")
    if "model.safetensors" in files:
        return ["model.safetensors"]
    shards = sorted(f for f in files if re.fullmatch(r"model-\d+-of-\d+\.safetensors", f))
    index = "model.safetensors.index.json"
    if shards and index in files:
        return [index, *shards]
    pickled = next((file for file in files if file.endswith(PICKLES)), None)
    if pickled:
        raise ModelError(say("models.pickled", name=name, pickled=pickled))
    raise ModelError(say("models.no_weights", name=name))


def _check_room(name: str, total: int) -> None:
    blobs = _home(name) / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    there = sum(file.stat().st_size for file in blobs.iterdir() if file.is_file())
    free = shutil.disk_usage(blobs).free
    if total - there > free:
        raise ModelError(say("models.room", name=name, needed=(total - there) / 1e9, free=free / 1e9))


def _fetch(name: str, commit: str, file: str, size: int, sha256: str, told: Callable[[int], None]) -> None:
    """Bring a large file to where `snapshot_download` looks for it.

    The library itself drops a part whose download was stopped and does not look at hashes.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    blob = _home(name) / "blobs" / sha256
    if blob.is_file():
        return told(size)
    part = blob.with_name(f"{sha256}.incomplete")
    with part.open("ab") as out:
        if out.tell() > size:
            out.truncate(0)
        # Unpacked on the way, the bytes would not be those whose size and hash are known.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        url = hf_hub_url(name, file, revision=commit, endpoint=_endpoint())
        http_get(url, out, resume_size=out.tell(), headers=headers, expected_size=size, tqdm_class=_watch(told))
    with part.open("rb") as done:
        found = hashlib.file_digest(done, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        raise ModelError(f"{file} of {name} arrived damaged (another hash than the Hub's). Start the download again.")
    part.replace(blob)
    return None


def continues_text(config: Mapping[str, Any]) -> bool:
    """Whether transformers has a class for such a model that continues a text."""
    from transformers.models.auto import modeling_auto as auto

    known = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES | auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
    return config.get("model_type") in known

"""Where a model comes from, told without opening it (no torch, no network).

A reference is what a user types: the name of a bundled model, the path of a ``.gguf`` file, the path
of a ``save_pretrained`` folder, or a name on the Hugging Face Hub. `resolve` says which it is.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from hap_engine.errors import ModelError, UnknownNameError
from hap_engine.graph import Graph
from hap_engine.hashing import file_sha256, files_sha256
from hap_engine.runs import home

ASSETS = Path(__file__).resolve().parent.parent / "assets"
BUNDLED = {"hap-mini": ASSETS / "models" / "hap-mini"}
DEFAULT_MODEL = "hap-mini"

# Hub models that the page offers, with the size of what is downloaded (config, weights, tokenizer).
HUB_MODELS = {
    "gpt2": "GPT-2 small, the model of the IOI and HAP papers (0.55 GB)",
    "gpt2-medium": "GPT-2 medium (1.5 GB)",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "SmolLM2-135M, a small modern model (0.27 GB)",
    "EleutherAI/pythia-160m": "Pythia-160M, parallel attention and MLP (0.38 GB)",
}
# Everything a model needs, and nothing that could run code: no pickle, no Python files.
DOWNLOADED = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*.json", "tokenizer.model",
              "vocab.json", "vocab.txt",
              "merges.txt", "special_tokens_map.json")  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A resolved reference: `kind` is ``bundled``, ``gguf``, ``folder`` or ``hub``.

    `path` is the file or folder on this machine, None for a Hub model that is not downloaded.
    """

    reference: str
    kind: str
    name: str
    path: Path | None


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
        raise ModelError(
            f"There is no file or folder {reference[:200]!r}. Check the path."
        ) from None
    if path.is_dir():
        return Source(reference, "folder", path.resolve().name, path.resolve())
    if path.is_file():
        if path.suffix == ".gguf":
            return Source(reference, "gguf", path.name, path.resolve())
        raise ModelError(
            f"Expected a .gguf file or a model folder, got the file {path.name}. "
            "Checkpoints that can run code (.bin, .pt, .pkl) are never opened; convert them to "
            "safetensors with save_pretrained."
        )
    if path.suffix == ".gguf" or reference.startswith((".", "/", "~")) or os.sep * 2 in reference:
        raise ModelError(f"There is no file or folder {reference}. Check the path.")
    if reference in HUB_MODELS or re.fullmatch(r"[\w.-]+/[\w.-]+", reference):
        return Source(reference, "hub", reference, hub_folder(reference))
    raise UnknownNameError(
        "model",
        reference,
        [*BUNDLED, *HUB_MODELS],
        "Other Hub models need their owner (owner/name); a file or folder needs its path.",
    )


def hub_folder(name: str) -> Path | None:
    """The folder of a Hub model in the local cache if its weights are complete, else None."""
    from huggingface_hub import try_to_load_from_cache

    for weights in ("model.safetensors", "model.safetensors.index.json"):
        cached = try_to_load_from_cache(name, weights)
        config = try_to_load_from_cache(name, "config.json")
        if isinstance(cached, str) and isinstance(config, str):
            folder = Path(cached).parent
            if weights.endswith(".json"):  # an index: all its shards must be there
                shards = set(json.loads(Path(cached).read_text())["weight_map"].values())
                if not all((folder / shard).is_file() for shard in shards):
                    return None
            return folder
    return None


def gguf_cache(sha256: str) -> Path:
    """Folder in which the converted weights of a ``.gguf`` file are kept."""
    return home() / "models" / sha256[:16]


def graph_of(source: Source) -> Graph | None:
    """The graph of a model by its ``config.json``; None while that is not on this machine."""
    folder = source.path
    if source.kind == "gguf" and source.path is not None:
        folder = gguf_cache(file_sha256(source.path))
    try:
        config = json.loads((folder / "config.json").read_text()) if folder else {}
    except (OSError, ValueError):
        return None
    names = (("num_hidden_layers", "n_layer"), ("num_attention_heads", "n_head"))
    layers, heads = (next((config[n] for n in pair if n in config), None) for pair in names)
    if not isinstance(layers, int) or not isinstance(heads, int):
        return None
    parallel = bool(config.get("use_parallel_residual", config.get("model_type") == "gpt_neox"))
    return Graph(layers, heads, int(config.get("num_key_value_heads") or heads), parallel)


def weights_sha256(source: Source) -> str | None:
    """Hash of the file that holds the (first) weights; None while it is not on this machine."""
    if source.path is None:
        return None
    if source.kind == "gguf":
        return file_sha256(source.path)
    weights = sorted(source.path.glob("*.safetensors"))
    return files_sha256(weights) if weights else None


def tokenizer_file(source: Source) -> Path | None:
    """The model's ``tokenizer.json`` if it is on this machine already, else None."""
    if source.path is None:
        return None
    folder = source.path
    if source.kind == "gguf":
        folder = gguf_cache(file_sha256(source.path))
    candidate = folder / "tokenizer.json"
    return candidate if candidate.is_file() else None

"""Read a folder's weights, and refuse a model that would be partly made of something else.

transformers fills what a checkpoint lacks with random numbers and passes over what it does not know. Here
both are refused by name, and so are tensors of another shape, stored as integers, or not finite.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hap_engine.errors import ModelError
from hap_engine.files import MAX_CONFIG, parse_json
from hap_engine.narrow.weights import exchange
from hap_engine.progress import Report
from hap_engine.transformer.gguf_codes import PARTS, matrices_of
from hap_engine.transformer.stored_forms import as_numbers, reads_more
from hap_engine.words import say

# What training wraps a model in, by the mark that it leaves in the names of tensors.
WRAPPERS = {
    r"_orig_mod\.": "torch.compile",
    r"^module\.": "DistributedDataParallel",
    r"_fsdp_wrapped_module\.": "FSDP",
    r"_checkpoint_wrapped_module\.": "activation checkpointing",
}
SHOWN = 3  # names in a message


def read_weights(name: str, folder: Path, progress: Report) -> Any:
    """The Hugging Face model of a folder, with eager attention: every weight is the file's.

    It is a float32 model whose matrices are still as narrow as they are stored (`hap_engine.narrow`).

    Raises:
        ModelError: naming the tensors that are missing, unknown, misshaped, integers or not finite.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMultimodalLM

    stored = _stored(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    mixed = reads_more(config)
    kind = AutoModelForMultimodalLM if mixed else AutoModelForCausalLM
    coded = dict(getattr(config, "quantization_config", None) or {})
    if coded:
        config.quantization_config = coded | {"dequantize": True} if _on_opening(coded) else coded
    for mark, wrapper in WRAPPERS.items():
        if any(re.search(mark, key) for key in stored):
            progress(f"{name} was saved inside {wrapper}: its tensors are read without that prefix", 0.0)
    codes = _codes(folder, hasattr(config, "kept_bits")) if any(key.endswith(f".{PARTS[0]}") for key in stored) else {}
    narrow = torch.float32 if codes else None if coded else _narrow_dtype(stored)
    opened: Any  # a pair, which the library's types do not tell
    with quiet():
        opened = _kind_of(kind, config, narrow).from_pretrained(
            None if codes else folder,
            **({"config": config} if coded or codes else {}),
            state_dict={key: _silent(x) for key, x in codes.items()} or None,
            dtype=torch.float32,
            attn_implementation="eager",
            experts_implementation="eager",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            key_mapping=dict.fromkeys(WRAPPERS, ""),
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
        )
    hf_model: Any = opened[0]
    exchange(hf_model, {key: x for key, x in codes.items() if x.dtype != torch.float32})
    found: dict[str, Any] = opened[1]
    faults = {
        "are missing and would be random numbers": found["missing_keys"],
        "have no place in this kind of model": found["unexpected_keys"] - {key for key, _ in hf_model.named_buffers()},
        "have another shape than config.json says": [
            f"{key} {list(got)} for {list(wanted)}" for key, got, wanted in found["mismatched_keys"]
        ],
        "are stored as integers, not as weights": [
            key
            for key, (dtype, _) in stored.items()
            if dtype.startswith(("I", "U", "BOOL"))
            and (key.endswith("weight") or _is_weight(key, hf_model))
            and not coded
        ],
        "hold values that are not finite (NaN or infinite)": [
            key for key, value in hf_model.named_parameters() if not value.sum(dtype=torch.float32).isfinite()
        ],
    }
    for fault, keys in faults.items():
        if keys:
            what = f"{type(hf_model).__name__}: {len(keys)} of its tensors {fault} ({named(keys)})"
            raise ModelError(say("transformer.not_whole", name=name, what=what))
    if coded:
        progress(f"{name} is stored quantised ({coded.get('quant_method')}): its codes are read as numbers", 0.0)
        if hasattr(hf_model, "hf_quantizer"):  # they are still codes
            hf_model = as_numbers(hf_model)
    if mixed:
        progress(f"{name} reads more than text: its text part is opened alone", 0.0)
    return hf_model


def _codes(folder: Path, kept: bool) -> dict[str, Tensor]:
    """The matrices of a converted ``.gguf`` file: as they are stored, or all of them in float32."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as held:
        return {key: x if kept else x.float().contiguous() for key, x in matrices_of(held)}


def _silent(x: Tensor) -> Tensor:
    """What stands for a matrix while a model is made: it takes no memory."""
    return x if x.dtype == torch.float32 else torch.zeros(()).expand(x.shape)


def _on_opening(coded: Mapping[str, Any]) -> bool:
    """Whether transformers itself makes numbers of such codes when it opens them."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    kind = AUTO_QUANTIZATION_CONFIG_MAPPING.get(str(coded.get("quant_method")))
    return kind is not None and "dequantize" in inspect.signature(kind).parameters


def _is_weight(key: str, hf_model: Any) -> bool:
    """Whether a stored tensor is a parameter, and no mask or table of positions that old checkpoints hold."""
    for mark in WRAPPERS:
        key = re.sub(mark, "", key)
    return any(f".{name}".endswith(f".{key}") for name, _ in hf_model.named_parameters())


def named(keys: Collection[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(sorted(keys)[:SHOWN])
    return shown if len(keys) <= SHOWN else f"{shown} and {len(keys) - SHOWN} more"


def _stored(folder: Path) -> Mapping[str, tuple[str, int]]:
    """How each tensor of a folder is stored, such as ``F32``, and how many dimensions it has, by its name.

    Raises:
        ValueError: if the header of a file is too large, nested without end or damaged.
    """
    found: dict[str, tuple[str, int]] = {}
    for path in sorted(filter(Path.is_file, folder.glob("*.safetensors"))):
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > MAX_CONFIG:
                raise ValueError(
                    f"the header of {path.name} should be at most {MAX_CONFIG >> 20} MB, got {size:,} bytes"
                )
            header = file.read(size)
        try:
            tensors = {key: entry for key, entry in parse_json(header).items() if key != "__metadata__"}
            found |= {key: (str(entry["dtype"]), len(entry["shape"])) for key, entry in tensors.items()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"the header of {path.name} is damaged ({error})") from None
    return found


def _narrow_dtype(stored: Mapping[str, tuple[str, int]]) -> torch.dtype | None:
    """The narrow dtype that all matrices are stored in, if it is one."""
    kinds = {kind for kind, dimensions in stored.values() if dimensions > 1}
    return {"BF16": torch.bfloat16, "F16": torch.float16}.get(kinds.pop()) if len(kinds) == 1 else None


def _kind_of(kind: Any, config: Any, narrow: torch.dtype | None) -> Any:
    """The class of a model (`kind`: one that knows which), or one that reads matrices in a narrow dtype.

    Transformers reads a model in one dtype, and makes in it what a model computes for itself too, such as the number
    that Gemma multiplies its embeddings with. A plan of exceptions by name is its own way around that.
    """
    if narrow is None:
        return kind
    with torch.device("meta"):
        empty = kind.from_config(config)
    kind = type(empty)
    plan = {f"^{re.escape(name)}$": narrow for name, weight in empty.named_parameters() if weight.ndim > 1}
    return type(kind.__name__, (kind,), {"_get_dtype_plan": lambda *_: plan, "__module__": kind.__module__})


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and no reports of transformers: the caller tells what goes on its own way."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()

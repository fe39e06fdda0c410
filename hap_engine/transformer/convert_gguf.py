"""Convert a ``.gguf`` file once into a folder that opens like any other.

The tensors are read through the ``gguf`` package and turned into transformers' layout here; the model that the header
describes must take every one of them, in the right shape, and lack none. Codes stay codes (`gguf_codes.py`): no more
than one matrix is made wide at a time. The tokenizer is the file's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hap_engine.errors import HapError, ModelError, UnsupportedModelError
from hap_engine.files import hold, sweep, writing
from hap_engine.models.catalog import Source, weights_sha256
from hap_engine.models.gguf_cache import gguf_cache, is_intact, sign
from hap_engine.models.gguf_header import (
    EPSILON,
    FACTORS,
    GEMMA,
    Header,
    config_from,
    gguf_reader,
    not_understood,
    read_header,
)
from hap_engine.models.supported import check_config
from hap_engine.progress import Report
from hap_engine.transformer.check_conversion import check_conversion
from hap_engine.transformer.gguf_codes import codes_of, placed, tensors_of
from hap_engine.transformer.gguf_tokenizer import own_tokenizer, unknown_tokenizer
from hap_engine.transformer.weights import named, quiet
from hap_engine.words import say

Values = Mapping[str, Tensor]


def convert_gguf(source: Source, progress: Report) -> Path:
    """Convert a ``.gguf`` once; later starts read the safetensors copy.

    Raises:
        ModelError: naming the header's keys or the tensors that cannot be understood, or what is damaged.
    """
    for path in source.weights:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError(say("transformer.no_gguf", path=path))
    folder = gguf_cache(weights_sha256(source) or "")
    if is_intact(folder):
        return folder
    try:
        _convert(source, folder, progress)
    except HapError:
        raise
    except Exception as error:  # a broken file fails in many ways inside the parser
        raise ModelError(say("transformer.unreadable", source=source, reason=first_line(error))) from error
    return folder


def _convert(source: Source, folder: Path, progress: Report) -> None:
    from safetensors.torch import save_file
    from transformers import AutoConfig

    assert source.path is not None
    header = read_header(source.path)
    config = config_from(header)
    check_header(source, header, config)  # a model that cannot work is not converted first
    progress(f"Converting {source.name} (once)", 0.0)
    partial = folder / f"model.safetensors.{os.getpid()}.part"  # two programs may convert at once
    with quiet():
        hf_config = AutoConfig.for_model(**config)
        tensors, metadata = tensors_of(read_tensors(source, header, hf_config))
        tokenizer = own_tokenizer(source.path, header.values)
    hf_config.stored_dtype = header.stored_dtype
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder, "*.part")
            with partial.open("wb") as file:
                hold(file)
                save_file(tensors, partial, metadata=metadata)
                del tensors  # the comparison needs the room
                check_conversion(source, header, partial)
                hf_config.save_pretrained(folder)
                tokenizer.save(str(folder / "tokenizer.json"))
            partial.replace(folder / "model.safetensors")
            sign(folder, weights_sha256(source) or "")  # last, so a half conversion is never opened
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)  # of a disk that is full


def check_header(source: Source, header: Header, config: Mapping[str, Any]) -> None:
    """Refuse what cannot work, and what would be computed in another way than the file says."""
    check_config(config, source.name)
    if header.architecture not in EPSILON:
        raise UnsupportedModelError(
            say("transformer.architecture", source=source, header=header, known=", ".join(EPSILON))
        )
    unknown = not_understood(header) + unknown_tokenizer(header.values)
    if unknown:
        raise UnsupportedModelError(say("transformer.header", source=source, unknown="; ".join(unknown)))
    split = header.values.get("split.count", 1), header.values.get("split.tensors.count", len(header.shapes))
    if split != (len(source.weights), len(header.shapes)) and split[0] > 1:
        raise ModelError(
            say("transformer.pieces", source=source, split=split, files=len(source.weights), tensors=len(header.shapes))
        )


def read_tensors(source: Source, header: Header, hf_config: Any) -> Values:
    """The state dict of the model that `hf_config` describes, from the file's tensors: vectors in float32, matrices in
    as few bits as the file has them (`Codes`, float16, bfloat16).

    Raises:
        ModelError: naming tensors that are missing, left over or of another shape.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        wanted = AutoModelForCausalLM.from_config(hf_config).state_dict()
    if hf_config.tie_word_embeddings:
        del wanted["lm_head.weight"]
    kind = next(key for key, name in MODEL_ARCH_NAMES.items() if name == header.architecture)
    names = get_tensor_name_map(kind, hf_config.num_hidden_layers)
    places = {}
    for name in wanted:
        stem, _, part = name.rpartition(".")
        places[f"{names.get_name(stem)}.{part}"] = name
    stored = {tensor.name: tensor for path in source.weights for tensor in gguf_reader(path).tensors}
    found = {places[name]: _read(tensor, _layout(header, name)) for name, tensor in stored.items() if name in places}
    faults = {
        "are missing": places.keys() - stored.keys(),
        "have no place in such a model": {
            name for name in stored.keys() - places.keys() if not FACTORS.fullmatch(name)
        },
        "have another shape than the header says": [key for key, x in found.items() if x.shape != wanted[key].shape],
    }
    for fault, keys in faults.items():
        if keys:
            what = f"{len(keys)} of its tensors {fault} ({named(keys)})"
            raise ModelError(say("transformer.incomplete", source=source, header=header, fault=what))
    return found


def _read(tensor: Any, layout: Callable[[Tensor], Tensor]) -> Tensor:
    from gguf import dequantize

    codes = codes_of(tensor)
    if codes is not None:
        return placed(codes, layout)
    found = layout(torch.tensor(dequantize(tensor.data, tensor.tensor_type)))
    stored = {"F16": torch.float16, "BF16": torch.bfloat16}.get(tensor.tensor_type.name)
    return found.to(stored) if stored and found.ndim > 1 else found


def _layout(header: Header, name: str) -> Callable[[Tensor], Tensor]:
    """What brings a tensor of the file into transformers' layout.

    Llama's queries and keys turn neighbouring dimensions together in the file, and the two halves of a head in
    transformers. GPT-2's matrices stand the other way round there. Gemma's norms are stored with the 1 that is added.
    """
    part = name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
    if header.architecture == "llama" and part in ("attn_q", "attn_k"):
        heads = header.get("attention.head_count")
        if part == "attn_k":
            heads = header.get("attention.head_count_kv") or heads
        return lambda x: x.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(x.shape)
    turned = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    if header.architecture == "gpt2" and part in turned and name.endswith(".weight"):
        return lambda x: x.T.contiguous()
    if header.architecture in GEMMA and name.endswith("norm.weight"):  # there as what is multiplied with
        return lambda x: x - 1
    return lambda x: x


def first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith(".") else line + "."

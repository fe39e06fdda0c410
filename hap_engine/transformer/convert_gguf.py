"""Dequantise a ``.gguf`` file once into a folder that opens like any other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch

from hap_engine.errors import ModelError
from hap_engine.files import file_sha256
from hap_engine.models.catalog import Source, gguf_cache
from hap_engine.models.gguf_header import header
from hap_engine.models.hub import Report
from hap_engine.models.supported import check_config
from hap_engine.transformer.weights import quiet


def convert_gguf(source: Source, progress: Report) -> Path:
    """Dequantise a ``.gguf`` once; later starts read the safetensors copy."""
    path = source.path
    assert path is not None
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(
                f"{path.name} is not a GGUF file (it does not start with the letters GGUF). Download it again."
            )
    folder = gguf_cache(file_sha256(path))
    if (folder / "model.safetensors").is_file():
        return folder
    check_config(header(path) or {}, path.name)  # a model that cannot work is not converted first
    progress(f"Converting {path.name} (once)", 0.0)
    from safetensors.torch import save_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            hf_model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    except Exception as error:  # a broken file fails in many ways inside the parser
        raise ModelError(
            f"{path.name} cannot be read as a language model: {first_line(error)} "
            "The file may be damaged or of an unsupported architecture; download it again."
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    hf_model.config.__dict__.pop("quantization_config", None)
    hf_model.config.stored_dtype = _stored_dtype(path)
    hf_model.config.save_pretrained(folder)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    partial = folder / "model.safetensors.part"
    save_model(hf_model, str(partial), metadata={"format": "pt"})
    partial.rename(folder / "model.safetensors")  # last, so a half conversion is never opened
    return folder


def _stored_dtype(path: Path) -> str:
    """What most of the file's tensors are stored as, such as ``Q4_1``."""
    from gguf import GGUFReader

    kinds = Counter(tensor.tensor_type.name for tensor in GGUFReader(path).tensors)
    return kinds.most_common(1)[0][0]


def first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith(".") else line + "."

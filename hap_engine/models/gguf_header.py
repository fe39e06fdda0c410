"""What the header of a ``.gguf`` file tells of its model, in the words of a ``config.json`` (no torch).

A key that changes what a model computes must be understood. `not_understood` names those that are not;
a file that has one is refused, since the model would open and compute something else.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hap_engine.words import beside

_TABLES = tomllib.loads(beside(__file__, "gguf_header.toml"))
MODEL_TYPES: Mapping[str, str] = _TABLES["model_types"]
EPSILON: Mapping[str, str] = _TABLES["epsilon"]
KEYS: Mapping[str, str] = _TABLES["keys"]
KEPT: Mapping[str, float] = _TABLES["kept"]
WIDE = 32  # bits of a weight that stays a float32 number
# Bytes of a model in float32, up to which its codes become numbers when it is opened: it fits wherever it is computed
# with, and a step with codes takes 1.4 times as long (8 prompts of 20 tokens, measured on SmolLM2-135M).
ROOMY = 2e9
ELSEWHERE = frozenset(_TABLES["understood"]["elsewhere"])
OWN = {kind: frozenset(keys) for kind, keys in _TABLES["understood"]["own"].items()}
# Of Gemma: every so many layers one looks beyond the window, and the size (in layers) whose queries are scaled by the
# model's width, not by a head's. Neither is in the file: both are as llama.cpp has them.
GEMMA = {"gemma2": (2, 46), "gemma3": (6, 62)}
PARTLY_ROTARY = {"gptneox", "phi3", "stablelm"}  # a share of each head turns with the position
# Values with which a key that is not understood computes nothing.
OFF = (None, False, 0, 0.0)
ONES = {"rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor", "logit_scale"}
# Tensors that belong to the header: by how much each pair of a head's dimensions turns slower.
MOST_ENTRIES = 2**21  # of an array: the words of a vocabulary are up to 260,000, their merges twice that
MOST_FIELDS = 2**16  # of a header, and tensors of a file: the largest models have some thousands
FACTORS = re.compile(r"(blk\.0\.)?rope_(freqs|factors_long|factors_short)\.weight")
SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})")  # the stem of a piece of a split file


@dataclass(frozen=True)
class Header:
    """All keys, the shapes of all tensors (as torch has them), and the factors of the rotary embedding.

    `stored_dtype` is what most tensors are stored as, such as ``Q4_1``, `kept_bits` what a weight takes in memory as
    codes.
    """

    values: Mapping[str, Any]
    shapes: Mapping[str, Sequence[int]]
    factors: Mapping[str, Sequence[float]]
    stored_dtype: str
    kept_bits: float = WIDE

    @property
    def architecture(self) -> str:
        return str(self.values["general.architecture"])

    def get(self, name: str) -> Any:
        """The value of an architecture's own key; of a list of equal values (one a layer), the value."""
        value = self.values.get(f"{self.architecture}.{name}")
        return value[0] if isinstance(value, list) and value and all(one == value[0] for one in value) else value


def pieces(path: Path) -> list[Path]:
    """All files of the model that `path` is a piece of, by their names; of an ordinary file, itself."""
    piece = SPLIT.fullmatch(path.stem)
    if not piece:
        return [path]
    stem, count = piece[1], int(piece[3])
    return [path.with_name(f"{stem}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]


def gguf_reader(path: Path) -> Any:
    """gguf's own reader of a file, which by itself takes every count in it for true: 2^50 entries would be waited for.

    Raises:
        ValueError: if the file says more than it holds, or more than a model needs.
    """
    from gguf import GGUFReader, GGUFValueType

    class Bounded(GGUFReader):
        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            if int(offset) + int(count) * np.dtype(dtype).itemsize > len(self.data):
                raise ValueError("its header says more than the file holds")
            return super()._get(offset, dtype, count, override_order)

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if raw_type == GGUFValueType.ARRAY:
                kind, length = self._get(orig_offs, np.uint32)[0], self._get(orig_offs + 4, np.uint64)[0]
                self._limit(length, MOST_ENTRIES if kind != GGUFValueType.ARRAY else 0)
            return super()._get_field_parts(orig_offs, raw_type)

        def _build_fields(self, offs: int, count: int) -> Any:
            self._limit(count, MOST_FIELDS)
            return super()._build_fields(offs, count)

        def _build_tensor_info(self, offs: int, count: int) -> Any:
            self._limit(count, MOST_FIELDS)
            return super()._build_tensor_info(offs, count)

        def _limit(self, count: int, most: int) -> None:
            if count > most:
                raise ValueError(f"its header announces {int(count):,} entries, where at most {most:,} are expected")

    return Bounded(path)


def read_header(path: Path) -> Header:
    """The header of a file and of all pieces beside it. Raises what the parser does, of many kinds."""
    return _read(tuple((piece, piece.stat().st_mtime_ns) for piece in pieces(path)))


@lru_cache(maxsize=8)  # about a second for the words of a vocabulary
def _read(files: tuple[tuple[Path, int], ...]) -> Header:
    values: dict[str, Any] = {}
    shapes: dict[str, list[int]] = {}
    factors: dict[str, list[float]] = {}
    kinds: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for path, _ in files:
        reader = gguf_reader(path)
        values = {name: field.contents() for name, field in reader.fields.items()} | values  # the first has them all
        for tensor in reader.tensors:
            shapes[tensor.name] = tensor.shape.tolist()[::-1]
            kinds[tensor.tensor_type.name] += 1
            weights[tensor.tensor_type.name] += int(tensor.n_elements)
            if found := FACTORS.fullmatch(tensor.name):
                factors[found[2]] = tensor.data.astype(float).tolist()
    bits = sum(count * KEPT.get(kind, WIDE) for kind, count in weights.items()) / max(1, weights.total())
    return Header(values, shapes, factors, max(kinds, key=lambda kind: kinds[kind]), bits)


def header(path: Path) -> Mapping[str, Any] | None:
    """Sizes and kind of the model in a ``.gguf`` file; None if the header cannot be read."""
    try:
        return config_from(read_header(path))
    except Exception:  # a broken file fails in many ways inside the parser; opening it says how
        return None


def config_from(found: Header) -> dict[str, Any]:
    """What a ``config.json`` of the model in the file would say; sizes that differ by layer are left out."""
    kind = found.architecture
    config = {key: found.get(name) for key, name in KEYS.items()}
    config |= {
        "model_type": MODEL_TYPES.get(kind, kind),
        "num_key_value_heads": config["num_key_value_heads"] or config["num_attention_heads"],
        "vocab_size": found.shapes["token_embd.weight"][0],
        "tie_word_embeddings": "output.weight" not in found.shapes,
        "rope_parameters": _rotary(found),
        EPSILON.get(kind, "layer_norm_eps"): found.get("attention.layer_norm_rms_epsilon")
        or found.get("attention.layer_norm_epsilon"),
    }
    if found.kept_bits < WIDE and WIDE / 8 * sum(map(math.prod, found.shapes.values())) > ROOMY:
        config["kept_bits"] = found.kept_bits
    if kind == "gpt2":
        config |= {"n_inner": config.pop("intermediate_size"), "rope_parameters": None}
    if kind in ("qwen3", *GEMMA):
        config["head_dim"] = _head_width(found)
    if kind in ("phi3", "starcoder2"):
        config["sliding_window"] = found.get("attention.sliding_window") or None
    if kind == "phi3":
        config["original_max_position_embeddings"] = found.get("rope.scaling.original_context_length")
    if kind == "llama":
        config["attention_bias"] = "blk.0.attn_q.bias" in found.shapes
        config["mlp_bias"] = "blk.0.ffn_up.bias" in found.shapes
    if kind == "stablelm":
        config["use_qkv_bias"] = "blk.0.attn_q.bias" in found.shapes
        config["use_parallel_residual"] = "blk.0.ffn_norm.weight" not in found.shapes
    special = {"bos": "bos", "eos": "eos", "pad": "padding"}  # None too: the defaults are those of another vocabulary
    tokens = {f"{key}_token_id": found.values.get(f"tokenizer.ggml.{name}_token_id") for key, name in special.items()}
    known = {key: value for key, value in config.items() if not isinstance(value, list | None)}
    return known | tokens | (_gemma(found) if kind in GEMMA else {})


def _head_width(found: Header) -> int:
    equal = (found.get("embedding_length") or 0) // (found.get("attention.head_count") or 1)
    return int(found.get("attention.key_length") or equal)


def _gemma(found: Header) -> dict[str, Any]:
    """What Gemma's configs say besides: windows and rotary embeddings by layer, caps, and the queries' scale."""
    period, largest = GEMMA[found.architecture]
    layers, heads = found.get("block_count") or 0, found.get("attention.head_count") or 1
    by_width = (found.get("embedding_length") or 0) / heads
    told = {
        "sliding_window": found.get("attention.sliding_window"),
        "attn_logit_softcapping": found.get("attn_logit_softcapping"),
        "final_logit_softcapping": found.get("final_logit_softcapping"),
    }
    config = {key: value for key, value in told.items() if value is not None}
    config["query_pre_attn_scalar"] = by_width if layers == largest else _head_width(found)
    if found.architecture == "gemma2":
        return config
    period = int(found.get("attention.sliding_window_pattern") or period)
    whole = [not config.get("sliding_window") or (index + 1) % period == 0 for index in range(layers)]
    near = {"rope_type": "default", "rope_theta": float(found.get("rope.freq_base_swa") or 10000)}
    return config | {
        "layer_types": ["full_attention" if one else "sliding_attention" for one in whole],
        "rope_parameters": {"full_attention": _rotary(found), "sliding_attention": near},
    }


def _scaling(found: Header) -> tuple[str, float]:
    """Kind and factor of what stretches the positions: ``none`` where nothing does."""
    factor = float(found.get("rope.scaling.factor") or found.get("rope.scale_linear") or 1)
    kind = str(found.get("rope.scaling.type") or "linear")  # as the format has it where no type is given
    return ("none", 1.0) if kind == "none" or (factor == 1 and kind in ("linear", "yarn")) else (kind, factor)


def _rotary(found: Header) -> dict[str, Any]:
    """The rotary embedding, as transformers describes it.

    Factors given for each frequency (Llama 3, Phi 3) are its ``longrope``: they divide the frequencies as they are.
    """
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": float(found.get("rope.freq_base") or 10000)}
    turning = found.get("rope.dimension_count") or _head_width(found)
    if found.architecture in PARTLY_ROTARY:
        rope["partial_rotary_factor"] = turning / _head_width(found)
    kind, factor = _scaling(found)
    before = found.get("rope.scaling.original_context_length") or found.get("context_length")
    gain = float(found.get("rope.scaling.attn_factor") or 1)
    if found.factors:
        long = found.factors.get("factors_long") or found.factors["freqs"]
        return rope | {
            "rope_type": "longrope",
            "long_factor": list(long),
            "short_factor": list(found.factors.get("factors_short") or long),
            "original_max_position_embeddings": before,
            "attention_factor": gain,
        }
    if kind == "linear":
        return rope | {"rope_type": kind, "factor": factor}
    if kind == "yarn":
        return rope | {
            "rope_type": kind,
            "factor": factor,
            "original_max_position_embeddings": before,
            "attention_factor": gain * (1 + 0.1 * math.log(factor)),
            "beta_fast": float(found.get("rope.scaling.yarn_beta_fast") or 32),
            "beta_slow": float(found.get("rope.scaling.yarn_beta_slow") or 1),
        }
    return rope


def not_understood(found: Header) -> list[str]:
    """Keys, with their values, that change what the model computes in a way that no config here expresses."""
    kind, start = found.architecture, f"{found.architecture}."
    known = {*KEYS.values(), *ELSEWHERE, *OWN.get(kind, ())}
    own = {key.removeprefix(start): found.get(key.removeprefix(start)) for key in found.values if key.startswith(start)}
    scaling, _ = _scaling(found)
    width = _head_width(found)
    wrong: dict[str, Callable[[Any], bool]] = {
        "attention.causal": lambda value: not value,
        "attention.value_length": lambda value: value != width,
        "rope.dimension_count": lambda value: kind not in PARTLY_ROTARY and value != width,
        "rope.scaling.type": lambda value: (
            scaling not in ("none", "linear", "yarn", "longrope" if found.factors else "")
        ),
        "rope.scaling.factor": lambda value: bool(found.factors) and scaling in ("linear", "yarn"),
        "rope.scaling.attn_factor": lambda value: value != 1 and not found.factors and scaling != "yarn",
        "use_parallel_residual": lambda value: kind not in ("gptneox", "stablelm") and value,
    }

    def is_fault(name: str, value: Any) -> bool:
        if isinstance(value, list):
            return True  # a value of its own for each layer
        if name in known:
            return name in wrong and bool(wrong[name](value))
        return value not in OFF and not (name in ONES and value == 1)

    return [f"{start}{name} = {value}" for name, value in own.items() if is_fault(name, value)]

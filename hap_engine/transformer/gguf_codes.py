"""The codes of a tensor in a ``.gguf`` file, taken from it as they are, and their place in a converted copy.

All of the formats here multiply codes with a scale, and some take a minimum off; they differ in how all three are
packed. So each is asked through the ``gguf`` package: with all bits of its codes 0 a block shows the number that it
starts from, with all bits 1 how far that reaches, which is a known multiple of its scale. That the codes found give
the file's numbers is checked for all of them; a tensor where they do not is kept as numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hap_engine.machine.workload import PIECE
from hap_engine.narrow.codes import HALF, Codes

PARTS = ("codes", "scale", "offset")  # of a matrix, behind its name
TURNED = "turned"  # in a copy's metadata: names of matrices that stand the other way round than their codes


@dataclass(frozen=True)
class Format:
    """How a block is packed.

    Attributes:
        codes: from which of its bytes to before which its codes are.
        least, most: the codes whose bits are all 0, and all 1.
        size: how many numbers share a scale.
        minimum: where what is taken off is, if anything is.
    """

    codes: tuple[int, int]
    least: int
    most: int
    size: int = 32
    minimum: tuple[int, int] | None = None

    @property
    def packed(self) -> bool:
        """Whether 4 bits hold a code as they hold those of `Codes`."""
        first = 0 if self.minimum else -HALF
        return self.least >= first and 0 < self.most < first + 2 * HALF


FORMATS: Mapping[str, Format] = {
    "Q4_0": Format((2, 18), -8, 7),
    "Q4_1": Format((4, 20), 0, 15, minimum=(2, 4)),
    "Q5_0": Format((2, 22), -16, 15),
    "Q5_1": Format((4, 24), 0, 31, minimum=(2, 4)),
    "Q8_0": Format((2, 34), 0, -1),
    "Q2_K": Format((16, 80), 0, 3, 16, (82, 84)),
    "Q3_K": Format((0, 96), -4, 3, 16),
    "Q4_K": Format((16, 144), 0, 15, minimum=(2, 4)),
    "Q5_K": Format((16, 176), 0, 31, minimum=(2, 4)),
    "Q6_K": Format((0, 192), -32, 31, 16),
    "IQ4_NL": Format((2, 18), -127, 113),
    "IQ4_XS": Format((8, 136), -127, 113),
}


def codes_of(tensor: Any) -> Codes | None:
    """The codes of a file's tensor, as the ``gguf`` package reads it; None if it has none that give its numbers."""
    form = FORMATS.get(tensor.tensor_type.name)
    if form is None or tensor.data.ndim != 2:
        return None
    step = max(1, PIECE // int(tensor.shape[0]))  # the numbers of all rows together would be the whole wide matrix
    pieces = [tensor.data[row : row + step] for row in range(0, len(tensor.data), step)]
    found = [_codes(piece, tensor.tensor_type, form) for piece in pieces]
    parts = [one for one in found if one is not None]
    if len(parts) < len(found):
        return None
    codes, *rest = (torch.cat(same) for same in zip(*(part.held for part in parts), strict=True))
    return Codes(codes, *map(_short, rest))


def _short(whole: Tensor) -> Tensor:
    """In float16, if that loses nothing."""
    short = whole.half()
    return short if torch.equal(short.float(), whole) else whole


def _codes(data: np.ndarray, kind: Any, form: Format) -> Codes | None:
    """Of some rows, with scale and offset in float32."""
    from gguf import GGML_QUANT_SIZES, dequantize

    def asked(blocks: np.ndarray) -> np.ndarray:
        return dequantize(blocks.reshape(len(blocks), -1), kind)

    blocks = data.reshape(len(data), -1, GGML_QUANT_SIZES[kind][1]).copy()
    numbers, start, offset = asked(blocks), slice(*form.codes), None
    blocks[..., start] = 0
    if form.minimum:
        offset = asked(blocks)[:, :: form.size]
        blocks[..., slice(*form.minimum)] = 0
    low = asked(blocks)[:, :: form.size].astype(float)
    blocks[..., start] = 255
    with np.errstate(all="ignore"):  # what is not finite is no code, which shows below
        scale = (asked(blocks)[:, :: form.size] - low) / (form.most - form.least)
        whole = numbers.reshape(*scale.shape, form.size)
        codes = (whole if offset is None else whole - offset[..., None]) / np.where(scale == 0, 1, scale)[..., None]
        codes = np.rint(codes).clip(-128, 127).astype(np.int8)
    if form.packed:
        raised = (codes + (HALF if offset is None else 0)).astype(np.uint8)
        codes = raised[..., : form.size // 2] | raised[..., form.size // 2 :] << 4
    rest = [torch.tensor(x, dtype=torch.float32) for x in (scale, offset) if x is not None]
    made = Codes(torch.from_numpy(codes), *rest)
    return made if torch.equal(made.float(), torch.from_numpy(numbers)) else None


def placed(found: Codes, layout: Callable[[Tensor], Tensor]) -> Tensor:
    """Codes in another layout: what it does with the rows it shows with their numbers."""
    order = layout(torch.arange(len(found))[:, None])
    made = found.taken(order.flatten())
    return made if len(order) == len(found) else made.mT


def tensors_of(matrices: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a copy that holds these, some of them as codes, and its metadata."""
    tensors: dict[str, Tensor] = {}
    turned = [name for name, x in matrices.items() if isinstance(x, Codes) and x.at.stride(-1) != 1]
    for name, x in matrices.items():
        parts = zip(PARTS, x.held, strict=False) if isinstance(x, Codes) else ()
        tensors |= {f"{name}.{part}": one for part, one in parts} or {name: x}
    return tensors, {"format": "pt", TURNED: " ".join(turned)}


def matrices_of(held: Any) -> Iterator[tuple[str, Tensor]]:
    """What `tensors_of` was given, from the open file."""
    keys, turned = set(held.keys()), (held.metadata() or {}).get(TURNED, "").split()
    for key in sorted(keys):
        name, _, part = key.rpartition(".")
        if part == PARTS[0]:
            found = Codes(*(held.get_tensor(f"{name}.{one}") for one in PARTS if f"{name}.{one}" in keys))
            yield name, found.mT if name in turned else found
        elif part not in PARTS:
            yield key, held.get_tensor(key)

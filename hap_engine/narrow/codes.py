"""Matrices that are kept as codes of 4 or 8 bits, and are numbers to whoever asks for them.

A number is ``scale * code``, or ``scale * code + offset``, where neighbours in a row, a block, share scale and offset:
so are all block formats of ``.gguf`` files. The codes are the file's own. To find them from the numbers alone would be
one way for every source, but rounding hides in some blocks which scale they were made with, and one of them would
leave a whole matrix wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten
_VIEW = {
    *(_aten.detach.default, _aten.alias.default, _aten.view.default, _aten._unsafe_view.default, _aten.t.default),
    *(_aten.transpose.int, _aten.permute.default, _aten.expand.default, _aten.unsqueeze.default),
    *(_aten.slice.Tensor, _aten.select.int),
}
HALF = 8  # of the 16 numbers that 4 bits hold: what is taken off where there is no offset


class Codes(Tensor):
    """A frozen matrix, or a view of one. `float()` are its numbers; what only moves numbers moves codes.

    Attributes:
        codes: ``[row, block, byte]``: int8, one in a byte, or uint8, two in a byte: 0 to 15 with an offset, -8 to 7 (8
            more are stored) without. The low halves of a block's bytes come before the high ones.
        scale: ``[row, block]``, float16 or float32.
        offset: likewise, or None.
        at: without numbers: which of the matrix's it has, as a view of ``[row, column]``.
    """

    codes: Tensor
    scale: Tensor
    offset: Tensor | None
    at: Tensor

    @staticmethod
    def __new__(cls, codes: Tensor, scale: Tensor, offset: Tensor | None = None, at: Tensor | None = None) -> Codes:
        if at is None:
            at = torch.empty(len(codes), codes[0].numel() * _in_byte(codes), dtype=codes.dtype, device="meta")
        made: Codes = Tensor._make_wrapper_subclass(
            cls, at.shape, strides=at.stride(), dtype=codes.dtype, device=codes.device
        )
        made.codes, made.scale, made.offset, made.at = codes, scale, offset, at
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Codes({list(self.shape)}, {8 // _in_byte(self.codes)} bits)"

    @property
    def held(self) -> tuple[Tensor, ...]:
        """What it keeps in memory."""
        return (self.codes, self.scale) if self.offset is None else (self.codes, self.scale, self.offset)

    def numbers(self) -> Tensor:
        """Its numbers, in float32: no more are computed than the blocks of the rows that it has."""
        if not self.numel():
            return torch.empty(self.shape, device=self.device)
        columns, size = self._columns, self.codes.shape[-1] * _in_byte(self.codes)
        row, column = divmod(int(self.at.storage_offset()), columns)
        steps = [(count - 1, *divmod(step, columns)) for count, step in zip(self.shape, self.at.stride(), strict=True)]
        rows, last = 1 + sum(n * down for n, down, _ in steps), column + sum(n * right for n, _, right in steps)
        if last >= columns:  # a view over the ends of rows
            whole = self._decoded(slice(None), slice(None))
            return whole.as_strided(self.shape, self.at.stride(), self.at.storage_offset())
        found = self._decoded(slice(row, row + rows), slice(column // size, last // size + 1))
        strides = [down * found.shape[1] + right for _, down, right in steps]
        return found.as_strided(self.shape, strides, column % size)

    @property
    def _columns(self) -> int:
        return self.codes[0].numel() * _in_byte(self.codes)

    def _decoded(self, rows: slice, blocks: slice) -> Tensor:
        codes, scale = self.codes[rows, blocks], self.scale[rows, blocks, None].float()
        packed = codes.dtype == torch.uint8
        found = (torch.cat([codes & 15, codes >> 4], -1) if packed else codes).float()
        if packed and self.offset is None:
            found -= HALF
        found *= scale
        if self.offset is not None:
            found += self.offset[rows, blocks, None].float()
        return found.flatten(1)

    def on(self, device: torch.device) -> Codes:
        """The same on a device, as codes."""
        codes, scale, offset = (x if x is None else x.to(device) for x in self._all)
        return Codes(codes, scale, offset, self.at)  # type: ignore[arg-type]

    def taken(self, numbers: Tensor, dim: int = 0) -> Tensor:
        """Some along a dimension whose every step is some rows down: as codes; along another: as numbers."""
        if dim % self.ndim:
            return self.transpose(0, dim).taken(numbers).transpose(0, dim)  # type: ignore[attr-defined]
        step, columns = self.at.stride(0), self._columns
        row, column = divmod(int(self.at.storage_offset()), columns)
        within = sum((count - 1) * one for count, one in zip(self.shape[1:], self.at.stride()[1:], strict=True))
        if step % columns or column + within >= columns:
            return self.numbers()[numbers]
        rows = row + (numbers % len(self)) * (step // columns)
        codes, scale, offset = (x if x is None else x[rows] for x in self._all)
        base = torch.empty(len(rows), columns, dtype=self.dtype, device="meta")
        shape, strides = (len(rows), *self.shape[1:]), (columns, *self.at.stride()[1:])
        return Codes(codes, scale, offset, base.as_strided(shape, strides, column))  # type: ignore[arg-type]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        x, named = args[0], dict(kwargs or {})
        if isinstance(x, Codes):
            if func in _VIEW:
                return Codes(*x._all, func(x.at, *args[1:], **named))
            if func is _aten.clone.default and named.get("memory_format") in (None, torch.preserve_format):
                return x
            if func is _aten.index_select.default:
                return x.taken(args[2], args[1])
            if (
                func is _aten.index.Tensor
                and args[1][-1].ndim == 1
                and not any(isinstance(y, Tensor) for y in args[1][:-1])
            ):
                return x.taken(args[1][-1], len(args[1]) - 1)
            if func is _aten.embedding.default:
                return x.taken(args[1].flatten()).float().unflatten(0, args[1].shape)
        return func(*map(_wide, args), **{name: _wide(value) for name, value in named.items()})

    @property
    def _all(self) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.codes, self.scale, self.offset


def _in_byte(codes: Tensor) -> int:
    return 2 if codes.dtype == torch.uint8 else 1


def _wide(x: Any) -> Any:
    if isinstance(x, list | tuple):
        return type(x)(map(_wide, x))
    return x.numbers() if isinstance(x, Codes) else x

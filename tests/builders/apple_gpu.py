"""A pretended Apple GPU: a processor that refuses what torch refuses there, or gets wrong.

Each operation that reaches the device (`pretended.py`) is looked up in torch's own list of kernels
(``native_functions.yaml``, part of every torch) and refused where Apple's GPUs have none. Refused are, too: float64 and
complex numbers, and products that have been reported to fail there (`_refuse_products`).

What this cannot show is whether a kernel that is there computes what it should:
`hap_engine.masked.self_check` looks at that where it runs.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torchgen
import yaml
from torch import Tensor

from tests.builders import pretended as devices
from tests.builders.pretended import names

THERE = torch.device("mps")
# Kernels for every device, and operations that are made of others
GENERAL = {"CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional", "CompositeImplicitAutograd"}
PRODUCTS = {"mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_"}
SUMS = {"index_add", "index_add_"}


def pretended() -> AbstractContextManager[None]:
    """While it is open, the device ``mps`` is there."""
    return devices.pretended(devices.Kind(THERE.type, _refuse, _refuse_numbers))


@cache
def kernels() -> set[str]:
    """The operations that torch has for Apple's GPUs, as ``name.overload``."""
    path = Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries = {e["func"].split("(")[0]: e for e in yaml.load(path.read_text(), Loader=loader)}

    def there(entry: dict[str, Any]) -> bool:
        if "structured_delegate" in entry:
            return there(entries[entry["structured_delegate"]])
        keys = {key.strip() for keys in entry.get("dispatch", {}) for key in keys.split(",")}
        return not keys or bool(keys & (GENERAL | {"MPS"}))

    return {name for name, entry in entries.items() if there(entry)}


def _refuse(func: Any, tensors: list[Tensor], out: Tensor | None) -> None:
    """Raises where torch would on such a device."""
    base, name = names(func)
    if name not in kernels():
        raise NotImplementedError(f"{name} is not there for {THERE}")
    _refuse_products(base, tensors, out)


def _refuse_numbers(held: Tensor) -> None:
    """Raises for numbers that it does not have."""
    if held.dtype == torch.float64 or held.is_complex():
        raise TypeError(f"{THERE} has no {held.dtype}")


def _refuse_products(name: str, tensors: list[Tensor], out: Tensor | None) -> None:
    """Raises for products that were reported to fail on Apple's GPUs.

    Of an empty tensor: pytorch issues 137406 and 187399 (an assertion fails), 175902 (arbitrary numbers where the
    inner dimension is 0), 186972 (sums). Into a tensor with gaps: 104832 (the result is lost).
    """
    if name in PRODUCTS | SUMS and not all(x.numel() for x in tensors):
        raise RuntimeError(f"{name} of an empty tensor fails on {THERE}")
    if name in PRODUCTS and out is not None and not out.is_contiguous():
        raise RuntimeError(f"{name} into a tensor with gaps fails on {THERE}")

"""Codes of 4 and 8 bits: what only moves numbers moves codes, and none is computed that is not asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import embedding, pad

from hap_engine.narrow import weights
from hap_engine.narrow.codes import Codes
from hap_engine.narrow.weights import Narrow, bytes_of, copied, put, stacked, times, without_mean
from tests.builders.codes import random_codes

ROWS, BLOCKS, SIZE = 6, 4, 32
COLUMNS = BLOCKS * SIZE
KINDS = [(4, True), (4, False), (8, True), (8, False)]
SOME = torch.tensor([3, 0, -1, 3])
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "all": lambda x: x,
    "turned": lambda x: x.mT,
    "rows": lambda x: x[2:5],
    "every other row": lambda x: x[1::2],
    "row": lambda x: x[3],
    "columns": lambda x: x[:, 40:75],
    "a head of turned": lambda x: x.mT.unflatten(0, (8, -1))[3],
    "a head of rows": lambda x: x.unflatten(0, (3, 2))[1],
    "in four": lambda x: x.mT[33:90].permute(1, 0)[None].expand(2, -1, -1, )[:, 2:, 5:].unsqueeze(-1),
    "none": lambda x: x[:, 5:5],
    "over the ends of rows": lambda x: x.reshape(-1)[100:200],
    "chosen rows": lambda x: x[SOME],
    "chosen columns of turned": lambda x: x.mT[:, SOME],
    "chosen of rows": lambda x: x[1:].index_select(0, torch.tensor([4, 1])),
    "chosen again": lambda x: x.mT[10:100, SOME][5:, 1:].mT,
}  # fmt: skip
WIDE: dict[str, Callable[[Tensor], Tensor]] = {
    "chosen columns": lambda x: x[:, SOME],
    "padded": lambda x: pad(x, (0, 2)),
    "turned and flat": lambda x: x.mT.reshape(-1),
    "side by side": lambda x: torch.cat([x, x], 1),
}


@pytest.mark.parametrize(("bits", "offset"), KINDS)
def test_numbers_are_scale_times_code_and_offset(bits: int, offset: bool) -> None:
    made = random_codes(ROWS, BLOCKS, bits=bits, offset=offset)
    found = made.float()
    for row, block, place in ((0, 0, 0), (3, 2, 5), (5, 3, 31), (1, 1, 16)):
        stored = made.codes[row, block]
        if bits == 8:
            code = int(stored[place])
        else:
            code = int(stored[place % 16]) >> 4 * (place // 16) & 15
            code -= 0 if offset else 8
        want = made.scale[row, block].float() * code
        want = want if made.offset is None else want + made.offset[row, block].float()
        assert found[row, block * SIZE + place] == want


@pytest.mark.parametrize(("bits", "offset"), KINDS)
@pytest.mark.parametrize("view", [*VIEWS, *WIDE])
def test_a_view_of_codes_has_the_numbers_of_the_view(bits: int, offset: bool, view: str) -> None:
    codes = random_codes(ROWS, BLOCKS, bits=bits, offset=offset)
    whole, move = codes.float(), (VIEWS | WIDE)[view]
    made = move(Narrow([codes]))
    want = move(whole)
    assert made.shape == want.shape
    assert torch.equal(made + 0, want)
    assert isinstance(made, Narrow) == (view in VIEWS)
    if view in VIEWS:
        assert isinstance(made.parts[0], Codes)  # type: ignore[attr-defined]


def test_no_more_is_computed_than_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = random_codes(ROWS, BLOCKS, bits=4, offset=True)
    sizes: list[int] = []
    decoded = Codes._decoded
    monkeypatch.setattr(Codes, "_decoded", lambda *of: sizes.append((found := decoded(*of)).numel()) or found)
    for view in (codes[2:5], codes.mT.unflatten(0, (4, -1))[1], codes[:, 40:75], embed(codes, torch.tensor([[1, 2]]))):
        view.float()
    assert sizes == [2 * COLUMNS, 3 * COLUMNS, ROWS * SIZE, ROWS * 2 * SIZE]


def embed(codes: Tensor, numbers: Tensor) -> Tensor:
    return embedding(numbers, codes)


@pytest.mark.parametrize(("bits", "offset"), KINDS)
def test_products_and_look_ups(bits: int, offset: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = random_codes(ROWS, BLOCKS, bits=bits, offset=offset)
    made, whole = Narrow([codes]), codes.float()
    x, y = torch.randn(5, COLUMNS), torch.randn(5, ROWS)
    assert torch.equal(torch.nn.functional.linear(x, made), torch.nn.functional.linear(x, whole))
    assert torch.equal(torch.addmm(x[0], y, made), torch.addmm(x[0], y, whole))
    numbers = torch.tensor([[1, 5, 1], [0, 2, 3]])
    assert torch.equal(embedding(numbers, made), embedding(numbers, whole))
    monkeypatch.setattr(weights, "PIECE", 64)
    assert torch.allclose(x @ made.mT, x @ whole.mT, atol=1e-4)
    assert torch.allclose(y @ made, y @ whole, atol=1e-4)


def test_rows_that_are_folded_and_joined() -> None:
    """Heads of several matrices, in 4 and in 8 bits, with a gain and less their mean."""
    parts = [random_codes(3, 1, bits=4 + 4 * (seed % 2), offset=seed > 2, seed=seed) for seed in range(5)]
    gain = torch.randn(3, 1)
    wide = torch.stack([part.float() for part in parts]) * gain
    made = times(stacked([Narrow([part]) for part in parts]), gain)
    chosen = torch.tensor([0, 4])
    for _ in range(2):  # nothing is written into
        assert torch.equal(made + 0, wide)
        assert torch.equal(made[1:3] + 0, wide[1:3])
        assert torch.equal(made[2] + 0, wide[2])
        assert torch.equal(made.detach() + 0, wide)
        assert torch.equal(made.index_select(0, chosen) + 0, wide[chosen])
        assert torch.equal(made.mT + 0, wide.mT)
        assert torch.equal(without_mean(made) + 0, without_mean(wide))
        assert torch.equal(made.rows([0, 3]) + 0, wide[[0, 3]])
    assert isinstance(made, Narrow)
    for some in (made[1:3], made[2], made.detach(), made.rows([0, 3])):
        assert all(isinstance(part, Codes) for part in some.parts)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("bits", "offset", "share"), [(4, True, 0.16), (4, False, 0.15), (8, True, 0.29), (8, False, 0.27)]
)
def test_memory(bits: int, offset: bool, share: float) -> None:
    made = Narrow([random_codes(64, 32, bits=bits, offset=offset)])
    assert sum(bytes_of(made).values()) < share * 4 * made.numel()
    assert bytes_of(made.mT[:, 3:5]) == bytes_of(made)


def test_modules_are_copied_and_moved() -> None:
    codes = random_codes(ROWS, BLOCKS, bits=4, offset=True)
    part = torch.nn.Linear(COLUMNS, ROWS)
    part.weight = torch.nn.Parameter(Narrow([codes]), requires_grad=False)
    made = copied(part, torch.bfloat16)
    assert torch.equal(made.weight, codes.float().bfloat16())  # type: ignore[arg-type]
    put(part, lambda _: torch.device("meta"))
    assert part.weight.device.type == "meta"
    assert {held.device.type for held in part.weight.raw().held} == {"meta"}  # type: ignore[operator]

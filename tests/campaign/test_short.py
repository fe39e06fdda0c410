"""A short form of each part of the campaign: nothing crashes, nothing is lost, nothing is wrongly accepted."""

from __future__ import annotations

import pytest

from tests.campaign.parts import PARTS


@pytest.mark.parametrize("name", PARTS)
def test_nothing_goes_wrong(name: str) -> None:
    tally = PARTS[name].attack(1, PARTS[name].short)
    assert tally.tried == PARTS[name].short
    assert tally.faults == []

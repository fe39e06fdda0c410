"""A run as far as its circuit: what comes after is computed in float32 whatever its precision is."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.settings import DiscoveryConfig
from hap_engine.workflows.discover import discover


def descent(masked: MaskedModel, **settings: Any) -> list[Mapping[str, Any]]:
    """What pruning tells of its steps."""
    records = discover(DiscoveryConfig(model="tiny", **settings), masked.model)
    told = [record.data for record in takewhile(lambda one: one.phase != "evaluate", records)]
    return [data for data in told if "kl" in data]

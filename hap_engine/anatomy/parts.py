"""A whole model taken apart: its layers, its two ends, and the graph that they make."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from hap_engine.anatomy.blocks import Block
from hap_engine.anatomy.ends import Entrance, Exit, find_entrance, find_exit
from hap_engine.anatomy.layers import take_apart
from hap_engine.anatomy.skeleton import Place, Skeleton
from hap_engine.graph.graph import Graph


@dataclass(frozen=True, eq=False)
class Parts:
    """What the engine computes with.

    Attributes:
        centred: all that reads the stream ignores its mean.
    """

    skeleton: Skeleton
    blocks: tuple[Block, ...]
    entrance: Entrance
    exit: Exit
    centred: bool

    @property
    def graph(self) -> Graph:
        """Its nodes and edges, with what feeds what as it was measured (in any of its layers)."""
        block = self.blocks[0]
        usual = Graph(len(self.blocks), block.heads, block.kv_heads, block.parallel, block.post is not None)
        feeds = [set[int]().union(*fed) for fed in zip(*(one.feeds for one in self.blocks), strict=True)]
        coupled = tuple(tuple(sorted(fed)) for fed in feeds)
        same = all(set(fed) == set(usual.slot_feeds[slot].nonzero()[0].tolist()) for slot, fed in enumerate(coupled))
        return (
            usual
            if same
            else Graph(usual.n_layers, usual.n_heads, usual.n_kv_heads, usual.parallel, usual.post_norm, coupled)
        )

    @property
    def ways(self) -> dict[str, int]:
        """How many layers compute their attention in which way."""
        return dict(Counter(block.core.way for block in self.blocks))


def parts_of(hf_model: Any, place: Place) -> Parts:
    """Take a Hugging Face causal language model apart, once it is where `place` puts it.

    Raises:
        LookupError: saying which part is not what the engine has.
    """
    skeleton = Skeleton(hf_model, place)
    leave = find_exit(skeleton)
    blocks, centred = take_apart(skeleton, leave.norm)
    return Parts(skeleton, tuple(blocks), find_entrance(skeleton), leave, centred)

"""On which card each layer of a model is, where one model takes several.

A layer is computed where its weights are (`hap_engine.anatomy.blocks.Block.device`), so to place it is all there is to
do here: neighbours go together, and so many to a card that the fullest has as much left as can be. The two ends of the
model, embedding and unembedding, are on the first card.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import Module

from hap_engine.anatomy.skeleton import Place
from hap_engine.errors import ModelError, SettingsError
from hap_engine.narrow.weights import bytes_of, put
from hap_engine.settings import EVERY_CARD
from hap_engine.words import say

HALVINGS = 40  # to find how full the cards have to be: to a byte of a terabyte


def cards_of(layers_on: str) -> tuple[torch.device, ...]:
    """The cards that a setting names, in the order of the layers.

    Of several processes on this machine, which torchrun started, each has its share of them, neighbours.

    Raises:
        ModelError: if one of them is not there.
        SettingsError: if there are fewer cards than processes.
    """
    there = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    cards = there if layers_on == EVERY_CARD else layers_on.split(",")
    missing = [card for card in cards or ["cuda:0"] if card not in there]
    if missing:
        raise ModelError(say("transformer.no_card", cards=", ".join(missing), there=", ".join(there) or "none"))
    number, processes = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    each = len(cards) // processes
    if not each:
        raise SettingsError(say("masked.too_few_cards", cards=len(cards), wanted=processes))
    return tuple(map(torch.device, cards[number * each : (number + 1) * each]))


def over(name: str, cards: Sequence[torch.device]) -> Place:
    """Put a model's layers on cards by the memory that is free there.

    Raises:
        ModelError: if a card has no room for one layer, or all together none for the model.
    """

    def place(hf_model: Any, layers: Sequence[Module]) -> None:
        sizes, free = [_bytes(layer) for layer in layers], [free_on(card) for card in cards]
        rest = _bytes(hf_model) - sum(sizes)
        for card, room in zip(cards, free, strict=True):
            if room < max(sizes):
                raise ModelError(
                    say("transformer.small_card", name=name, card=card, room=room / 1e9, layer=max(sizes) / 1e9)
                )
        chosen = shared_out(sizes, rest, free)
        if chosen is None:
            needed, there = (rest + sum(sizes)) / 1e9, sum(free) / 1e9
            raise ModelError(say("transformer.few_cards", name=name, needed=needed, count=len(cards), room=there))
        of = {id(part): cards[card] for layer, card in zip(layers, chosen, strict=True) for part in layer.modules()}
        put(hf_model, lambda part: of.get(id(part), cards[0]))

    return place


def shared_out(sizes: Sequence[int], rest: int, free: Sequence[int]) -> list[int] | None:
    """The card of each layer; None if they do not fit.

    Args:
        sizes: bytes of the layers.
        rest: bytes of what goes to the first card besides.
        free: bytes on each card.
    """

    def filled(share: float) -> list[int] | None:
        """Card after card, each up to a share of what is free."""
        chosen, card, used = list[int](), 0, rest
        if rest > share * free[0]:
            return None
        for size in sizes:
            while used + size > share * free[card]:
                card, used = card + 1, 0
                if card == len(free):
                    return None
            chosen.append(card)
            used += size
        return chosen

    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if filled(middle) else (middle, high)
    return filled(high)


def free_on(card: torch.device) -> int:
    """Bytes that are free on a card."""
    return int(torch.cuda.mem_get_info(card)[0])


def _bytes(module: Module) -> int:
    held: dict[int, int] = {}
    for weight in module.parameters():
        held |= bytes_of(weight)
    return sum(held.values())

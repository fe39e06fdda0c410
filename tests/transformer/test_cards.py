"""Which card gets which layers, and what is said where that cannot be."""

from __future__ import annotations

import pytest
import torch

from hap_engine.cli.commands import main
from hap_engine.errors import ModelError, SettingsError
from hap_engine.masked import processes
from hap_engine.settings import DiscoveryConfig
from hap_engine.transformer.cards import cards_of, shared_out
from tests.builders.cards import ROOM, cards, opened


def test_the_fullest_card_has_as_much_left_as_can_be() -> None:
    assert shared_out([10] * 6, 0, [100, 100, 100]) == [0, 0, 1, 1, 2, 2]
    assert shared_out([10] * 6, 20, [100, 100]) == [0, 0, 1, 1, 1, 1]  # embedding and unembedding are on the first
    assert shared_out([10] * 6, 0, [100, 200]) == [0, 0, 1, 1, 1, 1]
    assert shared_out([10, 10, 40], 0, [100, 100]) == [0, 0, 1]
    assert shared_out([10] * 4, 0, [20, 20]) == [0, 0, 1, 1]


def test_what_does_not_fit_is_shared_out_to_nobody() -> None:
    assert shared_out([10] * 4, 1, [20, 20]) is None
    assert shared_out([10] * 4, 30, [20, 100]) is None
    assert shared_out([10, 30], 0, [25, 25]) is None


def test_processes_on_one_machine_share_the_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda card: chosen.append(str(card)))
    with cards(ROOM, ROOM, ROOM, ROOM):
        assert [str(card) for card in cards_of("auto")] == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
        for name, value in {"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        assert [str(card) for card in cards_of("auto")] == ["cuda:2", "cuda:3"]
        assert [str(card) for card in cards_of("cuda:3,cuda:0")] == ["cuda:0"]
        monkeypatch.setattr(processes.distributed, "init_process_group", chosen.append)
        monkeypatch.setattr(processes.distributed, "destroy_process_group", lambda: None)
        with processes.joined("cuda", "auto"):
            pass
        assert chosen == ["cuda:2", "nccl"]
        with pytest.raises(SettingsError, match=r"a card for each of the 2 processes on this machine, and it has 1"):
            cards_of("cuda:3")


@pytest.mark.parametrize("named", ["cuda:0,", "gpu", "cuda", "cuda:0,cuda:0", "cuda:1;cuda:2", "cpu"])
def test_what_names_no_cards_is_refused(named: str) -> None:
    with pytest.raises(SettingsError, match=r"Expected --layers-on as auto or as cards.*got '.*Leave it out"):
        DiscoveryConfig(device="cuda", layers_on=named)


def test_cards_are_for_a_run_on_cards() -> None:
    with pytest.raises(SettingsError, match=r"the device is cpu\. Add --device cuda"):
        DiscoveryConfig(layers_on="auto")


def test_a_card_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with cards(ROOM, ROOM), pytest.raises(ModelError, match=r"cuda:7 is not there \(there: cuda:0, cuda:1\)\. Name"):
        cards_of("cuda:0,cuda:7")
    arguments = "discover --model hap-mini --device cuda --layers-on auto --prompts 8,4,4 --dtype float32"
    if not torch.cuda.is_available():
        assert main(arguments.split()) == 1
        assert "cuda:0 is not there (there: none). Name others with --layers-on" in capsys.readouterr().err


def test_a_card_without_room_for_a_layer_is_named() -> None:
    expected = r"Expected room for a layer of tiny \(.* GB\) on each card, and cuda:1 has 2e-06 GB free\. Leave it out"
    with cards(ROOM, 2000), pytest.raises(ModelError, match=expected):
        opened("llama", "auto")


def test_cards_without_room_for_the_model_are_refused() -> None:
    expected = r"Expected room for the weights of tiny \(.* GB, each layer whole\) on 2 cards, .*Name more cards"
    with cards(80_000, 80_000), pytest.raises(ModelError, match=expected):
        opened("llama", "auto")

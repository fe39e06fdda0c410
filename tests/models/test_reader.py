"""A tokenizer gives the whole text and nothing else, however it was saved."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from app.own_prompts import tokens
from hap_engine.errors import ModelError
from hap_engine.machine.estimate import tokens_of
from hap_engine.models.catalog import resolve
from hap_engine.models.reader import read_tokenizer
from hap_engine.settings import DiscoveryConfig
from hap_engine.tasks.pair import EncodedPair
from hap_engine.transformer.load import load_model
from hap_engine.workflows.run_prompts import try_prompts, usable_rows

TEXT = "Then Mary and John went"


@pytest.fixture
def trained(folder: Path, tmp_path: Path) -> Path:
    """A model whose tokenizer was saved as it was used for training: cut at one token, filled up to 64."""
    copy = Path(shutil.copytree(folder, tmp_path / "trained"))
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.enable_truncation(max_length=1)
    made.enable_padding(length=64)
    made.save(str(copy / "tokenizer.json"))
    return copy


def test_texts_are_neither_cut_nor_filled(folder: Path, trained: Path) -> None:
    want = read_tokenizer(folder / "tokenizer.json").encode(TEXT).ids
    assert len(want) == 5
    assert len(Tokenizer.from_file(str(trained / "tokenizer.json")).encode(TEXT).ids) == 64, "as it was saved"
    assert read_tokenizer(trained / "tokenizer.json").encode(TEXT).ids == want
    assert load_model(str(trained)).tokenizer.encode(TEXT).ids == want
    reader = tokens.reader(resolve(str(trained)))
    assert reader is not None
    assert reader.tokenizer.encode(TEXT).ids == want


def test_prompts_are_tried_with_the_whole_text(folder: Path, trained: Path, pairs: list[EncodedPair]) -> None:
    rows = [one.pair for one in pairs]
    assert usable_rows(rows, str(trained)) == (tuple(rows), [])
    try_prompts(DiscoveryConfig(model=str(trained), task="ioi"))
    config = DiscoveryConfig(model=str(trained), task="ioi")
    assert tokens_of(config, resolve(str(trained))) == tokens_of(config, resolve(str(folder)))


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    words = f"Expected a tokenizer in tokenizer.json of {re.escape(tmp_path.name)}, got"
    with pytest.raises(ModelError, match=words) as caught:
        read_tokenizer(tmp_path / "tokenizer.json")
    assert "\n" not in str(caught.value)

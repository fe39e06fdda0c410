"""The beginning-of-text token: fed where the model's own tokenizer feeds it, or as told; recorded, and seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.processors import TemplateProcessing

from hap_engine import api
from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.evaluation.stored_prompts import bos_of, stored_prompts
from hap_engine.explain.what_if import Bench
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import Source
from hap_engine.runs.continue_run import again
from hap_engine.settings import DiscoveryConfig, PruningConfig, run_id
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.reader import encode_rows, reader_with
from hap_engine.transformer.load import from_hf
from hap_engine.workflows.run_prompts import make_prompts, settled
from tests.builders.tiny_models import SIZES, hf_model, tokenizer

PAIR = PromptPair("Aaron and Adam", "Adam and Aaron", " Alan", " Albert")
CONFIG = DiscoveryConfig(model="tiny", sizes=SIZES, pruning=PruningConfig(steps=2, batch_size=4))


def beginning() -> Tokenizer:
    """The tests' tokenizer with a token that begins every text, as Llama 3's and Gemma's have one."""
    made = tokenizer()
    made.add_special_tokens([AddedToken("<bos>", special=True)])
    made.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", made.token_to_id("<bos>"))])
    return made


BOS = beginning().token_to_id("<bos>")


@pytest.fixture(scope="module")
def llama3() -> MaskedModel:
    hf = hf_model("llama")
    hf.resize_token_embeddings(BOS + 1)
    return open_masked(from_hf(hf, beginning(), source("tiny")))


def source(name: str) -> Source:
    return Source(name, "folder", name, None)


def test_it_comes_first_where_the_tokenizer_puts_it() -> None:
    plain, own = reader_with(tokenizer(), "x", None, None, 5), reader_with(beginning(), "x", None, None, None)
    assert (plain.bos, plain.begins) == (5, False)
    assert (own.bos, own.begins) == (BOS, True)
    for reader, first in ((plain, None), (plain.feeding("always"), 5), (own, BOS), (own.feeding("never"), None)):
        (pair,) = encode_rows(reader, [PAIR])
        assert (pair.clean_ids[0] == first) == (first is not None)
        assert len(pair.clean_ids) == len(pair.corrupt_ids) == 3 + (first is not None)
    nothing = reader_with(tokenizer(), "tiny", None, None, None)
    with pytest.raises(SettingsError, match="tiny names none"):
        nothing.feeding("always")
    with pytest.raises(UnknownNameError, match="always"):
        DiscoveryConfig(bos="alway")


def test_a_text_that_begins_so_already_gets_no_second() -> None:
    reader = reader_with(beginning(), "x", None, None, None)
    (pair,) = encode_rows(reader, [replace(PAIR, clean=f"<bos>{PAIR.clean}", corrupt=f"<bos>{PAIR.corrupt}")])
    assert pair.clean_ids.count(BOS) == 1


def test_places_move_with_it() -> None:
    reader = reader_with(beginning(), "x", None, None, None)
    with_it, without = (make_prompts(CONFIG, reader.feeding(bos)).test[0] for bos in ("auto", "never"))
    assert {role: place - 1 for role, place in with_it.roles.items()} == dict(without.roles)
    assert with_it.clean_ids == (BOS, *without.clean_ids)
    assert with_it.clean_ids[with_it.roles["IO"]] == without.clean_ids[without.roles["IO"]]


def test_what_a_run_is_named_by() -> None:
    """Runs without the token keep the ids that they had before there was a choice."""
    plain, own = reader_with(tokenizer(), "x", None, None, 5), reader_with(beginning(), "x", None, None, None)
    before = run_id(CONFIG, "weights")
    never, always = replace(CONFIG, bos="never"), replace(CONFIG, bos="always")
    assert settled(CONFIG, plain) == settled(never, plain) == CONFIG
    assert {run_id(settled(one, plain), "weights") for one in (CONFIG, never)} == {before}
    assert run_id(settled(never, own), "weights") == before
    assert settled(CONFIG, own) == settled(always, own) == always
    assert run_id(always, "weights") != before


def test_a_run_records_it_and_shows_it(llama3: MaskedModel) -> None:
    run = api.discover(llama3, "ioi", sparsity=0.8, keep=0.6, sizes=SIZES, pruning=CONFIG.pruning)
    assert run.settings["bos"] == bos_of(run) == "always"
    assert "--bos always" in run.command
    assert run.attention[0]["tokens"]["clean"][0] == "<bos>"
    (first, *_) = stored_prompts(llama3, run, "test")
    assert first.clean_ids[0] == BOS
    assert dict(first.roles) == run.prompts["test"][0]["roles"]
    assert Bench(llama3, [first]).tokens()["clean"][0] == "<bos>"
    assert again(run).bos == "always"
    bare = api.discover(llama3, "ioi", sparsity=0.8, keep=0.6, sizes=SIZES, pruning=CONFIG.pruning, bos="never")
    assert bos_of(bare) == "never"
    assert bare.id != run.id
    assert "bos" not in bare.settings
    assert stored_prompts(llama3, bare, "test")[0].clean_ids == first.clean_ids[1:]
    assert again(bare).bos == "never", "of an older run: as it was"
    assert api.encoded(llama3, [PAIR])[0].clean_ids[0] == BOS

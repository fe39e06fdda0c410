"""The beginning-of-text token: fed where the model's own tokenizer feeds it, or as told; recorded, and seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.processors import TemplateProcessing

from app.explore.prompts import _sample
from app.own_prompts import tokens
from hap_engine import api
from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.evaluation.stored_prompts import bos_of, stored_prompts
from hap_engine.explain.what_if import Bench
from hap_engine.machine.estimate import tokens_of
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import Source, resolve
from hap_engine.models.reader import reader_of
from hap_engine.report.token_places import on_sentence
from hap_engine.runs.continue_run import again
from hap_engine.settings import DiscoveryConfig, PruningConfig, run_id
from hap_engine.tasks.editing import align
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.reader import encode_rows, problem, reader_with
from hap_engine.tasks.task import SplitSizes
from hap_engine.transformer.load import from_hf
from hap_engine.workflows.retest import reevaluate
from hap_engine.workflows.run_prompts import make_prompts, settled
from tests.builders.tiny_models import SIZES, finish, hf_model, tokenizer

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
    (pair,) = encode_rows(reader, [replace(PAIR, clean=f"and {PAIR.clean}", corrupt=f"<bos>{PAIR.corrupt}")])
    assert (pair.clean_ids.count(BOS), pair.corrupt_ids.count(BOS)) == (0, 1), "one alone begins so: as it is written"


def test_it_is_found_whatever_words_a_tokenizer_knows() -> None:
    for wordless in (WordLevel({"x": 0, "<bos>": 1, "<eos>": 2}, unk_token="none"), BPE({"x": 0, "<bos>": 1}, [])):
        made = Tokenizer(wordless)
        assert not reader_with(made, "x", None, None, None).begins
        made.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
        assert reader_with(made, "x", None, None, None).bos == 1
    ends = tokenizer()
    ends.post_processor = TemplateProcessing(single="$A and", special_tokens=[("and", 1)])
    assert not reader_with(ends, "x", None, None, None).begins


def test_tokens_and_logits_are_those_of_transformers(tmp_path: Path, llama3: MaskedModel) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

    llama3.model.hf_model.save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=beginning(), bos_token="<bos>").save_pretrained(tmp_path)
    theirs, masked = AutoTokenizer.from_pretrained(tmp_path), api.open_model(str(tmp_path))
    pairs = api.prompts(masked, sizes=SIZES).test
    for pair in pairs:
        assert list(pair.clean_ids) == theirs(pair.pair.clean).input_ids
        assert list(pair.corrupt_ids) == theirs(pair.pair.corrupt).input_ids
        (answer,) = theirs(pair.pair.answer, add_special_tokens=False).input_ids
        assert (pair.answer_id, pair.clean_ids[0]) == (answer, BOS), "an answer is no text of its own"
    theirs.pad_token = "<bos>"
    rows = theirs([pair.pair.clean for pair in pairs], padding=True, padding_side="right", return_tensors="pt")
    last = rows.attention_mask.sum(1) - 1
    want = AutoModelForCausalLM.from_pretrained(tmp_path)(**rows).logits[range(len(last)), last]
    assert torch.allclose(api.logits(masked, pairs), want, atol=1e-5 * float(want.detach().abs().max()))
    config = replace(CONFIG, model=str(tmp_path), sizes=SplitSizes())
    folder = resolve(str(tmp_path))
    reader = reader_of(folder)
    assert reader is not None
    shown = _sample(tmp_path, 0, "", 0, reader, config)
    assert all(row["Clean prompt"].startswith("<bos> · ") for row in shown), "a preview"
    assert tokens_of(config, folder) == tokens_of(replace(config, bos="never"), folder) + 1
    texts = [pair.pair for pair in pairs]
    assert torch.equal(api.logits(masked, texts), api.logits(masked, pairs)), "texts begin as the model's own do"
    assert reader.first() == (BOS,), "known before the model is opened"


def test_it_counts_where_tokens_are_counted() -> None:
    fits, tight = (reader_with(beginning(), "tiny", longest, None, None) for longest in (4, 3))
    assert not problem(fits, PAIR)
    assert "the prompt has 4 tokens" in problem(tight, PAIR)
    assert not problem(tight.feeding("never"), PAIR)
    shown = tokens.aligned(fits, PAIR.clean, PAIR.corrupt, align(fits.tokenizer, PAIR.clean, PAIR.corrupt))
    assert shown.count("&lt;bos&gt;") == 2
    assert shown.count('class="other"') == 4, "the names, and not the token before them"


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
    _, (first, *_) = stored_prompts(llama3, run, "test")
    assert first.clean_ids[0] == BOS
    assert dict(first.roles) == run.prompts["test"][0]["roles"]
    assert Bench(llama3, [first]).tokens()["clean"][0] == "<bos>"
    assert again(run).bos == "always"
    bare = api.discover(llama3, "ioi", sparsity=0.8, keep=0.6, sizes=SIZES, pruning=CONFIG.pruning, bos="never")
    assert bos_of(bare) == "never"
    assert bare.id != run.id
    assert "bos" not in bare.settings
    assert stored_prompts(llama3, bare, "test")[1][0].clean_ids == first.clean_ids[1:]
    assert again(bare).bos == "never", "of an older run: as it was"
    assert api.encoded(llama3, [PAIR])[0].clean_ids[0] == BOS
    if placed := on_sentence(run, "eap", run.main):
        assert placed.prompts[0].tokens[0] == "<bos>"


def test_a_run_is_tested_as_it_was_made_or_otherwise(llama3: MaskedModel) -> None:
    bare, run = (
        api.discover(llama3, "ioi", sparsity=0.8, keep=0.6, sizes=SIZES, pruning=CONFIG.pruning, bos=bos)
        for bos in ("never", "auto")
    )
    circuits = {name: record.circuit for name, record in bare.circuits.items()}
    same, other = (finish(reevaluate(llama3, bare, bos=bos)) for bos in (None, "always"))
    # A run measures its first test prompts in batches of their own: the last digit of float32 may differ.
    without, with_bos = (pytest.approx(made.metrics["full"]["logit_diff"], rel=1e-6) for made in (bare, run))
    assert same["full"]["logit_diff"] == without
    assert other["full"]["logit_diff"] == with_bos != bare.metrics["full"]["logit_diff"]
    _, (first, *_) = stored_prompts(llama3, bare, "test", bos="auto")
    assert (first.clean_ids[0], first.roles) == (BOS, {})
    texts = [PromptPair.from_dict(prompt) for prompt in bare.prompts["test"]]
    on_texts = api.evaluate(llama3, bare, on=texts)
    assert on_texts["full"]["logit_diff"] == without, "texts begin as the run's"
    alone = api.evaluate(llama3, circuits, on=texts)
    assert alone["full"]["logit_diff"] == with_bos, "and else as the model's own"
    damaged = replace(bare, settings={**bare.settings, "bos": "perhaps"})
    with pytest.raises(UnknownNameError, match="perhaps"):
        stored_prompts(llama3, damaged, "test")

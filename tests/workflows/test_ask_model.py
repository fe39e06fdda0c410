"""Asking the model about one's own pairs: where it reads answers with another space than is scored, that is said."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import Source
from hap_engine.progress import drain
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.reader import encode_rows
from hap_engine.transformer.load import from_hf, load_model
from hap_engine.workflows.ask_model import ask, spaces_in_doubt, summary
from hap_engine.workflows.run_prompts import scored
from tests.builders.words import byte_tokenizer

WORDS = byte_tokenizer(["un", "believ", "able", " able", "ing", " ing", "The", " is", " cold", "cold", " warm", "warm"])
PART = PromptPair("unbeliev", "believun", " able", " ing")


def speaker(logits: Mapping[str, float]) -> MaskedModel:
    """A GPT-2 that says the same after every prompt: the logits of these tokens, and -20 for all others."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 32, "vocab_size": WORDS.get_vocab_size()}
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    model = GPT2LMHeadModel(GPT2Config(tie_word_embeddings=False, attn_implementation="eager", **sizes, **special))
    with torch.no_grad():
        norm, head = model.transformer.ln_f, model.lm_head
        norm.weight.zero_()
        norm.bias.zero_()[0] = 1.0
        head.weight.fill_(-20.0)
        for text, logit in logits.items():
            head.weight[WORDS.encode(text).ids[0]] = logit
    return MaskedModel(from_hf(model, WORDS, Source("speaker", "folder", "speaker", None)))


def likelier(model: MaskedModel, pair: PromptPair) -> str:
    return drain(ask(model, encode_rows(model.model.reader, [pair])))[0].likelier


def test_a_reading_ten_times_likelier_is_told() -> None:
    assert likelier(speaker({" able": 0.0, "able": 2.2, " ing": 0}), PART) == "", "nine times"
    assert likelier(speaker({" able": 0.0, "able": 2.4, " ing": 0}), PART) == "able"
    assert likelier(speaker({" able": 0.0, "ing": 2.4, " ing": 0}), PART) == "ing", "the distractor too"
    plain = PromptPair("The", "un", "able", "ing")
    assert likelier(speaker({"able": 0.0, " able": 3, "ing": 0}), plain) == " able"


def test_only_what_is_not_compared_already_is_another_reading() -> None:
    model = speaker({" able": 0.0, "able": 9, " ing": 0, "ing": 9})
    able, ing = (WORDS.token_to_id(text) for text in ("able", "ing"))
    assert likelier(model, PromptPair("unbeliev", "believun", "", "", answer_ids=(able,), distractor_ids=(ing,))) == ""
    exact = PromptPair("unbeliev", "believun", " able", " ing", answer_ids=(WORDS.token_to_id("Ġable"),))
    assert likelier(model, exact) == "ing", "an id leaves no doubt, a text may"
    both = PromptPair("The is", "un is", " cold", " warm", more_answers=("cold",), more_distractors=("warm",))
    assert likelier(speaker({"cold": 5, " cold": 0, "warm": 5, " warm": 0}), both) == ""


def test_the_sentence_says_which_and_what_to_do() -> None:
    model = speaker({" able": 0.0, "able": 4, " ing": 0, " cold": 2, " warm": 0})
    pairs = [PART, PromptPair("The is", "un is", " cold", " warm")]
    asked = drain(ask(model, encode_rows(model.model.reader, pairs)))
    assert spaces_in_doubt(asked) == (
        "After 1 of 2 prompts the model gives 'able' more than 10 times the probability of ' able', which is what is "
        'scored. If \'able\' is meant, write it so in the prompts file and say "spaces": "as written".'
    )
    assert summary(asked).endswith(spaces_in_doubt(asked))
    assert asked[0].complaint == "The model finds 'able' far likelier than ' able': which is meant?"
    assert spaces_in_doubt(asked[1:]) == ""


def test_the_scored_tokens_are_named_before_a_run() -> None:
    reader = speaker({}).model.reader
    pairs = encode_rows(reader, [PART, PromptPair("The is", "un is", " cold", " warm", more_answers=(" cold",))])
    able, ing = (WORDS.token_to_id(text) for text in ("Ġable", "Ġing"))
    assert scored(reader, pairs) == (
        f"After 'unbeliev', ' able' (id {able}) is compared with ' ing' (id {ing}). In 1 of 2 rows a token is named "
        "twice; it counts once."
    )
    several = PromptPair("The", "un", " cold", "ing", more_answers=(" warm", " is", " able", "able", "cold"))
    assert " and 2 more is compared" in scored(reader, encode_rows(reader, [several]))


@pytest.mark.real_model
def test_the_real_model_tells_the_pieces_of_a_word(smollm2: str, shared_home: None) -> None:
    """`able` after `unbeliev` was measured as ` able` without a word; after a line break `Paris` as ` Paris`."""
    model = open_masked(load_model(smollm2))
    reader = model.model.reader
    part = PromptPair("That is truly unbeliev", "That is truly rememb", " able", " ing")
    assert likelier(model, part) == "able"
    line = PromptPair("Q: Capital of France?\nA:\n", "Q: Capital of Spain?\nA:\n", " Paris", " Rome")
    right = PromptPair(line.clean, line.corrupt, "Paris", "Rome")
    wrong, meant = drain(ask(model, encode_rows(reader, [line, right])))
    assert (wrong.likelier, meant.likelier) == ("Paris", "")
    assert meant.clean > 100 * wrong.clean
    french = [
        PromptPair("Pierre arrive demain", "Claire arrive demain", *texts) for texts in ((" à", " de"), ("à", " de"))
    ]
    alike, mixed = drain(ask(model, encode_rows(reader, french)))
    assert mixed.clean_diff < alike.clean_diff - 2, "what was measured, and what is meant"

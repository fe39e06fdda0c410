"""Train hap-mini, the small transformer that HAP Explorer ships for teaching and for its tests.

hap-mini has GPT-2's architecture (4 layers, 8 heads, width 128, one token per word or two digits) and
learns to predict the next word of generated short stories (`assets.models.stories`): IOI, greater-than,
gendered pronouns, agreement, repeated random words, and others that leave no shortcut.

Two things are taught besides the text, so that the model can be used to show circuits:

* A second term of the loss asks some heads of the last layer to look at what they should copy
  (`assets.models.guidance`). They become name movers and induction heads. What writes the information that
  they need is left to the model: nothing guides the earlier layers.
* A second stage makes the mechanisms small enough to read: while training goes on, all but a falling
  share of the blocks' weights are set to zero, until few are left (`assets.models.thinning`). It uses
  fewer kinds of story.

The accuracy that is logged while training is on combinations (pairs of names, start years, a name in a
sentence, …) that no story held (`assets.models.exam`).

Run from the repository's root (minutes on one CPU core; equal seeds give equal weights)::

    python -m assets.models.train_hap_mini
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain as chain_stages
from pathlib import Path
from random import Random

import torch
from jaxtyping import Float, Int
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Sequence as Steps
from tokenizers.pre_tokenizers import Split, Whitespace
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from assets.models.exam import Measured, header, held_out_prompts, measure
from assets.models.guidance import attention_guidance, words_to_hand, words_to_repeat
from assets.models.people import ANSWER
from assets.models.stories import ALL_WORDS, PLAIN_STORIES, STORIES, Kinds, story
from assets.models.thinning import keep_largest
from hap_engine.tasks.pair import encode

FOLDER = Path(__file__).parent / "hap-mini"
PAD, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"
PAD_ID = 0  # the first word of the vocabulary
POSITIONS = 64  # the longest story has about 50 tokens
TASKS = ("ioi", "greater-than", "pronoun", "agreement", "induction")
LOG_MARKS = ("<!-- log:begin -->", "<!-- log:end -->")  # in the model card


@dataclass(frozen=True)
class Recipe:
    """How hap-mini is trained; the defaults made the model that is in the repository."""

    seed: int = 0
    steps: int = 4500  # rows are repeated from step 1500, IOI is found at 2500, pronouns last
    batch_size: int = 32
    rate: float = 1e-3
    weight_decay: float = 0.1
    answer_weight: float = 5.0  # of the words that tasks ask for; with 1, pronouns stayed at 75 %
    init: float = 0.08  # near 1/sqrt(width); a first try with GPT-2's 0.02 copied no name at all
    position_init: float = 0.3  # of `init`: words must be heard to be repeated (150 steps, not 400)
    mlp_width: int = 128  # narrow, so that attention does the work
    guidance: float = 1.0  # of `attention_guidance`; at 0.1 the guided heads hardly mattered
    guided_heads: int = 2  # with 4 (and wider MLPs) it reached 80 % in 4000 steps
    warm_up: int = 100
    log_every: int = 250
    thin_steps: int = 5000  # of the second stage
    thin_rate: float = 2e-3
    thin_decay: float = 0.05
    thin_guidance: float = 0.3  # the heads look at the right word already
    density: float = 0.02  # share of the blocks' weights that is left; five tasks share it
    concentration: float = 0.5  # of `keep_largest`; with 0, thirty edges did not carry IOI
    thin_by: float = 0.65  # share of the steps after which that density is reached


# --- Tokenizer and model -------------------------------------------------------------------------


def build_tokenizer() -> Tokenizer:
    """One token per word, per punctuation mark and per two digits (1732 is ``17`` ``32``)."""
    numbers = [f"{number:02d}" for number in range(100)]
    words = [PAD, UNKNOWN, END, *numbers, *ALL_WORDS]
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Steps([Whitespace(), Split(Regex(r"\d\d"), "isolated")])
    tokenizer.add_special_tokens([PAD, UNKNOWN, END])
    return tokenizer


def build_model(tokenizer: Tokenizer, recipe: Recipe) -> GPT2LMHeadModel:
    end = tokenizer.token_to_id(END)
    config = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(),
        n_positions=POSITIONS,
        n_embd=128,
        n_layer=4,
        n_head=8,
        n_inner=recipe.mlp_width,
        initializer_range=recipe.init,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=PAD_ID,
    )
    model = GPT2LMHeadModel._from_config(config, attn_implementation="eager")
    model.transformer.wpe.weight.data.mul_(recipe.position_init)
    return model


def weighted(tokenizer: Tokenizer, text: str, weight: float) -> tuple[list[int], list[float]]:
    """The ids of a story without its marks, and for each how much it counts as a target."""
    ids: list[int] = []
    weights: list[float] = []
    for index, part in enumerate(text.split(ANSWER)):
        more = tokenizer.encode(part, add_special_tokens=False).ids
        ids += more
        weights += [weight if index and not place else 1.0 for place in range(len(more))]
    return ids, weights


def batches(
    tokenizer: Tokenizer, size: int, rng: Random, weight: float, kinds: Kinds = STORIES
) -> Iterator[tuple[Int[Tensor, "batch pos"], Float[Tensor, "batch pos"]]]:
    """Endless batches of stories as ids and weights; stories of like length go together."""
    while True:
        stories = (f"{story(rng, kinds)} {END}" for _ in range(20 * size))
        rows = sorted((weighted(tokenizer, text, weight) for text in stories), key=lambda r: len(r[0]))
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        rng.shuffle(chunks)
        for chunk in chunks:
            longest = len(chunk[-1][0])
            yield (
                torch.tensor([ids + [PAD_ID] * (longest - len(ids)) for ids, _ in chunk]),
                torch.tensor([shares + [0.0] * (longest - len(shares)) for _, shares in chunk]),
            )


# --- Training and testing ------------------------------------------------------------------------


def train(model: GPT2LMHeadModel, tokenizer: Tokenizer, recipe: Recipe) -> Iterator[Measured]:
    """AdamW on next-word cross entropy: warm-up, a constant rate, and a linear fall in the second half."""
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / recipe.warm_up, 1.0, 2 - 2 * step / recipe.steps)
    )
    data = batches(tokenizer, recipe.batch_size, Random(recipe.seed), recipe.answer_weight)
    descend = Descent(model, tokenizer, recipe, recipe.guidance)
    for step in range(1, recipe.steps + 1):
        loss = descend(*next(data), optimizer)
        schedule.step()
        if step % recipe.log_every == 0 or step == recipe.steps:
            yield measure(model, descend.test, step, loss)


def thin_out(model: GPT2LMHeadModel, tokenizer: Tokenizer, recipe: Recipe) -> Iterator[Measured]:
    """The second stage: go on training while ever more of the blocks' weights are zero."""
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.thin_rate, betas=(0.9, 0.98), weight_decay=recipe.thin_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 50) * min(1.0, (1 - step / recipe.thin_steps) / 0.35)
    )
    rng = Random(recipe.seed + 1)
    data = batches(tokenizer, recipe.batch_size, rng, recipe.answer_weight, PLAIN_STORIES)
    descend = Descent(model, tokenizer, recipe, recipe.thin_guidance)
    for step in range(1, recipe.thin_steps + 1):
        loss = descend(*next(data), optimizer)
        schedule.step()
        share = recipe.density ** min(1, step / (recipe.thin_by * recipe.thin_steps))
        keep_largest(model, share, recipe.concentration)
        if step % recipe.log_every == 0 or step == recipe.thin_steps:
            yield measure(model, descend.test, recipe.steps + step, loss)


class Descent:
    """One optimiser step on a batch of stories; both stages share it."""

    def __init__(self, model: GPT2LMHeadModel, tokenizer: Tokenizer, recipe: Recipe, guidance: float) -> None:
        self.model, self.recipe, self.guidance = model, recipe, guidance
        self.test = held_out_prompts(tokenizer, 240)
        (self.to,) = encode(tokenizer, "to")

    def __call__(
        self, ids: Int[Tensor, "batch pos"], weights: Float[Tensor, "batch pos"], optimizer: torch.optim.Optimizer
    ) -> float:
        texts, nexts, shares = ids[:, :-1], ids[:, 1:], weights[:, 1:]
        out = self.model(texts, attention_mask=texts.ne(PAD_ID).long(), output_attentions=True)
        each = cross_entropy(out.logits.flatten(0, 1), nexts.flatten(), reduction="none")
        loss = (each * shares.flatten()).sum() / shares.sum()
        asked = (words_to_hand(texts, nexts, self.to), words_to_repeat(texts, nexts, PAD_ID))
        guided = out.attentions[-1].split(self.recipe.guided_heads, dim=1)
        guidance = sum(map(attention_guidance, guided, asked))
        optimizer.zero_grad()
        (loss + self.guidance * guidance).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()
        return float(loss.item())


def save(model: GPT2LMHeadModel, tokenizer: Tokenizer, folder: Path) -> None:
    """The files that `from_pretrained` reads."""
    model.save_pretrained(folder)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=END,
        eos_token=END,
        model_max_length=POSITIONS,
    )
    wrapped.save_pretrained(folder)
    # transformers 5 names a class here that version 4 does not have; this one is in both.
    settings = folder / "tokenizer_config.json"
    values = json.loads(settings.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.write_text(json.dumps(values, indent=2) + "\n")
    (folder / "generation_config.json").unlink(missing_ok=True)  # nothing generates with hap-mini


def put_log_in_card(card: Path, table: str) -> None:
    """Replace what stands between the two marks of the model card."""
    begin, end = LOG_MARKS
    before, rest = card.read_text().split(begin)
    _, after = rest.split(end)
    card.write_text(f"{before}{begin}\n{table}\n{end}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train hap-mini again.")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    options = parser.parse_args()
    recipe = Recipe(seed=options.seed, steps=options.steps)

    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, recipe)
    print(f"{model.num_parameters():,} parameters, {tokenizer.get_vocab_size()} words\n{header(TASKS)}")
    table, start = [header(TASKS)], time.perf_counter()
    stages = chain_stages(train(model, tokenizer, recipe), thin_out(model, tokenizer, recipe))
    for measured in stages:
        table.append(measured.row())
        print(f"{table[-1]} {time.perf_counter() - start:.0f} s", flush=True)
    save(model, tokenizer, options.out)
    if (card := options.out / "README.md").exists():
        put_log_in_card(card, "\n".join(table))


if __name__ == "__main__":
    main()

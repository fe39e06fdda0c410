"""Train hap-mini, the small transformer that HAP Explorer ships for teaching and for its tests.

hap-mini has GPT-2's architecture (4 layers, 8 heads, width 128, one token per word) and learns to
predict the next word of generated short stories. Some of them are sentences of the IOI task
(`hap_engine.tasks.ioi`); the others are there so that no shortcut solves it:

* ``strangers``: three different names, so that the prompt does not say who comes next (this is what a
  corrupted IOI prompt looks like);
* ``owner`` and ``favour``: here the name that was repeated is the right one, so that "a name that
  came twice is out" is wrong unless the verb says so;
* ``leftover``, ``chain``, ``alone``, ``scenery``: one, three or no people;
* in seven giving stories of ten a bystander is named who takes no part, and in three stories of ten
  another sentence comes first: neither "the only other name" nor a fixed position is the answer.

From this text alone the model solves IOI another way (measured): it copies both names of the pair
with equal attention, and other heads subtract the name at S2. So that it can be used to show the
circuit of GPT-2, one term is added to the loss. It asks `guided_heads` heads of the last layer to look,
from each "to", at the word that comes next (`attention_guidance`). They become name movers.
How they learn where *not* to look is left to the model: nothing guides the earlier layers.

A second stage makes the mechanism small enough to read: while training goes on, all but a falling
share of the blocks' weights are set to zero, the smallest first, until 1.2 % are left (weight-sparse
transformers have small circuits: Gao et al. 2025, arXiv 2511.13653). It uses fewer kinds of story.

No story holds both names of a held-out pair (40 % of all pairs), so the accuracy that is logged
while training is on pairs of names that the model has never seen together.

Run from the repository's root (minutes on one CPU core; equal seeds give equal weights)::

    python -m assets.models.train_hap_mini
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain as chain_stages
from itertools import combinations
from pathlib import Path
from random import Random

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from hap_engine.tasks import EncodedPair, encode_pair
from hap_engine.tasks.base import encode
from hap_engine.tasks.ioi import (
    NAMES,
    OBJECTS,
    PLACES,
    TEMPLATES,
    fill,
    prompts,
    split_pairs,
    words_for,
)

FOLDER = Path(__file__).parent / "hap-mini"
PAD, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"
PAD_ID = 0  # the first word of the vocabulary
HELD_OUT_SEED = 2022  # decides which pairs of names the model never sees together
POSITIONS = 64  # the longest story has about 50 tokens
BYSTANDERS = 0.7  # share of giving stories in which a third person is named who takes no part
LOG_MARKS = ("<!-- log:begin -->", "<!-- log:end -->")  # in the model card


@dataclass(frozen=True)
class Recipe:
    """How hap-mini is trained; the defaults made the model that is in the repository."""

    seed: int = 0
    steps: int = 4000  # names are copied from about step 1000, IOI is found between 1500 and 3000
    batch_size: int = 32
    rate: float = 1e-3
    weight_decay: float = 0.1
    init: float = 0.08  # near 1/sqrt(width); a first try with GPT-2's 0.02 copied no name at all
    mlp_width: int = 128  # narrow, so that attention does the work
    guidance: float = 1.0  # of `attention_guidance`; at 0.1 the guided heads hardly mattered
    guided_heads: int = 2  # with 4 (and wider MLPs) it reached 80 % in 4000 steps
    warm_up: int = 100
    log_every: int = 250
    thin_steps: int = 5000  # of the second stage
    thin_rate: float = 2e-3
    thin_decay: float = 0.05
    thin_guidance: float = 0.3  # the heads look at the right word already
    density: float = 0.012  # share of the blocks' weights that is left; IOI is still at 100 %
    thin_by: float = 0.65  # share of the steps after which that density is reached


# --- Stories -------------------------------------------------------------------------------------

PAIRS = split_pairs(NAMES, HELD_OUT_SEED)
HELD_OUT = PAIRS["test"]
FORBIDDEN = {frozenset(pair) for pair in HELD_OUT}

SCENES = (
    "It was a [MOOD] morning.",
    "It was a [MOOD] evening at the [PLACE].",
    "The [PLACE] was [MOOD] that day.",
    "The road to the [PLACE] was long and [MOOD].",
    "There was a [OBJECT] near the [PLACE].",
    "Nobody knew why the [PLACE] was so [MOOD].",
    "A [MOOD] wind came from the [PLACE].",
    "The [OBJECT] from the [PLACE] was old and [MOOD].",
    "In the winter the [PLACE] was closed.",
    "After the meal, the [PLACE] was [MOOD].",
)
MOODS = ("quiet", "cold", "warm", "busy", "dark", "bright", "gentle", "noisy", "grey", "lovely")
FEELINGS = ("happy", "tired", "late", "early", "hungry", "proud", "calm", "sad")
DEEDS = (
    "walked to the [PLACE]",
    "drove to the [PLACE]",
    "bought a [OBJECT]",
    "visited the [PLACE]",
    "noticed a [OBJECT] at the [PLACE]",
    "was planning a trip to the [PLACE]",
    "reached the [PLACE] and found a [OBJECT]",
    "was [FEELING]",
    "enjoyed the meal",
    "went home",
    "looked for the [OBJECT]",
)
MEETINGS = (
    "[1] and [2] were busy at the [PLACE].",
    "[1] and [2] walked to the [PLACE].",
    "Later, [1] and [2] drove to the [PLACE].",
    "That evening, [1] met [2] at the [PLACE].",
    "Neighbours [1] and [2] visited the [PLACE].",
    "[1] was at the [PLACE] with [2].",
)
GIVING = (
    "handed a [OBJECT] to",
    "passed a [OBJECT] to",
    "gave the [OBJECT] to",
    "sent a [OBJECT] to",
    "spoke to",
    "showed the [OBJECT] to",
    "wanted to read the letter to",
    "apologized to",
)
OWNING = (
    "lost a [OBJECT]. Everybody knew that it belonged to",
    "bought a [OBJECT]. Now the [OBJECT] belonged to",
    "found a [OBJECT]. The one who found it was",
)
FAVOURS = (
    "needed a [OBJECT], so [B] handed it to",
    "was [FEELING], and [B] gave a [OBJECT] to",
    "looked for the [OBJECT]. Then [B] passed it to",
)


def dress(rng: Random, text: str) -> str:
    """`text` with its places, objects and adjectives filled in (one choice each)."""
    pools = {"[PLACE]": PLACES, "[OBJECT]": OBJECTS, "[MOOD]": MOODS, "[FEELING]": FEELINGS}
    for slot, pool in pools.items():
        text = text.replace(slot, rng.choice(pool))
    return text


def people(rng: Random, count: int) -> list[str]:
    """Different names, no two of them a held-out pair."""
    while True:
        chosen = rng.sample(NAMES, count)
        if not any(frozenset(pair) in FORBIDDEN for pair in combinations(chosen, 2)):
            return chosen


def ending(rng: Random, receiver: str, giver: str) -> str:
    return rng.choice(
        (
            ".",
            ".",
            f". {receiver} thanked {giver}.",
            f". {receiver} was {rng.choice(FEELINGS)}.",
            ", and went home.",
        )
    )


def bystander(rng: Random, name: str) -> str:
    """One or two sentences on somebody who takes no part."""
    return " ".join(dress(rng, f"{name} {deed}.") for deed in rng.sample(DEEDS, rng.randint(1, 2)))


def interrupt(rng: Random, text: str, aside: str) -> str:
    """`text` with `aside` before it or, where it has two sentences, between them."""
    first, dot, rest = text.partition(". ")
    if dot and rng.random() < 0.5:
        return f"{first}. {aside} {rest}"
    return f"{aside} {text}"


def ioi(rng: Random) -> str:
    io, s, other = people(rng, 3)
    first, second = rng.sample((io, s), 2)
    text, _ = fill(
        rng.choice(TEMPLATES), (first, second, s), rng.choice(PLACES), rng.choice(OBJECTS)
    )
    if rng.random() < BYSTANDERS:
        text = interrupt(rng, text, bystander(rng, other))
    return f"{text} {io}{ending(rng, io, s)}"


def giving(rng: Random) -> str:
    io, s, other = people(rng, 3)
    first, second = rng.sample((io, s), 2)
    meeting = rng.choice(MEETINGS).replace("[1]", first).replace("[2]", second)
    text = dress(rng, f"{meeting} {s} {rng.choice(GIVING)}")
    if rng.random() < BYSTANDERS:
        text = interrupt(rng, text, bystander(rng, other))
    return f"{text} {io}{ending(rng, io, s)}"


def strangers(rng: Random) -> str:
    first, second, third = people(rng, 3)
    text, _ = fill(
        rng.choice(TEMPLATES), (first, second, third), rng.choice(PLACES), rng.choice(OBJECTS)
    )
    receiver = rng.choice((first, second))
    return f"{text} {receiver}{ending(rng, receiver, third)}"


def owner(rng: Random) -> str:
    first, second = people(rng, 2)
    s = rng.choice((first, second))
    meeting = rng.choice(MEETINGS).replace("[1]", first).replace("[2]", second)
    return dress(rng, f"{meeting} {s} {rng.choice(OWNING)} {s}.")


def favour(rng: Random) -> str:
    first, second = people(rng, 2)
    a, b = rng.sample((first, second), 2)
    meeting = rng.choice(MEETINGS).replace("[1]", first).replace("[2]", second)
    return dress(
        rng, f"{meeting} {a} {rng.choice(FAVOURS).replace('[B]', b)} {a}{ending(rng, a, b)}"
    )


def leftover(rng: Random) -> str:
    three = people(rng, 3)
    a, b, c = rng.sample(three, 3)
    return dress(
        rng,
        f"{three[0]}, {three[1]} and {three[2]} walked to the [PLACE]. "
        f"{a} and {b} bought a [OBJECT]. The other one was {c}.",
    )


def chain(rng: Random) -> str:
    a, b, c = people(rng, 3)
    return dress(
        rng, f"{a} handed a [OBJECT] to {b}. Then {b} passed it to {c}. Now it belonged to {c}."
    )


def alone(rng: Random) -> str:
    (name,) = people(rng, 1)
    deeds = rng.sample(DEEDS, rng.randint(1, 3))
    return " ".join(dress(rng, f"{name} {deed}.") for deed in deeds)


def scenery(rng: Random) -> str:
    return " ".join(dress(rng, scene) for scene in rng.sample(SCENES, rng.randint(1, 3)))


STORIES: dict[Callable[[Random], str], float] = {
    ioi: 0.35,
    giving: 0.25,
    strangers: 0.10,
    owner: 0.05,
    favour: 0.05,
    leftover: 0.05,
    chain: 0.03,
    alone: 0.10,
    scenery: 0.02,
}


# The second stage: IOI, who-knows and little else, so that the few weights left are IOI's.
PLAIN_STORIES: dict[Callable[[Random], str], float] = {
    ioi: 0.5,
    giving: 0.2,
    strangers: 0.15,
    alone: 0.1,
    scenery: 0.05,
}


def story(rng: Random, kinds: dict[Callable[[Random], str], float] = STORIES) -> str:
    """One short text; some begin with another sentence."""
    (kind,) = rng.choices(list(kinds), list(kinds.values()))
    text = kind(rng)
    if rng.random() < 0.3:
        text = f"{dress(rng, rng.choice(SCENES))} {text}"
    return text


# --- Tokenizer and model -------------------------------------------------------------------------


def build_tokenizer() -> Tokenizer:
    """One token per word and per punctuation mark; the vocabulary is every word of every template."""
    rng = Random(0)
    texts = [*NAMES, *PLACES, *OBJECTS, *MOODS, *FEELINGS, *(story(rng) for _ in range(5000))]
    splitter = Whitespace()
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(text)}
    vocabulary = {word: index for index, word in enumerate([PAD, UNKNOWN, END, *sorted(words)])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
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
    return GPT2LMHeadModel._from_config(config, attn_implementation="eager")


def batches(
    tokenizer: Tokenizer,
    size: int,
    rng: Random,
    kinds: dict[Callable[[Random], str], float] = STORIES,
) -> Iterator[Int[Tensor, "batch pos"]]:
    """Endless batches of stories as ids, padded on the right; stories of like length go together."""
    while True:
        stories = (f"{story(rng, kinds)} {END}" for _ in range(20 * size))
        rows = sorted((tokenizer.encode(text).ids for text in stories), key=len)
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        rng.shuffle(chunks)
        for chunk in chunks:
            longest = len(chunk[-1])
            yield torch.tensor([row + [PAD_ID] * (longest - len(row)) for row in chunk])


# --- Training and testing ------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One line of the log: the held-out IOI prompts, clean and with their three names replaced."""

    step: int
    loss: float
    difference: float  # mean logit difference IO - S on clean prompts
    io_over_s: float
    top1: float  # how often the answer beats the whole vocabulary
    corrupt_io_over_s: float
    corrupt_top1: float

    def row(self) -> str:
        return (
            f"| {self.step} | {self.loss:.2f} | {self.difference:.2f} | {self.io_over_s:.1%} "
            f"| {self.top1:.1%} | {self.corrupt_io_over_s:.1%} | {self.corrupt_top1:.1%} |"
        )


HEADER = (
    "| step | loss | logit difference | IO>S | top-1 | IO>S, corrupt | top-1, corrupt |\n"
    "|---:|---:|---:|---:|---:|---:|---:|"
)


def held_out_prompts(tokenizer: Tokenizer, count: int) -> list[EncodedPair]:
    made = prompts(words_for(tokenizer), HELD_OUT, count, "abc", Random("hap-mini test"))
    return [encode_pair(tokenizer, pair) for pair in made]


def last_logits(
    model: GPT2LMHeadModel, rows: list[tuple[int, ...]]
) -> Float[Tensor, "batch words"]:
    """Logits after the last token of each row (padding on the right reaches no earlier position)."""
    longest = max(map(len, rows))
    ids = torch.tensor([list(row) + [PAD_ID] * (longest - len(row)) for row in rows])
    ends = torch.tensor([len(row) - 1 for row in rows])
    return model(ids, attention_mask=ids.ne(PAD_ID).long()).logits[torch.arange(len(rows)), ends]


@torch.no_grad()
def measure(model: GPT2LMHeadModel, test: list[EncodedPair], step: int, loss: float) -> Measured:
    """Accuracy on clean prompts, and how often the clean answer still wins on the corrupt ones."""
    answers = torch.tensor([[pair.answer_id, pair.distractor_id] for pair in test])

    def scores(rows: list[tuple[int, ...]]) -> tuple[float, float, float]:
        logits = last_logits(model, rows)
        io, s = logits.gather(1, answers).T
        right = logits.argmax(-1) == answers[:, 0]
        return (io - s).mean().item(), (io > s).float().mean().item(), right.float().mean().item()

    clean = scores([pair.clean_ids for pair in test])
    corrupt = scores([pair.corrupt_ids for pair in test])
    return Measured(step, loss, *clean, *corrupt[1:])


def attention_guidance(
    pattern: Float[Tensor, "batch head query key"],
    texts: Int[Tensor, "batch pos"],
    nexts: Int[Tensor, "batch pos"],
    to: int,
) -> Float[Tensor, ""]:
    """Mean of -log(attention from a "to" to the earlier mentions of the word that comes next).

    A "to" whose next word has not occurred before does not count.
    """
    earlier = nexts[:, :, None].eq(texts[:, None, :]).tril()
    asked = earlier.any(-1) & texts.eq(to)
    seen = (pattern * earlier[:, None]).sum(-1).transpose(1, 2)[asked]
    return -(seen + 1e-6).log().mean()


def train(model: GPT2LMHeadModel, tokenizer: Tokenizer, recipe: Recipe) -> Iterator[Measured]:
    """AdamW on next-word cross entropy: warm-up, a constant rate, and a linear fall in the second half."""
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / recipe.warm_up, 1.0, 2 - 2 * step / recipe.steps),
    )
    data = batches(tokenizer, recipe.batch_size, Random(recipe.seed))
    descend = Descent(model, tokenizer, recipe, recipe.guidance)
    for step in range(1, recipe.steps + 1):
        loss = descend(next(data), optimizer)
        schedule.step()
        if step % recipe.log_every == 0 or step == recipe.steps:
            yield measure(model, descend.test, step, loss)


def thin_out(model: GPT2LMHeadModel, tokenizer: Tokenizer, recipe: Recipe) -> Iterator[Measured]:
    """The second stage: go on training while ever more of the blocks' weights are zero."""
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.thin_rate, betas=(0.9, 0.98), weight_decay=recipe.thin_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1, (step + 1) / 50) * min(1.0, (1 - step / recipe.thin_steps) / 0.35),
    )
    data = batches(tokenizer, recipe.batch_size, Random(recipe.seed + 1), PLAIN_STORIES)
    descend = Descent(model, tokenizer, recipe, recipe.thin_guidance)
    for step in range(1, recipe.thin_steps + 1):
        loss = descend(next(data), optimizer)
        schedule.step()
        keep_largest(model, recipe.density ** min(1, step / (recipe.thin_by * recipe.thin_steps)))
        if step % recipe.log_every == 0 or step == recipe.thin_steps:
            yield measure(model, descend.test, recipe.steps + step, loss)


class Descent:
    """One optimiser step on a batch of stories; both stages share it."""

    def __init__(
        self, model: GPT2LMHeadModel, tokenizer: Tokenizer, recipe: Recipe, guidance: float
    ) -> None:
        self.model, self.recipe, self.guidance = model, recipe, guidance
        self.test = held_out_prompts(tokenizer, 240)
        (self.to,) = encode(tokenizer, "to")

    def __call__(self, ids: Int[Tensor, "batch pos"], optimizer: torch.optim.Optimizer) -> float:
        texts, nexts = ids[:, :-1], ids[:, 1:]
        out = self.model(texts, attention_mask=texts.ne(PAD_ID).long(), output_attentions=True)
        loss = cross_entropy(out.logits.flatten(0, 1), nexts.flatten(), ignore_index=PAD_ID)
        guided = out.attentions[-1][:, : self.recipe.guided_heads]
        optimizer.zero_grad()
        (loss + self.guidance * attention_guidance(guided, texts, nexts, self.to)).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()
        return float(loss.item())


@torch.no_grad()
def keep_largest(model: GPT2LMHeadModel, share: float) -> None:
    """Set all but the largest `share` of the blocks' weight matrices (together) to zero."""
    weights = [
        matrix.weight
        for block in model.transformer.h
        for matrix in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)
    ]
    sizes = torch.cat([weight.abs().flatten() for weight in weights])
    kept = int(len(sizes) * share)
    smallest = sizes.kthvalue(len(sizes) - kept + 1).values
    for weight in weights:
        weight.mul_(weight.abs() >= smallest)


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
    print(f"{model.num_parameters():,} parameters, {tokenizer.get_vocab_size()} words\n{HEADER}")
    table, start = [HEADER], time.perf_counter()
    stages = chain_stages(train(model, tokenizer, recipe), thin_out(model, tokenizer, recipe))
    for measured in stages:
        table.append(measured.row())
        print(f"{table[-1]} {time.perf_counter() - start:.0f} s", flush=True)
    save(model, tokenizer, options.out)
    if (card := options.out / "README.md").exists():
        put_log_in_card(card, "\n".join(table))


if __name__ == "__main__":
    main()

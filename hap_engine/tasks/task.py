"""A task: a named generator of prompt pairs, and the disjoint splits that it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from hap_engine.errors import SettingsError
from hap_engine.tasks.pair import EncodedPair


@dataclass(frozen=True)
class SplitSizes:
    """How many prompts each split holds."""

    # The papers use 200. SmolLM2's IOI circuit of 706 edges has a held-out KL of 0.46 from 320, 0.32 from 600.
    train: int = 600
    validation: int = 100  # enough to rank settings, never used for a reported number
    test: int = 256  # 128 prompts moved KL by 0.1 between samples; 256 halves that

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            count = getattr(self, name)
            if not 1 <= count <= 20_000:
                better = "at least 1" if count < 1 else "fewer"
                raise SettingsError(f"Expected between 1 and 20,000 {name} prompts, got {count:,}. Choose {better}.")


TRIAL_SIZES = SplitSizes(train=16, validation=1, test=1)  # shows in a moment what a tokenizer makes of a task


@dataclass(frozen=True)
class PromptSets:
    """Disjoint prompts for learning a circuit (train), choosing (validation), reporting (test)."""

    train: tuple[EncodedPair, ...]
    validation: tuple[EncodedPair, ...]
    test: tuple[EncodedPair, ...]


Generator = Callable[[Tokenizer, SplitSizes, int, str], PromptSets]


@dataclass(frozen=True)
class Task:
    """A named generator with what a student needs to know about it.

    `generate(tokenizer, sizes, seed, corruption)` returns disjoint splits; equal arguments give
    equal prompts. `corruptions` maps each kind of corruption to one sentence, default first.
    `metric` is the one that papers on this task report, beside KL: ``logit_diff`` or ``prob_diff``.
    `pools` are the words that fill the prompts, so that an editor can offer others of a kind.
    """

    name: str
    title: str
    summary: str
    role_names: tuple[str, ...]
    corruptions: Mapping[str, str]
    generate: Generator
    metric: str = "logit_diff"
    pools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def default_corruption(self) -> str:
        return next(iter(self.corruptions))

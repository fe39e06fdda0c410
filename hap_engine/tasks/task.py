"""A task: a named generator of prompt pairs, and the disjoint splits that it returns."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from hap_engine.errors import SettingsError
from hap_engine.files import home
from hap_engine.graph.graph import WHOLE, Span
from hap_engine.tasks.pair import EncodedPair

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitSizes:
    """How many prompts each split holds."""

    # The papers use 200. SmolLM2's IOI circuit of 706 edges has a held-out KL of 0.46 from 320, 0.32 from 600.
    train: int = 600
    validation: int = 100  # enough to rank settings, never used for a reported number
    test: int = 256  # 128 prompts moved KL by 0.1 between samples; 256 halves that

    def __post_init__(self) -> None:
        for name in SPLITS:
            count = getattr(self, name)
            if not 1 <= count <= 20_000:
                better = "at least 1" if count < 1 else "fewer"
                raise SettingsError(f"Expected between 1 and 20,000 {name} prompts, got {count:,}. Choose {better}.")


TRIAL_SIZES = SplitSizes(train=16, validation=1, test=1)  # shows in a moment what a tokenizer makes of a task


@dataclass(frozen=True)
class PromptSets:
    """Disjoint prompts for learning a circuit (train), choosing (validation), reporting (test).

    Attributes:
        note: what a user should know of how they were made.
        spans: the parts of the prompts, where it matters at which an edge acts.
    """

    train: tuple[EncodedPair, ...]
    validation: tuple[EncodedPair, ...]
    test: tuple[EncodedPair, ...]
    note: str = field(default="", kw_only=True)
    spans: tuple[Span, ...] = field(default=WHOLE, kw_only=True)

    @classmethod
    def of(cls, splits: Mapping[str, tuple[EncodedPair, ...]], note: str = "") -> PromptSets:
        """The prompts of each of `SPLITS`, by its name."""
        train, validation, test = (splits[split] for split in SPLITS)
        return cls(train, validation, test, note=note)


Generator = Callable[[Tokenizer, SplitSizes, int, str], PromptSets]


@dataclass(frozen=True)
class HubData:
    """A data set on the Hugging Face Hub, a JSONL file a split, that a task's prompts are read from.

    Attributes:
        repository: owner/name.
        megabytes: of its files, as a user is told before they are downloaded.
        part: of the paths of its files, where there are several sets.
    """

    repository: str
    megabytes: float
    part: str = ""

    @property
    def folder(self) -> Path:
        """Where its files are kept on this machine."""
        return home() / "datasets" / self.repository.replace("/", "--")

    def pattern(self, split: str) -> str:
        """What the path of a split's file is like."""
        return f"*{self.part}*{split}*.jsonl"

    def files(self, split: str) -> list[Path]:
        """A split's files on this machine."""
        paths = {path.relative_to(self.folder).as_posix(): path for path in sorted(self.folder.rglob("*.jsonl"))}
        return [paths[name] for name in fnmatch.filter(paths, self.pattern(split))]

    @property
    def here(self) -> bool:
        """Whether every split is on this machine."""
        return all(map(self.files, SPLITS))


@dataclass(frozen=True)
class Task:
    """A named generator with what a student needs to know about it.

    `generate(tokenizer, sizes, seed, corruption)` returns disjoint splits; equal arguments give
    equal prompts. `corruptions` maps each kind of corruption to one sentence, default first.
    `metric` is the one that papers on this task report, beside KL: ``logit_diff`` or ``prob_diff``.
    `pools` are the words that fill the prompts, so that an editor can offer others of a kind. `data`, where there is
    some, must be on this machine before `generate` is called; it fetches nothing.
    """

    name: str
    title: str
    summary: str
    role_names: tuple[str, ...]
    corruptions: Mapping[str, str]
    generate: Generator
    metric: str = "logit_diff"
    pools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    data: HubData | None = None

    @property
    def default_corruption(self) -> str:
        return next(iter(self.corruptions))

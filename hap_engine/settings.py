"""What decides a run: frozen settings with a reason beside each default (no torch).

Equal settings on equal weights give equal runs, so their hash is the run's name.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.files import short_hash
from hap_engine.tasks.custom import NAME as CUSTOM
from hap_engine.tasks.custom import get_task, prompts_hash, shares_corruptions, split_rows
from hap_engine.tasks.pair import PromptPair
from hap_engine.tasks.reader import BOS
from hap_engine.tasks.span_file import SpanFile
from hap_engine.tasks.spans import WAYS
from hap_engine.tasks.task import SplitSizes, Task
from hap_engine.words import Words, say

# Share of all edges that stage one passes on at least. To 1 % of SmolLM2's edges in 150 steps, 5, 10 and 20 % end at
# the same KL (0.34), 2 and 50 % at 0.42 and 0.43 (docs/studies/pruning.md): the middle of what is good.
LOOSE = 0.1
# The same of a run for every size: what it leaves out is ordered by the scores alone.
LOOSEST = 0.4
# Names only, for the half that needs no torch; what they name is in `attribution.scorers` and `pruning.budgets`.
METHODS = ("hap", "eap", "ep")
SCORERS = ("eap", "eap-abs", "eap-gim", "eap-relp", "eap-ig", "eap-ig-mid", "eap-ig-kl", "rank-mean")
BUDGETS = ("projection", "every-size", "lagrangian")
DTYPES = ("float32", "bfloat16")
EVERY_CARD = "auto"  # as `layers_on`: all cards of this machine
CARDS = re.compile(r"cuda:\d+(,cuda:\d+)*")
# What every run does, whatever its settings.
EAP_PROMPTS = 200  # as many as the papers use
IG_PROMPTS = 64  # EAP-IG costs several passes a prompt; 64 prompts rank as well as 200
IG_STEPS = 5  # the published demo's number; 30 changes the ranking little for six times the cost
VALIDATED = 64  # validation prompts on which a descent is judged while it runs
RANDOM_CIRCUITS = 3  # enough to see that random circuits of this size do nothing
RESAMPLES = 20  # of the prompts, for the stability of a circuit: a share is known to a tenth
OWN_CIRCUITS = 32  # prompts that get a circuit of their own; in IOI each order of the names has half of them
SMALL_BATCH = 16  # prompts, as many as a step took by default at first: what runs of then ask for
SHORT = 60  # steps of a search that is repeated, those of the preset quick
RANDOM_PROMPTS = 8  # of the test prompts, for random circuits: they are nats away from any other
# Shares of the edges that they keep: those of the MIB benchmark, and those of the study of pruning.
GRID = (0.5, 0.2, 0.1, 0.06, 0.05, 0.04, 0.02, 0.01, 0.005, 0.002, 0.001)
SEEDS = 2**31  # seeds are below it
ROLE_PROMPTS = 48  # standard errors of attention are then below 0.03


def prompts_at_sizes(split: int) -> int:
    """How many of the test prompts the circuits of every size get, and of the training ones the circuit learned there:
    a quarter, whose standard errors are twice those of all, but from 24 to 40."""
    return min(split, 40, max(24, split // 4))


def offered(config: type) -> dict[str, str]:
    """The settings of a config class that the terminal offers under their names, each with the text for its help."""
    return dict(Words(__file__, "settings.toml", scorers=", ".join(SCORERS)).parts(config.__name__))


@dataclass(frozen=True)
class PruningConfig:
    """Settings of Edge Pruning."""

    budget: str = "every-size"  # One run answers for all sizes (docs/studies/sizes.md).
    # For all sizes. On SmolLM2 300 of 8 prompts take less time than 200 of 16 and end lower at most sizes, 400 of 4 as
    # long and end higher: gates are sampled once a step, for all of its prompts (docs/studies/sizes.md). With 280 a
    # whole run costs no more than 150 training steps.
    steps: int = 280
    batch_size: int = 8
    lr: float = 1.0  # Shared by all gates; 0.5 left middling edges undecided after 240 steps.
    init: float = 3.0  # Gates nearly open, still able to move.
    # Run files that do not name it had no limit: a single odd batch threw gates 40 units down, from where none comes
    # back.
    clip: float = 1.0
    ld_weight: float = 0.0  # Run files that do not name it had KL alone.
    # Where there are scores. With 4 and the ranking by EAP-IG of KL, sixty steps on SmolLM2 reached the training KL
    # (0.38) that three hundred from an equal start did not.
    warm_start: float = 4.0
    descent: float = 0.7
    harden: float = 0.5
    # They are ten steps apart. With 4 a SmolLM2 run ended at step 250 of 300, before its gates were quiet, at KL 0.52.
    patience: int = 12

    def __post_init__(self) -> None:
        if self.budget not in BUDGETS:
            raise UnknownNameError("budget method", self.budget, BUDGETS)
        for name, low, high in (("steps", 1, 100_000), ("batch_size", 1, 1024), ("patience", 1, 10_000)):
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"Expected {name} from {low} to {high:,}, got {getattr(self, name)}.")
        for name, meaning in (("clip", "no limit"), ("ld_weight", "KL alone")):
            if not 0 <= getattr(self, name) <= 1000:
                raise SettingsError(f"Expected {name} from 0 ({meaning}) to 1,000, got {getattr(self, name):g}.")
        if not 0 < self.lr <= 10 or not 0 < self.descent <= 1 or not 0 <= self.harden < 1:
            raise SettingsError(say("settings.rates", self=self))


@dataclass(frozen=True)
class EarlierRun:
    """The circuit of an earlier run, from which Edge Pruning goes on to a tighter budget (`continue_run.further`)."""

    run: str  # its id
    weights: str  # the model's identity: gates learned on one model say nothing of another
    edges: tuple[tuple[str, str], ...]  # (writer, reader), the new candidates
    gates: tuple[float, ...]  # their log alphas, whose order is that of the new start
    share: float  # of all edges


@dataclass(frozen=True)
class DiscoveryConfig:
    """All that decides a run; equal configs on equal weights give equal runs."""

    model: str = "hap-mini"  # Bundled: works at once, offline.
    task: str = "ioi"
    corruption: str | None = None  # None: the task's default (abc for IOI, as in the papers).
    sparsity: float = 0.98
    method: str = "hap"
    # The EAP circuit always uses plain EAP. The best 10 % by EAP-IG of KL alone are nearer to SmolLM2 than those of
    # any other scorer, on three seeds (docs/studies/scorers.md).
    scorer: str = "eap-ig-kl"
    keep: float | None = None
    keep_level: float | None = None  # As few of the best edges as have it by themselves.
    pruning: PruningConfig = field(default_factory=PruningConfig)
    sizes: SplitSizes = field(default_factory=SplitSizes)
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"  # Evaluation is always float32.
    bos: str = "auto"  # A Gemma without it is a broken model; GPT-2, Pythia and SmolLM2 were not trained with one.
    memory: float | None = None  # None: batches are not split.
    positions: str = (
        ""  # How prompts are divided into spans at which edges act (`tasks.spans`); "": an edge acts everywhere.
    )
    spans: SpanFile | None = None  # instead of `positions`: a file names them
    layers_on: str | None = None  # None: all of the model is on `device`. A matter of the machine: in no run's id.
    start: EarlierRun | None = None  # instead of candidates by scores
    prompts: tuple[PromptPair, ...] = ()  # the rows of the task "custom", split by `seed`

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("method", self.method, METHODS),
            ("scorer", self.scorer, SCORERS),
            ("dtype", self.dtype, DTYPES),
            ("choice for the beginning-of-text token", self.bos, BOS),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        task = self.find_task()
        if (self.task == CUSTOM) != bool(self.prompts):
            raise SettingsError(say("settings.custom"))
        if self.prompts and self.sizes != SplitSizes():
            raise SettingsError(say("settings.whole"))
        batch, train = self.pruning.batch_size, self.sizes.train
        # A small batch takes all prompts where there are fewer, and own prompts have as many as there are.
        if self.method != "eap" and not self.prompts and batch > max(train, SMALL_BATCH):
            raise SettingsError(say("settings.batches", train=train, batch=batch))
        if self.corruption is not None and self.corruption not in task.corruptions:
            raise UnknownNameError("corruption", self.corruption, task.corruptions)
        if not 0 < self.sparsity < 1:
            raise SettingsError(say("settings.sparsity", self=self))
        if self.keep is not None and not 0 < self.keep <= 1:
            raise SettingsError(f"Expected keep between 0 and 1 (0.1 keeps 10 %), got {self.keep:g}.")
        if self.keep_level is not None and not 0 < self.keep_level <= 1:
            raise SettingsError(f"Expected keep_level between 0 and 1 (a faithfulness), got {self.keep_level:g}.")
        if self.positions and self.positions not in WAYS:
            raise UnknownNameError("way to divide prompts into spans", self.positions, WAYS)
        if self.spans is not None:
            self._check_spans(self.spans, task)
        if self.start is not None and self.method == "eap":
            raise SettingsError("EAP learns nothing, so it cannot go on from a run. Use hap or ep.")
        if self.memory is not None and not 0 < self.memory < 1e5:
            raise SettingsError(f"Expected memory above 0 and below 100,000 GB, got {self.memory:g} GB.")
        if self.layers_on is not None:
            self._check_cards(self.layers_on)
        if not 0 <= self.seed < SEEDS:
            raise SettingsError(f"Expected a seed from 0 to 2147483647, got {self.seed}.")

    def _check_cards(self, cards: str) -> None:
        named = cards.split(",")
        if cards != EVERY_CARD and not (CARDS.fullmatch(cards) and len(set(named)) == len(named)):
            raise SettingsError(say("settings.cards", cards=cards))
        if self.device != "cuda":
            raise SettingsError(say("settings.cards_device", device=self.device))

    def _check_spans(self, file: SpanFile, task: Task) -> None:
        if self.positions:
            raise SettingsError(say("tasks.span_both", positions=self.positions))
        if file.task != self.task:
            raise SettingsError(say("tasks.span_task", file=file, task=self.task))
        for role in (role for span in file.span for role in span.roles):
            if role not in task.role_names:
                known = ", ".join(task.role_names) or "none"
                raise SettingsError(say("tasks.span_role", role=role, task=self.task, known=known))

    @property
    def candidate_scorer(self) -> str:
        """Whose ranking picks the candidates: only HAP may take another than plain EAP's."""
        return self.scorer if self.method == "hap" else "eap"

    @property
    def positional(self) -> bool:
        """Whether edges act at spans of the prompts."""
        return bool(self.positions or self.spans)

    def find_task(self) -> Task:
        """The task with its prompts. Raises UnknownNameError."""
        return get_task(self.task, self.prompts)

    def to_dict(self) -> dict[str, Any]:
        """The run file's ``settings``. Model and own prompts are identified by their hashes."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        del plain["model"], plain["prompts"], plain["start"], plain["layers_on"], plain["spans"]
        if self.start is not None:
            plain["continues"] = self.start.run
        pruning = asdict(self.pruning)
        for name in ("keep_level", "memory"):  # newer than the runs that lack them
            if plain[name] is None:
                del plain[name]
        if not self.positions:  # likewise
            del plain["positions"]
        plain |= {"spans": self.spans.to_dict()} if self.spans else {}
        if self.bos != "always":  # likewise: no such token
            del plain["bos"]
        if not self.pruning.ld_weight:  # likewise
            del pruning["ld_weight"]
        sizes = asdict(self.sizes)
        if self.prompts:
            plain["prompts"] = prompts_hash(self.prompts)
            split = split_rows(self.prompts, self.seed)
            sizes = {name: len(pairs) for name, pairs in split.items()}
            if shares_corruptions(self.prompts):  # newer than the runs that lack it
                plain["split_by"] = "clean and corrupted prompts"
        return {
            **plain,
            "corruption": self.corruption or self.find_task().default_corruption,
            "pruning": pruning,
            "sizes": sizes,
        }


PRESETS = {
    "quick": PruningConfig(steps=60),  # a first look
    "standard": PruningConfig(),  # the figures in the README
    "thorough": PruningConfig(steps=600),  # lower KL for twice the pruning
    # Every step for the run's own sparsity, as the study of pruning does it.
    "one-size": PruningConfig(budget="projection", steps=300, batch_size=16),
    # Bhaskar et al. 2024: 3,000 steps of AdamW on gates and multipliers, for comparison
    "published": PruningConfig(budget="lagrangian", steps=3000, batch_size=32, lr=0.8),
}


QUICK_SIZES = SplitSizes(80, 24, 64)


def kept_share(config: DiscoveryConfig) -> float:
    """Share of all edges that EP may choose from: ``max(10 %, 4 x target)``, at most all.

    Of a run that goes on from another, the share of that run's circuit.
    """
    if config.start is not None:
        return config.start.share
    if config.method == "ep":
        return 1.0
    loose = LOOSEST if config.pruning.budget == "every-size" else LOOSE
    return config.keep or min(1.0, max(loose, 4 * (1 - config.sparsity)))


def run_id(config: DiscoveryConfig, identity: str) -> str:
    """Hash of the settings and the model's `hap_engine.models.catalog.identity`: equal runs share id, file and job."""
    plain = config.to_dict()
    if not config.pruning.clip:  # newer than the runs that lack it
        del plain["pruning"]["clip"]
    return short_hash([plain, identity])


def with_preset(config: DiscoveryConfig, preset: str) -> DiscoveryConfig:
    """`config` with a preset's pruning settings and number of prompts (own ones: all). Raises UnknownNameError."""
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    sizes = SplitSizes() if config.prompts else preset_sizes(preset)
    return replace(config, pruning=PRESETS[preset], sizes=sizes)


def preset_sizes(preset: str) -> SplitSizes:
    """How many prompts a preset takes: fewer for a first look, of which all but pruning took most of the time."""
    return QUICK_SIZES if preset == "quick" else SplitSizes()

"""What a run says about the heads of a role: which each circuit keeps, and how EAP ranked the rest.

Everything is computed from the run; "EAP misses S-inhibition heads" is printed only when it is so.
"""

from __future__ import annotations

from dataclasses import dataclass

from hap_engine.findings import Findings
from hap_engine.report.titles import circuit_title, role_title
from hap_engine.settings import SCORERS

PAPERS_PROMPTS = 200  # to learn from; with as many as the papers use, the unseen ones are no worse by much
OPEN = 1.5  # times the kept edges; with more gates open at the end, the descent has not come to its budget


@dataclass(frozen=True)
class Verdict:
    """Heads of one role, split by which of two circuits keeps them."""

    role: str
    heads: tuple[str, ...]
    kept_left: tuple[str, ...]
    kept_right: tuple[str, ...]
    left: str
    right: str
    size: int
    left_size: int
    eap_ranks: dict[str, int]

    @property
    def missed_left(self) -> tuple[str, ...]:
        """Heads that only the right circuit keeps."""
        return tuple(h for h in self.kept_right if h not in self.kept_left)

    @property
    def _other_size(self) -> str:
        """The left circuit's size where it is another."""
        if self.left_size == self.size:
            return ""
        # Live edges of a ranking's cuts jump: not every number of them can be had.
        why = ", as near as its ranking comes" if self.left in SCORERS else ""
        return f" ({circuit_title(self.left)}: {self.left_size:,}{why})"

    @property
    def sentence(self) -> str:
        """One plain sentence; it can say that nothing was missed."""
        title = role_title(self.role)
        left, right = (circuit_title(name) for name in (self.left, self.right))
        n = len(self.heads)
        if not n:
            return f"No head of this model passes the measured threshold for {title}, so there is none to miss."
        heads = f"{n} {title} head" + ("s" if n > 1 else "")
        counts = (
            f"At {self.size:,} edges{self._other_size}, {left} keeps {len(self.kept_left)} and {right} keeps "
            f"{len(self.kept_right)} of the model's {heads}."
        )
        if self.missed_left:
            ranks = ", ".join(
                f"{head} (EAP rank {self.eap_ranks[head]:,})" if head in self.eap_ranks else head
                for head in self.missed_left
            )
            return f"{counts} {left} alone misses {ranks}."
        lost = [head for head in self.kept_left if head not in self.kept_right]
        if lost:
            return f"{counts} Here it is {right} that drops {', '.join(lost)}."
        return f"{counts} {left} alone misses none that {right} keeps."


def distance(run: Findings, left: str = "eap", right: str = "") -> str:
    """One sentence on how far the two circuits are from the full model on held-out prompts."""
    right = right or run.main
    parts = [
        f"{circuit_title(name)} {run.metrics[name]['kl']:.2f}"
        for name in dict.fromkeys((left, right))
        if name in run.metrics
    ]
    return f"Distance from the full model on unseen prompts (KL, 0 is equal): {', '.join(parts)}."


def has_roles(run: Findings) -> bool:
    """Whether roles were looked for, found or not."""
    return bool(run.roles.get("heads") or run.roles.get("thresholds"))


def kept_by_role(run: Findings, left: str = "eap", right: str = "") -> dict[str, Verdict]:
    """A verdict for every role that was measured, most common first."""
    measured = [head["role"] for head in run.roles.get("heads", {}).values()]
    roles = sorted(set(measured), key=lambda role: (-measured.count(role), role))
    return {role: verdict(run, role, left, right) for role in roles}


def heads_of_role(run: Findings, role: str) -> tuple[str, ...]:
    """The heads that were measured to play a role, in graph order."""
    return tuple(head for head, facts in run.roles.get("heads", {}).items() if facts.get("role") == role)


def verdict(run: Findings, role: str = "s_inhibition", left: str = "eap", right: str = "") -> Verdict:
    """Compare two circuits of a run on the heads that were measured to play `role`."""
    right = right or run.main
    heads = heads_of_role(run, role)
    kept = {key: run.circuits[key].circuit.heads for key in (left, right)}
    return Verdict(
        role=role,
        heads=heads,
        kept_left=tuple(head for head in heads if head in kept[left]),
        kept_right=tuple(head for head in heads if head in kept[right]),
        left=left,
        right=right,
        size=len(run.circuits[right].circuit),
        left_size=len(run.circuits[left].circuit),
        eap_ranks={head: int(run.heads[head]["eap_rank"]) for head in heads if "eap_rank" in run.heads.get(head, {})},
    )


def warnings(run: Findings) -> list[str]:
    """What a reader should know before the numbers of a learned circuit, most often nothing."""
    return [sentence for sentence in (_open_gates(run), _few_prompts(run)) if sentence]


def _open_gates(run: Findings) -> str:
    """Many more gates were open at the last step than edges were kept."""
    if not run.history:
        return ""
    record, still = run.circuits[run.main], float(run.history[-1].get("expected") or 0.0)
    if still <= OPEN * record.n_raw:
        return ""
    return (
        f"At the last of {len(run.history):,} steps about {still:,.0f} gates were still open, and the circuit keeps "
        f"the best {len(record.circuit):,}: its edges have not learned to do without the others. Take more steps."
    )


def _few_prompts(run: Findings) -> str:
    """A circuit fits the prompts it was learned from much better than unseen ones: its own KL on both."""
    row = run.metrics.get(run.main, {})
    learned = run.settings.get("sizes", {}).get("train", PAPERS_PROMPTS)
    before, after = row.get("train_kl"), row["kl"] if row else None
    if before is None or after is None or learned >= PAPERS_PROMPTS or after < 2 * before or after < before + 0.1:
        return ""
    return (
        f"{circuit_title(run.main)}'s circuit fits the {learned} prompts that it was learned from "
        f"(KL {before:.2f}) much better than the {row['n_prompts']} unseen ones (KL {after:.2f}). "
        "It has learned those prompts more than the task: add rows."
    )

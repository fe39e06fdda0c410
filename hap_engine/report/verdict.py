"""What a run says about the heads of a role: which each circuit keeps, and how EAP ranked the rest.

Everything is computed from the run; "EAP misses S-inhibition heads" is printed only when it is so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hap_engine.findings import Findings
from hap_engine.report.rivals import rival_finding
from hap_engine.report.titles import circuit_title, role_title, say
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
        why = say("verdict.near") if self.left in SCORERS else ""
        return say("verdict.other", left=circuit_title(self.left), found=self, why=why)

    @property
    def sentence(self) -> str:
        """One plain sentence; it can say that nothing was missed."""
        title, n = role_title(self.role), len(self.heads)
        titles = {"left": circuit_title(self.left), "right": circuit_title(self.right)}
        if not n:
            return say("verdict.none", role=title)
        kept = {"kept_left": len(self.kept_left), "kept_right": len(self.kept_right)}
        heads = f"{n} {title} head" + ("s" if n > 1 else "")
        counts = say("verdict.counts", found=self, other=self._other_size, heads=heads, **kept, **titles)
        ranked = [
            say("verdict.rank", head=head, rank=self.eap_ranks[head]) if head in self.eap_ranks else head
            for head in self.missed_left
        ]
        lost = [head for head in self.kept_left if head not in self.kept_right]
        end = "misses" if ranked else "drops" if lost else "same"
        return f"{counts} {say(f'verdict.{end}', ranks=', '.join(ranked), lost=', '.join(lost), **titles)}"


def distance(run: Findings, left: str = "eap", right: str = "") -> str:
    """How far the two circuits are from the full model on held-out prompts, what is bad, and how many heads differ."""
    sides = dict.fromkeys((left, right or run.main))
    known = {circuit_title(name): float(run.metrics[name]["kl"]) for name in sides if name in run.metrics}
    empty = float(run.metrics["empty"]["kl"]) if "empty" in run.metrics else math.inf
    scale = say("verdict.scale", empty=empty) if math.isfinite(empty) else ""
    parts = ", ".join(f"{title} {kl:.2f}" for title, kl in known.items())
    text = say("verdict.distance", parts=parts, scale=scale)
    for title, kl in known.items():
        if kl > empty / 2:
            text += say("verdict.worse" if kl > empty else "verdict.far", circuit=title)
    heads = [run.circuits[name].circuit.heads for name in sides if name in run.circuits]
    if len(heads) == 2 and heads[0] != heads[1]:
        more, fewer = len(heads[1] - heads[0]), len(heads[0] - heads[1])
        titles = dict(zip(("left", "right"), map(circuit_title, sides), strict=True))
        text += say("verdict.heads", more=more, fewer=fewer, heads="head" if more == 1 else "heads", **titles)
    return text


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
    return [sentence for sentence in (_open_gates(run), _few_prompts(run), rival_finding(run)) if sentence]


def _open_gates(run: Findings) -> str:
    """Many more gates were open at the last step than edges were kept."""
    if not run.history:
        return ""
    record, still = run.circuits[run.main], float(run.history[-1].get("expected") or 0.0)
    if still <= OPEN * record.n_raw:
        return ""
    return say("verdict.open", steps=len(run.history), still=still, edges=len(record.circuit))


def _few_prompts(run: Findings) -> str:
    """A circuit fits the prompts it was learned from much better than unseen ones: its own KL on both."""
    row = run.metrics.get(run.main, {})
    learned = run.settings.get("sizes", {}).get("train", PAPERS_PROMPTS)
    before, after = row.get("train_kl"), row["kl"] if row else None
    if before is None or after is None or learned >= PAPERS_PROMPTS or after < 2 * before or after < before + 0.1:
        return ""
    told = {"circuit": circuit_title(run.main), "learned": learned, "unseen": row["n_prompts"]}
    return say("verdict.few", before=before, after=after, **told)

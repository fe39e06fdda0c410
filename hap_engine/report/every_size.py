"""What a run found at every size: the circuit of any number of edges, and where each method loses each head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.findings import Findings
from hap_engine.graph.circuit import Circuit
from hap_engine.report.titles import circuit_title, role_title, say

NARROW = 1.25  # times its threshold; a head whose evidence is below has passed it only just


def circuit_at(run: Findings, method: str, size: int) -> Circuit:
    """The live circuit that a method keeps at most `size` edges of: the largest of its nested circuits that fits.

    Args:
        method: ``eap``, ``hap`` or another order of the run.

    Raises:
        SettingsError: if the run has no orders, or none that reaches `size`.
        UnknownNameError: naming the nearest order.
    """
    if not run.orders:
        raise SettingsError(say("sizes.one_size", run=run))
    if method not in run.orders:
        raise UnknownNameError("order", method, run.orders)
    order, loosest = run.orders[method], run.sizes["grid"][0]
    if size > loosest:
        raise SettingsError(say("sizes.too_many", loosest=loosest, size=size))
    if size < order.sizes[0]:
        raise SettingsError(say("sizes.too_few", title=circuit_title(method), least=order.sizes[0], size=size))
    return order.circuit(size)


def tested_on(sizes: Mapping[str, Any]) -> str:
    """The prompts of the curves, from the run file's ``sizes``; random circuits may have had fewer."""
    told, fewer = f"{sizes['n_prompts']} {sizes['split']} prompts", sizes.get("n_random", sizes["n_prompts"])
    return told if fewer == sizes["n_prompts"] else f"{told} (random circuits: {fewer} of them)"


@dataclass(frozen=True)
class Survival:
    """How long each method keeps a head as its circuit shrinks.

    Attributes:
        smallest: by method, live edges of its smallest circuit that keeps the head; None where none does.
        effect: size of the effect by which the head has its role; 0 where the run does not store it.
        marginal: the head passed a threshold of its role by less than a quarter.
    """

    head: str
    role: str
    smallest: dict[str, int | None]
    effect: float = 0.0
    marginal: bool = False

    @property
    def title(self) -> str:
        return f"{self.head} (marginal)" if self.marginal else self.head


def survivals(run: Findings) -> list[Survival]:
    """Every head with a role, grouped by it; within a role the one with the largest measured effect first."""
    roles = run.roles.get("heads") or {}
    loosest = run.sizes["grid"][0] if run.orders else 0
    found = []
    for head, record in roles.items():
        kept = {name: order.nodes.get(head) for name, order in run.orders.items()}
        smallest = {name: size if size is not None and size <= loosest else None for name, size in kept.items()}
        found.append(Survival(head, str(record["role"]), smallest, *evidence_of(run, str(record["role"]), head)[1:]))
    first = {role: place for place, role in reversed(list(enumerate(one.role for one in found)))}
    return sorted(found, key=lambda one: (first[one.role], -one.effect))


def evidence_of(run: Findings, role: str, head: str) -> tuple[str, float, bool]:
    """The effect by which a head has its role, its size, and whether it or attention is just above the threshold."""
    evidence, limits = run.roles["heads"][head].get("evidence") or {}, run.roles.get("thresholds") or {}
    key = say.parts("sizes.effects").get(role, "")
    effect = abs(float(evidence.get(key, 0)))
    attention = [float(value) for name, value in evidence.items() if name.startswith("attention")]
    passed = [
        (effect, limits.get(key, limits.get("path_effect"))),
        *((value, limits.get("attention")) for value in attention),
    ]
    return key, effect, key in evidence and any(limit and value < NARROW * limit for value, limit in passed)


def size_verdict(run: Findings, role: str = "s_inhibition") -> str:
    """At which size each of the run's two methods drops the heads of a role, in one sentence; "" where there is
    nothing to say."""
    heads = [one for one in survivals(run) if one.role == role]
    if not run.orders or not heads:
        return ""
    return f"{'; '.join(_of_method(run, name, heads) for name in run.sides if name in run.orders)}."


def _of_method(run: Findings, name: str, heads: Sequence[Survival]) -> str:
    """The clause of one method: which head it drops first and where, and where the last, or how many it keeps."""
    loosest, *_, tightest = run.sizes["grid"]
    loosest = min(loosest, int(run.orders[name].sizes[-1]))
    dropped = {one.title: (one.smallest[name] or loosest + 1) - 1 for one in heads}  # the largest size without it
    gone = sorted((title for title, size in dropped.items() if size >= tightest), key=lambda title: -dropped[title])
    numbers, kind = say.parts("sizes.numbers"), "one_" if len(heads) == 1 else ""
    told = {"title": say("sizes.alone") if name == "eap" else circuit_title(name), "last": removed(run, tightest)}
    number = numbers.get(str(len(heads)), len(heads))
    told |= {"count": f"{number} {role_title(heads[0].role)} heads"}
    told |= {"every": f"{'both' if len(heads) == 2 else f'all {number}'} {role_title(heads[0].role)} heads"}
    if not gone:
        return say(f"sizes.{kind}kept", **told, head=heads[0].title)
    if dropped[gone[-1]] == loosest:
        return say(f"sizes.{kind}never", **told, head=gone[0], loosest=removed(run, loosest))
    if left := len(heads) - len(gone):
        lost = " and ".join(f"{title} at {removed(run, dropped[title])}" for title in gone)
        return say("sizes.some", **told, lost=lost, left=numbers.get(str(left), left))
    told |= {"head": gone[0], "at": removed(run, dropped[gone[0]]), "by": removed(run, dropped[gone[-1]])}
    same = kind or dropped[gone[0]] == dropped[gone[-1]]
    return say(f"sizes.{kind}{'together' if same else 'dropped'}", **told)


def removed(run: Findings, size: int) -> str:
    """A size as the share of the edges that are removed."""
    return f"{100 * (1 - size / run.graph.n_edges):.4g}%"

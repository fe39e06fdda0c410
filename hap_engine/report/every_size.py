"""What a run found at every size: the circuit of any number of edges, and where each method loses each head."""

from __future__ import annotations

from dataclasses import dataclass

from hap_engine.errors import SettingsError, UnknownNameError
from hap_engine.findings import Findings
from hap_engine.graph.circuit import Circuit
from hap_engine.report.titles import circuit_title, role_title
from hap_engine.report.verdict import heads_of_role


def circuit_at(run: Findings, method: str, size: int) -> Circuit:
    """The live circuit that a method keeps at most `size` edges of: the largest of its nested circuits that fits.

    Args:
        method: ``eap``, ``hap`` or another order of the run.

    Raises:
        SettingsError: if the run has no orders, or none that reaches `size`.
        UnknownNameError: naming the nearest order.
    """
    if not run.orders:
        raise SettingsError(
            f"Expected a run with circuits of every size, got one of {run.sparsity:.1%} alone. Make it again with the "
            "preset every-size."
        )
    if method not in run.orders:
        raise UnknownNameError("order", method, run.orders)
    loosest = run.sizes["grid"][0]
    if size > loosest:
        raise SettingsError(f"Expected a number of edges up to {loosest:,}, where this run's orders end, got {size:,}.")
    return run.orders[method].circuit(size)


@dataclass(frozen=True)
class Survival:
    """How long each method keeps a head as its circuit shrinks.

    Attributes:
        smallest: by method, live edges of its smallest circuit that keeps the head; None where none does.
    """

    head: str
    role: str
    smallest: dict[str, int | None]


def survivals(run: Findings) -> list[Survival]:
    """Every head with a role, grouped by it; within a role the one that the run's own method keeps longest first."""
    roles = run.roles.get("heads") or {}
    loosest = run.sizes["grid"][0] if run.orders else 0
    found = []
    for head, record in roles.items():
        kept = {name: order.heads.get(head) for name, order in run.orders.items()}
        smallest = {name: size if size is not None and size <= loosest else None for name, size in kept.items()}
        found.append(Survival(head, str(record["role"]), smallest))
    first = {role: place for place, role in reversed(list(enumerate(one.role for one in found)))}
    return sorted(found, key=lambda one: (first[one.role], one.smallest.get(run.main) or run.graph.n_edges))


def size_verdict(run: Findings, role: str = "s_inhibition") -> str:
    """At which size each of the run's two methods drops the heads of a role, in one or two sentences; "" where
    there is nothing to say."""
    heads = heads_of_role(run, role)
    if not run.orders or not heads:
        return ""
    return " ".join(_of_method(run, name, role, heads) for name in run.sides if name in run.orders)


def _of_method(run: Findings, name: str, role: str, heads: tuple[str, ...]) -> str:
    title, ends = circuit_title(name), run.sizes["grid"]
    kept = {one.head: one.smallest[name] for one in survivals(run) if one.head in heads}
    never = sorted(head for head, size in kept.items() if size is None)
    sizes = {head: size for head, size in kept.items() if size is not None}
    whole = f"the {role_title(role)} head" if len(heads) == 1 else f"the {len(heads)} {role_title(role)} heads"
    if not sizes:
        return f"{title} keeps none of {whole} at {removed(run, ends[0])} of the edges removed or beyond."
    first, last = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    if sizes[first] <= ends[-1] and not never:
        return f"{title} keeps all of {whole} to {removed(run, ends[-1])}."
    said = f"{title} drops {first} beyond {removed(run, sizes[first])} of the edges removed"
    if never:
        said = f"{title} keeps {', '.join(never)} at none of the sizes"
    if last == first:
        return f"{said}."
    if sizes[last] <= ends[-1]:
        return f"{said}, and keeps {last} to {removed(run, ends[-1])}."
    return f"{said}, and the last of {whole}, {last}, beyond {removed(run, sizes[last])}."


def removed(run: Findings, size: int) -> str:
    """A size as the share of the edges that are removed."""
    return f"{100 * (1 - size / run.graph.n_edges):.4g}%"

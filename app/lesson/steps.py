"""The seven steps, from the task to the test of a circuit; their texts stand in ``steps.toml``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hap_engine.report.missed_heads import fate, missed_heads
from hap_engine.report.titles import circuit_title, role_title
from hap_engine.runs.record import Run
from hap_engine.words import Words

TEXTS = Words(__file__, "steps.toml")
SHARES = ("below 30 %", "30 to 70 %", "70 to 95 %", "more than 95 %")  # their borders do not depend on the answer


@dataclass(frozen=True)
class Question:
    """A guess to make before the answer shows. `because` says what the run measured."""

    ask: str
    options: tuple[str, ...]
    right: int
    because: str


@dataclass(frozen=True)
class Step:
    """One step: words, picture, question. `panels` is ``left``, ``right`` or ``both``."""

    title: str
    text: str
    question: Question
    look: str
    panels: str = "both"
    pins: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()  # heads that the reader may switch off live
    reveal: str = ""  # words that would give the answer away; they and the pins wait for the guess


def suits(run: Run) -> bool:
    """Can the lesson be told with this run: EAP beside a circuit that was learned, with its numbers?"""
    wanted = {"full", "empty", "random", "eap", run.main}
    return run.main in ("hap", "ep") and "eap" in run.circuits and wanted <= set(run.metrics)


def steps(run: Run) -> tuple[Step, ...]:
    """The seven steps of a run that `suits`."""
    metrics, edges, known = run.metrics, run.graph.n_edges, told(run)
    missed, with_role = missed_heads(run, "eap", run.main), role_heads(run)[:2]
    a, b = float(metrics["eap"]["kl"]), float(metrics[run.main]["kl"])
    closer = 2 if abs(a - b) <= 0.05 * max(a, b) else 0 if a < b else 1
    tested = _tested(run)

    def step(name: str, options: Iterable[str], right: int, pins: tuple[str, ...] = (), **more: Any) -> Step:
        words = TEXTS.parts(name, **known)
        question = Question(words.pop("ask"), tuple(options), right, words.pop("because"))
        return Step(**words, question=question, pins=pins, **more)

    return (
        step("task", *_share(metrics["full"]["accuracy"]), ("input", "logits")),
        step("two_runs", *_share(metrics["empty"]["accuracy"]), ("input",)),
        step("picture", *_among({edges // 20, edges // 4, edges}, edges), (busiest(run),)),
        step("eap", *_share(metrics["eap"]["faithfulness"])),
        step(
            "missed",
            *_among({0, 1, max(2, len(missed)), len(missed)}, len(missed)),
            missed[:4] or with_role,
            reveal=_why_missed(run, missed) if missed else TEXTS("why.none", **known),
        ),
        step("pruning", ("EAP's", f"{known['method']}'s", "About the same"), closer, with_role),
        step("test", *_share(metrics["random"]["faithfulness"]), tested, cut=tested),
    )


def told(run: Run) -> dict[str, Any]:
    """What the texts name: facts of a run."""
    prompt = next(iter(run.prompts.get("test") or run.prompts.get("train") or [{}]))
    circuit, eap = run.circuits[run.main].circuit, run.circuits["eap"].circuit
    graph, missed, tested = run.graph, missed_heads(run, "eap", run.main), _tested(run)
    known = {
        **{key: run.metrics[key] for key in ("full", "empty", "random", "eap")},
        "ours": run.metrics[run.main],
        "clean": _code(prompt.get("clean", "")),
        "corrupt": _code(prompt.get("corrupt", "")),
        "answer": _word(prompt.get("answer", "")),
        "wrong": _word(prompt.get("distractor", "")),
        "model": _code(run.model["name"]),
        "method": circuit_title(run.main),
        "graph": graph,
        "busiest": busiest(run),
        "size": len(circuit),
        "share": len(circuit) / graph.n_edges,
        "heads": len(circuit.heads),
        "own": len(circuit - eap),
        "both": len(eap & circuit),
        "eap_size": len(eap),
        "missed": len(missed),
        "steps": len(run.history),
        "candidates": len(run.replay.get("edges") or ()) or graph.n_edges,
        "tested": ", ".join(tested),
        "roles": ", ".join(f"**{head}**{role_of(run, head)}" for head in tested),
    }
    so = {
        "able": float(run.metrics["full"]["accuracy"]) > 0.75,
        "grouped": graph.n_kv_heads != graph.n_heads,
        "seen": bool(missed),
        "sizes": len(eap) == len(circuit),
        "candidates": run.main == "hap",
    }
    return known | {name: TEXTS.parts(f"of.{name}")[so[name]].format_map(known) for name in so}


def _tested(run: Run) -> tuple[str, ...]:
    """The heads that the last step asks about: of S-inhibition, else with any role, else the busiest."""
    kept = run.circuits[run.main].circuit.heads
    heads = role_heads(run, "s_inhibition") or role_heads(run)
    return tuple(head for head in heads if head in kept)[:4] or (busiest(run),)


def _why_missed(run: Run, missed: tuple[str, ...]) -> str:
    """One line a head: was its best edge ranked too low, or did its path stay broken?"""
    kept = run.circuits["eap"].n_raw
    lines = []
    for head in missed[:6]:
        why = TEXTS(f"why.{fate(run, head)}", rank=run.heads.get(head, {}).get("eap_rank"), kept=kept)
        lines.append(f"- **{head}**{role_of(run, head)}: {why}.")
    more = TEXTS("why.more", more=len(missed) - 6) if len(missed) > 6 else ""
    return TEXTS("why.some", lines="\n".join(lines), more=more)


def _share(share: float) -> tuple[tuple[str, ...], int]:
    """The ranges in which a share may lie, and the one in which it does."""
    return SHARES, sum(not share < border for border in (0.3, 0.7, 0.95))


def _among(values: set[int], right: int) -> tuple[list[str], int]:
    """Numbers to choose from, and the place of the right one."""
    return [f"{value:,}" for value in sorted(values)], sorted(values).index(right)


def _word(text: str) -> str:
    return safe(str(text).strip()) or "the right one"


def _code(text: str) -> str:
    return f"`{safe(text)}`"


def safe(text: str) -> str:
    """Text without the marks of `glossary.rich`."""
    return re.sub(r"[`*]|\[\[|\]\]", "", text)


def busiest(run: Run) -> str:
    """The kept head with the largest direct effect on the answer, or with most edges."""
    circuit = run.circuits[run.main].circuit
    heads = [head for head in run.graph.heads if head in circuit.heads] or ["input"]
    names = [name for pair in circuit.names() for name in pair]
    return max(heads, key=lambda h: (abs(run.heads.get(h, {}).get("direct_effect") or 0.0), names.count(h)))


def role_heads(run: Run, role: str = "") -> tuple[str, ...]:
    return tuple(h for h, found in run.roles.get("heads", {}).items() if role in ("", found["role"]))


def role_of(run: Run, head: str, before: str = ", ") -> str:
    role = run.roles.get("heads", {}).get(head, {}).get("role")
    return f"{before}{role_title(role)}" if role else ""

"""The seven steps, from the task to the test of a circuit."""

from __future__ import annotations

from app.lesson.parts import (
    Question,
    Step,
    busiest,
    code,
    first_prompt,
    ordered,
    role_heads,
    role_of,
    share_question,
    word,
)
from hap_engine.report.missed_heads import missed_heads
from hap_engine.report.titles import circuit_title
from hap_engine.runs.record import Run


def suits(run: Run) -> bool:
    """Can the lesson be told with this run: EAP beside a circuit that was learned, with its numbers?"""
    wanted = {"full", "empty", "random", "eap", run.main}
    return run.main in ("hap", "ep") and "eap" in run.circuits and wanted <= set(run.metrics)


def steps(run: Run) -> tuple[Step, ...]:
    """The seven steps of a run that `suits`."""
    return (_task(run), _two_runs(run), _picture(run), _eap(run), _missed(run), _pruning(run), _test(run))


def _task(run: Run) -> Step:
    full = run.metrics["full"]
    prompt = first_prompt(run)
    answer, wrong = word(prompt, "answer"), word(prompt, "distractor")
    text = f"""
{code(prompt.get("clean", ""))} …

What comes next? A reader says **{answer}** and not **{wrong}**. The model {code(run.model["name"])} was asked
{full["n_prompts"]} questions of this kind ([[held-out prompts]]). We measure by how much it prefers the right answer:
the [[logit difference]], the score of the right one minus the score of the wrong one.

The lesson asks one thing: **which parts of the model do this, and how would we know?**
"""
    share = float(full["accuracy"])
    return Step(
        "The task",
        text,
        share_question(
            "Guess first: on how many of these prompts does the whole model prefer the right answer?",
            share,
            f"It prefers the right one on {share:.0%} of them, by {full['logit_diff']:.2f} on average. "
            + (
                "So there is something to explain."
                if share > 0.75
                else "It is not good at this task: read the rest with care."
            ),
        ),
        "The prompt enters at the bottom, the prediction leaves at the top.",
        "right",
        ("input", "logits"),
    )


def _two_runs(run: Run) -> Step:
    empty = run.metrics["empty"]
    prompt = first_prompt(run)
    text = f"""
To see what a part does, take away what it knows. Not by deleting it: a transformer with a hole in it breaks in
ways that teach nothing. We run a second, [[corrupted prompt]] through the model:

- clean: {code(prompt.get("clean", ""))}
- corrupted: {code(prompt.get("corrupt", ""))}

Both have the same number of tokens. In the corrupted run nothing says which answer is right. Replacing what a part
says by what it said in the corrupted run ([[patching]]) takes away exactly the knowledge of the answer, and leaves
grammar, length and place alone.
"""
    share = float(empty["accuracy"])
    return Step(
        "Clean and corrupted",
        text,
        share_question(
            "Guess first: replace everything by the corrupted run. How often does the right answer still win?",
            share,
            f"On {share:.0%} of the prompts, with a logit difference of {empty['logit_diff']:.2f} "
            f"(the full model: {run.metrics['full']['logit_diff']:.2f}). Between these two ends lies every circuit.",
        ),
        "Think of both runs going through this picture at once.",
        "right",
        ("input",),
    )


def _picture(run: Run) -> Step:
    graph = run.graph
    shared = (
        f" Its {graph.n_heads} heads a layer share {graph.n_kv_heads} sets of keys and values."
        if graph.n_kv_heads != graph.n_heads
        else ""
    )
    text = f"""
A transformer is a sum. Every [[head]] and every [[MLP]] reads the [[residual stream]] and adds its output to it. So
what a part reads splits exactly into one share from each earlier part, and each share is an [[edge]].

This model has {graph.n_layers} layers of {graph.n_heads} heads.{shared} A head has three inputs, its
[[query, key, value|query, key and value]], and edges end at one of them. A [[circuit]] is a small set of edges: on
the edges that it keeps, parts hear each other; on all others they hear the corrupted run.
"""
    n = graph.n_edges
    options, right = ordered([n // 20, n // 4, n], n)
    main = run.circuits[run.main].circuit
    strongest = busiest(run)
    return Step(
        "Heads and edges",
        text,
        Question(
            "Guess first: how many edges does this model have?",
            tuple(f"{value:,}" for value in options),
            right,
            f"{n:,}: every earlier part to every input of every later part. The circuit on the right keeps"
            f" {len(main):,} of them ({len(main) / n:.1%}).",
        ),
        f"Squares are heads (row = layer), bars are MLPs. Pinned: {strongest}, with everything it hears and everyone it"
        " tells.",
        "right",
        (strongest,),
    )


def _eap(run: Run) -> Step:
    eap = run.metrics["eap"]
    size = len(run.circuits["eap"].circuit)
    text = f"""
Testing {run.graph.n_edges:,} edges one by one takes as many runs. [[EAP]] takes one backward pass: for every edge at
once, *(corrupted minus clean output of the writer) times (slope of the logit difference at the reader)*. That is the
[[first-order]] estimate of what patching the edge would do. Keep the {size:,} edges with the largest estimates, and you
have the circuit on this picture. How much of the preference it keeps is its [[faithfulness]].

It is fast, and often good. But a slope is a straight line. If two heads do the same job, cutting one changes little,
and the slope at one of them may say that neither matters.
"""
    share = float(eap["faithfulness"])
    return Step(
        "EAP: ask for the slope",
        text,
        share_question(
            f"Guess first: how much of the model's preference do EAP's {size:,} edges carry?",
            share,
            f"Faithfulness {share:z.2f}, and a KL of {eap['kl']:.2f} from the full model "
            f"(random circuits of the same size: {run.metrics['random']['kl']:.2f}).",
        ),
        "EAP's circuit. Dashed edges are those that the other method does not keep.",
        "left",
    )


def _missed(run: Run) -> Step:
    main, method = run.circuits[run.main].circuit, circuit_title(run.main)
    missed = missed_heads(run, "eap", run.main)
    count = len(missed)
    eap = run.circuits["eap"].circuit
    same = (
        "Both circuits have the same number of edges"
        if len(eap) == len(main)
        else f"EAP's circuit has {len(eap):,} live edges (as near as its ranking comes) and {method}'s {len(main):,}"
    )
    text = f"""
{same}, so a difference is not a matter of room. {method}'s circuit (the next step
says how it is found) runs through {len(main.heads)} heads. A head is in a circuit when an edge leads into it and
another one out of it, on a path from the input to the logits.
"""
    options = sorted({0, 1, max(2, count), count})
    return Step(
        "What EAP missed, and why",
        text,
        Question(
            f"Guess first: how many of the {len(main.heads)} heads in {method}'s circuit are missing from EAP's?",
            tuple(str(option) for option in options),
            options.index(count),
            f"{count} of {len(main.heads)}. "
            + ("They are pinned in the picture." if missed else "Look at the edges instead."),
        ),
        "Blue: only in the right circuit. Orange and dashed: only in the left one. Grey: in both.",
        "both",
        missed[:4] or role_heads(run)[:2],
        reveal=_why_missed(run, missed) if missed else _nothing_missed(run, method),
    )


def _why_missed(run: Run, missed: tuple[str, ...]) -> str:
    """One line a head: was its best edge ranked too low, or did its path stay broken?"""
    kept = run.circuits["eap"].n_raw
    lines = []
    for head in missed[:6]:
        rank = run.heads.get(head, {}).get("eap_rank")
        why = (
            "its edges are not among EAP's"
            if rank is None
            else (
                f"its best edge has EAP rank {rank:,}, and EAP keeps the first {kept:,}"
                if rank > kept
                else (
                    f"its best edge has EAP rank {rank:,} and is kept, but the edges that would complete a path "
                    "through it are ranked too low, so it is dead"
                )
            )
        )
        lines.append(f"- **{head}**{role_of(run, head)}: {why}.")
    more = f"\n\nAnd {len(missed) - 6} more." if len(missed) > 6 else ""
    return (
        "Why each one is missing:\n\n"
        + "\n".join(lines)
        + more
        + "\n\nEAP ranks every edge alone. A part that matters only *together* with another one can have a small slope,"
        " and a small slope is a low rank. Whether that is so here, the Explore page tells: it measures the exact"
        " effect of these edges."
    )


def _nothing_missed(run: Run, method: str) -> str:
    main, eap = run.circuits[run.main].circuit, run.circuits["eap"].circuit
    return (
        f"Here EAP drops no head that {method} keeps. The two still differ in the *edges* between heads:"
        f" {len(main - eap):,} of {method}'s {len(main):,} edges are not in EAP's circuit. EAP ranks every edge alone,"
        " so it can keep several edges that say the same thing, and lack one that would complete a path."
    )


def _pruning(run: Run) -> Step:
    method = circuit_title(run.main)
    ours, eap = run.metrics[run.main], run.metrics["eap"]
    steps_taken = len(run.history)
    seen = len(run.replay.get("edges") or ()) or run.graph.n_edges
    first = (
        f"[[HAP]] first lets EAP keep a loose set ({seen:,} edges here), and learns only there."
        if run.main == "hap"
        else "Here it learned on all edges."
    )
    text = f"""
[[EP|Edge pruning]] does not estimate, it tries. Every edge gets a [[gate]] between open and closed. In
{steps_taken:,} steps the gates are moved, by gradient descent, so that the circuit predicts what the full model
predicts (small [[KL]]), while the number of open gates falls to {len(run.circuits[run.main].circuit):,}. Gates that
only help together are moved together, which a single slope cannot see. The price is time. {first}
"""
    a, b = float(eap["kl"]), float(ours["kl"])
    tie = abs(a - b) <= 0.05 * max(a, b)
    return Step(
        "EP: learn what to keep",
        text,
        Question(
            "Guess first: at the same size, whose predictions are closer to the full model's?",
            ("EAP's", f"{method}'s", "About the same"),
            2 if tie else 0 if a < b else 1,
            f"KL from the full model: EAP {a:.2f}, {method} {b:.2f}. Random circuits:"
            f" {run.metrics['random']['kl']:.2f}.",
        ),
        f"Compare the two circuits edge by edge: {len(run.circuits['eap'].circuit & run.circuits[run.main].circuit):,}"
        " edges are in both.",
        "both",
        role_heads(run)[:2],
    )


def _test(run: Run) -> Step:
    random, ours = run.metrics["random"], run.metrics[run.main]
    method = circuit_title(run.main)
    heads = role_heads(run, "s_inhibition") or role_heads(run)
    heads = tuple(h for h in heads if h in run.circuits[run.main].circuit.heads)[:4] or (busiest(run),)
    text = f"""
A circuit is a claim: *these edges are enough*. The test is [[ablation]]: everything outside it carries the corrupted
run, and we ask {ours["n_prompts"]} new prompts. And a number needs something to stand beside: a [[random control]] of
the same size says what size alone buys.

The reverse test asks whether a part is *needed*: cut it out of the circuit and look again. Try it below with
{", ".join(f"**{head}**{role_of(run, head)}" for head in heads)}. If the circuit still works without it, another head
may have taken over, and your story about the head needs a second look.
"""
    share = float(random["faithfulness"])
    return Step(
        "Test it by ablation",
        text,
        share_question(
            f"Guess first: random circuits with as many edges as {method}'s. How faithful are they?",
            share,
            f"{share:z.2f} on average, {method}'s circuit {ours['faithfulness']:.2f}. That gap is what the search"
            " found.",
        ),
        f"Pinned: {', '.join(heads)}.",
        "both",
        heads,
        heads,
    )

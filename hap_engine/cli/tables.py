"""What a terminal shows: a live line per phase, and tables of results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hap_engine.findings import METRICS
from hap_engine.report.every_size import removed, size_verdict, tested_on
from hap_engine.report.metric_sentences import distinct_sentence
from hap_engine.report.prompt_circuits import groups, told
from hap_engine.report.rivals import rival_verdict
from hap_engine.report.test_sentences import HALF, STABLE
from hap_engine.report.titles import CONTROL_TITLES, METRIC_TITLES, RIVAL, circuit_title, row_title, say

if TYPE_CHECKING:
    from hap_engine.runs.record import Run
    from hap_engine.runs.unfinished import Interrupted


def print_table(metrics: Any, run: Run) -> None:
    tag = next(iter(metrics.values()))
    print(
        f"\n{run.model['name']} · {run.task['title']} · {tag['n_prompts']} {tag['split']} prompts · "
        f"ablation: {tag['ablation']} · seed {run.seed}"
    )
    own = run.task.get("metric", "logit_diff")
    columns = [*METRICS, *(key for key in dict.fromkeys((own, "deviation")) if key in tag and key not in METRICS)]
    print(f"{'circuit':30}{'edges':>8}" + "".join(f"{METRIC_TITLES.get(name, name):>18}" for name in columns))
    for name in (*CONTROL_TITLES, *(key for key in metrics if key not in CONTROL_TITLES)):
        row = metrics[name]
        cells = "".join(f"{row[key]:>18.3f}" for key in columns)
        print(f"{row_title(metrics, name):30}{row['n_edges']:>8,}{cells}")
    if counted := distinct_sentence(run, list(run.circuits)):
        print(f"\n{counted}")


def print_interrupted(runs: Sequence[Interrupted]) -> None:
    """The runs that can go on, and how."""
    for left in runs:
        model, task = left.config.model.split("/")[-1], left.config.find_task().title
        when = datetime.fromisoformat(left.written).astimezone()
        share = f"keeping {1 - left.config.sparsity:.1%} of the edges"
        print(f"hap resume {left.run}   {model} · {task} · {share} · {left.told} ({when:%d %b %Y, %H:%M})")
    if not runs:
        print("No run was interrupted.")


def print_sizes(run: Run) -> None:
    """KL of each method at each size, where it loses the S-inhibition heads, and the areas."""
    if not run.sizes:
        return
    rows, grid = run.sizes["metrics"], run.sizes["grid"]
    print(f"\nKL at every size, {tested_on(run.sizes)}")
    print(f"{'removed':10}{'edges':>8}" + "".join(f"{circuit_title(name):>17}" for name in rows))
    for place, size in enumerate(grid):
        print(f"{removed(run, size):10}{size:>8,}" + "".join(f"{row['kl'][place]:>17.3f}" for row in rows.values()))
    if "cpr" in rows[run.main]:
        for area in ("cpr", "cmd"):
            print(f"{area.upper():18}" + "".join(f"{row[area]:>17.3f}" for row in rows.values()))
        print(say("areas.reading"))
    if said := size_verdict(run):
        print("\n" + said)


def print_statistics(run: Run) -> None:
    """The main figures of ``evaluate --full``."""
    statistics = run.statistics
    main = circuit_title(statistics["main"])
    print(f"\n{statistics['n_prompts_many']} prompts for what follows, unless it says otherwise")
    for name, curve in statistics["curves"].items():
        print(f"curve of {circuit_title(name)}: CPR {curve['cpr']:.3f}, CMD {curve['cmd']:.3f}")
    print(say("areas.reading"))
    complete, minimal = statistics["completeness"], statistics["minimality"]
    if complete["sets"]:
        print(
            f"completeness of {main}: knocked out in circuit and model alike, they differ by "
            f"{complete['mean_gap']:.1%} of the task on average, {complete['max_gap']:.1%} at most"
        )
    print(
        f"minimality of {main}: {minimal['needed']} of {len(minimal['nodes'])} heads and MLPs carry "
        f"at least {minimal['threshold']:.0%} of the task"
    )
    for name, row in statistics["complement"].items():
        left = f"faithfulness {row['faithfulness']:.3f} ({statistics['n_prompts']} prompts)"
        print(f"the model without {circuit_title(name)}: {left}")
    for name, row in statistics["agreement"].items():
        parts = ", ".join(
            f"{part} {shown['share']:.0%} of {shown['n']}" if shown["n"] else f"{part} no prompts"
            for part, shown in row["top1"].items()
        )
        print(f"{circuit_title(name)} gives the model's token where the model is {parts}")
    for key, tests in statistics["comparisons"].items():
        name = circuit_title(key)
        kl = tests["kl"]
        sure = "no interval" if kl["interval"] is None else "{:+.3f} to {:+.3f}".format(*kl["interval"])
        heads = tests["heads"]
        print(
            f"{main} minus {name}: KL {kl['mean']:+.3f} ({sure}); heads only {main} keeps "
            f"{heads['first_only']}, only {name} {heads['second_only']} (McNemar p {heads['p']:.3f})"
        )
    if missed := statistics.get("missed"):
        print(f"without the {missed['n_dropped']:,} edges that stage one drops: KL {missed['all']:.3f}")
        for row in missed["subsets"]:
            print(
                f"  without a random {row['share']:.0%} of them: KL {row['mean']:.4f} on average, "
                f"{row['max']:.4f} at most in {row['n_subsets']} draws"
            )


def print_ablations(run: Run) -> None:
    """The same circuits under each ablation: never compare numbers across them without saying so."""
    for rows in run.statistics.get("ablations", {}).values():
        print_table(rows, run)


def print_stability(run: Run) -> None:
    """How much the circuits of several seeds, or of samples of the prompts, share."""
    stability, rows = run.stability, run.stability.get("at", ())
    of = "samples of the prompts" if rows else "seeds"
    print(
        f"{len(stability['seeds'])} {of}: {stability['always']:,} of {stability['ever']:,} edges are in every "
        f"circuit; two circuits share {stability['jaccard']:.0%} of their edges on average"
    )
    for head, share in sorted(stability["heads"].items(), key=lambda item: (-item[1], item[0])):
        print(f"  {head:8} {share:.0%}")
    if rows:
        names = list(rows[0]["jaccard"])
        print(f"\nmean Jaccard of two samples; {STABLE} is asked of a stable circuit (Méloux et al. 2025)")
        print(f"{'edges':>10}" + "".join(f"{circuit_title(name):>10}" for name in names) + f"{'in < 50 %':>12}")
    for row in rows:
        cells = "".join(f"{row['jaccard'][name]:>10.2f}" for name in names)
        print(f"{row['size']:>10,}{cells}{sum(share < HALF for share in row['edges']):>12,}")


def print_rival(run: Run) -> None:
    """What was tried, and what the rival shares with the run's own circuit."""
    size, own = len(run.circuits[run.main].circuit), circuit_title(run.main)
    print(f"a price in nats on each of {own}'s edges; short searches, KL on {run.rival['n_prompts']} training prompts")
    print(f"{'price':>10}{'KL':>10}{'shared':>10} of {size:,}")
    for row in run.rival["tried"]:
        price = row.get("price")
        cell = f"{price:.4f}" if price is not None and math.isfinite(price) else "forbidden"
        print(f"{cell:>10}{row['kl']:>10.3f}{row['shared']:>10,}")
    print_table({name: run.metrics[name] for name in (*CONTROL_TITLES, run.main, RIVAL)}, run)
    print("\n" + rival_verdict(run))


def print_prompt_circuits(run: Run) -> None:
    """The groups of prompts by their circuits, and what is said of them."""
    for number, group in enumerate(groups(run), 1):
        alike = "" if group.alike is None else f", two share {group.alike:.0%}"
        print(f"group {number}: {len(group.prompts)} prompts{alike}, {group.core:,} edges in all of their circuits")
        for name, count in [*group.orders.items(), *group.templates.items()]:
            print(f"  {count / len(group.prompts):>5.0%}  {name}")
    print("\n" + "\n".join(told(run)))

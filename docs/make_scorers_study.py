"""Compare the scorers: what they cost and how good their best edges are (docs/studies/scorers.md).

    python -m docs.make_scorers_study hap-mini [path/to/SmolLM2.gguf]

Every scorer sees the same training prompts. Its best edges are cut out at several sizes (equal live edges) and
measured on the same held-out prompts, under resample ablation. Models not named keep their section.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import torch

from hap_engine.attribution import SCORERS, score
from hap_engine.circuit import edge_budget, top_live
from hap_engine.evaluation import measure
from hap_engine.models import load_model
from hap_engine.patching import MaskedModel
from hap_engine.prepared import Prepared
from hap_engine.progress import drain
from hap_engine.tasks import SplitSizes, get_task

OUT = Path(__file__).parent / "studies" / "scorers.md"
SIZES = SplitSizes(train=64, validation=1, test=96)
SPARSITIES = {"hap-mini": (0.8, 0.9, 0.98)}
LARGE = (0.9, 0.95, 0.99)
HEAD = """# Scorers compared

Made by `python -m docs.make_scorers_study hap-mini path/to/SmolLM2.gguf`. IOI, seed 0, {train} training and {test}
held-out prompts, resample ablation. Cost is processor time as a multiple of plain EAP's. The rest is
held-out KL (nats, lower is better) and faithfulness of each scorer's best edges alone, at equal numbers of
live edges. One seed: differences of a few hundredths mean nothing.
"""


def section(reference: str) -> tuple[str, str]:
    """The model's name and its table."""
    model = load_model(reference)
    masked = MaskedModel(model)
    sets = get_task("ioi").generate(model.tokenizer, SIZES, 0, "abc")
    training = Prepared(masked, sets.train)
    drain(training.run())
    seconds, circuits = {}, {}
    sparsities = SPARSITIES.get(model.name, LARGE)
    for name in SCORERS:
        started = time.process_time()
        scores = drain(score(training, name))
        seconds[name] = time.process_time() - started
        for sparsity in sparsities:
            live = edge_budget(masked.graph, sparsity)
            circuits[f"{name} {sparsity}"] = top_live(masked.graph, scores, live).live
        print(name, f"{seconds[name]:.1f} s", flush=True)
    found = drain(measure(masked, sets.test, circuits))
    full = found["full"]["logit_diff"].mean()
    empty = drain(measure(masked, sets.test, {"empty": top_live(masked.graph, scores, 1)}))
    none = empty["empty"]["logit_diff"].mean()
    titles = [f"{s:.0%}: KL | F" for s in sparsities]
    lines = [f"| scorer | cost | {' | '.join(titles)} |", "|---|---:|" + "---:|---:|" * len(titles)]
    for name in SCORERS:
        cells = [f"{seconds[name] / seconds['eap']:.1f}"]
        for sparsity in sparsities:
            one = found[f"{name} {sparsity}"]
            share = (one["logit_diff"].mean() - none) / (full - none)
            cells += [f"{one['kl'].mean():.2f}", f"{share:.2f}"]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    best = {
        s: min(SCORERS, key=lambda name, s=s: found[f"{name} {s}"]["kl"].mean())  # type: ignore[misc]
        for s in sparsities
    }
    verdict = "Lowest KL: " + ", ".join(f"`{best[s]}` at {s:.0%}" for s in sparsities) + "."
    return model.name, "\n".join([*lines, "", verdict])


def main(references: list[str]) -> None:
    torch.set_num_threads(1)  # so that processor time means something
    old = OUT.read_text(encoding="utf-8") if OUT.exists() else ""
    parts = dict(re.findall(r"## (\S+)\n\n(.*?)\n*(?=## |\Z)", old, flags=re.S))
    for reference in references:
        name, body = section(reference)
        parts[name] = body
        text = "\n".join(f"## {name}\n\n{body}\n" for name, body in parts.items())
        head = HEAD.format(train=SIZES.train, test=SIZES.test)
        OUT.write_text(f"{head}\n{text}", encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(sys.argv[1:] or ["hap-mini"])

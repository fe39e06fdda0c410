"""What larger models will take, computed: the tables of docs/scale.md. ``python -m benchmarks.scale``

Memory and time are those of `hap_engine.machine.estimate`, of IOI's prompts. What a file and its matrices hold is
counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.studies.pages import ROOT, fill
from hap_engine.graph.graph import MAX_CELLS
from hap_engine.machine.estimate import duration, estimate
from hap_engine.machine.memory import Limits
from hap_engine.machine.speed import Machine
from hap_engine.machine.workload import memory
from hap_engine.models.shape import Shape
from hap_engine.runs.run_file import MAX_BYTES
from hap_engine.settings import LOOSEST, DiscoveryConfig

PAGE = ROOT / "docs" / "scale.md"
CARD = 80e9  # bytes
# As its maker states it for an H100 SXM: float32 without TF32, bfloat16 without sparsity; dispatch as PyTorch's usual.
H100 = Machine(float32=67e12, bfloat16=989e12, bandwidth=3.35e12, dispatch=1e-5, threads=1, gpu="cuda")
# By their config.json.
SHAPES = {
    "Llama-3.2-1B": Shape(16, 32, 8, 2048, 64, 8192, 3, 128_256, True, "bfloat16"),
    "Llama-3.1-8B": Shape(32, 32, 8, 4096, 128, 14_336, 3, 128_256, False, "bfloat16"),
    "Llama-3.1-70B": Shape(80, 64, 8, 8192, 128, 28_672, 3, 128_256, False, "bfloat16"),
}
TOKENS = 20.0  # of a prompt of IOI
RUN = DiscoveryConfig(sparsity=0.99, device="cuda", dtype="bfloat16")
HELD = ("weights", "prompts", "deltas", "activations")
STORED, ORDERS = 4 * 4 / 3, 3  # bytes of a number in a run file's orders and replay: 4 as base64


@dataclass(frozen=True)
class Row:
    name: str
    shape: Shape
    cards: int = 1
    batch: int = 16


def cards() -> Iterator[str]:
    """Memory of the fullest card and time of a run, by the parts that hold it."""
    heads = ["model", "cards", "prompts at once", "edges", *HELD, "all", "fits 80 GB", "time"]
    yield f"| {' | '.join(heads)} |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|"
    rows = [Row(name, shape, batch=batch) for name, shape in SHAPES.items() for batch in (16, 4, 1)]
    rows += [Row("Llama-3.1-8B", SHAPES["Llama-3.1-8B"], 4)]
    for row in rows:
        held = memory(RUN, row.shape, TOKENS, Limits(batch=max(1, row.batch // row.cards)))
        found = estimate(RUN, row.shape, H100, TOKENS)
        seconds = sum(value if phase == "load" else value / row.cards for phase, value in found.seconds.items())
        total = sum(held.values())
        parts = " | ".join(f"{held[name] / 1e9:.1f}" for name in HELD)
        fits = "yes" if total < CARD else "**no**"
        yield (
            f"| {row.name} | {row.cards} | {row.batch} | {row.shape.edges / 1e6:.1f} M | {parts} "
            f"| {total / 1e9:.0f} GB | {fits} | {duration(seconds)} |"
        )


def breaks() -> Iterator[str]:
    """What else grows with the edges."""
    yield "| edges | cells of the graph | a float32 of each cell | run file | sizes of an order |"
    yield "|---:|---:|---:|---:|---:|"
    for edges in (1.6e6, 16.9e6, 1e8):
        cells = 2 * edges  # every writer by every reader: about half come after
        refused = f" (**refused**: at most {MAX_CELLS / 1e6:.0f} M)" if cells > MAX_CELLS else ""
        file = edges * (ORDERS * STORED / 2 + LOOSEST * 2 * STORED)
        large = f" (**refused**: at most {MAX_BYTES >> 20} MB)" if file > MAX_BYTES else ""
        yield (
            f"| {edges / 1e6:,.1f} M | {cells / 1e6:,.0f} M{refused} | {4 * cells / 1e9:.2f} GB "
            f"| {file / 1e6:,.0f} MB{large} | {2 * 8 * cells / 1e9:.2f} GB |"
        )


def main() -> None:
    for name, lines in (("cards", cards()), ("breaks", breaks())):
        table = "\n".join(lines)
        print(table, end="\n\n")
        fill(PAGE, name, table)


if __name__ == "__main__":
    main()

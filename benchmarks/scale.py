"""What larger models will take, computed: the tables of docs/scale.md. ``python -m benchmarks.scale``

Memory and time are those of `hap_engine.machine.estimate`, of IOI's prompts. What a file and its matrices hold is
counted. Of the model of 8 billion weights the parts are measured: one random layer of its shape on this processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu import random_llama
from benchmarks.studies.pages import ROOT, fill
from hap_engine.attribution.edge_gradients import EdgeGradients
from hap_engine.graph.circuit import full_circuit
from hap_engine.graph.graph import MAX_CELLS, Graph
from hap_engine.machine.estimate import duration, estimate
from hap_engine.machine.memory import Limits
from hap_engine.machine.speed import Machine
from hap_engine.machine.workload import memory, memory_on_cards, passes
from hap_engine.masked.delta_buffer import Tape
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.plan import Plan, Positions
from hap_engine.masked.workspace import Workspace
from hap_engine.models.catalog import Source
from hap_engine.models.shape import Shape
from hap_engine.narrow.weights import bytes_of
from hap_engine.runs.run_file import MAX_BYTES
from hap_engine.settings import EAP_PROMPTS, LOOSEST, VALIDATED, DiscoveryConfig, prompts_at_sizes
from hap_engine.transformer.batches import to_batch
from hap_engine.transformer.load import from_hf

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
CARDS = ((4, 4), (4, 1), (8, 4))  # for the layers of the largest, and how many prompts at once
TOKENS = 20.0  # of a prompt of IOI
VOCABULARY = 72  # of the layers that are measured
LARGEST = "Llama-3.1-8B"
MEASURED = {
    "hap-mini": Shape(4, 8, 8, 128, 16, 512, 3, 1000, True, "bfloat16"),
    "SmolLM2-135M": Shape(30, 9, 3, 576, 64, 1536, 3, 49_152, True, "bfloat16"),
    "a model of 1.5 B": Shape(28, 16, 8, 2048, 128, 5632, 3, 32_000, False, "bfloat16"),
    LARGEST: SHAPES[LARGEST],
}
LAYERS = 3  # that are measured: of a model's last, little is computed, so that it is no layer like the others
WEIGHTS = "weights, with the copies for training"
TRACE = "a prompt's corrupt run"
SCORE = "deltas and activations of a prompt whose edges are scored"
STEP = "deltas and activations of a prompt in a step"
DELTAS = "a prompt's deltas in a step, in all layers"
RUN = DiscoveryConfig(sparsity=0.99, device="cuda", dtype="bfloat16")
HELD = ("weights", "prompts", "deltas", "activations")
STORED, ORDERS = 4 * 4 / 3, 3  # bytes of a number in a run file's orders and replay: 4 as base64


@dataclass(frozen=True)
class Row:
    name: str
    shape: Shape
    processes: int = 1
    cards: int = 1  # for the layers
    batch: int = 16

    @property
    def on(self) -> str:
        how = "prompts" if self.processes > 1 else "layers"
        count = self.processes * self.cards
        return f"{count}, {how} shared" if count > 1 else "1"


def cards() -> Iterator[str]:
    """Memory of the fullest card and time of a run, by the parts that hold it."""
    heads = ["model", "cards", "prompts at once", "edges", *HELD, "all", "fits 80 GB", "time"]
    yield f"| {' | '.join(heads)} |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|"
    rows = [Row(name, shape, batch=batch) for name, shape in SHAPES.items() for batch in (16, 4, 1)]
    rows += [Row("Llama-3.1-8B", SHAPES["Llama-3.1-8B"], processes=4)]
    rows += [Row("Llama-3.1-70B", SHAPES["Llama-3.1-70B"], cards=count, batch=batch) for count, batch in CARDS]
    for row in rows:
        limits = Limits(batch=max(1, row.batch // row.processes))
        layers = [row.shape.layers // row.cards] * row.cards
        held = max(memory_on_cards(RUN, row.shape, TOKENS, layers, limits), key=lambda card: sum(card.values()))
        found = estimate(RUN, row.shape, H100, TOKENS)
        seconds = sum(value if phase == "load" else value / row.processes for phase, value in found.seconds.items())
        total = sum(held.values())
        parts = " | ".join(f"{held[name] / 1e9:.1f}" for name in HELD)
        fits = "yes" if total < CARD else "**no**"
        yield (
            f"| {row.name} | {row.on} | {row.batch} | {row.shape.edges / 1e6:.1f} M | {parts} "
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


def parts() -> Iterator[str]:
    """What the estimate says of one layer of some shapes and of the largest's deltas, beside what these hold."""
    yield "| a layer of the sizes of | part | by the estimate | measured | estimate / measured |"
    yield "|---|---|---:|---:|---:|"
    for model, shape in MEASURED.items():
        found = measured_parts(shape)
        if model == LARGEST:
            found[DELTAS] = deltas(shape)
        for name, (estimated, measured) in found.items():
            cells = f"{estimated / 1e6:,.2f} MB | {measured / 1e6:,.2f} MB | {estimated / measured:.2f}"
            yield f"| {model} | {name} | {cells} |"


def measured_parts(shape: Shape) -> dict[str, tuple[float, float]]:
    """Bytes of the parts, by the estimate and as they are: what several layers hold more than one less."""
    (few, held), (more, also) = (
        _layers(replace(shape, layers=count, vocabulary=VOCABULARY)) for count in (LAYERS - 1, LAYERS)
    )
    return {name: (more[name] - few[name], also[name] - held[name]) for name in few}


def deltas(shape: Shape) -> tuple[float, float]:
    """Bytes of a step's deltas for one prompt, by the estimate and as their buffers are laid out."""
    _, (estimated, _), _ = passes(RUN, shape, TOKENS, Limits(batch=1))
    return estimated, _buffers(shape)


def _layers(shape: Shape) -> tuple[dict[str, float], dict[str, float]]:
    """What a few layers hold in a run of one prompt at a time, by the estimate and as they do."""
    from tests.builders.tiny_models import random_pairs, tokenizer

    sizes = (shape.layers, shape.heads, shape.kv_heads, shape.width, shape.inner, shape.vocabulary)
    hf_model = random_llama(sizes, "cpu")
    masked = MaskedModel(from_hf(hf_model, tokenizer(), Source("layers", "folder", "layers", None), "", "bfloat16"))
    fast = masked.with_dtype(torch.bfloat16)
    fast.mix_dtype = torch.bfloat16  # as on a card
    fast.blocks = [block.with_dtype(torch.bfloat16, torch.bfloat16) for block in masked.blocks]
    held: dict[int, int] = {}
    for block in fast.blocks:
        used: Any = block.mlp.inner
        for weight in (block.w_in, block.w_out, block.w_heads, block.w_read, block.w_write, *used.parameters()):
            held |= bytes_of(weight)
    for weight in hf_model.parameters():
        held |= bytes_of(weight)
    batch = to_batch(random_pairs([int(TOKENS)]), masked.device)
    trace = masked.plain_trace(batch.corrupt, batch.last)
    mask = torch.from_numpy(masked.graph.edge_mask).float().requires_grad_()
    clean = masked.embed(batch.clean)
    gradients = EdgeGradients(masked, clean, trace, batch.last)
    score = _most(lambda: gradients.add(1.0, Tensor.sum))
    step = _most(lambda: fast.logits(mask, clean, trace, batch.last).sum().backward())
    estimated = memory(RUN, shape, TOKENS, Limits(batch=1, cache=2**60))
    scoring, learning, _ = passes(RUN, shape, TOKENS, Limits(batch=1))
    traces = RUN.sizes.train + VALIDATED + EAP_PROMPTS + prompts_at_sizes(RUN.sizes.test)
    return (
        {WEIGHTS: estimated["weights"], TRACE: estimated["prompts"] / traces, SCORE: sum(scoring), STEP: sum(learning)},
        {
            WEIGHTS: sum(held.values()),
            TRACE: sum(x.nbytes for layer in trace.layers for x in layer),
            SCORE: score + sum(x.nbytes for card in gradients._cards for x in (card.delta, card.grads, card.total)),
            STEP: step,
        },
    )


def _most(work: Callable[[], object]) -> int:
    """Bytes that are there at most during some work, and were not before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    assert seen.profiler is not None
    assert seen.profiler.kineto_results is not None
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return int(max(accumulate(event.nbytes() for event in events)))


def _buffers(shape: Shape) -> int:
    """Bytes of a step's buffers for one prompt, made without memory behind them."""
    graph, tokens = Graph(shape.layers, shape.heads, shape.kv_heads), int(TOKENS)
    some, *scored = (torch.empty(count, dtype=torch.long, device="meta") for count in (tokens, 1, 1))
    positions = Positions((some, scored[0]), scored[1])
    mask = torch.empty(graph.edge_mask.shape, device="meta", requires_grad=True)
    written = range(len(graph.writers))
    plan = Plan(full_circuit(graph))
    tape = Tape(plan, written, positions, mask, shape.width, torch.bfloat16, Workspace())
    return sum(2 * buffer.delta.nbytes + buffer.readers.nbytes for buffer in tape.buffers)  # and deltas' gradients


def main() -> None:
    for name, lines in (("cards", cards()), ("parts", parts()), ("breaks", breaks())):
        table = "\n".join(lines)
        print(table, end="\n\n")
        fill(PAGE, name, table)


if __name__ == "__main__":
    main()

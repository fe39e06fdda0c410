"""What one card does, in minutes: does it agree with the processor, what does a step cost, how far does memory reach?

    python -m benchmarks.gpu [--device cuda] [--shapes 135M 1B 8B] [--minutes 8] [--prompts 16]

Prints Markdown as it goes, so that nothing is lost when time runs out. Models of these shapes are Llama's with random
bfloat16 weights, made on the device: nothing is downloaded and no disk is read. A part that time does not allow, or
that does not fit, says so in its place.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.subjects import CASES, Subject, pretrained
from benchmarks.timing import compare
from hap_engine.crash_report import foreseen
from hap_engine.graph.circuit import full_circuit
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import Source
from hap_engine.progress import drain
from hap_engine.pruning.gate_loss import loss_of_gates
from hap_engine.settings import PRESETS, DiscoveryConfig
from hap_engine.tasks.pair import EncodedPair, PromptPair
from hap_engine.transformer.load import from_hf
from hap_engine.workflows.discover import discover

# layers, heads, heads of keys and values, width, width of an MLP, vocabulary
SHAPES = {
    "tiny": (2, 4, 2, 64, 128, 512),  # for the tests
    "135M": (30, 9, 3, 576, 1536, 49152),  # SmolLM2-135M
    "1B": (16, 32, 8, 2048, 8192, 128256),  # Llama-3.2-1B
    "8B": (32, 32, 8, 4096, 14336, 128256),  # Llama-3.1-8B
}
LENGTH = 20  # tokens of a prompt
SHOWN = ("plain", "EAP, all edges", "EP step, all edges", "HAP step, 10 %", "HAP step, 1 %")
CLOSE = 1e-3  # of the largest number: by how much float32 may differ between two kinds of processor


@dataclass
class Time:
    """What is left of the minutes."""

    end: float

    def left(self) -> float:
        return self.end - time.monotonic()


def random_model(shape: str, device: str) -> Any:
    """A Hugging Face Llama of a shape, its weights drawn on the device in bfloat16."""

    return random_llama(SHAPES[shape], device, tied=shape == "135M")


def random_llama(sizes: tuple[int, ...], device: str, *, tied: bool = False) -> Any:
    """The same of any sizes, in the order of `SHAPES`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    layers, heads, kv_heads, width, inner, vocabulary = sizes
    config = LlamaConfig(
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        hidden_size=width,
        intermediate_size=inner,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        attn_implementation="eager",
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)


def subject(shape: str, device: str, prompts: int) -> Subject:
    """A model of a shape with a batch of random prompts."""
    from tests.builders.tiny_models import tokenizer

    name = f"llama-{shape}"
    model = from_hf(random_model(shape, device), tokenizer(), Source(name, "folder", name, None), name, "bfloat16")
    ids = np.random.default_rng(0).integers(SHAPES[shape][-1], size=(prompts, 2, LENGTH)).tolist()
    pairs = [EncodedPair(PromptPair("", "", "", ""), tuple(a), tuple(b), 1, 2, {}) for a, b in ids]
    return Subject(name, model, open_masked(model), pairs)


def agreement(device: str) -> Iterator[str]:
    """Loss and gradients of hap-mini on the device beside those of the processor, in float32."""
    yield "| hap-mini | largest difference | of the largest number |"
    yield "|---|---|---|"
    found = []
    for where in ("cpu", device):
        made = pretrained("hap-mini", where)
        loss_of = loss_of_gates(made.prepared(torch.float32), full_circuit(made.masked.graph), len(made.pairs))
        z = torch.linspace(0.05, 1, made.masked.graph.n_edges, device=where)
        loss = loss_of(z, [*range(len(made.pairs))], 0.3)
        found.append({"EAP scores": made.scores, "gate gradient": loss.gradient.cpu().numpy(), "KL": np.array(loss.kl)})
    for name, wanted in found[0].items():
        off = float(np.abs(found[1][name] - wanted).max() / np.abs(wanted).max())
        yield f"| {name} | {off:.1e} | {'agrees' if off <= CLOSE else f'**more than {CLOSE:g}**'} |"


def steps(shape: str, device: str, prompts: int) -> Iterator[str]:
    """One step of each kind in plain training steps, and the most memory that was taken."""
    made, on_card = subject(shape, device, prompts), device.startswith("cuda")
    yield "| model, bfloat16 | step | / plain | seconds | most memory |"
    yield "|---|---|---|---|---|"
    graph = made.masked.graph
    for case in SHOWN:
        if on_card:
            torch.cuda.reset_peak_memory_stats()
        cases = {name: CASES[name](made, torch.bfloat16) for name in dict.fromkeys(("plain", case))}
        timing = compare(cases, "plain", 3)[case]
        peak = f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if on_card else ""
        yield f"| {shape}, {graph.n_edges:,} edges | {case} | {timing.ratio:.2f} | {timing.seconds:.3f} s | {peak} |"


def whole_run(device: str) -> Iterator[str]:
    """A quick run of hap-mini, from the command's settings to its metrics."""
    config = DiscoveryConfig(device=device, sparsity=0.98, pruning=PRESETS["quick"])
    run = drain(discover(config))
    kl = {name: run.metrics[name]["kl"] for name in ("eap", "hap", "empty")}
    took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in run.seconds.items())
    yield f"hap-mini, quick, on {device}: KL " + ", ".join(f"{name} {value:.3f}" for name, value in kl.items())
    yield f"Seconds: {took}."


def part(title: str, work: Callable[[], Iterator[str]], clock: Time) -> None:
    """Print what a part finds, or why it finds nothing."""
    if clock.left() <= 0:
        return print(f"{title}: not measured, the minutes are over.", flush=True)
    started = time.monotonic()
    try:
        for line in work():
            print(line, flush=True)
    except torch.OutOfMemoryError:
        print(f"{title}: does not fit this card.", flush=True)
    except Exception as error:
        if not foreseen(error):
            raise
        print(f"{title}: {error}", flush=True)
    print(f"\n({title}: {time.monotonic() - started:.0f} s)\n", flush=True)
    return None


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="*", default=["135M", "1B", "8B"], choices=[*SHAPES])
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--prompts", type=int, default=16)
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("this machine has no CUDA card; --device cpu --shapes tiny shows what would be measured")
    clock = Time(time.monotonic() + 60 * options.minutes)
    name = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    print(f"# {name}, torch {torch.__version__}\n")
    part("Agreement with the processor", lambda: agreement(options.device), clock)
    part("A whole run", lambda: whole_run(options.device), clock)
    for shape in options.shapes:
        part(shape, lambda shape=shape: steps(shape, options.device, options.prompts), clock)  # type: ignore[misc]


if __name__ == "__main__":
    main()

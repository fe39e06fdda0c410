"""A slow oracle: the masked forward as an explicit loop over readers and writers.

It takes single prompts, reads the raw Hugging Face weights (never the bridge), keeps its own idea of which
writer comes before which reader, and sums every reader's input edge by edge. Nothing is shared with
`hap_engine.masked`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Read = Callable[[str], Tensor]  # reader name -> its residual stream [pos, d_model]


@dataclass
class Pass:
    """What one pass computed: outputs of writers, inputs of readers, attention, logits [pos, vocab]."""

    outputs: dict[str, Tensor]
    inputs: dict[str, Tensor]
    patterns: dict[str, Tensor]
    logits: Tensor


class Slow:
    """A Hugging Face model taken apart into its heads."""

    def __init__(self, hf: Any) -> None:
        self.hf, self.config = hf, hf.config
        self.family = {"gpt2": "gpt2", "gpt_neox": "neox"}.get(self.config.model_type, "llama")
        self.heads = self.config.num_attention_heads
        self.kv_heads = getattr(self.config, "num_key_value_heads", None) or self.heads
        self.d_head = self.config.hidden_size // self.heads
        base = hf.base_model
        self.blocks = base.h if self.family == "gpt2" else base.layers
        self.rotary = getattr(base, "rotary_emb", None)

    # -- parts ---------------------------------------------------------------------------------

    def embed(self, ids: Any) -> Tensor:
        ids, base = torch.tensor(ids), self.hf.base_model
        if self.family == "gpt2":
            return base.wte(ids) + base.wpe(torch.arange(len(ids)))
        return base.get_input_embeddings()(ids)

    def unembed(self, x: Tensor) -> Tensor:
        base = self.hf.base_model
        norm = {"gpt2": "ln_f", "neox": "final_layer_norm", "llama": "norm"}[self.family]
        return self.hf.get_output_embeddings()(self.norm(getattr(base, norm))(x))

    def norm(self, module: Any) -> Callable[[Tensor], Tensor]:
        """How a norm is called."""
        return module

    def norms(self, layer: int) -> tuple[Any, Any]:
        block = self.blocks[layer]
        names = ("ln_1", "ln_2") if self.family == "gpt2" else ("input_layernorm", "post_attention_layernorm")
        return self.norm(getattr(block, names[0])), self.norm(getattr(block, names[1]))

    def project(self, layer: int, slot: str, head: int, x: Tensor) -> Tensor:
        block, size, at = self.blocks[layer], self.d_head, "qkv".index(slot)
        rows = slice(head * size, (head + 1) * size)
        if self.family == "gpt2":
            fused, part = block.attn.c_attn, slice(at * self.heads * size, None)
            return x @ fused.weight[:, part][:, rows] + fused.bias[part][rows]
        if self.family == "neox":
            fused = block.attention.query_key_value
            weight = fused.weight.view(self.heads, 3, size, -1)[head, at]
            return x @ weight.T + fused.bias.view(self.heads, 3, size)[head, at]
        linear = getattr(block.self_attn, f"{slot}_proj")
        out = x @ linear.weight[rows].T
        return out if linear.bias is None else out + linear.bias[rows]

    def output(self, layer: int, head: int, z: Tensor) -> Tensor:
        block, rows = self.blocks[layer], slice(head * self.d_head, (head + 1) * self.d_head)
        if self.family == "gpt2":
            return z @ block.attn.c_proj.weight[rows]
        linear = block.attention.dense if self.family == "neox" else block.self_attn.o_proj
        return z @ linear.weight[:, rows].T

    def output_bias(self, layer: int) -> Tensor | float:
        block = self.blocks[layer]
        part = {"gpt2": "attn", "neox": "attention", "llama": "self_attn"}[self.family]
        name = {"gpt2": "c_proj", "neox": "dense", "llama": "o_proj"}[self.family]
        bias = getattr(getattr(block, part), name).bias
        return 0.0 if bias is None else bias

    def rotate(self, x: Tensor) -> Tensor:
        if self.rotary is None:
            return x
        from transformers.models.gpt_neox import modeling_gpt_neox
        from transformers.models.llama import modeling_llama

        module = modeling_gpt_neox if self.family == "neox" else modeling_llama
        cos, sin = self.rotary(x[None], torch.arange(len(x))[None])
        return module.apply_rotary_pos_emb(x[None, None], x[None, None], cos, sin)[0][0, 0]

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Of two things that both change: queries with keys, patterns with values."""
        return a @ b

    def softmax(self, scores: Tensor) -> Tensor:
        return scores.softmax(-1)

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        return self.blocks[layer].mlp(x[None])[0]

    # -- passes --------------------------------------------------------------------------------

    def walk(self, embed: Tensor, read: Callable[[str, dict[str, Tensor]], Tensor]) -> Pass:
        """One forward pass; `read(reader, outputs so far)` is what each reader gets."""
        out, inputs, patterns = {"input": embed}, {}, {}
        future = torch.ones(len(embed), len(embed), dtype=torch.bool).triu(1)

        def get(reader: str) -> Tensor:
            inputs[reader] = read(reader, out)
            return inputs[reader]

        for layer in range(len(self.blocks)):
            norm_attn, norm_mlp = self.norms(layer)
            q, k, v = (
                [
                    self.project(layer, slot, h, norm_attn(get(f"a{layer}.h{h}<{slot}>")))
                    for h in range(self.heads if slot == "q" else self.kv_heads)
                ]
                for slot in "qkv"
            )
            made = {}
            for head in range(self.heads):
                kv = head * self.kv_heads // self.heads
                scores = self.product(self.rotate(q[head]), self.rotate(k[kv]).T) / self.d_head**0.5
                pattern = self.softmax(scores.masked_fill(future, float("-inf")))
                patterns[f"a{layer}.h{head}"] = pattern
                made[f"a{layer}.h{head}"] = self.output(layer, head, self.product(pattern, v[kv]))
            out |= made
            out[f"m{layer}"] = self.mlp(layer, norm_mlp(get(f"m{layer}")))
        return Pass(out, inputs, patterns, self.unembed(get("logits")))

    def sees(self, writer: str, reader: str) -> bool:
        """Whether a writer comes before a reader."""
        if writer == "input" or reader == "logits":
            return True
        source, target = (int(name[1:].split(".")[0]) for name in (writer, reader))
        same = writer[0] == "a" and reader[0] == "m" and self.family != "neox"
        return source < target or (source == target and same)

    def biases(self, reader: str) -> Tensor | float:
        """Attention output biases that have entered the stream of a reader; no writer owns them."""
        layer = len(self.blocks) if reader == "logits" else int(reader[1:].split(".")[0])
        last = layer + int(reader[0] == "m" and self.family != "neox")
        return sum((self.output_bias(index) for index in range(last)), start=torch.zeros(()))

    def plain(self, ids: Any) -> Pass:
        """The unmasked model."""

        def read(reader: str, out: dict[str, Tensor]) -> Tensor:
            seen = [out[w] for w in out if self.sees(w, reader)]
            return sum(seen[1:], start=seen[0]) + self.biases(reader)

        return self.walk(self.embed(ids), read)

    def columns(self, graph: Any, reader: str, clean: Any, spans: Any = ()) -> list[int]:
        """The reader's column at each token of a prompt."""
        if reader == "logits" or not spans:
            return [graph.reader_index[reader]] * len(clean)
        return [graph.reader_index[f"{reader}@{graph.spans[span].name}"] for span in spans]

    def masked(
        self, graph: Any, mask: Tensor, clean: Any, corrupt: Any, embed: Tensor | None = None, spans: Any = ()
    ) -> Pass:
        """``reader = corrupt reader + sum of m (live - corrupt)``, one edge at a time; `m` may differ by token."""
        with torch.no_grad():
            base = self.plain(corrupt)

        def read(reader: str, out: dict[str, Tensor]) -> Tensor:
            total = base.inputs[reader]
            for writer in out:
                if self.sees(writer, reader):
                    m = mask[graph.writer_index[writer], self.columns(graph, reader, clean, spans)]
                    total = total + m[:, None] * (out[writer] - base.outputs[writer])
            return total

        return self.walk(self.embed(clean) if embed is None else embed, read)

    def masked_logits(self, graph: Any, mask: Tensor, pairs: Any) -> Tensor:
        """Logits at the last position of each pair, one prompt at a time."""
        return torch.stack(
            [self.masked(graph, mask, p.clean_ids, p.corrupt_ids, spans=p.spans).logits[-1] for p in pairs]
        )

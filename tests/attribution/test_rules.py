"""GIM and RelP on families whose layers do more than Llama's, against their own code with other gradients.

The values stay the model's. Gradients are changed where the rules say so: in the family's norms, in the attention that
it calls, in its MLP; those of readers and the changes of writers are put together by hand from its projections.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from hap_engine.attribution.scorers import SCORERS
from hap_engine.errors import UnsupportedModelError
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.masked.opening import open_masked
from hap_engine.models.supported import check_scorer
from hap_engine.tasks.pair import EncodedPair
from tests.builders.family_zoo import FAMILIES, build
from tests.builders.scoring import halved, metric, scores_of
from tests.builders.tiny_models import made_of, random_pairs

Function = Callable[[Tensor], Tensor]
PAIRS = random_pairs([9, 7])
PLAIN = ("qwen3", "mistral:window", "gemma2", "gemma3_text")  # gated MLPs with an activation module


CASES = [*((family, scorer) for family in PLAIN for scorer in ("eap-gim", "eap-relp")), ("gpt_oss", "eap-gim")]


@pytest.mark.parametrize(("family", "scorer"), CASES)
def test_corrected_gradients(family: str, scorer: str) -> None:
    """Norms of queries and keys, windows, softcaps, norms after the heads, sinks, experts."""
    masked = open_masked(made_of(build(family), family))
    rules = SCORERS[scorer].rules
    want = by_hand(masked, PAIRS, rules.temperature, rules.secant)
    got = scores_of(masked, PAIRS, scorer)
    np.testing.assert_allclose(got, want, atol=2e-4 * np.abs(want).max())
    assert np.abs(got - scores_of(masked, PAIRS)).max() > 0.05 * np.abs(want).max(), "the rules change something"


@pytest.mark.parametrize("family", ["bloom", "olmo2", "deepseek_v3", "laguna"])
def test_attention_in_its_own_code_is_refused_in_words(family: str) -> None:
    masked = open_masked(made_of(build(family), family))
    for scorer in ("eap-gim", "eap-relp"):
        with pytest.raises(UnsupportedModelError, match=f"{family} runs its attention in its own code"):
            scores_of(masked, PAIRS, scorer)


@pytest.mark.parametrize("family", ["mixtral", "phi3", "granite"])
def test_relp_needs_an_activation_that_can_be_corrected(family: str) -> None:
    masked = open_masked(made_of(build(family), family))
    with pytest.raises(UnsupportedModelError, match=r"RelP needs an MLP with an activation module.*another scorer"):
        scores_of(masked, PAIRS, "eap-relp")


# Their configs say it in numbers that the page does not weigh.
UNTOLD = {("granite", "eap-relp"), ("granitemoehybrid:attention", "eap-relp")}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_tells_which_scorers_a_model_can_have(family: str) -> None:
    """The page says so before anything is opened."""
    masked = open_masked(made_of(build(family), family))
    for scorer in ("eap-gim", "eap-relp"):
        told = refused(lambda scorer=scorer: check_scorer(masked.model.config, family, scorer))
        found = refused(lambda scorer=scorer: scores_of(masked, PAIRS, scorer))
        assert told == found or (family, scorer) in UNTOLD, (scorer, told, found)


def refused(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except UnsupportedModelError:
        return True
    return False


def by_hand(masked: MaskedModel, pairs: Sequence[EncodedPair], temperature: float, secant: bool) -> np.ndarray:
    hf, graph, total = masked.model.hf_model, masked.graph, np.zeros(masked.graph.edge_mask.shape)
    for pair in pairs:
        with torch.no_grad():
            corrupt, clean = (written(hf, torch.tensor([ids])) for ids in (pair.corrupt_ids, pair.clean_ids))
            change = changes(masked, clean, corrupt)
        with ruled(hf, temperature, secant) as norms:
            seen = written(hf, torch.tensor([pair.clean_ids]))
            metric(seen["logits"], pair).backward()
            readers = gradients(masked, seen, norms)
        for column, gradient in enumerate(readers):
            for row in range(graph.upstream[column]):
                total[row, column] += float((change[row] * gradient).sum()) / len(pairs)
    return total


def written(hf: Any, ids: Tensor) -> dict[str, Tensor]:
    """What parts of a pass read and give, by their names; the first is what enters the layers."""
    found: dict[str, Tensor] = {}
    hooks = []

    def keep(name: str) -> Callable[..., None]:
        def hook(_: Any, args: Any, kwargs: Any, out: Any) -> None:
            given = args[0] if args else kwargs["hidden_states"]
            out = out[0] if isinstance(out, tuple) else out
            found[f"{name} in"], found[name] = given, out
            for x in (given, out):
                if x.requires_grad:
                    x.retain_grad()

        return hook

    for name, part in hf.named_modules():
        if name.startswith("model.layers."):
            hooks.append(part.register_forward_hook(keep(name.removeprefix("model.layers.")), with_kwargs=True))
    start = hf.get_input_embeddings()(ids).detach().requires_grad_(torch.is_grad_enabled())
    found["logits"] = hf(inputs_embeds=start, use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return found


def changes(masked: MaskedModel, clean: dict[str, Tensor], corrupt: dict[str, Tensor]) -> list[Tensor]:
    """Corrupt minus clean of what every writer writes, ``[pos, d_model]``."""
    graph, hf = masked.graph, masked.model.hf_model
    post, last = ("post_attention_layernorm", "post_feedforward_layernorm") if graph.post_norm else ("", "mlp")
    found = [(corrupt["0 in"] - clean["0 in"])[0]]
    for layer in range(graph.n_layers):
        out = hf.model.layers[layer].self_attn.o_proj.weight.unflatten(1, (graph.n_heads, -1))
        z = [run[f"{layer}.self_attn.o_proj in"][0].unflatten(-1, (graph.n_heads, -1)) for run in (corrupt, clean)]
        heads = torch.einsum("the,dhe->htd", z[0] - z[1], out)
        if post:
            norm = hf.model.layers[layer].post_attention_layernorm
            sums = [run[f"{layer}.{post} in"][0] for run in (corrupt, clean)]
            scale = [1 / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() for x in sums]
            heads = heads * scale[0] * (1 + norm.weight)
            found += [*heads, (scale[0] - scale[1]) * sums[1] * (1 + norm.weight)]
        else:
            found += list(heads)
        found.append((corrupt[f"{layer}.{last}"] - clean[f"{layer}.{last}"])[0])
    return found


def gradients(
    masked: MaskedModel, seen: dict[str, Tensor], norms: dict[str, Callable[[Tensor], Tensor]]
) -> list[Tensor]:
    """Of every reader, with respect to what it reads, ``[pos, d_model]``."""
    graph, hf = masked.graph, masked.model.hf_model

    def through(norm: str, weight: Tensor | None, gradient: Tensor) -> Tensor:
        x = seen[f"{norm} in"].detach().requires_grad_()
        out = norms[norm](x)
        (found,) = torch.autograd.grad(((out if weight is None else out @ weight.mT) * gradient).sum(), x)
        return found[0]

    found = []
    for layer in range(graph.n_layers):
        for slot, count in (("q", graph.n_heads), ("k", graph.n_kv_heads), ("v", graph.n_kv_heads)):
            name = f"{layer}.self_attn.{slot}_proj"
            part = getattr(hf.model.layers[layer].self_attn, f"{slot}_proj")
            gradient = seen[name].grad.chunk(count, dim=-1)
            rows = part.weight.chunk(count)
            found += [through(f"{layer}.input_layernorm", *each) for each in zip(rows, gradient, strict=True)]
        norm = f"{layer}.{'pre_feedforward_layernorm' if graph.post_norm else 'post_attention_layernorm'}"
        found.append(through(norm, None, seen[norm].grad))
    return [*found, seen[f"{graph.n_layers - 1}"].grad[0]]


@contextmanager
def ruled(hf: Any, temperature: float, secant: bool) -> Iterator[dict[str, Function]]:
    """While open, a model passes gradients back by the rules; gives its norms."""
    norms = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, part in hf.named_modules():
            if type(part).__name__.endswith("RMSNorm"):
                norms[name.removeprefix("model.layers.")] = frozen(part)
                patch.setattr(part, "forward", frozen(part))
            elif type(part).__name__.endswith("MLP") and hasattr(part, "gate_proj"):
                patch.setattr(part, "forward", partial(gated, part, secant))
            elif name.endswith(".mlp"):  # experts
                whole = part.forward
                patch.setattr(part, "forward", lambda *x, whole=whole: tuple((y + y.detach()) / 2 for y in whole(*x)))
        patch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "eager_by_rules", attention(temperature))
        config = copy.copy(hf.config)
        config._attn_implementation_internal = "eager_by_rules"
        for layer in hf.model.layers:
            patch.setattr(layer.self_attn, "config", config)
        yield norms


def frozen(norm: Any) -> Function:
    eps = getattr(norm, "eps", None) or norm.variance_epsilon
    gain = norm.weight + (1 if type(norm).__name__.startswith("Gemma") else 0)
    return lambda x: x / (x.square().mean(-1, keepdim=True) + eps).sqrt().detach() * gain


def gated(mlp: Any, secant: bool, x: Tensor) -> Tensor:
    gate = mlp.gate_proj(x)
    gate = (mlp.act_fn(gate) / gate).detach() * gate if secant else mlp.act_fn(gate)
    return mlp.down_proj(halved(torch.mul, gate, mlp.up_proj(x)))


def attention(temperature: float) -> Callable[..., Any]:
    def attend(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float, **more: Any) -> Any:
        softcap, s_aux = more.get("softcap"), more.get("s_aux")
        k, v = (x.repeat_interleave(module.num_key_value_groups, 1) for x in (k, v))
        scores = halved(torch.matmul, q, k.mT) * scaling
        scores = scores if softcap is None else softcap * (scores / softcap).tanh()
        scores = scores + mask
        if s_aux is not None:
            scores = torch.cat([scores, s_aux.view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)], -1)
        other = (scores / temperature).softmax(-1).detach()
        safe = scores.masked_fill(scores < -1e4, 0)
        linear = other * (safe - (other * safe).sum(-1, keepdim=True))
        pattern = (scores.softmax(-1).detach() + linear - linear.detach())[..., : k.shape[2]]
        return halved(torch.matmul, pattern, v).transpose(1, 2).contiguous(), pattern

    return attend

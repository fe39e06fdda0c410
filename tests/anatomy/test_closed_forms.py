"""Closed-form gradients against autograd's of the same formula written out."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from hap_engine.anatomy.attention import Attend, Scoring, patterns_of, rotate
from hap_engine.anatomy.mlps import GatedMlp
from hap_engine.anatomy.norms import GainedNorm, Norm
from hap_engine.evaluation.metrics import kl_divergence
from hap_engine.masked.masked_pass import put_rows
from hap_engine.masked.plan import Indices
from hap_engine.transformer.plain_pass import rows_at

Function = Callable[[torch.Tensor], torch.Tensor]


def same_gradient(fast: Function, slow: Function, x: torch.Tensor) -> None:
    found = []
    for function in (fast, slow):
        leaf = x.clone().requires_grad_()
        out = function(leaf)
        weights = torch.linspace(-1, 2, out.numel()).view(out.shape)
        (gradient,) = torch.autograd.grad((out * weights).sum(), leaf)
        found.append((out.detach(), gradient))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("centred", [True, False])
def test_norm(centred: bool) -> None:
    kind, gain, bias = Norm(centred, 1e-5), torch.randn(6), torch.randn(6)

    def slow(x: torch.Tensor) -> torch.Tensor:
        x = x - x.mean(-1, keepdim=True) if centred else x
        return x / (x.square().mean(-1, keepdim=True) + kind.eps).sqrt() * gain + bias

    same_gradient(GainedNorm(kind, gain, bias), slow, torch.randn(3, 2, 6))


@pytest.mark.parametrize("share", [4, 8])
def test_rotary_embedding(share: int) -> None:
    """Of all dimensions, or of the first few (NeoX)."""
    angles = torch.randn(5, share // 2).repeat(1, 2)
    tables = angles.cos(), angles.sin()

    def slow(x: torch.Tensor) -> torch.Tensor:
        turned, rest = x[..., :share], x[..., share:]
        left, right = turned.chunk(2, dim=-1)
        turned = turned * tables[0] + torch.cat([-right, left], dim=-1) * tables[1]
        return torch.cat([turned, rest], dim=-1)

    same_gradient(lambda x: rotate(x, tables), slow, torch.randn(2, 3, 5, 8))


SCORINGS = {
    "plain": Scoring(0.4),
    "softcap": Scoring(0.4, softcap=1.5),
    "sinks": Scoring(0.4, sinks=torch.tensor([0.5, -1.0, 2.0, 0.0])),
}


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("of", ["q", "k", "v", "all"])
def test_attention(of: str, scoring: str, biased: bool) -> None:
    """Of heads that share keys and values (of three, one is no head's), by each of its inputs and by all."""
    own, at = torch.tensor([2, 0, 2, 2]), torch.arange(5)[None]
    parts = {"q": torch.randn(4, 3, 5, 6), "k": torch.randn(3, 3, 5, 6), "v": torch.randn(3, 3, 5, 6)}
    hidden = torch.ones(5, 5).triu(1) * torch.finfo(torch.float32).min
    bias = torch.randn(4, 1, 5, 5) + hidden if biased else None
    how = SCORINGS[scoring]

    def given(x: torch.Tensor) -> list[torch.Tensor]:
        if of == "all":
            split = x.split([part.numel() for part in parts.values()])
            return [a.view(b.shape) for a, b in zip(split, parts.values(), strict=True)]
        return [x if name == of else part for name, part in parts.items()]

    def slow(x: torch.Tensor) -> torch.Tensor:
        q, k, v = given(x)
        return patterns_of(q, k[own], how, at, bias) @ v[own]

    x = torch.cat([part.flatten() for part in parts.values()]) if of == "all" else parts[of]
    same_gradient(lambda x: Attend.apply(*given(x), own, how, at, bias), slow, x)


def test_sinks_and_softcaps_are_what_they_say() -> None:
    """A sink takes its share of the softmax; capped scores stay within the cap."""
    q, k, at = torch.randn(2, 1, 3, 4), torch.randn(2, 1, 3, 4), torch.arange(3)[None]
    sinks = torch.tensor([0.3, -0.7])
    plain = patterns_of(q, k, Scoring(1.0), at)
    got = patterns_of(q, k, Scoring(1.0, sinks=sinks), at)
    products = (q @ k.mT).masked_fill(torch.ones(3, 3).triu(1).bool(), float("-inf"))
    total = products.exp().sum(-1, keepdim=True)
    torch.testing.assert_close(got, plain * total / (total + sinks.exp().view(2, 1, 1, 1)))
    capped = patterns_of(100 * q, k, Scoring(1.0, softcap=2.0), at)
    torch.testing.assert_close(
        capped, (2 * (50 * products).tanh()).masked_fill(products.isinf(), -torch.inf).softmax(-1)
    )


def test_gated_mlp() -> None:
    """Called as one, or part by part because someone listens to one of them."""
    gate, up, down = (torch.nn.Linear(*size, bias=False) for size in ((6, 9), (6, 9), (9, 6)))
    parts = {"gate_proj": gate, "up_proj": up, "down_proj": down, "act_fn": torch.nn.SiLU()}
    heard = GatedMlp(**parts).requires_grad_(False)
    alone = copy.deepcopy(heard)
    heard.act_fn.register_forward_hook(lambda *_: None)
    same_gradient(alone, heard, torch.randn(2, 5, 6))


def test_kl() -> None:
    full = torch.randn(3, 7).log_softmax(-1)

    def slow(logits: torch.Tensor) -> torch.Tensor:
        return (full.exp() * (full - logits.log_softmax(-1))).sum(-1)

    same_gradient(lambda logits: kl_divergence(logits, full), slow, torch.randn(3, 7))


def test_rows_at_some_tokens() -> None:
    x = torch.arange(24.0).view(3, 4, 2)
    rows, tokens = torch.tensor([2, 0]), torch.tensor([3, 1, 1])
    assert torch.equal(rows_at(x, rows, tokens), x[rows[:, None], tokens])
    values = torch.randn(2, 2, 2)
    want = x.clone()
    want[rows[:, None], tokens[:2]] = values
    assert torch.equal(put_rows(x, rows, tokens[:2], values), want)
    for numbers in ([0, 1], [2], [0, 2]):
        assert torch.equal(Indices().rows(x, numbers), x[numbers])

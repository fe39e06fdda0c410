"""Make a trained transformer weight-sparse: few weights in few parts, so that its circuits are small.

Weight-sparse transformers have small circuits (Gao et al. 2025, arXiv 2511.13653).
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel


def parts(model: GPT2LMHeadModel) -> list[list[Tensor]]:
    """The blocks' weight matrices, cut into heads and MLPs (views: writing to them changes the model)."""
    width = model.config.n_embd // model.config.n_head
    found = []
    for block in model.transformer.h:
        attention, mlp = block.attn, block.mlp
        columns = attention.c_attn.weight.split(width, dim=1)  # queries, then keys, then values
        rows = attention.c_proj.weight.split(width, dim=0)
        heads = model.config.n_head
        found += [[*columns[head::heads], rows[head]] for head in range(heads)]
        found.append([mlp.c_fc.weight, mlp.c_proj.weight])
    return found


@torch.no_grad()
def keep_largest(model: GPT2LMHeadModel, share: float, concentration: float) -> None:
    """Set all but the largest `share` of the blocks' weights to zero.

    A weight counts more in a head or MLP whose weights are large (root mean square, to the power of
    `concentration`), so that what little is left gathers in few of them and the others fall silent.
    """
    groups = parts(model)
    scores = []
    for group in groups:
        size = sum(weight.numel() for weight in group)
        strength = (sum(weight.square().sum() for weight in group) / size).sqrt()
        scores.append([weight.abs() * strength**concentration for weight in group])
    flat = torch.cat([score.flatten() for group in scores for score in group])
    smallest = flat.kthvalue(len(flat) - int(len(flat) * share) + 1).values
    for group, found in zip(groups, scores, strict=True):
        for weight, score in zip(group, found, strict=True):
            weight.mul_(score >= smallest)

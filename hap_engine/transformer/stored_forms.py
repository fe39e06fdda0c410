"""What a checkpoint may hold beside a language model's plain weights, taken off after it was read.

* A model that also sees or hears: text goes through a part of it. The model itself stays where it runs on text alone
  (so its logits are its own), less the modules that no text reaches.
* Weights stored as codes (`hap_engine.models.supported.CODED`): their library says what numbers they are, or each
  linear part is asked what it multiplies by.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, Module

from hap_engine.anatomy.twins import twin, watch

DEEP = 2  # how far below a model its towers for pictures and sounds are; experts, which are called as it comes, are not
TOKENS = 3


def reads_more(config: Any) -> bool:
    """Whether a model of this config reads more than text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

    return config.model_type in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES


@torch.no_grad()
def text_part(hf_model: Any) -> Any:
    """What continues a text, of a model that also reads other things: without what no text reaches.

    Raises:
        LookupError: if no part of it runs on text alone.
    """
    from transformers.generation import GenerationMixin

    tokens = torch.arange(TOKENS, device=hf_model.device)[None]
    able: list[Any] = [part for part in hf_model.modules() if isinstance(part, GenerationMixin)]
    for whole in able:
        try:
            seen = watch(dict(whole.named_modules()), partial(whole, tokens, use_cache=False))
        except Exception:  # it wants a picture: families tell that in many ways
            continue
        reached = [f"{one.name}." for one in seen]
        upper = [name for name, _ in whole.named_modules() if name and name.count(".") < DEEP]
        unread = [name for name in upper if not any(one.startswith(f"{name}.") for one in reached)]
        return reduce(partial(_without, tokens), unread, whole)
    raise LookupError("it reads no text without a picture or a sound")


def _without(tokens: Tensor, whole: Any, name: str) -> Any:
    """A model without one of its parts; as it is if its code looks at the part."""
    try:
        made = twin(whole, {name: Module()})
        made(tokens, use_cache=False)
    except Exception:
        return whole
    return made


@torch.no_grad()
def as_numbers(hf_model: Any) -> Any:
    """A model with plain linear parts in the place of those whose weights are codes: their library's or, where it makes
    none, ones that answer as they do."""
    with suppress(NotImplementedError):
        return hf_model.dequantize()
    for name, part in list(hf_model.named_modules()):
        if type(part) is not Linear and hasattr(part, "in_features") and hasattr(part, "out_features"):
            above, _, own = name.rpartition(".")
            setattr(hf_model.get_submodule(above), own, _asked(part, hf_model.device))
    hf_model.hf_quantizer.remove_quantization_config(hf_model)
    return hf_model


def _asked(part: Any, device: torch.device) -> Linear:
    """The linear part that gives what `part` gives at zero and at each unit vector."""
    size = part.in_features
    bias = part(torch.zeros(1, size, device=device))[0].float()
    weight = (part(torch.eye(size, device=device)).float() - bias).mT.contiguous()
    made = Linear(size, len(bias), bias=bool(bias.any()), device=device)
    made.weight.copy_(weight)
    if made.bias is not None:
        made.bias.copy_(bias)
    return made

"""Read a model's ``tokenizer.json``: the one place where the engine and the explorer do so (no torch)."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from hap_engine.errors import ModelError
from hap_engine.words import say


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``, which gives every token of a text and no others.

    Raises:
        ModelError: if the file cannot be read.
    """
    try:
        return whole(Tokenizer.from_file(str(path)))
    except Exception as error:  # the library raises plain exceptions only
        raise ModelError(say("models.tokenizer", path=path, reason=str(error).splitlines()[0])) from None


def whole(tokenizer: Tokenizer) -> Tokenizer:
    """`tokenizer` without the cutting and filling that it may have been saved with, as for training batches."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer

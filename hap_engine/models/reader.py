"""How a model on this machine reads prompts, known before it is opened (no torch).

The one place where the engine and the explorer read a ``tokenizer.json``.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from hap_engine.errors import ModelError
from hap_engine.models.catalog import Source, config_of, tokenizer_file
from hap_engine.models.supported import max_tokens, text_config
from hap_engine.tasks.reader import Reader, reader_with
from hap_engine.words import say

MAX_BYTES = 256 * 2**20  # the largest vocabularies are about 35 MB


def reader_of(source: Source) -> Reader | None:
    """How the model reads prompts; None while its tokenizer is not on this machine.

    Raises:
        ModelError: if the tokenizer cannot be read.
    """
    path = tokenizer_file(source)
    if path is None:
        return None
    config = text_config(config_of(source) or {})
    known = config.get("vocab_size")
    rows = known if isinstance(known, int) else None
    return reader_with(read_tokenizer(path), source.name, max_tokens(config), rows, config.get("bos_token_id"))


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``, which gives every token of a text and no others.

    Raises:
        ModelError: if the file cannot be read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is {path.stat().st_size >> 20} MB large, expected at most {MAX_BYTES >> 20}")
        return whole(Tokenizer.from_file(str(path)))
    except Exception as error:  # the library raises plain exceptions only
        raise ModelError(say("models.tokenizer", path=path, reason=str(error).splitlines()[0])) from None


def whole(tokenizer: Tokenizer) -> Tokenizer:
    """`tokenizer` without the cutting and filling that it may have been saved with, as for training batches."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer

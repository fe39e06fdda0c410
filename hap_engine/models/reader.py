"""How a model on this machine reads prompts, known before it is opened (no torch)."""

from __future__ import annotations

from hap_engine.models.catalog import Source, config_of, tokenizer_file
from hap_engine.models.supported import max_tokens, text_config
from hap_engine.models.tokenizer import read_tokenizer
from hap_engine.tasks.reader import Reader, reader_with


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

"""The tokenizer that a ``.gguf`` file holds, whatever lies beside the file.

Where a text is cut before tokens are merged is not in the file, only the name of the way (``tokenizer.ggml.pre``). The
ways known here are those of the models that can be converted; others are refused: a text would become other tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors

_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"


def _gpt2() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _digits() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _by(numbers: str) -> Any:
    split = pre_tokenizers.Split(Regex(f"{_ENDINGS}|{_LETTERS}|{numbers}|{_REST}"), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


_LLAMA3 = ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral")
# By the value of ``tokenizer.ggml.pre``.
WAYS = {
    **dict.fromkeys(("gpt-2", "phi-2"), _gpt2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "codeshell"), _digits),
    **dict.fromkeys((*_LLAMA3, "dbrx", "smaug-bpe"), lambda: _by(r"\p{N}{1,3}")),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen", "megrez"), lambda: _by(r"\p{N}")),
}


def unknown_tokenizer(values: Mapping[str, Any]) -> list[str]:
    """The keys of a header that say that its text is cut in a way not known here."""
    told = {name: values.get(f"tokenizer.ggml.{name}") for name in ("model", "pre", "add_space_prefix")}
    if told["model"] == "llama":  # SentencePiece: cut nowhere, with a space before the text, but Gemma
        prefix = told["add_space_prefix"] is not False
        known = prefix != str(values["general.architecture"]).startswith("gemma")
        return [] if known else [f"tokenizer.ggml.add_space_prefix = {prefix}"]
    if told["model"] != "gpt2":
        return [f"tokenizer.ggml.model = {told['model']}"]
    return [] if told["pre"] in WAYS else [f"tokenizer.ggml.pre = {told['pre']}"]


def own_tokenizer(path: Path, values: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a file whose header is `values`."""
    from transformers import PreTrainedTokenizerFast

    with TemporaryDirectory() as empty:  # where nothing is found that could take the place of the file's own
        made = PreTrainedTokenizerFast.from_pretrained(empty, gguf_file=str(path)).backend_tokenizer
    way = str(values.get("tokenizer.ggml.pre"))
    if values["tokenizer.ggml.model"] == "gpt2":
        made.pre_tokenizer = WAYS[way]()
        made.model.ignore_merges = way in _LLAMA3  # a piece that is a token stays whole
        made.normalizer = normalizers.NFC() if way == "qwen2" else made.normalizer
    begins = values["tokenizer.ggml.model"] == "llama" or way in _LLAMA3  # where the header does not say
    first = values.get("tokenizer.ggml.bos_token_id")
    if values.get("tokenizer.ggml.add_bos_token", begins) and first is not None and first not in made.encode("").ids:
        token = values["tokenizer.ggml.tokens"][first]
        made.post_processor = processors.TemplateProcessing(single=[token, "$A"], special_tokens=[(token, first)])
    return made

"""Rows of multiple choice as the MIB benchmark's data sets have them, made up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

from tests.builders.words import word_tokenizer

COLOURS = ("red", "blue", "green", "black")
THINGS = ("box", "cup", "hat", "pen", "car", "bag", "key", "map")
WORDS = word_tokenizer([" ".join((*COLOURS, *THINGS)), "A B C D P Q R S is What color a ? . Answer : The"])


def side(thing: str, labels: str, right: int, colour: str) -> dict[str, Any]:
    """A prompt with its choices, of which that at `right` is `colour`."""
    others = [other for other in COLOURS if other != colour]
    texts = [*others[:right], colour, *others[right:]]
    listed = " ".join(f"{label}. {text}" for label, text in zip(labels, texts, strict=True))
    prompt = f"The {thing} is {colour}. What color is a {thing}? {listed} Answer:"
    return {"prompt": prompt, "choices": {"label": list(labels), "text": texts}, "answerKey": right}


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A row with two of the counterfactuals."""
    thing, colour, right = THINGS[number % 8], COLOURS[number % 4], number // 8 % 4
    return {
        **side(thing, "ABCD", right, colour),
        "symbol_counterfactual": side(thing, "PQRS", right, colour),
        "answerPosition_counterfactual": side(thing, "ABCD", (right + 1) % 4, colour),
        **changes,
    }


def lines(*rows: Mapping[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in rows)


def files(part: str = "4_answer_choices/") -> dict[str, bytes]:
    """A data set: 16 rows to learn from, 4 and 12."""
    parts = {"train": range(16), "validation": range(16, 20), "test": range(20, 32)}
    made = {f"{part}{split}.jsonl": lines(*map(row, rows)).encode() for split, rows in parts.items()}
    return {**made, "README.md": b"---", "2_answer_choices/train.jsonl": b"another set"}


def tokenizer() -> Tokenizer:
    return WORDS

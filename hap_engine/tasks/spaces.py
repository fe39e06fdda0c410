"""The one rule for the space between a prompt and its answers, for prompts files and the page's editor.

Most tokenizers keep a space with the word that follows it: ``" cold"`` and ``"cold"`` are two tokens, and a text
goes on with one of them only. What somebody types is turned into what is scored like this:

1. Where both prompts end in a space, that space moves to the answers; the text stays the same. (At the end of only
   one prompt it is a slip, and is taken away.)
2. Otherwise a space is put before an answer that begins with a letter or a digit, where the prompt ends in a letter,
   a digit, a closing bracket, one of ``, ; : . ! ? % …`` or a sign that stands alone (``x =``, ``Spain ->``): that is
   where a text has one. None after a line break, an opening bracket, a quotation mark, an apostrophe, a hyphen or
   another symbol; none between digits (``17`` and ``32``, ``12:`` and ``30``); none in scripts that write words without
   spaces (Chinese, Japanese, Thai, …).
3. A row that says ``"spaces": "as written"``, or gives the ids of its tokens, stays as it is.

No rule can know that ``able`` ends the word ``unbeliev``: `hap_engine.workflows.ask_model` says where the model
finds the other reading far likelier.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from hap_engine.tasks.pair import PromptPair

AS_WRITTEN = "as written"
CLOSING = ",;:.!?%…،؛؟۔।॥"  # a space follows; those of Arabic and of Indian scripts too
# Scripts without spaces between words that Unicode does not call wide (as it does the Chinese and Japanese ones).
UNSPACED = ("THAI ", "LAO ", "KHMER ", "MYANMAR ", "TIBETAN ", "TAI ", "NEW TAI ", "JAVANESE ", "BALINESE ")


def with_spaces(pair: PromptPair) -> PromptPair:
    """The pair with the rule's spaces; the prompts lose the space at their ends."""
    texts = (*pair.answers, *pair.distractors)
    if pair.answer_ids or pair.distractor_ids or any(text[:1].isspace() and text[0] != " " for text in texts):
        return pair
    moves = pair.clean.endswith(" ") and pair.corrupt.endswith(" ")
    clean, corrupt = pair.clean.removesuffix(" "), pair.corrupt.removesuffix(" ")

    def spaced(text: str) -> str:
        missing = moves and text and not text.startswith(" ")
        return f" {text}" if missing or calls_for_space(clean, text) else text

    return replace(
        pair,
        clean=clean,
        corrupt=corrupt,
        answer=spaced(pair.answer),
        distractor=spaced(pair.distractor),
        more_answers=tuple(map(spaced, pair.more_answers)),
        more_distractors=tuple(map(spaced, pair.more_distractors)),
    )


def calls_for_space(prompt: str, text: str) -> bool:
    """Whether a text that goes on from `prompt` with `text` has a space between them."""
    last, first = prompt[-1:], text[:1]
    if not (last and first and _spaced(last) and _spaced(first)):
        return False
    if unicodedata.category(first)[0] not in "LN" or between_digits(prompt, text):
        return False
    kind = unicodedata.category(last)
    if kind == "Sm":
        return all(unicodedata.category(sign)[0] in "PS" for sign in prompt.split()[-1])
    # A letter, a mark on one (é may be two characters) or a digit; ’ is mostly an apostrophe.
    return kind[0] in "LMN" or last in CLOSING or (kind in ("Pe", "Pf") and last != "’")


def between_digits(prompt: str, text: str) -> bool:
    """Whether a number may go on: 17 with 32, 12: with 30."""
    before = prompt.rstrip(CLOSING)[-1:]
    return bool(before) and {unicodedata.category(before)[0], unicodedata.category(text[:1] or " ")[0]} == {"N"}


def _spaced(character: str) -> bool:
    """Whether its script puts spaces between words."""
    name = unicodedata.name(character, "")
    wide = unicodedata.east_asian_width(character) in "WFH" and "HANGUL" not in name
    return not wide and not name.startswith(UNSPACED)

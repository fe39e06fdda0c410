"""What form a prompt has: the order in which its roles come, and the template that it was made from (no torch)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from hap_engine.tasks.builtin import MADE
from hap_engine.tasks.templates.making import read_data


def order_of(roles: Mapping[str, int]) -> str:
    """``IO, S1, S2``: the roles by their places, without the last token and those that only follow another."""
    places = {place: role for role, place in roles.items() if role != "END" and "+" not in role}
    return ", ".join(places[place] for place in sorted(places))


def template_of(task: str, text: str) -> str:
    """The task's template that the text has the form of; "" if none, or if no prompts of the task are made here."""
    return next((template for template, form in _forms(task).items() if form.fullmatch(text)), "")


@lru_cache
def _forms(task: str) -> dict[str, re.Pattern[str]]:
    if task not in {made.name for made in MADE}:
        return {}
    templates = [text for kind in read_data(task.replace("-", "_")).texts.values() for text in kind]
    return {text: _form(text) for text in templates}


def _form(template: str) -> re.Pattern[str]:
    """The template with anything in its places, none of which is tried twice: no text makes that take long."""
    first, *others = map(re.escape, re.split(r"\[\w+\]", template))
    inner = "".join(f"(?>.+?{part})" for part in others[:-1])
    return re.compile(first + inner + "".join(f".+{last}" for last in others[-1:]))

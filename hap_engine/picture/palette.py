"""One palette for every picture, in a light and a dark version.

The hues are Okabe and Ito's, which colour-blind readers can tell apart. Colour never stands alone:
a status is also a dash, a role is also a letter and a ring. Every colour has a contrast of at least
3:1 with its background (WCAG 2.2, 1.4.11), so the orange ``#E69F00`` (2.2:1 on white) is darkened
on light pages and the blue ``#0072B2`` lightened on dark ones.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from hap_engine.words import beside


@dataclass(frozen=True)
class Palette:
    """Colours as ``#rrggbb``; `left` and `right` are edges that only that panel's circuit has."""

    name: str
    background: str
    surface: str
    text: str
    muted: str
    both: str
    left: str
    right: str
    s_inhibition: str
    mover: str
    repeat: str
    other: str

    @property
    def colours(self) -> dict[str, str]:
        """All colours by name, without the name of the palette."""
        return {key: value for key, value in asdict(self).items() if key != "name"}


_FOUND = tomllib.loads(beside(__file__, "palette.toml"))
LIGHT, DARK = (Palette(name=name, **_FOUND[name]) for name in ("light", "dark"))


def palette(theme: str | None) -> Palette:
    """The palette of a Streamlit theme type (``light``, ``dark`` or unknown)."""
    return DARK if theme == "dark" else LIGHT


@dataclass(frozen=True)
class Role:
    """How a head's role is shown: words, a short mark beside the head, the palette's colour."""

    key: str
    label: str
    mark: str
    colour: str


S_INHIBITION = "s-inhibition"
ROLES: Mapping[str, Role] = {key: Role(key=key, **looks) for key, looks in _FOUND["roles"].items()}


def role(name: str | None) -> Role | None:
    """The role of a name in any spelling (``S-inhibition``, ``name_mover``); None for no role."""
    key = re.sub(r"[^a-z0-9]+", "-", (name or "").lower()).strip("-")
    key = key.removesuffix("-head").removesuffix("-heads")
    if key in ("", "none", "unknown"):
        return None
    label = str(name).strip()
    return ROLES.get(key) or Role(key, label, label[:1].upper(), "other")

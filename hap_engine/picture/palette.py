"""One palette for every picture, in a light and a dark version.

The hues are Okabe and Ito's, which colour-blind readers can tell apart. Colour never stands alone:
a status is also a dash, a role is also a letter and a ring. Every colour has a contrast of at least
3:1 with its background (WCAG 2.2, 1.4.11), so the orange ``#E69F00`` (2.2:1 on white) is darkened
on light pages and the blue ``#0072B2`` lightened on dark ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass


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


LIGHT = Palette(
    name="light",
    background="#ffffff",
    surface="#f4f6f9",
    text="#0f1720",
    muted="#6a7482",
    both="#68727f",
    left="#b97700",
    right="#0072b2",
    s_inhibition="#a8327e",
    mover="#007a58",
    repeat="#c14d00",
    other="#4d5866",
)
DARK = Palette(
    name="dark",
    background="#0f141b",
    surface="#1a212b",
    text="#e8edf3",
    muted="#8b97a6",
    both="#9ba6b3",
    left="#e69f00",
    right="#56b4e9",
    s_inhibition="#f08cc6",
    mover="#2fc493",
    repeat="#ff8f4d",
    other="#b4bfcc",
)


def palette(theme: str | None) -> Palette:
    """The palette of a Streamlit theme type (``light``, ``dark`` or unknown)."""
    return DARK if theme == "dark" else LIGHT


def luminance(colour: str) -> float:
    """WCAG relative luminance of ``#rrggbb``."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@dataclass(frozen=True)
class Role:
    """How a head's role is shown: words, a short mark beside the head, the palette's colour."""

    key: str
    label: str
    mark: str
    colour: str


S_INHIBITION = "s-inhibition"
ROLES: Mapping[str, Role] = {
    role.key: role
    for role in (
        Role(S_INHIBITION, "S-inhibition", "S", "s_inhibition"),
        Role("name-mover", "Name mover", "N", "mover"),
        Role("backup-name-mover", "Backup name mover", "B", "mover"),
        Role("negative-name-mover", "Negative name mover", "−N", "mover"),
        Role("induction", "Induction", "I", "repeat"),
        Role("duplicate-token", "Duplicate token", "D", "repeat"),
        Role("previous-token", "Previous token", "P", "repeat"),
    )
}


def role(name: str | None) -> Role | None:
    """The role of a name in any spelling (``S-inhibition``, ``name_mover``); None for no role."""
    key = re.sub(r"[^a-z0-9]+", "-", (name or "").lower()).strip("-")
    key = key.removesuffix("-head").removesuffix("-heads")
    if key in ("", "none", "unknown"):
        return None
    label = str(name).strip()
    return ROLES.get(key) or Role(key, label, label[:1].upper(), "other")

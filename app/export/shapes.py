"""The two SVG elements of which most of a picture is made."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def line(
    points: Iterable[tuple[float, float]], colour: str = "", width: float = 1.0, dash: str = "", opacity: float = 1.0
) -> str:
    """A line through `points`; without a colour it takes that of its group."""
    look = f' stroke="{colour}"' if colour else ""
    look += f' stroke-dasharray="{dash}"' if dash else ""
    look += f' opacity="{opacity}"' if opacity < 1 else ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke-width="{width}"{look}/>'


def text(
    x: float,
    y: float,
    words: str,
    size: float = 12,
    fill: str = "",
    anchor: str = "middle",
    weight: int = 400,
    halo: str = "",
) -> str:
    """A word or a line of text; `halo` keeps it readable over lines."""
    look = f' fill="{fill}"' if fill else ""
    look += f' font-weight="{weight}"' if weight != 400 else ""
    look += f' stroke="{halo}" stroke-width="3" paint-order="stroke"' if halo else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{look}>{escape(words)}</text>'

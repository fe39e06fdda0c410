"""The page of `standalone` within a notebook's output: Jupyter, JupyterLab, VS Code, Colab, with no network.

The page stands in a frame of its own, whose sandbox lets it reach neither the notebook nor anything else.
It goes there compressed: Plotly.js alone is 1.2 MB, and Jupyter drops outputs that come too fast.
"""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from html import escape
from string import Template

from hap_engine.words import beside

HEIGHT = 1180  # pixels: title, verdict, both pictures and the table of metrics; the rest is scrolled to
PICTURE = "460px"  # of it for the pictures

# Notebooks have their own dark theme, of which a sandboxed page hears nothing: a script tells it.
FRAME = Template(beside(__file__, "notebook.html").rstrip())
UNPACK = Template(beside(__file__, "unpack.html").rstrip())


@dataclass(frozen=True)
class Picture:
    """What a notebook shows where it is the last line of a cell, or is given to ``display``.

    Attributes:
        page: the same as a whole HTML page, such as for ``Path("run.html").write_text(picture.page)``.
    """

    title: str
    page: str

    def _repr_html_(self) -> str:
        packed = base64.b64encode(gzip.compress(self.page.encode(), mtime=0)).decode("ascii")
        page = escape(UNPACK.substitute(packed=packed))
        return FRAME.substitute(title=escape(self.title), page=page, height=HEIGHT)

    def __repr__(self) -> str:
        return f"Picture of {self.title}: a notebook draws it"

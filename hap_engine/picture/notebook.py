"""The page of `standalone` within a notebook's output: Jupyter, JupyterLab, VS Code, Colab, with no network.

The page stands in a frame of its own, whose sandbox lets it reach neither the notebook nor anything else.
It goes there compressed: Plotly.js alone is 1.2 MB, and Jupyter drops outputs that come too fast.
"""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from html import escape

HEIGHT = 1180  # pixels: title, verdict, both pictures and the table of metrics; the rest is scrolled to
PICTURE = "460px"  # of it for the pictures

UNPACK = """<meta charset="utf-8"><script>
const packed = Uint8Array.from(atob("{}"), (letter) => letter.charCodeAt(0));
new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text().then((page) => {{
  document.open();
  document.write(page);
  document.close();
}});
</script>"""
# Notebooks have their own dark theme, of which a sandboxed page hears nothing. Light text stands on a dark page.
THEME = """
for (const frame of document.querySelectorAll("iframe.hap-run")) {
  const tell = () => {
    const [red, green, blue] = getComputedStyle(frame).color.match(/[\\d.]+/g).map(Number);
    frame.contentWindow?.postMessage({ hapTheme: red + green + blue > 384 ? "dark" : "light" }, "*");
  };
  frame.onload = tell;
  tell();
}
"""


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
        return (
            f'<iframe class="hap-run" title="{escape(self.title)}" srcdoc="{escape(UNPACK.format(packed))}" '
            f'sandbox="allow-scripts allow-downloads" allowfullscreen '
            f'style="width: 100%; height: {HEIGHT}px; border: 0"></iframe><script>{THEME}</script>'
        )

    def __repr__(self) -> str:
        return f"Picture of {self.title}: a notebook draws it"

"""The interactive comparison as one HTML file that needs nothing else: no server, no network.

It holds the same component as the explorer, the scene as data, and Plotly.js with its licence. The
page forbids itself every request by its own content security policy. Texts of the run are escaped;
the scene goes in as JSON in which no ``<`` is left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape

from hap_engine.findings import Findings
from hap_engine.picture import page, scene
from hap_engine.picture.palette import DARK, LIGHT, Palette
from hap_engine.picture.web_files import PLOTLY, SCRIPTS, web
from hap_engine.picture.wire import payload, replay

CSS = """
body { margin: 0 auto; max-width: 1500px; padding: 16px 24px 40px; background: var(--st-background-color);
  color: var(--st-text-color); font: 15px/1.5 var(--st-font); }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 28px 0 6px; }
table { border-collapse: collapse; display: block; overflow-x: auto; } th, td { text-align: left;
  padding: 4px 14px 4px 0; border-bottom: 1px solid var(--st-border-color); vertical-align: top; }
td { font-variant-numeric: tabular-nums; } code, pre { font-size: 13px; overflow-wrap: anywhere; white-space:
pre-wrap; }
"""
START = """
window.hapPlotly = Promise.resolve(window.Plotly);
const data = JSON.parse(document.getElementById("hap-data").textContent);
const show = () => window.hapMount({
  parentElement: document.getElementById("hap"), data: [data],
  setStateValue() {}, setTriggerValue() {},
});
addEventListener("message", ({ data: told }) => { // a notebook tells its theme
  if (!["light", "dark"].includes(told?.hapTheme)) return;
  document.documentElement.dataset.theme = told.hapTheme;
  show();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
show();
"""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)


def standalone(
    run: Findings,
    left: str,
    right: str,
    pins: Sequence[str] = (),
    *,
    view: str = "pair",
    height: str = "max(720px, 62vh)",
    fold: bool = False,
    strongest: int | None = None,
) -> str:
    """The page as HTML text.

    Args:
        view: how both circuits are drawn at first, one of `wire.VIEWS`.
        height: of the pictures, as CSS writes it.
    """
    built = scene.build(run, left, right, fold=fold)
    played = replay(run, built)
    data = {
        "key": "standalone",
        "height": height,
        "plotly": "",
        "command": {"serial": 1, "pinned": list(pins)},
        "start": {"view": view, "drawn": strongest or 0},
        "replay": played,
        "replayable": played is not None,
        "scene": payload(built),
    }
    roles = page.roles_table(run, left, right)
    facts = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in page.facts(run)
    )
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{escape(run.title)}</title>",
        f"<style>{_variables()}{CSS}{web('component.css')}</style></head><body>",
        f"<h1>{escape(run.title)}</h1>",
        f"<p>{escape(page.sentence(run, left, right))}</p>",
        f'<div id="hap">{web("component.html")}</div>',
        "<h2>How close is each circuit to the whole model?</h2>",
        page.metrics_table(run),
        f"<p>{escape(page.conditions(run))}</p>",
        f"<h2>Which roles do they keep?</h2>{roles}" if roles else "",
        f"<h2>Where this comes from</h2><table><tbody>{facts}</tbody></table>",
        "<p>Made with HAP Explorer (MIT licence; arXiv 2510.03282). The picture uses Plotly.js.</p>",
        f"<details><summary>Licence of Plotly.js</summary><pre>{escape(_licence())}</pre></details>",
        f'<script type="application/json" id="hap-data">{_embedded(data)}</script>',
        f"<script>{_script(PLOTLY.read_text(encoding='utf-8'))}</script>",
        f"<script>{_script(_component())}</script>",
        f"<script>{START}</script>",
        "</body></html>",
    ]
    return "\n".join(filter(None, parts))


def _component() -> str:
    """The component's module as a plain script: what it exports becomes a global function."""
    text = web(*SCRIPTS)
    script, found = re.subn(r"^export default ", "window.hapMount = ", text, flags=re.MULTILINE)
    if found != 1:
        raise AssertionError("the component's scripts should export exactly one function")
    return script


def _licence() -> str:
    return (PLOTLY.parent / "LICENSE").read_text(encoding="utf-8")


def _embedded(data: object) -> str:
    """JSON that cannot end its script element."""
    return json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")


def _script(text: str) -> str:
    """A script that cannot end its own element (inside strings ``<\\/`` means the same)."""
    return text.replace("</script", "<\\/script")


def _variables() -> str:
    """Streamlit's colour variables, which the component reads, for light and dark readers."""
    light, dark = _colours(LIGHT, "#d5dbe3", "#0067a3"), _colours(DARK, "#2f3947", "#56b4e9")
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}\n"
        f":root[data-theme=dark] {{ {dark} }}\n"
    )


def _colours(palette: Palette, border: str, primary: str) -> str:
    named = {
        "background-color": palette.background,
        "secondary-background-color": palette.surface,
        "text-color": palette.text,
        "border-color": border,
        "primary-color": primary,
        "font": "system-ui, 'Segoe UI', 'Liberation Sans', Arial, sans-serif",
    }
    return f"color-scheme: {palette.name}; " + " ".join(f"--st-{name}: {value};" for name, value in named.items())

"""The interactive comparison as one HTML file that needs nothing else: no server, no network.

It holds the same component as the explorer, the scene as data, and Plotly.js with its licence. The
page forbids itself every request, and every script but its own, by its content security policy. Texts of the run are
escaped; the scene goes in as JSON in which no ``<`` is left.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from string import Template

from hap_engine.findings import Findings
from hap_engine.picture import page, scene
from hap_engine.picture.finding import finding
from hap_engine.picture.palette import DARK, LIGHT
from hap_engine.picture.web_files import PLOTLY, SCRIPTS, STYLES, web
from hap_engine.picture.wire import payload, replay
from hap_engine.words import beside

SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
PAGE = Template(beside(__file__, "standalone.html").rstrip())


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
        "notes": json.dumps(dict(run.notes)) if run.notes else "",
        "finding": json.dumps(finding(run, left, right)),
    }
    facts = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in page.facts(run)
    )
    texts = {
        "title": run.title,
        "sentence": page.sentence(run, left, right),
        "conditions": page.conditions(run),
        "licence": (PLOTLY.parent / "LICENSE").read_text(encoding="utf-8"),
    }
    # Streamlit's colour variables, which the component reads, for light and dark readers.
    colours = {f"{theme.name}_{name}": value for theme in (LIGHT, DARK) for name, value in theme.colours.items()}
    made = PAGE.substitute(
        {name: escape(text) for name, text in texts.items()} | colours,
        css=web(*STYLES),
        component=web("component.html"),
        metrics=page.metrics_table(run),
        roles=page.roles_part(run, left, right),
        facts=facts,
        data=_embedded(data),
        plotly=_script(PLOTLY.read_text(encoding="utf-8")),
        script=_script(_component()),
    )
    return made.replace("HASHES", " ".join(map(_hash, SCRIPT.findall(made))), 1)


def _hash(script: str) -> str:
    """What the content security policy knows a script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _component() -> str:
    """The component's module as a plain script: what it exports becomes a global function."""
    text = web(*SCRIPTS)
    script, found = re.subn(r"^export default ", "window.hapMount = ", text, flags=re.MULTILINE)
    if found != 1:
        raise AssertionError("the component's scripts should export exactly one function")
    return script


def _embedded(data: object) -> str:
    """JSON that cannot end its script element."""
    return json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")


def _script(text: str) -> str:
    """A script that cannot end its own element (inside strings ``<\\/`` means the same)."""
    return text.replace("</script", "<\\/script")

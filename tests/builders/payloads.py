"""A run whose every text would load a picture from elsewhere, if a page took it for Markdown or HTML."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hap_engine.runs.record import Run
from hap_engine.runs.run_file import dumps, loads
from tests.builders.whole_runs import positional_run, whole_run

PICTURE = "![a](http://elsewhere.example/p.png)"
PAYLOAD = PICTURE + '<img src="http://elsewhere.example/q.png">[b](http://elsewhere.example/) $x$ :red[c]'
PAYLOAD += " https://elsewhere.example/r www.elsewhere.example a@elsewhere.example"
KEPT = (
    "format",
    "id",
    "source",
    "reference",
    "sha256",
    "edges",
    "eap_edge",
    "role",
    "bos",
    "version",
    "main",
    "names",
    "split",
    "ablation",
)


def hostile(data: Any, key: str = "") -> Any:
    """`data` with the payload in each text, but for those that must be names for the file to be accepted."""
    if isinstance(data, dict):
        made = {name: hostile(value, name) for name, value in data.items()}
        return made | ({PAYLOAD: 1.0} if key in ("seconds", "versions", "machine") else {})
    if isinstance(data, list):
        return [hostile(value, key) for value in data]
    return PAYLOAD if isinstance(data, str) and key not in KEPT else data


def hostile_run() -> Run:
    """A run that the import check accepts, with the payload wherever a text may stand, also in its names."""
    plain = whole_run()
    main, random = plain.main, plain.metrics["random"]
    run = replace(
        plain,
        circuits={**plain.circuits, PAYLOAD: plain.circuits[main]},
        metrics={**plain.metrics, PAYLOAD: plain.metrics[main], "random": random},
        heads={head: facts | {"attention": {PAYLOAD: 0.5}} for head, facts in plain.heads.items()},
        model={**plain.model, "ways": {PAYLOAD: 2}},
    )
    data = hostile(json.loads(dumps(run)))
    data["notes"]["groups"] = {PAYLOAD: list(plain.graph.heads[:2])}
    for prompt in data["cuts"]["promoted"][plain.graph.heads[0]]:
        prompt["promotes"] = prompt["holds"] = {PAYLOAD: 0.2}
    statistics = data["statistics"]
    for part in ("agreement", "complement", "comparisons", "curves"):
        statistics[part][PAYLOAD] = next(iter(statistics[part].values()))
    statistics["main"] = data["settings"]["method"] = PAYLOAD
    data["roles"]["thresholds"][PAYLOAD] = 0.1
    for facts in data["roles"]["heads"].values():
        facts["role"] = PAYLOAD
    data["settings"] |= {"scorer": PAYLOAD}
    return loads(json.dumps(data))


def linked_run() -> Run:
    """A run of which each name that has to be a word or two is an address: of circuits, split, ablation, spans."""
    text = dumps(positional_run(id="linked"))
    for word in ("hap", "eap", "test", "resample"):
        text = text.replace(f'"{word}"', f'"www.{word}.example"')
    for span, address in (("IO", "www.io.example"), ("S1", "elsewhere.example"), ("END", "elsewhere.example/end")):
        text = text.replace(f'"name": "{span}"', f'"name": "{address}"').replace(f'@{span}"', f'@{address}"')
    return loads(text.replace('"www.test.example": [', '"test": ['))  # the prompts of that split

"""What a run file must look like, beyond its circuits: shapes as data, and one function to compare.

The shapes stand in ``schema.toml``, which says how they are written. Keys that no shape names are left alone, so
that a newer program may add some. Everything a page reads without looking is named there: a file that passes
cannot break a page.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

from hap_engine.errors import RunFileError
from hap_engine.files import LARGEST
from hap_engine.findings import METRICS, Findings
from hap_engine.words import beside, say

READ_PER_PROMPT = ("kl", "logit_diff", "top1", "exact_match")  # what is read of a row's numbers for each prompt
KINDS = {"dict": dict, "list": list, "str": str, "tag": str, "int": int, "float": float}
TAG = re.compile(r"[\w (),.-]{0,80}")  # of a split, an ablation, an order
WORDS = {dict: "a mapping", list: "a list", str: "text", int: "a whole number", float: "a number"}
_DATA: Mapping[str, Mapping[str, Any]] = tomllib.loads(beside(__file__, "schema.toml"))
REQUIRED, OPTIONAL, NAMED, PARTS, ADDED = map(_DATA.__getitem__, ("required", "optional", "named", "parts", "added"))
ID = re.compile(r"(?!(?i:con|prn|aux|nul|(com|lpt)\d)$)[0-9A-Za-z_-]{1,64}")  # also a file's name, on Windows too
ADDED_VERSION = 1  # of each section that is added


def conform(value: Any, shape: Any, where: str) -> None:
    """Raise RunFileError, naming `where`, unless `value` has `shape`."""
    shape = NAMED.get(shape, shape) if isinstance(shape, str) else shape
    if isinstance(shape, str):
        if not _is(value, KINDS[shape]):
            raise RunFileError(
                f"The run file's {where} should be {WORDS[KINDS[shape]]}, got {_shown(value)}. "
                "The file is damaged; export it again."
            )
        if shape == "tag" and not TAG.fullmatch(value):
            raise RunFileError(f"The run file's {where} should be a word or two, got {value[:40]!r}.")
    elif isinstance(shape, list):
        conform(value, "list", where)
        inner = shape[0]
        if isinstance(inner, list):  # all of them at once: a replay may have hundreds of thousands
            for item in value:
                if type(item) is not list:
                    conform(item, "list", f"{where} entry")
            value, inner, where = list(chain.from_iterable(value)), inner[0], f"{where} entry"
        if inner == "float":  # attention patterns hold most of a file's numbers: no call for each
            value = [x for x in value if not (type(x) is float and -LARGEST <= x <= LARGEST)]
        if kind := KINDS.get(inner) if isinstance(inner, str) else None:
            if kind in (int, str) and {*map(type, value)} == {kind} and (kind is str or max(map(abs, value)) < LARGEST):
                return  # no call for each of an order's numbers
            value = [item for item in value if not _is(item, kind)][:1]
        for item in value:
            conform(item, inner, f"{where} entry")
    elif "*" in shape:
        conform(value, "dict", where)
        for key, item in value.items():
            conform(item, shape["*"], f"{where} {str(key)[:40]!r}")
    else:
        conform(value, "dict", where)
        for key, inner in shape.items():
            name = key.removesuffix("?")
            if value.get(name) is None and name != key:
                continue
            if name not in value:
                raise RunFileError(f"The run file's {where} lacks {name}.")
            conform(value[name], inner, f"{where} {name!r}")


def check_header(data: Any, file_format: str, version: int) -> None:
    """Is this a run file, of a version that this program reads?"""
    if not isinstance(data, dict) or data.get("format") != file_format:
        raise RunFileError(
            f'This is not a run file: expected JSON with "format": "{file_format}". '
            "Export one from the explorer or with `discover --out`."
        )
    stated = data.get("version")
    if type(stated) is not int or stated < 1:
        raise RunFileError(f"Expected a run file version from 1 to {version}, got {stated!r}.")
    if stated > version:
        raise RunFileError(
            f"This run file has version {stated}; this program reads up to {version}. Update HAP Explorer to open it."
        )


def check(run: Findings) -> None:
    """Everything that others rely on and that the reader has not checked while reading."""
    if not ID.fullmatch(run.id):
        raise RunFileError(f"The run id {run.id[:80]!r} should be letters, digits, - and _ only, and no device's name.")
    for section, shape in PARTS.items():
        conform(_plain(getattr(run, section)), shape, repr(section))
    sparsity = run.settings["sparsity"]
    if not 0 < sparsity < 1:
        raise RunFileError(f"Expected a sparsity between 0 and 1 in the run file, got {sparsity!r}.")
    if run.main not in run.circuits:
        raise RunFileError(f"The run file states method {run.main!r} but holds no such circuit.")
    _check_metrics(run)
    _check_added(run)
    _check_names(run)
    _check_sizes(run)


def _check_metrics(run: Findings) -> None:
    for name, row in run.metrics.items():
        numbers = isinstance(row, dict)
        wrong = [key for key in METRICS if not (numbers and _number_or_null(row, key))]
        if wrong:
            raise RunFileError(f"The metrics of {name!r} lack numbers for {', '.join(wrong)}.")
        conform(row, "row", f"row of metrics {name!r}")
        _check_per_prompt(run, name, row)


def _check_per_prompt(run: Findings, name: str, row: Mapping[str, Any]) -> None:
    """Optional: one number per test prompt for each of `READ_PER_PROMPT`."""
    if row.get("per_prompt") is None:
        return
    where = f"per_prompt of the metrics of {name!r}"
    conform(row["per_prompt"], {key: ["float"] for key in READ_PER_PROMPT}, where)
    count = len(run.prompts.get("test", []))
    if any(len(row["per_prompt"][key]) != count for key in READ_PER_PROMPT):
        raise RunFileError(
            f"The run file's {where} should hold {count:,} numbers each, one for each of the test prompts. "
            "The file is damaged; export it again."
        )


def _check_added(run: Findings) -> None:
    """What was added to a finished run; a newer program's additions are refused, not misread."""
    for name, shape in ADDED.items():
        section = getattr(run, name)
        if not section:
            continue
        conform(section, shape, repr(name))
        if section["version"] != ADDED_VERSION:
            raise RunFileError(
                f"The run file's {name!r} has version {section['version']}; this program reads "
                f"{ADDED_VERSION}. Update HAP Explorer, or run `evaluate --full` again."
            )
    if run.sizes:
        _check_at_sizes(run)
    if ("resamples" in run.stability) != ("steps" in run.stability):
        raise RunFileError("The run file's stability should have both resamples and steps, or neither.")
    at = run.stability.get("at") or [{}]
    if any(row.get("jaccard", {}).keys() != at[0].get("jaccard", {}).keys() for row in at):
        raise RunFileError("The run file's stability should compare the same circuits at each size.")
    rows, real = run.prompt_circuits.get("prompts"), run.graph.edge_mask
    tests = len(run.prompts.get("test", ()))
    if rows is not None and not 0 < len(rows) <= tests:
        raise RunFileError(
            f"Expected from 1 to {tests:,} circuits of single prompts in the run file, got {len(rows):,}."
        )
    if any(not 0 <= cell < real.size or not real.flat[cell] for row in rows or () for cell in row["edges"]):
        raise RunFileError("The run file's circuits of single prompts should hold edges of its graph.")
    edges = len(run.circuits[run.main].circuit)
    if run.stability and len(run.stability["edges"]) != edges:
        raise RunFileError(
            f"The run file's stability should give one share for each of the {edges} edges of "
            f"{run.main!r}, got {len(run.stability['edges'])}."
        )


def _check_at_sizes(run: Findings) -> None:
    """Sizes fall, orders hold real edges once each, and every list of numbers has one for each size."""
    grid, real = run.sizes["grid"], run.graph.edge_mask
    if not grid or not all(run.graph.n_edges >= larger > smaller >= 0 for larger, smaller in pairwise([*grid, 0])):
        raise RunFileError(f"The run file's grid of sizes should fall from {run.graph.n_edges:,} edges at most.")
    for name, cells in run.sizes["orders"].items():
        where = f"order of edges {name[:40]!r}"
        if not TAG.fullmatch(name):
            raise RunFileError(f"The run file's {where} should be named by a word or two.")
        if not cells or not 0 <= min(cells) <= max(cells) < real.size or not real.flat[cells].all():
            raise RunFileError(f"The run file's {where} should hold edges of its graph.")
        if len(set(cells)) < len(cells):
            raise RunFileError(f"The run file's {where} lists an edge twice.")
        if name not in run.sizes["metrics"]:
            raise RunFileError(f"The run file's sizes lack metrics for {name[:40]!r}.")
    shapes = ADDED["sizes"]["metrics"]["*"].items()
    columns = [key.rstrip("?") for key, shape in shapes if shape == "list" or isinstance(shape, list)]
    for name, row in run.sizes["metrics"].items():
        if ("cpr" in row) != ("cmd" in row):
            raise RunFileError(f"The run file's metrics of {name[:40]!r} should have both cpr and cmd, or neither.")
        lists = [row[key] for key in columns if row.get(key) is not None]
        if any(len(numbers) != len(grid) for numbers in lists):
            raise RunFileError(f"The run file's metrics of {name[:40]!r} should have one number for each size.")
        for interval in row["interval"]:
            conform([] if interval is None else interval, ["float"], f"interval of {name!r} at a size")


def _check_names(run: Findings) -> None:
    described = run.roles.get("heads") or {}
    known = run.graph.writer_index
    cut = [head for row in run.cuts.get("circuits", {}).values() for head in (*row["off"], *row["on"])]
    words = [*run.notes.get("heads", ()), *(head for heads in run.notes.get("groups", {}).values() for head in heads)]
    unknown = [
        name for name in (*run.heads, *described, *cut, *run.cuts.get("promoted", ()), *words) if name not in known
    ]
    if unknown:
        raise RunFileError(f"The run file describes heads that its graph lacks: {unknown[:3]}.")


def _check_sizes(run: Findings) -> None:
    """Lists that are read side by side have equal lengths; matrices fit their tokens."""
    edges, last = run.replay.get("edges"), run.replay.get("last_open")
    if len(edges or ()) != len(last or ()):
        raise RunFileError("The run file's replay should give one last step for each edge.")
    if any(len(pair) != 2 for pair in edges or ()):
        raise RunFileError("Each edge of the replay should be a pair of names [writer, reader].")
    for name, row in run.cuts.get("circuits", {}).items():
        answers = [row["base"], *row["off"].values(), *row["on"].values()]
        if name not in run.circuits or any(len(row) != run.cuts["n_prompts"] for row in answers):
            raise RunFileError("The run file's cuts should give each circuit one probability for each prompt.")
    if any(len(rows) != run.cuts["n_prompts"] for rows in run.cuts.get("promoted", {}).values()):
        raise RunFileError("The run file's cuts should give each node the words that it promotes for each prompt.")
    _check_spans(run)
    for prompt in run.attention:
        for head, sides in prompt["heads"].items():
            for side in ("clean", "corrupt"):
                size = len(prompt["tokens"][side])
                if [len(row) for row in sides[side]] != [size] * size:
                    raise RunFileError(
                        f"The {side} attention of {head[:40]} should be {size} by {size} numbers, "
                        "one row and column per token. The file is damaged; export it again."
                    )


def _check_spans(run: Findings) -> None:
    """Attention between spans has a row and a column for each; a prompt's tokens lie in spans that there are."""
    count = len(run.graph.spans)
    for head, facts in run.heads.items():
        table = facts.get("between_spans")
        if table is not None and not ([len(row) for row in table] == [count] * count and _shares(table)):
            raise RunFileError(say("runs.between_spans", head=head[:40], count=count))
    for prompt in (prompt for prompts in run.prompts.values() for prompt in prompts):
        if run.graph.positional and not all(0 <= at < count for at in prompt.get("spans") or ()):
            raise RunFileError(say("runs.no_such_span", count=count))


def _shares(table: Sequence[Sequence[float]]) -> bool:
    return all(0 <= share <= 1 for row in table for share in row)


def _plain(section: Any) -> Any:
    """Sections that a program filled may be tuples where a file has lists."""
    return list(section) if isinstance(section, tuple) else section


def _number_or_null(row: Mapping[str, Any], key: str) -> bool:
    return key in row and (row[key] is None or _is(row[key], float))


def _is(value: Any, kind: type) -> bool:
    if kind in (int, float):
        if type(value) is float:
            return kind is float and not (value > LARGEST or value < -LARGEST)  # NaN passes
        return type(value) is int and -LARGEST < value < LARGEST
    return isinstance(value, kind)


def _shown(value: Any) -> str:
    if type(value) in (int, float):
        return str(value)[:40]
    return WORDS.get(type(value), type(value).__name__)

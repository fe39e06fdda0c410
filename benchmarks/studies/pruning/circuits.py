"""The circuits of the descents that were kept, and choices among them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks.studies.pruning.descents import DATA, Descent
from hap_engine.settings import PruningConfig

TITLES = {"eap": "EAP", "eap-ig-kl": "EAP-IG (KL)", "ep": "EP", "hap": "HAP"}


@dataclass(frozen=True)
class Found:
    """One circuit of one descent."""

    model: str
    descent: Descent
    sparsity: float
    values: dict[str, Any]

    @property
    def kl(self) -> float:
        return float(self.values["kl"])

    @property
    def seconds(self) -> float | None:
        """Processor seconds of this circuit's own part of the descent; None if it was made on a GPU."""
        seconds = self.values["seconds"]
        return None if seconds is None else float(seconds)

    def kept(self, role: str | None = None) -> float:
        """Share of the heads with this role (None: any) that the circuit keeps."""
        pairs = [pair for name, pair in self.values["roles"].items() if role in (None, name)]
        return sum(kept for kept, _ in pairs) / max(1, sum(total for _, total in pairs))


def everything() -> list[Found]:
    """All circuits that were kept, in a fixed order."""
    found = []
    for path in sorted(DATA.glob("*/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in record["descent"].items()}
        descent = Descent(**plain)
        found += [Found(record["model"], descent, p["sparsity"], p) for p in record["points"]]
    return found


def current(found: Iterable[Found]) -> list[Found]:
    """The circuits that today's settings give."""
    today = PruningConfig()
    return [o for o in found if (o.descent.clip, o.descent.ld_weight) == (today.clip, today.ld_weight)]


def chained(found: Iterable[Found]) -> list[Found]:
    """The circuits of the study of sparsities: descents through many budgets, and scorers alone."""
    return [one for one in found if len(one.descent.sparsities) > 1]


def single(found: Iterable[Found], **wanted: Any) -> list[Found]:
    """The circuits of descents to one budget with these settings."""
    return [
        one
        for one in found
        if len(one.descent.sparsities) == 1 and all(getattr(one.descent, key) == value for key, value in wanted.items())
    ]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The mean, with the lowest and the highest where there are several."""
    if not values:
        return ""
    mean = f"{fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def seconds(found: Iterable[Found]) -> str:
    """Processor seconds of those whose are known."""
    return spread([o.seconds for o in found if o.seconds is not None], 0)


def at(found: Sequence[Found], method: str, sparsity: float) -> list[Found]:
    """The circuits of one method and size, one a seed."""
    return [o for o in found if o.descent.method == method and o.sparsity == sparsity]

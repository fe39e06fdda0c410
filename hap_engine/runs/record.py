"""A run: what one discovery found, which has a file (`run_file`) and, in a notebook, a picture."""

from __future__ import annotations

from dataclasses import dataclass

from hap_engine.errors import UnknownNameError
from hap_engine.findings import Findings
from hap_engine.picture.notebook import PICTURE, Picture
from hap_engine.picture.standalone import standalone
from hap_engine.picture.wire import VIEWS


@dataclass(frozen=True, repr=False)
class Run(Findings):
    """One discovery. As the last line of a notebook's cell it shows itself, as `show` does."""

    def show(self, left: str = "", right: str = "", view: str = "") -> Picture:
        """Two circuits side by side, the verdict and the metrics; hover over a head, click to pin it.

        The picture is complete in itself: it needs no network, no torch and no explorer, and takes about
        0.6 MB of the notebook.

        Args:
            left, right: names of circuits; by default EAP's, and the one that the run set out to find.
            view: ``sentence`` (heads at the tokens they act from, or at the spans at which they are read), ``pair``
                (every edge), both of them also in one picture, ``together`` and ``overlay``; ``roles`` (heads folded by
                role) or ``matrix``. By default ``pair``, and ``sentence`` where edges act at spans.

        Raises:
            UnknownNameError: naming the circuit or the view that there is not, with the nearest one.
        """
        left, right = left or self.sides[0], right or self.sides[1]
        for name in (left, right):
            if name not in self.circuits:
                raise UnknownNameError("circuit", str(name), self.circuits)
        view = view or ("sentence" if self.graph.positional else "pair")
        if view not in VIEWS:
            raise UnknownNameError("view", str(view), VIEWS)
        return Picture(self.title, standalone(self, left, right, view=view, height=PICTURE))

    def _repr_html_(self) -> str:
        return self.show()._repr_html_()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(record.circuit):,} edges" for name, record in self.circuits.items())
        return f"Run {self.id}: {self.title} ({sizes})"

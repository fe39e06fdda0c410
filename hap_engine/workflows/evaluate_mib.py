"""CPR and CMD of anybody's circuits, from a folder in the MIB benchmark's layout, on this engine.

As MIB does: of one file with scores, CPR takes the edges of the largest scores and CMD those of the largest absolute
ones; nine files are nine circuits of at most the grid's shares, and serve both. Cut edges carry the corrupted run.
What differs: the prompts are those of our tasks, and heads that share keys and values are cut together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hap_engine.errors import RunFileError, SettingsError
from hap_engine.evaluation.curves import GRID, areas, share_of
from hap_engine.evaluation.measure import measure
from hap_engine.evaluation.metrics import faithfulness
from hap_engine.graph.circuit import Circuit, empty_circuit
from hap_engine.graph.eapig_file import file_edges
from hap_engine.graph.mib_file import MibFile, read_mib
from hap_engine.masked.masked_pass import MaskedModel
from hap_engine.progress import Progress, relabelled
from hap_engine.runs.mib_folder import circuit_folders, task_of
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.pair import EncodedPair
from hap_engine.tasks.task import SplitSizes
from hap_engine.words import say
from hap_engine.workflows.run_prompts import task_prompts, with_data

# What each area ranks edges by.
BY: dict[str, Callable[[np.ndarray], np.ndarray]] = {"cpr": np.asarray, "cmd": np.abs}


@dataclass(frozen=True)
class Areas:
    """What was found of one folder of circuits.

    Attributes:
        task: on whose prompts.
        curves: faithfulness at each share of the grid, by the area that is taken of it.
    """

    folder: Path
    task: str
    cpr: float
    cmd: float
    curves: Mapping[str, Sequence[float]]


def circuits_of(files: Sequence[MibFile]) -> dict[str, dict[float, Circuit]]:
    """The circuits at each share below 1, for each area.

    Raises:
        RunFileError: for one file without scores, or several that are not the nine circuits of the grid.
    """
    shares, graph = GRID[:-1], files[0].graph
    sizes = [share_of(file_edges(graph), share) for share in shares]
    if len(files) == 1:
        files[0].check_scores()
        return {
            area: {share: files[0].best(size, by(files[0].scores)) for share, size in zip(shares, sizes, strict=True)}
            for area, by in BY.items()
        }
    ordered = sorted(files, key=lambda file: int(file.inside.sum()))
    counts = [int(file.inside.sum()) for file in ordered]
    if len(counts) != len(sizes) or any(count > size for count, size in zip(counts, sizes, strict=True)):
        raise RunFileError(say("mib.sizes", folder=files[0].path.parent, counts=counts, sizes=sizes))
    circuits = dict(zip(shares, (file.kept for file in ordered), strict=True))
    return dict.fromkeys(BY, circuits)


def areas_of(
    masked: MaskedModel, pairs: Sequence[EncodedPair], circuits: Mapping[str, Mapping[float, Circuit]]
) -> Generator[Progress, None, tuple[dict[str, float], dict[str, list[float]]]]:
    """CPR and CMD, and the faithfulness at each share that each is of. Equal circuits are measured once.

    Raises:
        SettingsError: if corruption does not move the logit difference.
    """
    every = {None: empty_circuit(masked.graph)} | {one: one for row in circuits.values() for one in row.values()}
    full, outcomes = yield from relabelled(measure(masked, pairs, every), message="Testing the circuits of every size")
    top, bottom = (float(side["logit_diff"].mean()) for side in (full, outcomes[None]))
    curves = {
        area: [*(faithfulness(float(outcomes[row[share]]["logit_diff"].mean()), top, bottom) for share in row), 1.0]
        for area, row in circuits.items()
    }
    if not np.isfinite([*curves.values()]).all():
        raise SettingsError(say("evaluation.unmoved", top=top, bottom=bottom))
    return {area: areas(GRID, curve)[area] for area, curve in curves.items()}, curves


def evaluate_folder(
    masked: MaskedModel, folder: Path, task: str | None, prompts: int, seed: int, bos: str
) -> Generator[Progress, None, tuple[list[Areas], list[Path]]]:
    """CPR and CMD of the model's circuits in a folder, and the folders that are of other models.

    Args:
        task: only its circuits; where `folder` itself holds circuits, the task that they are of. None: as the
            folders are named.
        prompts: test prompts of the task, with its default corruption.

    Raises:
        SettingsError: if nothing in the folder is of this model and task.
        UnknownNameError: for a folder that names no task.
        RunFileError: for a file that is no circuit of the model.
    """
    name, found, others, pairs = masked.model.name, [], [], dict[str, Sequence[EncodedPair]]()
    for place, paths in circuit_folders(folder).items():
        of = task if task and place == folder else task_of(place)
        if task not in (None, of):
            continue
        if not of:
            raise SettingsError(say("mib.no_task", folder=place))
        chosen = get_task(of)
        read = [read_mib(path, masked.graph, name) for path in paths]
        files = [file for file in read if file is not None]
        if len(files) < len(read):
            others.append(place)
            continue
        circuits = circuits_of(files)
        if of not in pairs:
            reader, sizes = masked.model.reader.feeding(bos), SplitSizes(1, 1, prompts)
            yield from with_data(chosen)
            pairs[of] = task_prompts(reader, chosen, sizes, seed).test
        both, curves = yield from areas_of(masked, pairs[of], circuits)
        found.append(Areas(place, of, both["cpr"], both["cmd"], curves))
    if not found:
        there = ", ".join(place.name for place in others or circuit_folders(folder))
        raise SettingsError(
            say("mib.nothing", folder=folder, model=name, graph=masked.graph, task=task or "any", there=there)
        )
    return found, others

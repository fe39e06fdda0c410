"""Models that others wrote: damaged folders and ``.gguf`` files open to what they state, or are refused in words."""

from __future__ import annotations

import json
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import graph_of, resolve
from hap_engine.transformer.load import load_model
from tests.builders.gguf_files import hf_for_gguf, write_gguf
from tests.builders.mutants import JUNK, bytes_changed, parts, replaced
from tests.builders.tiny_models import saved
from tests.campaign.tally import Tally, counted

ROOM = 8 * 2**30  # bytes that the process may ask for: what a lie about a size would need is refused
COUNTS = (0, 2**31, 2**50, 2**63, 2**64 - 1)


def attack(seed: int, count: int) -> Tally:
    """`count` models: half folders, half ``.gguf`` files; one thing is wrong with each."""
    chance = Random(seed)
    with counted(Tally("models", seed)) as tally, tempfile.TemporaryDirectory() as name, limited():
        room = Path(name)
        folders = [saved(family, room / family) for family in ("gpt2", "llama")]
        files = [write_gguf(room / f"{family}.gguf", hf_for_gguf(family)) for family in ("gpt2", "llama")]
        for number in range(count):
            place = room / "case"
            place.mkdir()
            if number % 2:
                told, harmful, path = _file(chance.choice(files), place, chance)
            else:
                told, harmful, path = _folder(chance.choice(folders), place / "model", chance)
            tally.attempt(told, lambda path=path, told=told: _open(tally, told, path), harmful)
            shutil.rmtree(place)
    return tally


@contextmanager
def limited() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


def _folder(good: Path, path: Path, chance: Random) -> tuple[str, bool, Path]:
    """What is wrong with a copy of a folder, and whether it must be refused."""
    shutil.copytree(good, path)
    config, weights = path / "config.json", path / "model.safetensors"
    match kind := chance.choice(("setting", "setting", "config", "tokenizer", "header", "weights", "gone")):
        case "setting":
            told = json.loads(config.read_text())
            said, made = replaced(told, chance.choice(list(parts(told))), chance.choice(JUNK))
            config.write_text(json.dumps(made))
            return f"{good.name} {said}", False, path
        case "config" | "tokenizer":
            file = config if kind == "config" else path / "tokenizer.json"
            said, data, harmful = bytes_changed(file.read_bytes(), chance)
            file.write_bytes(data)
            return f"{good.name} {file.name} {said}", harmful and kind == "config", path
        case "header":
            data = weights.read_bytes()
            size = int.from_bytes(data[:8], "little")
            said, header, harmful = bytes_changed(data[8 : 8 + size], chance)
            length = chance.choice((len(header), *COUNTS))
            weights.write_bytes(length.to_bytes(8, "little") + header + data[8 + size :])
            return f"{good.name} header {said}, {length} long", harmful or length != len(header), path
        case "weights":
            data = weights.read_bytes()
            weights.write_bytes(data[: -chance.randint(1, len(data) - 1)])
            return f"{good.name} weights cut", True, path
    file = chance.choice((config, weights, path / "tokenizer.json"))
    file.unlink()
    if chance.random() < 0.5:
        os.mkfifo(file)
    return f"{good.name} {file.name} gone or a pipe", True, path


def _file(good: Path, place: Path, chance: Random) -> tuple[str, bool, Path]:
    """What is wrong with a copy of a ``.gguf`` file, most of it in its header, and whether it must be refused."""
    data, path = bytearray(good.read_bytes()), place / "model.gguf"
    at = chance.randrange(4, 4000)
    match kind := chance.choice(("flipped", "flipped", "count", "cut")):
        case "flipped":
            for _ in range(chance.choice((1, 3))):
                data[chance.randrange(4000)] = chance.randrange(256)
        case "count":
            data[at : at + 8] = chance.choice(COUNTS).to_bytes(8, "little")
        case "cut":
            at = chance.randrange(len(data) - 64)
            del data[at:]
    path.write_bytes(bytes(data))
    return f"{good.name} {kind} at {at}", kind == "cut", path


def _open(tally: Tally, told: str, path: Path) -> None:
    source = resolve(str(path))
    stated = graph_of(source)
    model = load_model(str(path))
    masked = open_masked(model)  # which compares its logits with the model's own
    if stated is None or (stated.n_layers, stated.n_heads) != (masked.graph.n_layers, masked.graph.n_heads):
        tally.wrong.append(f"{told}: it states another graph than it has")

"""Open a model and take it apart: bundled, ``.gguf`` file, local folder or Hub name.

Whatever the source, the weights are read from safetensors (a ``.gguf`` is converted once and kept
under ``HAP_HOME``), with eager attention, frozen and in eval mode. All is computed in float32; matrices that are stored
in fewer bits stay so in memory (`hap_engine.narrow`). Pickle checkpoints and remote code are never loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from hap_engine.anatomy.parts import Parts, parts_of
from hap_engine.anatomy.skeleton import Place, stay
from hap_engine.errors import HapError, ModelError, UnsupportedModelError
from hap_engine.graph.graph import Graph
from hap_engine.machine.memory import out_of_memory
from hap_engine.models.catalog import Source, reading_sha256, resolve, weights_sha256
from hap_engine.models.gguf_cache import is_changed_copy
from hap_engine.models.hub import PICKLES, continues_text, download, missing_weights, pieces_beside
from hap_engine.models.reader import read_tokenizer, whole
from hap_engine.models.shape import Shape
from hap_engine.models.supported import WORKING, check_config, max_tokens, read_config, text_config
from hap_engine.narrow.weights import copied, keep_narrow, put
from hap_engine.progress import Progress, Report, watched
from hap_engine.tasks.reader import Reader, reader_with
from hap_engine.transformer.cards import cards_of, over
from hap_engine.transformer.convert_gguf import convert_gguf, first_line
from hap_engine.transformer.stored_forms import reads_more, text_part
from hap_engine.transformer.weights import named, read_weights
from hap_engine.words import say

POINTER = b"version https://git-lfs"  # how a file begins that a checkout without Git LFS holds for a large one


@dataclass(frozen=True, eq=False)
class Model:
    """An opened model: `hf_model` is Transformers' own, `parts` what the engine computes with."""

    source: Source
    sha256: str
    hf_model: Any
    parts: Parts
    tokenizer: Tokenizer
    graph: Graph
    n_parameters: int
    stored_dtype: str = "float32"  # of the weights in the file; they are computed with in float32
    reading: str = ""  # hash of config and tokenizer, where `sha256` does not cover them

    @property
    def identity(self) -> str:
        """As `hap_engine.models.catalog.identity` has it."""
        return f"{self.sha256} {self.reading}".rstrip()

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def config(self) -> Mapping[str, Any]:
        """The model's ``config.json``."""
        return dict(self.hf_model.config.to_dict())

    @property
    def shape(self) -> Shape | None:
        """The sizes that decide what it costs, its weights as narrow as they are stored (`hap_engine.narrow`)."""
        return Shape.of({**self.config, "dtype": self.stored_dtype})  # opened, its config says float32

    @property
    def max_tokens(self) -> int | None:
        """The longest prompt that it reads; None: any."""
        return max_tokens(self.config)

    @property
    def embedding_rows(self) -> int:
        """How many tokens have a vector. A tokenizer may know more, which no prompt can hold."""
        return int(self.hf_model.get_input_embeddings().weight.shape[0])

    @property
    def reader(self) -> Reader:
        """How it reads prompts: what every prompt is checked with (`hap_engine.tasks.reader`)."""
        bos = text_config(self.config).get("bos_token_id")
        return reader_with(self.tokenizer, self.name, self.max_tokens, self.embedding_rows, bos)

    @property
    def device(self) -> torch.device:
        """Where its ends are computed, and with them all that is no layer's."""
        return self.parts.skeleton.device

    def bridge(self) -> Any:
        """A copy of the model as a TransformerLens ``TransformerBridge``, for hooks and tools of your own.

        Raises:
            UnsupportedModelError: if TransformerLens has no adapter for its architecture.
        """
        from transformer_lens.model_bridge.sources import build_bridge_from_module

        hf_model, architecture = copied(self.hf_model, self.hf_model.dtype), type(self.hf_model).__name__
        try:
            bridge = build_bridge_from_module(
                hf_model, architecture=architecture, hf_config=hf_model.config, tokenizer=None
            )
        except (ValueError, KeyError, AttributeError, NotImplementedError, AssertionError) as error:
            raise UnsupportedModelError(
                say("transformer.no_adapter", self=self, architecture=architecture, error=error)
            ) from None
        return bridge.requires_grad_(False)

    def to_dict(self) -> dict[str, Any]:
        """The run file's ``model`` section. A path is reduced to its last part."""
        local = self.source.kind in ("gguf", "folder")
        return {
            "name": self.name,
            "source": self.source.kind,
            "reference": self.name if local else self.source.reference,
            "revision": self.source.commit,
            "sha256": self.sha256,
            **({"reading": self.reading} if self.reading else {}),
            "architecture": type(self.hf_model).__name__,
            "stored_dtype": self.stored_dtype,
            "dtype": "float32",
            "d_model": self.parts.skeleton.width,
            "vocabulary": int(self.hf_model.config.get_text_config().vocab_size),
            "n_parameters": self.n_parameters,
            "ways": self.parts.ways,
        }


def load_model(
    reference: str,
    *,
    device: str = "cpu",
    layers_on: str | None = None,
    progress: Report = lambda message, share: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Model:
    """Open the model that `reference` names.

    Args:
        device: ``cpu``, ``cuda``, ``mps``, … as torch spells it.
        layers_on: cards for its layers, as in `DiscoveryConfig`; None: all of it is on `device`.
        progress: called with a message and the share done; only a download reports in between.
        stopped: asked during a download; True ends it.

    Raises:
        ModelError: if it is missing, unreadable, offline, or of an unsupported kind.
    """
    source = resolve(reference)
    names = [str(card) for card in cards_of(layers_on)] if layers_on else [device]
    for name in names:
        check_device(name)
    cards = [*map(torch.device, names)]
    progress(f"Opening {source.name}", 0.0)
    if source.kind == "hub" and source.path is None:
        folder = download(source.name, source.revision, progress, stopped)
        source = replace(source, path=folder)
        progress(f"Opening {source.name}", 1.0)
    assert source.path is not None
    folder = convert_gguf(source, progress) if source.kind == "gguf" else source.path
    model = _from_folder(source, folder, cards, progress)
    progress(f"Opened {source.name}", 1.0)
    return model


def loading(reference: str, device: str = "cpu", layers_on: str | None = None) -> Generator[Progress, None, Model]:
    """`load_model` as a generator of progress records, so that a download can be watched.

    A caller that stops iterating stops a download at its next piece; what came so far is kept for
    the next time. Reading the weights cannot be split: that ends by itself in its daemon thread,
    and nobody holds the model.
    """

    def work(report: Report, stopped: Callable[[], bool]) -> Model:
        return load_model(reference, device=device, layers_on=layers_on, progress=report, stopped=stopped)

    return (yield from watched(work, "load", f"Opening {reference}"))


def check_device(device: str) -> None:
    """Raises ModelError if torch cannot use `device` here."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(
            say("transformer.device", device=device, reason=first_line(error).split(". ")[0].rstrip("."))
        ) from None


def from_hf(
    hf_model: Any,
    tokenizer: Tokenizer,
    source: Source,
    sha256: str = "",
    stored_dtype: str = "float32",
    place: Place = stay,
) -> Model:
    """Take an in-memory Hugging Face causal language model apart. It is frozen and put in eval mode.

    Args:
        place: where its layers go (`hap_engine.transformer.cards.over`).

    Raises:
        UnsupportedModelError: naming the part that the engine cannot describe.
    """
    keep_narrow(hf_model.eval().requires_grad_(False))
    with in_words(f"{source.name} ({type(hf_model).__name__}) cannot be taken apart"):
        hf_model = text_part(hf_model) if reads_more(hf_model.config) else hf_model
        parts = parts_of(hf_model, place)
    count = sum(weight.numel() for weight in hf_model.parameters())
    return Model(source, sha256, hf_model, parts, tokenizer, parts.graph, count, stored_dtype)


@contextmanager
def in_words(failing: str) -> Iterator[None]:
    """Whatever goes wrong with a model's own parts refuses the model: they fail in many ways.

    Args:
        failing: the model and what it fails in.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, HapError) or out_of_memory(error):
            raise
        cause = str(error) if type(error) is LookupError else f"{type(error).__name__}: {first_line(error)}"
        raise UnsupportedModelError(f"{failing}: {cause.rstrip('.')}. {WORKING}") from error


def _from_folder(source: Source, folder: Path, cards: Sequence[torch.device], progress: Report) -> Model:
    config = _checked_config(source.name, folder)
    if is_changed_copy(folder):
        raise ModelError(say("transformer.changed_copy", source=source))
    try:
        hf_model = read_weights(source.name, folder, progress)
        if len(cards) == 1:
            put(hf_model, lambda part: cards[0])
        tokenizer = _load_tokenizer(folder)
    except ModelError:
        raise
    except Exception as error:  # transformers raises many kinds here; all mean "not a usable model"
        raise ModelError(say("transformer.unopened", source=source, reason=first_line(error))) from error
    key = "stored_dtype" if source.kind == "gguf" else "dtype"
    stored = str(config.get(key) or config.get("torch_dtype") or "unknown")
    place = over(source.name, cards) if len(cards) > 1 else stay
    made = from_hf(hf_model, tokenizer, source, weights_sha256(source) or "", stored, place)
    return replace(made, reading=reading_sha256(source))


def _checked_config(name: str, folder: Path) -> Mapping[str, Any]:
    """The folder's ``config.json``; refuses what must not or cannot be opened before it is."""
    if (folder / "adapter_config.json").is_file():
        raise ModelError(say("transformer.adapter", name=name))
    if (folder / "model.safetensors").is_file() and pieces_beside(folder):
        raise ModelError(say("transformer.twice", name=name))
    for path in filter(Path.is_file, folder.glob("*.safetensors")):
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise ModelError(say("transformer.pointer", name=name, file=path.name))
    missing = [file for file in ("config.json",) if not (folder / file).is_file()] + missing_weights(folder)
    if missing:
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        found = f", only pickle weights ({pickled[0]}), which can run code" if pickled else ""
        raise ModelError(say("transformer.files", folder=folder, missing=named(missing), found=found))
    try:
        config = read_config(folder)
    except (OSError, ValueError) as error:
        raise ModelError(say("transformer.damaged", name=name, reason=first_line(error)[:-1])) from None
    check_config(config, name, continues_text(config))
    return config


def _load_tokenizer(folder: Path) -> Tokenizer:
    if (folder / "tokenizer.json").is_file():
        return read_tokenizer(folder / "tokenizer.json")
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")):
        raise FileNotFoundError("it has no tokenizer (tokenizer.json)")
    from transformers import AutoTokenizer

    made = whole(AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer)
    if not made.get_vocab_size(with_added_tokens=False):  # transformers makes an empty one where files are missing
        raise FileNotFoundError("it has no tokenizer (tokenizer.json)")
    return made

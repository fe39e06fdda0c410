"""Open a model as a TransformerLens bridge: bundled, ``.gguf`` file, local folder or Hub name.

Whatever the source, the weights are read from safetensors (a ``.gguf`` is converted once and kept
under ``HAP_HOME``), in float32, with eager attention, frozen and in eval mode. Pickle checkpoints and
remote code are never loaded. The bridge gives every architecture the same names: ``blocks[l].ln1``,
``attn.W_Q`` [head, d_model, d_head], ``mlp``, ``ln_final``, ``unembed``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from hap_engine.catalog import DOWNLOADED, Source, gguf_cache, resolve
from hap_engine.errors import ModelError, UnsupportedModelError
from hap_engine.graph import Graph
from hap_engine.hashing import file_sha256, files_sha256
from hap_engine.progress import Progress

Report = Callable[[str, float], None]  # (what is going on, share done)
POLL_SECONDS = 0.2  # how often a watched load is looked at


@dataclass(frozen=True, eq=False)
class Model:
    """An opened model. `bridge` is a TransformerLens ``TransformerBridge`` over `hf_model`."""

    source: Source
    sha256: str
    hf_model: Any
    bridge: Any
    tokenizer: Tokenizer
    graph: Graph

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def device(self) -> torch.device:
        return next(self.hf_model.parameters()).device

    def to_dict(self) -> dict[str, Any]:
        """The run file's ``model`` section. A path is reduced to its last part."""
        local = self.source.kind in ("gguf", "folder")
        return {
            "name": self.name,
            "source": self.source.kind,
            "reference": self.name if local else self.source.reference,
            "sha256": self.sha256,
            "architecture": type(self.hf_model).__name__,
            "dtype": "float32",
            "d_model": int(self.bridge.cfg.d_model),
            "vocabulary": int(self.hf_model.config.vocab_size),
            "n_parameters": sum(p.numel() for p in self.hf_model.parameters()),
        }


def load_model(
    reference: str,
    *,
    device: str = "cpu",
    progress: Report = lambda message, share: None,
) -> Model:
    """Open the model that `reference` names.

    Args:
        device: ``cpu``, ``cuda``, ``mps``, … as torch spells it.
        progress: called with a message and the share done; only a download reports in between.

    Raises:
        ModelError: if it is missing, unreadable, offline, or of an unsupported kind.
    """
    source = resolve(reference)
    check_device(device)
    progress(f"Opening {source.name}", 0.0)
    if source.kind == "gguf":
        folder = _convert_gguf(source, progress)
    elif source.kind == "hub" and source.path is None:
        folder = _download(source.name, progress)
    else:
        assert source.path is not None
        folder = source.path
    model = _from_folder(source, folder, torch.device(device))
    progress(f"Opened {source.name}", 1.0)
    return model


def loading(reference: str, device: str = "cpu") -> Generator[Progress, None, Model]:
    """`load_model` as a generator of progress records, so that a download can be watched.

    The work itself cannot be split: a caller that stops iterating leaves it to a daemon thread,
    which ends by itself and whose model nobody holds.
    """
    told: list[tuple[str, float]] = [(f"Opening {reference}", 0.0)]
    result: list[Model | BaseException] = []

    def work() -> None:
        try:
            result.append(
                load_model(reference, device=device, progress=lambda *step: told.append(step))
            )
        except BaseException as error:  # handed to the caller's thread
            result.append(error)

    thread = threading.Thread(target=work, name="load-model", daemon=True)
    thread.start()
    while thread.is_alive():
        message, share = told[-1]
        yield Progress("load", round(100 * share), 100, message)
        thread.join(POLL_SECONDS)
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def check_device(device: str) -> None:
    """Raises ModelError if torch cannot use `device` here."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(
            f"Expected a device that torch can use here, got {device!r} "
            f"({str(error).splitlines()[0]}). Use cpu."
        ) from None


def from_hf(hf_model: Any, tokenizer: Tokenizer, source: Source, sha256: str = "") -> Model:
    """Bridge an in-memory Hugging Face causal language model.

    The model is frozen and put in eval mode. Raises UnsupportedModelError if TransformerLens has no
    adapter for its architecture.
    """
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    architecture = type(hf_model).__name__
    hf_model.eval().requires_grad_(False)
    try:
        bridge = build_bridge_from_module(
            hf_model, architecture=architecture, hf_config=hf_model.config, tokenizer=None
        )
    except (ValueError, KeyError, AttributeError) as error:
        raise UnsupportedModelError(
            f"{architecture} has no TransformerLens adapter ({error}). "
            "GPT-2, Pythia (GPT-NeoX), Llama-style and Qwen2 models work."
        ) from None
    bridge.requires_grad_(False)  # it splits fused q, k, v into new parameters
    hf_model.requires_grad_(False)
    cfg = bridge.cfg
    graph = Graph(
        n_layers=int(cfg.n_layers),
        n_heads=int(cfg.n_heads),
        n_kv_heads=int(getattr(cfg, "n_key_value_heads", None) or cfg.n_heads),
        parallel=bool(getattr(cfg, "parallel_attn_mlp", False)),
    )
    return Model(source, sha256, hf_model, bridge, tokenizer, graph)


def _from_folder(source: Source, folder: Path, device: torch.device) -> Model:
    from transformers import AutoModelForCausalLM

    weights = sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").is_file() or not weights:
        pickled = [p.name for p in folder.glob("*.bin")] + [p.name for p in folder.glob("*.pt")]
        found = f"only pickle weights ({pickled[0]}), which can run code" if pickled else "neither"
        raise ModelError(
            f"Expected config.json and *.safetensors in {folder.name}, found {found}. "
            "Save the model with save_pretrained(folder)."
        )
    try:
        with _quiet():
            hf_model: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                attn_implementation="eager",
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
            )
        hf_model.to(device)
        tokenizer = _load_tokenizer(folder)
    except Exception as error:  # transformers raises many kinds here; all mean "not a usable model"
        raise ModelError(
            f"{source.name} cannot be opened as a causal language model: {_first_line(error)} "
            "Check that the folder or file is complete and of a supported architecture."
        ) from error
    original = [source.path] if source.kind == "gguf" and source.path else weights
    return from_hf(hf_model, tokenizer, source, files_sha256(original))


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of transformers: the caller reports progress its own way."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _load_tokenizer(folder: Path) -> Tokenizer:
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")):
        raise FileNotFoundError("it has no tokenizer (tokenizer.json)")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer


def _convert_gguf(source: Source, progress: Report) -> Path:
    """Dequantise a ``.gguf`` once; later starts read the safetensors copy."""
    path = source.path
    assert path is not None
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(
                f"{path.name} is not a GGUF file (it does not start with the letters GGUF). "
                "Download it again."
            )
    folder = gguf_cache(file_sha256(path))
    if (folder / "model.safetensors").is_file():
        return folder
    progress(f"Converting {path.name} (once)", 0.0)
    from safetensors.torch import save_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            hf_model = AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, dtype=torch.float32
            )
    except Exception as error:  # a broken file fails in many ways inside the parser
        raise ModelError(
            f"{path.name} cannot be read as a language model: {_first_line(error)} "
            "The file may be damaged or of an unsupported architecture; download it again."
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    hf_model.config.__dict__.pop("quantization_config", None)
    hf_model.config.save_pretrained(folder)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    partial = folder / "model.safetensors.part"
    save_model(hf_model, str(partial), metadata={"format": "pt"})
    partial.rename(folder / "model.safetensors")  # last, so a half conversion is never opened
    return folder


def _download(name: str, progress: Report) -> Path:
    """Fetch a Hub model's config, safetensors and tokenizer into the Hub's own cache."""
    from huggingface_hub import snapshot_download
    from tqdm.auto import tqdm

    class Bar(tqdm):
        """Passes the byte counts of a download on; draws nothing."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": False, "file": _Nowhere()})

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            if self.unit == "B" and self.total:
                text = f"Downloading {name}: {self.n / 1e6:,.0f} of {self.total / 1e6:,.0f} MB"
                progress(text, min(1.0, self.n / self.total))
            return shown

    progress(f"Downloading {name}", 0.0)
    try:
        return Path(snapshot_download(name, allow_patterns=list(DOWNLOADED), tqdm_class=Bar))
    except Exception as error:  # requests, httpx and Hub errors share no base class
        raise ModelError(
            f"{name} is not on this machine and could not be downloaded from the Hugging Face Hub "
            f"({type(error).__name__}). Check the name and the connection, or open a folder or a "
            ".gguf file instead."
        ) from error


class _Nowhere:
    def write(self, text: str) -> None: ...

    def flush(self) -> None: ...


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith(".") else line + "."

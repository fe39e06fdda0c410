"""Opening models: what a reference names, what is refused, and everything offline."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hap_engine import catalog
from hap_engine.catalog import (
    BUNDLED,
    Source,
    graph_of,
    hub_folder,
    resolve,
    tokenizer_file,
    weights_sha256,
)
from hap_engine.errors import HapError, ModelError, UnknownNameError, UnsupportedModelError
from hap_engine.graph import Graph
from hap_engine.models import check_device, from_hf, load_model
from hap_engine.patching import MaskedModel
from tests.conftest import FAMILIES, hf_model, make_model, tokenizer


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache."""
    from huggingface_hub import constants, file_download

    path = tmp_path / "hub"
    path.mkdir()
    for module in (constants, file_download):
        if hasattr(module, "HF_HUB_CACHE"):
            monkeypatch.setattr(module, "HF_HUB_CACHE", str(path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return path


def cache(hub: Path, name: str, folder: Path) -> Path:
    """Put `folder` into the Hub cache as the model `name`."""
    home = hub / f"models--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    snapshot = home / "snapshots" / ("0" * 40)
    shutil.copytree(folder, snapshot)
    return snapshot


# -- what a reference names ----------------------------------------------------------------------


def test_bundled_names() -> None:
    for name in BUNDLED:
        assert resolve(f" {name} ") == Source(name, "bundled", name, BUNDLED[name])


def test_folders_and_gguf_files(folder: Path, tmp_path: Path) -> None:
    assert resolve(str(folder)) == Source(str(folder), "folder", "tiny", folder)
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    assert resolve(str(file)) == Source(str(file), "gguf", "m.gguf", file)


def test_hub_names(hub: Path) -> None:
    for name in ("gpt2", "EleutherAI/pythia-160m", "some-one/some.model_1"):
        assert resolve(name) == Source(name, "hub", name, None)


@pytest.mark.parametrize(
    ("reference", "kind", "words"),
    [
        ("get2", UnknownNameError, "Did you mean 'gpt2'"),
        ("hap_mini", UnknownNameError, "Did you mean 'hap-mini'"),
        ("no idea", UnknownNameError, "owner/name"),
        ("a/b/c", UnknownNameError, "owner/name"),
        ("./nowhere", ModelError, "no file or folder ./nowhere"),
        ("/no/where", ModelError, "Check the path"),
        ("gone.gguf", ModelError, "no file or folder gone.gguf"),
        ("~/nowhere-at-all", ModelError, "no file or folder"),
        ("~no-such-user/model", ModelError, "Check the path"),
        ("x" * 5000, HapError, "x"),
        ("a\0b", HapError, "a"),
    ],
)
def test_references_that_name_nothing(reference: str, kind: type[HapError], words: str) -> None:
    with pytest.raises(kind, match=words):
        resolve(reference)


@pytest.mark.parametrize("reference", ["", "   "])
def test_no_reference_is_not_the_working_folder(reference: str) -> None:
    with pytest.raises(HapError):
        resolve(reference)


# -- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".pkl", ".safetensors"])
def test_files_of_other_kinds_are_never_opened(tmp_path: Path, suffix: str) -> None:
    marker = tmp_path / "it-ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(marker),))

    file = tmp_path / f"model{suffix}"
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="never opened"):
        load_model(str(file))
    assert not marker.exists()


def test_a_folder_of_pickles_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "pickled"
    shutil.copytree(folder, copy)
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pickle weights \(pytorch_model.bin\)"):
        load_model(str(copy))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_an_incomplete_folder(folder: Path, tmp_path: Path, missing: str) -> None:
    copy = tmp_path / "incomplete"
    shutil.copytree(folder, copy)
    (copy / missing).unlink()
    with pytest.raises(ModelError, match="save_pretrained"):
        load_model(str(copy))


def test_a_folder_without_a_tokenizer(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mute"
    shutil.copytree(folder, copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="mute cannot be opened"):
        load_model(str(copy))


def test_damaged_weights_and_configs(folder: Path, tmp_path: Path) -> None:
    for name, content in (("model.safetensors", b"\0" * 100), ("config.json", b"{")):
        copy = tmp_path / name.split(".")[0]
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(content)
        with pytest.raises(ModelError, match="cannot be opened") as caught:
            load_model(str(copy))
        assert "\n" not in str(caught.value)


def test_remote_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "remote"
    shutil.copytree(folder, copy)
    marker = tmp_path / "it-ran"
    (copy / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass C: pass\n")
    config = json.loads((copy / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.C"},
    }
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot be opened"):
        load_model(str(copy))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04", "not a GGUF file"),
        (b"", "not a GGUF file"),
        (b"GGUF" + b"\xff" * 64, "cannot be read as a language model"),
        (b"GGUF", "cannot be read as a language model"),
    ],
)
def test_broken_gguf_files(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        load_model(str(file))
    assert "download it again" in str(caught.value).lower()
    assert not list((tmp_path / "hap-home").glob("models/*/model.safetensors"))


def test_an_architecture_without_an_adapter() -> None:
    import transformers as tf

    config = tf.RwkvConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16
    )
    source = Source("r", "folder", "my-rwkv", None)
    with pytest.raises(UnsupportedModelError, match="my-rwkv: its blocks lack a part"):
        MaskedModel(from_hf(tf.RwkvForCausalLM(config), tokenizer(), source))


@pytest.mark.parametrize("name", ["OPT", "Bloom"])
def test_models_that_break_inside_the_masked_pass_are_refused(name: str) -> None:
    """OPT's positions and Bloom's MLP take other arguments: any failure of the self-check is one message."""
    import transformers as tf

    sizes = {"vocab_size": 72, "hidden_size": 32, "attn_implementation": "eager"}
    with torch.random.fork_rng():
        config = {
            "OPT": lambda: tf.OPTConfig(
                num_hidden_layers=2, num_attention_heads=4, ffn_dim=48, word_embed_proj_dim=32,
                max_position_embeddings=64, **sizes,
            ),
            "Bloom": lambda: tf.BloomConfig(n_layer=2, n_head=4, **sizes),
        }[name]()  # fmt: skip
        hf = getattr(tf, f"{name}ForCausalLM")(config)
    with pytest.raises(UnsupportedModelError, match=name):
        MaskedModel(from_hf(hf, tokenizer(), Source("x", "folder", "x", None)))


def test_unknown_devices() -> None:
    check_device("cpu")
    for device in ("tpu9", "", "cuda:99"):
        with pytest.raises(ModelError, match="Use cpu"):
            check_device(device)


# -- opened -------------------------------------------------------------------------------------


def test_a_folder_opens(folder: Path) -> None:
    messages: list[tuple[str, float]] = []
    model = load_model(str(folder), progress=lambda text, share: messages.append((text, share)))
    assert messages[0] == ("Opening tiny", 0.0)
    assert messages[-1] == ("Opened tiny", 1.0)
    assert model.graph == Graph(2, 4, 4)
    assert not any(p.requires_grad for p in model.hf_model.parameters())
    assert not model.hf_model.training
    tokens = torch.arange(5)[None]
    with torch.no_grad():
        got, want = model.hf_model(tokens).logits, hf_model("gpt2")(tokens).logits
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    section = model.to_dict()
    assert section["reference"] == section["name"] == "tiny"
    assert str(folder.parent) not in json.dumps(section), "no private path in a run file"
    assert section["architecture"] == "GPT2LMHeadModel"
    assert section["sha256"] == weights_sha256(model.source)
    assert len(section["sha256"]) == 64


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_are_known_before_opening(tmp_path: Path, family: str) -> None:
    path = tmp_path / family
    hf_model(family).save_pretrained(path)
    assert graph_of(resolve(str(path))) == make_model(family).graph
    assert tokenizer_file(resolve(str(path))) is None


def test_sizes_of_what_is_not_there(tmp_path: Path) -> None:
    assert graph_of(Source("x/y", "hub", "x/y", None)) is None
    for text in ("", "[]", "{}", '{"n_layer": "two", "n_head": 1}'):
        (tmp_path / "config.json").write_text(text)
        assert graph_of(resolve(str(tmp_path))) is None


def test_weights_in_several_files_have_one_hash_for_all(tmp_path: Path) -> None:
    """A change in any shard is another model."""
    hashes = set()
    for seed in (0, 1):
        path = tmp_path / str(seed)
        model = hf_model("gpt2")
        if seed:
            with torch.no_grad():
                model.lm_head.weight.add_(1)
                model.transformer.ln_f.weight.add_(1)
        model.save_pretrained(path, max_shard_size="40KB")
        tokenizer().save(str(path / "tokenizer.json"))
        assert len(list(path.glob("*.safetensors"))) > 1
        hashes.add(load_model(str(path)).sha256)
    assert len(hashes) == 2


def test_offline_and_not_cached(hub: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_model("someone/some-model")
    message = str(caught.value)
    assert message.startswith("someone/some-model is not on this machine")
    assert "Check the name and the connection" in message


def test_a_cached_hub_model_opens_offline(hub: Path, folder: Path) -> None:
    snapshot = cache(hub, "someone/tiny", folder)
    assert hub_folder("someone/tiny") == snapshot
    source = resolve("someone/tiny")
    assert source.kind == "hub"
    assert tokenizer_file(source) == snapshot / "tokenizer.json"
    model = load_model("someone/tiny")
    assert model.to_dict()["reference"] == "someone/tiny"
    assert MaskedModel(model).graph.n_edges == Graph(2, 4, 4).n_edges


def test_a_half_downloaded_model_is_not_taken_for_complete(hub: Path, tmp_path: Path) -> None:
    path = tmp_path / "sharded"
    hf_model("gpt2").save_pretrained(path, max_shard_size="40KB")
    snapshot = cache(hub, "someone/half", path)
    assert hub_folder("someone/half") == snapshot
    sorted(snapshot.glob("*.safetensors"))[-1].unlink()
    assert hub_folder("someone/half") is None


def test_nothing_that_could_run_code_is_downloaded() -> None:
    from fnmatch import fnmatch

    def wanted(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in catalog.DOWNLOADED)

    for name in ("config.json", "model.safetensors", "model-00001-of-00002.safetensors",
                 "model.safetensors.index.json", "tokenizer.json", "vocab.json", "merges.txt"):  # fmt: skip
        assert wanted(name), name
    for name in ("pytorch_model.bin", "modeling_x.py", "flax_model.msgpack", "onnx/model.onnx",
                 "tokenizer.py", "tokenization_x.py", "tokenizer.pkl", "vocab.pkl"):  # fmt: skip
        assert not wanted(name), name


# -- the real model ------------------------------------------------------------------------------


@pytest.mark.real_model
def test_smollm2_opens_from_its_gguf_file(
    smollm2: str, shared_home: None, models: Callable[[str], MaskedModel]
) -> None:
    model = load_model(smollm2)
    assert model.graph == Graph(30, 9, 3)
    assert graph_of(model.source) == model.graph
    assert model.sha256 == weights_sha256(model.source)
    assert model.tokenizer.encode("The cat", add_special_tokens=False).tokens == ["The", "Ġcat"]
    text = "Later, Mary and John walked to the market. John handed a ring to"
    ids = model.tokenizer.encode(text, add_special_tokens=False).ids
    with torch.no_grad():
        top = model.hf_model(torch.tensor([ids])).logits[0, -1].argmax()
    assert model.tokenizer.decode([int(top)]) == " Mary"

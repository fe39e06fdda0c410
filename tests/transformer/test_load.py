"""Opening models: what a reference names, what is refused, and everything offline."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from hap_engine.errors import HapError, ModelError, UnknownNameError, UnsupportedModelError
from hap_engine.graph.graph import Graph
from hap_engine.masked.opening import open_masked
from hap_engine.models.catalog import BUNDLED, Source, config_of, graph_of, resolve, tokenizer_file, weights_sha256
from hap_engine.models.shape import Shape
from hap_engine.transformer.load import check_device, load_model
from tests.builders.tiny_models import FAMILIES, VOCABULARY, hf_model, made_of, make_model, tokenizer

# -- what a reference names ----------------------------------------------------------------------


def test_bundled_names() -> None:
    for name in BUNDLED:
        assert resolve(f" {name} ") == Source(name, "bundled", name, BUNDLED[name])


def test_folders_and_gguf_files(folder: Path, tmp_path: Path) -> None:
    assert resolve(str(folder)) == Source(str(folder), "folder", "tiny", folder)
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    assert resolve(str(file)) == Source(str(file), "gguf", "m.gguf", file)


def test_hub_names() -> None:
    for name in ("gpt2", "EleutherAI/pythia-160m", "some-one/some.model_1"):
        assert resolve(name) == Source(name, "hub", name, None)
        assert resolve(f"{name}@v1.0") == Source(f"{name}@v1.0", "hub", name, None, "v1.0")


@pytest.mark.parametrize(
    ("reference", "kind", "words"),
    [
        ("get2", UnknownNameError, "Did you mean 'gpt2'"),
        ("hap_mini", UnknownNameError, "Did you mean 'hap-mini'"),
        ("no idea", UnknownNameError, "owner/name"),
        ("a/b/c", UnknownNameError, "owner/name"),
        ("gpt2@", UnknownNameError, "owner/name@revision"),
        ("gpt2@../../x", UnknownNameError, "owner/name@revision"),
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
    damaged = (("model.safetensors", b"\0" * 100), ("config.json", b"{"), ("config.json", b"[]"))
    for number, (name, content) in enumerate(damaged):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(content)
        with pytest.raises(ModelError, match="cannot be opened") as caught:
            load_model(str(copy))
        assert "\n" not in str(caught.value)


def test_remote_code_is_refused_and_never_run(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "remote"
    shutil.copytree(folder, copy)
    marker = tmp_path / "it-ran"
    (copy / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass C: pass\n")
    config = json.loads((copy / "config.json").read_text())
    auto_map = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.C"}
    (copy / "config.json").write_text(json.dumps(config | {"auto_map": auto_map}))
    assert load_model(str(copy)).graph == Graph(2, 4, 4), "transformers' own GPT-2, not evil.py"
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "evil", "auto_map": auto_map}))
    with pytest.raises(UnsupportedModelError, match=r"auto_map.*never loaded"):
        load_model(str(copy))
    assert not marker.exists()


def test_a_family_that_cannot_work_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    (tmp_path / "model.safetensors").write_bytes(b"never read")
    with pytest.raises(UnsupportedModelError, match="not all of its layers have attention heads"):
        load_model(str(tmp_path))


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


def test_unknown_devices() -> None:
    check_device("cpu")
    missing = [] if torch.backends.mps.is_available() else ["mps"]
    for device in ("tpu9", "", "cuda:99", *missing):
        with pytest.raises(ModelError, match=r"\)\. Use cpu\.$") as caught:
            check_device(device)
        assert len(str(caught.value)) < 320, "torch lists all backends it has"


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
    assert section["dtype"] == section["stored_dtype"] == "float32"
    assert section["revision"] is None
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


def test_tokens_without_a_vector_are_counted_out(folder: Path, tmp_path: Path) -> None:
    """As with tokens that were added to a tokenizer, and not to the model: it opens, and says what it has."""
    copy = Path(shutil.copytree(folder, tmp_path / "added"))
    words = Tokenizer.from_file(str(copy / "tokenizer.json"))
    words.add_tokens([f"new{number}" for number in range(VOCABULARY)])
    words.save(str(copy / "tokenizer.json"))
    model = load_model(str(copy))
    assert model.embedding_rows == VOCABULARY == (config_of(model.source) or {})["vocab_size"]
    assert model.tokenizer.get_vocab_size() > VOCABULARY


@pytest.mark.parametrize("how", ["written to", "exchanged"])
def test_weights_that_change_after_opening_are_noticed(how: str) -> None:
    masked = open_masked(make_model("llama"))
    layer, tokens, last = masked.model.hf_model.model.layers[0], torch.arange(5)[None], torch.tensor([4])
    masked.trace(tokens, last)
    with torch.no_grad():
        if how == "written to":
            layer.input_layernorm.weight.mul_(2)
        else:
            layer.self_attn.q_proj.weight = torch.nn.Parameter(torch.ones_like(layer.self_attn.q_proj.weight))
    with pytest.raises(ModelError, match="were changed after it was opened"):
        masked.trace(tokens, last)


# What a config may say of a tiny Llama that is not so, and in which words that is refused.
LIES = [
    ({"num_attention_heads": 8, "head_dim": 8}, "another shape than config.json says"),
    ({"num_key_value_heads": 4}, "another shape than config.json says"),
    ({"num_attention_heads": 5, "head_dim": None}, "cannot be opened"),
    ({"num_key_value_heads": 3}, "cannot be opened|another shape"),
    ({"num_hidden_layers": 3}, "missing and would be random numbers"),
    ({"num_hidden_layers": 1}, "no place in this kind of model"),
    ({"vocab_size": 2 * VOCABULARY}, "another shape than config.json says"),
    ({"hidden_size": "wide"}, "cannot be opened"),
    ({"num_attention_heads": 0}, "cannot be opened"),
    ({"hidden_act": "sparkle"}, "cannot be opened"),
    ({"rope_parameters": {"rope_type": "yarns", "rope_theta": 1e4}}, "cannot be opened"),
]


@pytest.mark.parametrize(("lie", "words"), LIES)
def test_a_config_that_lies_is_refused(tmp_path: Path, lie: dict[str, object], words: str) -> None:
    hf_model("llama").save_pretrained(tmp_path)
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | lie))
    with pytest.raises(ModelError, match=words) as caught:
        load_model(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_layers_of_different_shapes_are_refused() -> None:
    """As in a model of which some layers were pruned."""
    few, many = hf_model("llama"), hf_model("llama")
    for attention in (few.model.layers[1].self_attn,):
        for part in (attention.q_proj, attention.k_proj, attention.v_proj):
            part.weight = torch.nn.Parameter(part.weight[: len(part.weight) // 2].clone())
        attention.o_proj.weight = torch.nn.Parameter(attention.o_proj.weight[:, :16].clone())
        attention.num_key_value_groups = 2
    many.model.layers[1] = few.model.layers[1]
    with pytest.raises(UnsupportedModelError, match="cannot be taken apart"):
        made_of(many)


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


# -- the real model ------------------------------------------------------------------------------


@pytest.mark.real_model
def test_smollm2_opens_from_its_gguf_file(smollm2: str, shared_home: None) -> None:
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


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_counted_as_published(family: str) -> None:
    """The bridge adds copies of fused q, k, v; they are none of the model's."""
    published = hf_model(family).num_parameters()
    model = make_model(family)
    assert model.n_parameters == model.to_dict()["n_parameters"] == published


def test_what_a_model_costs_is_told_before_and_after_opening_alike(tmp_path: Path) -> None:
    """An opened model is float32 to whoever asks, and its narrow weights take half of that."""
    hf_model("llama").to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    opened = load_model(str(tmp_path))
    assert opened.shape == Shape.of(config_of(resolve(str(tmp_path))))
    assert opened.shape.stored == "bfloat16"

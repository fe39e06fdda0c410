"""Finding the weights of a run: by hash, never by name alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from hap_engine.errors import HapError, ModelError
from hap_engine.models.catalog import identity, resolve, weights_sha256
from hap_engine.models.gguf_cache import PARTS, gguf_cache, sign
from hap_engine.models.locate import identity_of, locate
from hap_engine.runs.examples import example
from hap_engine.transformer.load import load_model

MINI = {"name": "hap-mini", "source": "bundled", "reference": "hap-mini"}


def test_bundled_weights_of_the_same_hash_are_found() -> None:
    sha = weights_sha256(resolve("hap-mini"))
    assert locate({**MINI, "sha256": sha}).kind == "bundled"


def test_other_weights_of_the_same_name_are_refused() -> None:
    with pytest.raises(ModelError, match="computed with weights 0000"):
        locate({**MINI, "sha256": "0" * 64})


def test_a_run_without_a_hash_cannot_be_live() -> None:
    with pytest.raises(ModelError, match="does not say which weights"):
        locate({"name": "x", "source": "bundled"})


def test_a_gguf_is_found_by_its_converted_copy() -> None:
    record = {"name": "tiny.gguf", "source": "gguf", "reference": "tiny.gguf", "sha256": "ab" * 32}
    with pytest.raises(ModelError, match="path of its"):
        locate(record)
    folder = gguf_cache("ab" * 32)
    folder.mkdir(parents=True)
    for part in PARTS:
        (folder / part).write_bytes(b"")
    with pytest.raises(ModelError, match="path of its"):  # without a receipt nobody knows how it was made
        locate(record)
    sign(folder, "ab" * 32)
    assert locate(record).path == folder
    with pytest.raises(ModelError, match="path of its"):  # a copy of another file whose hash begins alike
        locate(record | {"sha256": "ab" * 31 + "cd"})


@pytest.mark.parametrize("source", ["gguf", "bundled", "folder"])
@pytest.mark.parametrize("claimed", ["PATH", "../../etc", "ab" * 8, "AB" * 32, "ab" * 32 + "/..", "", 5, ["a"], None])
def test_what_is_no_hash_opens_nothing(source: str, claimed: object, folder: Path) -> None:
    record = {**MINI, "source": source, "sha256": str(folder) if claimed == "PATH" else claimed}
    for given in ("", str(folder)):
        with pytest.raises(ModelError, match="does not say which weights"):
            locate(record, given)


def test_a_folder_is_found_when_its_path_is_given(folder: Path) -> None:
    record = {"name": "tiny", "source": "folder", "reference": "tiny"}
    sha = weights_sha256(resolve(str(folder)))
    with pytest.raises(ModelError, match="path of its folder"):
        locate({**record, "sha256": sha})
    assert locate({**record, "sha256": sha}, str(folder)).path == folder
    with pytest.raises(HapError, match="weights ffff"):
        locate({**record, "sha256": "f" * 64}, str(folder))
    with pytest.raises(HapError, match="no file or folder"):
        locate({**record, "sha256": sha}, "/nowhere/at/all")


def test_weights_beside_another_config_or_tokenizer_are_another_model(folder: Path, tmp_path: Path) -> None:
    """They shared a run's id, though their numbers differ: the second run was written over the first."""
    same, config, words = (Path(shutil.copytree(folder, tmp_path / name)) for name in ("same", "config", "words"))
    told = json.loads((folder / "config.json").read_text())
    (same / "config.json").write_text(json.dumps(told | {"transformers_version": "9", "_name_or_path": "x"}, indent=9))
    (config / "config.json").write_text(json.dumps(told | {"layer_norm_epsilon": 0.5}))
    tokenizer = Tokenizer.from_file(str(words / "tokenizer.json"))
    tokenizer.add_tokens(["another"])
    tokenizer.save(str(words / "tokenizer.json"))
    here, *others = (resolve(str(path)) for path in (folder, same, config, words))
    assert {weights_sha256(source) for source in others} == {weights_sha256(here)}
    assert [identity(source) == identity(here) for source in others] == [True, False, False]
    record = load_model(str(folder)).to_dict()
    assert identity_of(record) == identity(here)
    assert locate(record, str(same)).path == same
    older = {key: value for key, value in record.items() if key != "reading"}
    for path in (config, words):
        with pytest.raises(
            ModelError, match=r"another config\.json or tokenizer of tiny than lies beside the same weights"
        ):
            locate(record, str(path))
        assert locate(older, str(path)).path == path, "a run of before does not say"


def test_a_tokenizer_of_several_files_counts_too(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "old"))
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.json").write_text("{}")
    before = identity(resolve(str(copy)))
    (copy / "vocab.json").write_text('{"a": 0}')
    assert identity(resolve(str(copy))) != before


def test_models_whose_weights_come_with_config_and_tokenizer_keep_their_runs_ids(tmp_path: Path) -> None:
    mini = resolve("hap-mini")
    assert identity(mini) == weights_sha256(mini) == identity_of(example("hap-mini").model)
    gpt2 = replace(resolve("gpt2"), path=mini.path)
    assert identity(gpt2) == weights_sha256(mini), "as it would be if it were on this machine"
    assert identity(replace(gpt2, reference="owner/copy")) != weights_sha256(mini)
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert identity(resolve(str(tmp_path / "x.gguf"))) == weights_sha256(resolve(str(tmp_path / "x.gguf")))


def test_a_hub_model_that_is_not_here_says_how_to_get_it() -> None:
    record = {"name": "gpt2", "source": "hub", "reference": "gpt2", "sha256": "1" * 64}
    with pytest.raises(ModelError, match="on the left"):
        locate(record)

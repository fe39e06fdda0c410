"""Finding the weights of a run: by hash, never by name alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from hap_engine.errors import HapError, ModelError
from hap_engine.models.catalog import resolve, weights_sha256
from hap_engine.models.gguf_cache import PARTS, gguf_cache, sign
from hap_engine.models.locate import locate

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
    sign(folder)
    assert locate(record).path == folder


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


def test_a_hub_model_that_is_not_here_says_how_to_get_it() -> None:
    record = {"name": "gpt2", "source": "hub", "reference": "gpt2", "sha256": "1" * 64}
    with pytest.raises(ModelError, match="on the left"):
        locate(record)

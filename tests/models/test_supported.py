"""What a config.json tells, also one that is damaged or made to harm."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from hap_engine.errors import HapError, ModelError
from hap_engine.models.catalog import BUNDLED, config_of, graph_of, identity, resolve
from hap_engine.models.reader import reader_of
from hap_engine.models.shape import Shape
from hap_engine.models.supported import check_config, check_scorer, max_tokens, way_of_config
from hap_engine.transformer.load import load_model
from tests.builders.mutants import mutants

CONFIG = json.loads((BUNDLED["hap-mini"] / "config.json").read_text())


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder with a copy of the bundled model."""
    return Path(shutil.copytree(BUNDLED["hap-mini"], tmp_path / "broken"))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CONFIG | {"num_hidden_layers": -1}, "it states -1 layers"),
        (CONFIG | {"num_hidden_layers": 10**7}, "it states 10000000 layers"),
        (CONFIG | {"num_attention_heads": 10**9}, "1000000000 heads"),
        (CONFIG | {"num_hidden_layers": True}, "True layers"),
        (CONFIG | {"model_type": ["a"]}, "its model_type is"),
        (CONFIG | {"rope_scaling": [1]}, "its rope_scaling is"),
        (CONFIG | {"text_config": {"model_type": {}}}, "its model_type is"),
        ([CONFIG], "not a mapping"),
    ],
)
def test_impossible_configs_are_refused_before_any_work(broken: Path, config: Any, words: str) -> None:
    (broken / "config.json").write_text(json.dumps(config))
    started = time.perf_counter()
    source = resolve(str(broken))
    assert (config_of(source), graph_of(source)) == (None, None)
    with pytest.raises(ModelError, match=words):
        load_model(str(broken))
    assert time.perf_counter() - started < 20


def test_a_config_nested_without_end(broken: Path) -> None:
    (broken / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    assert graph_of(resolve(str(broken))) is None
    with pytest.raises(ModelError, match="nested more than"):
        load_model(str(broken))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "model.safetensors.index.json"])
def test_a_pipe_in_a_files_place_is_not_waited_for(broken: Path, name: str) -> None:
    (broken / name).unlink(missing_ok=True)
    os.mkfifo(broken / name)
    source = resolve(str(broken))
    config_of(source), identity(source), reader_of(source)
    if name != "model.safetensors.index.json":
        with pytest.raises(ModelError):
            load_model(str(broken))


def test_no_junk_in_a_config_breaks_what_reads_it() -> None:
    failures = []
    config = CONFIG | {
        "rope_scaling": {"rope_type": "longrope", "original_max_position_embeddings": 64},
        "quantization_config": {"quant_method": "fp8"},
        "ffn_config": {"moe_num_experts": 2, "ffn_hidden_size": 8},
        "attn_config": {"kv_n_heads": 2},
        "layer_types": ["full_attention"],
        "text_config": {"hidden_size": 8},
    }
    for name, mutant in mutants(config):
        for kind in ("dbrx", "falcon", mutant.get("model_type")):
            try:
                check_config(mutant | {"model_type": kind}, "m")
                for read in (Shape.of, max_tokens, way_of_config):
                    read(mutant | {"model_type": kind})
                check_scorer(mutant | {"model_type": kind}, "m", "eap-gim")
            except HapError:
                continue
            except Exception as error:
                failures.append(f"{name}, {kind}: {error!r}"[:150])
    assert not failures, "\n".join(failures)

"""Tables of prompts: those that a run would use, and those that a run used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app.explore.cost import prompts_key
from app.widgets.markdown import plain
from hap_engine.errors import HapError
from hap_engine.models.catalog import Source, tokenizer_file
from hap_engine.models.tokenizer import read_tokenizer
from hap_engine.settings import DiscoveryConfig
from hap_engine.tasks.by_name import get_task
from hap_engine.tasks.task import SplitSizes

SAMPLE = SplitSizes(train=12, validation=1, test=1)


@st.dialog("Prompts", width="large", icon=":material/chat:")
def preview(source: Source | None, task: str, config: DiscoveryConfig | None) -> None:
    """Generated pairs with their tokens, before anything runs (no torch)."""
    st.markdown(plain((config.find_task() if config else get_task(task)).summary))
    path = tokenizer_file(source) if source else None
    if path is None or config is None:
        st.info(
            "The tokens show once this model has been opened on this machine: start a run, "
            "or choose a model that is here already.",
            icon=":material/download:",
        )
        return
    extra = st.session_state.get("sample", 0)
    if st.button("New sample", icon=":material/casino:"):
        st.session_state["sample"] = extra = extra + 1
    try:
        told = prompts_key(config)
        rows = _sample(path, path.stat().st_mtime_ns, told, config, config.seed + extra)
    except HapError as error:
        st.error(str(error), icon=":material/error:")
        return
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content")
    st.caption(
        "A dot stands between tokens. Clean and corrupted prompt have the same number of them, and "
        "the answer is one token more."
    )


def table(prompts: Sequence[Mapping[str, Any]]) -> None:
    """The prompts of a finished run."""
    st.dataframe(
        pd.DataFrame(
            {
                "Clean prompt": [prompt.get("clean", "") for prompt in prompts],
                "Corrupted prompt": [prompt.get("corrupt", "") for prompt in prompts],
                "Answer": [str(prompt.get("answer", "")).strip() for prompt in prompts],
                "Distractor": [str(prompt.get("distractor", "")).strip() for prompt in prompts],
            }
        ),
        hide_index=True,
        height=280,
    )


@st.cache_data(show_spinner=False, max_entries=32)
def _sample(path: Path, modified: int, told: str, _config: DiscoveryConfig, seed: int) -> list[dict[str, str]]:
    tokenizer = read_tokenizer(path)
    chosen = _config.find_task()
    corruption = _config.corruption or chosen.default_corruption
    pairs = chosen.generate(tokenizer, SAMPLE, seed, corruption).train

    def tokens(ids: Sequence[int]) -> str:
        return " · ".join(tokenizer.decode([token]).strip() or "␣" for token in ids)

    return [
        {
            "Clean prompt": tokens(pair.clean_ids),
            "Answer": tokens([pair.answer_id]),
            "Corrupted prompt": tokens(pair.corrupt_ids),
            "Distractor": tokens([pair.distractor_id]),
        }
        for pair in pairs
    ]

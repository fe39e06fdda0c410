"""Tables of prompts: those that a run would use, and those that a run used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from tokenizers import Tokenizer

from hap_engine.catalog import Source, tokenizer_file
from hap_engine.errors import HapError
from hap_engine.settings import DiscoveryConfig
from hap_engine.tasks import EncodedPair, SplitSizes, get_task

SAMPLE = SplitSizes(train=12, validation=1, test=1)


def preview(source: Source | None, task: str, config: DiscoveryConfig | None) -> None:
    """Generated pairs with their tokens, before anything runs (no torch)."""
    with st.expander("Prompts", icon=":material/chat:"):
        st.caption(get_task(task).summary)
        path = tokenizer_file(source) if source else None
        if path is None or config is None:
            st.caption("The tokens show once this model has been opened on this machine.")
            return
        extra = st.session_state.get("sample", 0)
        if st.button("New sample", icon=":material/casino:", width="stretch"):
            st.session_state["sample"] = extra = extra + 1
        try:
            pairs = _sample(path, path.stat().st_mtime_ns, task, config, config.seed + extra)
        except HapError as error:
            st.error(str(error), icon=":material/error:")
            return
        for pair in pairs[:6]:
            st.text(f"{_tokens(pair.pair.clean)} → {pair.pair.answer.strip()}")
            st.caption(f"Corrupted: {_plain(pair.pair.corrupt)}")


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
def _sample(
    path: Path, modified: int, task: str, _config: DiscoveryConfig, seed: int
) -> Sequence[EncodedPair]:
    tokenizer = Tokenizer.from_file(str(path))
    chosen = get_task(task)
    corruption = _config.corruption or chosen.default_corruption
    return chosen.generate(tokenizer, SAMPLE, seed, corruption).train


def _tokens(text: str) -> str:
    return text


def _plain(text: str) -> str:
    """Prompt text for a place that reads Markdown: every special character escaped."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-.!|<>$~:" else c for c in text)

"""Tables of prompts: those that a run would use, and those that a run used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from app.explore.cost import prompts_key
from app.own_prompts import tokens
from app.widgets.markdown import plain, visible
from app.widgets.tables import grid
from app.words import say, widget
from hap_engine.errors import HapError
from hap_engine.models.catalog import Source, tokenizer_file
from hap_engine.settings import DiscoveryConfig
from hap_engine.tasks.custom import get_task
from hap_engine.tasks.pair import token_text
from hap_engine.tasks.reader import Reader
from hap_engine.tasks.task import SplitSizes
from hap_engine.workflows.run_prompts import few_prompts

SAMPLE = SplitSizes(train=12, validation=1, test=1)


@st.dialog("Prompts", width="large", icon=":material/chat:")
def preview(source: Source | None, task: str, config: DiscoveryConfig | None) -> None:
    """Generated pairs with their tokens, before anything runs (no torch)."""
    st.markdown(plain((config.find_task() if config else get_task(task)).summary))
    try:
        reader = tokens.reader(source)
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    data = config.find_task().data if config else None
    if data and not data.here:
        st.info(**widget("prompts.download", data=data))
        return
    if reader is None or config is None:
        st.info(**widget("prompts.absent"))
        return
    extra = st.session_state.get("sample", 0)
    if st.button(**widget("prompts.sample")):
        st.session_state["sample"] = extra = extra + 1
    try:
        seed, words = config.seed + extra, tokenizer_file(source) if source else None
        modified = words.stat().st_mtime_ns if words else 0
        rows = _sample(words, modified, prompts_key(config), seed, reader, replace(config, seed=seed))
    except HapError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    grid(rows, height="content")
    st.caption(say("prompts.tokens"))


def table(prompts: Sequence[Mapping[str, Any]]) -> None:
    """The prompts of a finished run."""
    columns = {
        "Clean prompt": [prompt.get("clean", "") for prompt in prompts],
        "Corrupted prompt": [prompt.get("corrupt", "") for prompt in prompts],
        "Answer": [_all(prompt, "answer") for prompt in prompts],
        "Distractor": [_all(prompt, "distractor") for prompt in prompts],
    }
    grid(columns, height=280)


def _all(prompt: Mapping[str, Any], kind: str) -> str:
    """Every answer (or distractor) of a run file's prompt, spaces and all."""
    return " | ".join(visible(str(text)) for text in (prompt.get(kind, ""), *prompt.get(f"more_{kind}s", ())))


@st.cache_data(show_spinner=False, max_entries=32)
def _sample(
    words: Path | None, modified: int, told: str, seed: int, _reader: Reader, _config: DiscoveryConfig
) -> list[dict[str, str]]:
    def texts(ids: Sequence[int], between: str = " · ") -> str:
        return between.join(visible(token_text(_reader.tokenizer, token)) for token in ids)

    return [
        {
            "Clean prompt": texts(pair.clean_ids),
            "Answer": texts(pair.answer_ids, " | "),
            "Corrupted prompt": texts(pair.corrupt_ids),
            "Distractor": texts(pair.distractor_ids, " | "),
        }
        for pair in few_prompts(_config, _reader, SAMPLE).train[: SAMPLE.train]
    ]

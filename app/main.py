"""HAP Explorer: page configuration and navigation, nothing else."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `streamlit run` adds only app/

import streamlit as st

from app.views import about, explore, library, pair

ICON = Path(__file__).resolve().parent.parent / "assets" / "icon.svg"

st.set_page_config(
    page_title="HAP Explorer",
    page_icon=str(ICON),  # a local file: named icons are fetched from the internet
    layout="wide",
)
st.html("<style>.stMainBlockContainer { padding-top: 4rem; }</style>")  # content above the fold
pages: dict[str, Any] = {}  # filled below; pages lead to each other
pages |= {
    "explore": st.Page(explore.page, title="Explore", icon=":material/hub:", default=True),
    "runs": st.Page(
        partial(library.page, pages), title="Runs", icon=":material/folder_open:", url_path="runs"
    ),
    "compare": st.Page(
        partial(pair.page, pages),
        title="Compare",
        icon=":material/compare_arrows:",
        url_path="compare",
    ),
    "about": st.Page(about.page, title="How it works", icon=":material/school:", url_path="about"),
}
st.navigation(list(pages.values()), position="top").run()

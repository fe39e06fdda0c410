"""HAP Explorer: page configuration and navigation, nothing else."""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `streamlit run` adds only app/

import streamlit as st

from app.views import about, explore, library

ICON = Path(__file__).resolve().parent.parent / "assets" / "icon.svg"

st.set_page_config(
    page_title="HAP Explorer",
    page_icon=str(ICON),  # a local file: named icons are fetched from the internet
    layout="wide",
    initial_sidebar_state="expanded",
)
home = st.Page(explore.page, title="Explore", icon=":material/hub:", default=True)
runs = st.Page(
    partial(library.page, home), title="Runs", icon=":material/folder_open:", url_path="runs"
)
how = st.Page(about.page, title="How it works", icon=":material/school:", url_path="about")
st.navigation([home, runs, how], position="top").run()

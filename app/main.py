"""HAP Explorer's server, which `streamlit run` starts: the pages of `navigation`, with one net under all of them."""

import sys
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `streamlit run` adds only app/

from app.widgets.errors import show_unforeseen

app = st.App("navigation.py", on_script_error=show_unforeseen)

"""A server with the explorer's net under a page that breaks (see `test_unforeseen`)."""

import streamlit as st

from app.widgets.errors import show_unforeseen

app = st.App("broken_page.py", on_script_error=show_unforeseen)

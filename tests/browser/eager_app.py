"""The explorer, whose runs write their state at every step (see `test_resume`)."""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from app.doors import Doors
from hap_engine.runs import unfinished

unfinished.EVERY, unfinished.SHARE = 0.0, 1e9
pages = Path(__file__).parents[2] / "app" / "pages" / "navigation.py"
app = st.App(str(pages), middleware=[Middleware(Doors)])

"""HAP Explorer's server, which `streamlit run` starts: `pages/navigation.py` with one net under all pages."""

import sys
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `streamlit run` adds only app/

from app.doors import Doors
from app.widgets.errors import show_unforeseen

# Not beside the folder `pages`, which Streamlit would else take for pages of its own old kind.
app = st.App("pages/navigation.py", on_script_error=show_unforeseen, middleware=[Middleware(Doors)])

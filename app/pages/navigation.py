"""The script that draws every page: configuration and navigation, nothing else."""

from functools import partial
from importlib import import_module
from typing import Any

import streamlit as st

from app import url
from app.pages import explore, presenter
from hap_engine.files import assets
from hap_engine.machine.threads import wait_briefly
from hap_engine.words import beside

wait_briefly()

st.set_page_config(
    page_title="HAP Explorer",
    page_icon=str(assets() / "icon.svg"),  # a local file: named icons are fetched from the internet
    layout="wide",
    initial_sidebar_state=explore.panel(),
)
st.html(beside(__file__, "navigation.html"))
with st.container(key="leaving"):
    st.html(beside(__file__, "leaving.html"), unsafe_allow_javascript=True)  # a file of ours, no foreign text
pages: dict[str, Any] = {}  # filled below; pages lead to each other


def _draw(name: str) -> None:
    """A page is imported when it is first opened: some need tables and charts, which a first visit need not load."""
    import_module(f"app.pages.{name}").page(pages)


def _page(name: str, title: str, icon: str, url_path: str = "") -> Any:
    return st.Page(partial(_draw, name), title=title, icon=f":material/{icon}:", url_path=url_path or name)


pages |= {
    "explore": st.Page(explore.page, title="Explore", icon=":material/hub:", default=True),
    "runs": _page("runs", "Runs", "folder_open"),
    "compare": _page("compare", "Compare", "compare_arrows"),
    "sweep": _page("sweep", "Sweep", "grid_on"),
    "own": _page("own_prompts", "Your prompts", "edit_note", "prompts"),
    "lesson": _page("lesson", "Lesson", "school"),
    "about": _page("about", "How it works", "menu_book"),
}
st.session_state["pages"] = pages  # for links in the settings, which every page may show
chosen = st.navigation(list(pages.values()), position="top")
url.resume(chosen.url_path)
presenter.show()
# Only for those who came without a link, and for their whole visit: the picture must not jump.
if st.session_state.setdefault("newcomer", not st.query_params.to_dict()) and not chosen.url_path:
    label = "New here? Seven short steps"
    with st.container(key="newcomer"):
        st.page_link(pages["lesson"], label=label, icon=":material/school:")
chosen.run()
url.remember()

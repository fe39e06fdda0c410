"""The script that draws every page: configuration and navigation, nothing else."""

from functools import partial
from typing import Any

import streamlit as st

from app import url
from app.pages import explore, presenter
from hap_engine.files import assets
from hap_engine.machine.threads import wait_briefly

wait_briefly()

st.set_page_config(
    page_title="HAP Explorer",
    page_icon=str(assets() / "icon.svg"),  # a local file: named icons are fetched from the internet
    layout="wide",
)
STYLE = """<style>
.stMainBlockContainer { padding-top: 4rem; } /* content above the fold */
[data-testid="stCaptionContainer"] { color: inherit; opacity: .8; } /* readable, still quiet */
button[kind^="primary"]:not(:disabled) p { color: light-dark(#ffffff, #0b1118); } /* white on light blue cannot be
read */
.st-key-ask button { padding-inline: .55rem; } /* six in one row at 1280 px */
.st-key-effort button { padding-inline: 0; } /* three in one row of the sidebar */
</style>"""
st.html(STYLE)
pages: dict[str, Any] = {}  # filled below; pages lead to each other


def _draw(name: str) -> None:
    """A page is imported when it is first opened: some need tables and charts, which a first visit need not load."""
    match name:
        case "runs":
            from app.pages import runs

            runs.page(pages)
        case "compare":
            from app.pages import compare

            compare.page()
        case "prompts":
            from app.pages import own_prompts

            own_prompts.page(pages)
        case "lesson":
            from app.pages import lesson

            lesson.page(pages)
        case "about":
            from app.pages import about

            about.page(pages)


def _page(url_path: str, title: str, icon: str) -> Any:
    return st.Page(partial(_draw, url_path), title=title, icon=icon, url_path=url_path)


pages |= {
    "explore": st.Page(explore.page, title="Explore", icon=":material/hub:", default=True),
    "runs": _page("runs", "Runs", ":material/folder_open:"),
    "compare": _page("compare", "Compare", ":material/compare_arrows:"),
    "own": _page("prompts", "Your prompts", ":material/edit_note:"),
    "lesson": _page("lesson", "Lesson", ":material/school:"),
    "about": _page("about", "How it works", ":material/menu_book:"),
}
st.session_state["pages"] = pages  # for links in the settings, which every page may show
chosen = st.navigation(list(pages.values()), position="top")
url.resume(chosen.url_path)
presenter.show()
# Only for those who came without a link, and for their whole visit: the picture must not jump.
if st.session_state.setdefault("newcomer", not st.query_params.to_dict()) and not chosen.url_path:
    label = "New here? Seven short steps show how a circuit is found"
    st.page_link(pages["lesson"], label=label, icon=":material/school:")
chosen.run()
url.remember()

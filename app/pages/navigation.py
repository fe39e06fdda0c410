"""The script that draws every page: configuration and navigation, nothing else."""

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


def _runs() -> None:
    from app.pages import runs  # tables and charts, which a first visit need not load

    runs.page(pages)


def _compare() -> None:
    from app.pages import compare

    compare.page(pages)


def _own() -> None:
    from app.pages import own_prompts

    own_prompts.page(pages)


def _lesson() -> None:
    from app.pages import lesson

    lesson.page(pages)


def _about() -> None:
    from app.pages import about

    about.page(pages)


pages |= {
    "explore": st.Page(explore.page, title="Explore", icon=":material/hub:", default=True),
    "runs": st.Page(_runs, title="Runs", icon=":material/folder_open:", url_path="runs"),
    "compare": st.Page(_compare, title="Compare", icon=":material/compare_arrows:", url_path="compare"),
    "own": st.Page(_own, title="Your prompts", icon=":material/edit_note:", url_path="prompts"),
    "lesson": st.Page(_lesson, title="Lesson", icon=":material/school:", url_path="lesson"),
    "about": st.Page(_about, title="How it works", icon=":material/menu_book:", url_path="about"),
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

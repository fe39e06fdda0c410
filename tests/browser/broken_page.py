"""A page that breaks in each of the ways in which one can: in a callback, in a fragment, in the page itself."""

import streamlit as st


def broken() -> None:
    raise ZeroDivisionError("in a callback")


@st.fragment
def part() -> None:
    if st.button("Break the part"):
        raise ZeroDivisionError("in a part")


st.button("Break the callback", on_click=broken)
part()
if st.button("Break the page"):
    raise ZeroDivisionError("in the page")
st.text("The page is whole")

"""The picture of two circuits: palette → layout → scene → wire (JSON) → ``web/``, which draws it.

Everything up to the wire is pure; only `component` and `marks` import Streamlit, for their one call each.
"""

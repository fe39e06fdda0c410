"""The picture of two circuits: palette → layout → scene → wire (JSON) → ``web/``, which draws it.

Everything up to the wire is pure; only `component` imports Streamlit, for its one call.
"""

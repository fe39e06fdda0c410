"""The picture of two circuits: palette → layout → scene → Plotly figures → linked component.

Everything up to the figures is pure; only `component` imports Streamlit, for its one call.
"""

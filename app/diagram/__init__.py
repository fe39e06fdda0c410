"""The picture of two circuits in the explorer: `hap_engine.picture`, mounted by Streamlit.

`component` shows both circuits, `marks` tells them what a live intervention changed.
"""

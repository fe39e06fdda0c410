"""A run in other people's tools: pictures, tables, graphs, code, a page to print.

Every module here is pure functions from a run or a scene to text, without Streamlit; labels are
included and text is escaped for the format that it goes into.
"""

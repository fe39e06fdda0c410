"""A run on screen: both circuits, the verdict, the numbers, and what was clicked.

Read `result`, then `metrics`, `node` and `edge` (what was clicked) with `attention` and
`promoted_tokens`, `provenance`, `share`.
"""

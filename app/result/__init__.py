"""A run on screen: both circuits, the verdict, the numbers, and what was clicked.

Read `result`, then `numbers`, `detail` (a node), `edge`, `attention`, `promoted`, `provenance`, `share`.
"""

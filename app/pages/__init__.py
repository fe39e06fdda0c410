"""The pages of the explorer, one module each, as the navigation lists them.

Read `explore` first; `presenter` is the mode for a projector.
"""

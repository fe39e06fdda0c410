"""The pages of the explorer, one module each, as the navigation lists them.

Read `navigation`, then `explore`; `presenter` is the mode for a projector.
"""

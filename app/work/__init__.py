"""Work behind the page: runs, opened models, short computations, heavy imports.

Read `jobs` and `background`, then `registry`, `opened_models` and `heavy_imports`.
"""

"""Work behind the page: runs, opened models, short computations, heavy imports.

Read `worker`, then `discoveries` and `opened_models`; `workers` are those of this process.
"""

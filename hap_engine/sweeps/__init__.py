"""Many runs: a grid of settings, computed by processes here, by Ray or by Slurm, and what came of it as one table.

Read `study` (which cells a grid has), `folder` (what is done and what failed), `cell` (one cell computed), `taking` and
the three places where cells are computed (`local`, `on_ray`, `slurm`), `drive` (who hands them out) and `table`.
"""

"""A run and the file that holds it.

Read `record`, then `schema`, `run_file`, `command` (makes a run again) and `continue_run`.
"""

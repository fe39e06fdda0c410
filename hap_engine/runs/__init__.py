"""A run, the file that holds it, and those that ship with the project.

Read `record`, then `schema`, `run_file`, `examples`, `command` (makes a run again) and `continue_run`.
"""

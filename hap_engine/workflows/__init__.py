"""Whole jobs, each one generator of progress records: from settings to a run file.

Read `discover` with its parts `run_prompts`, `ask_model` and `two_stages`, then `retest`, `add_to_run`,
`reproduce_paper` and `measure_machine`.
"""

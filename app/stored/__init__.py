"""What is on this machine's disk: runs, and what is remembered about models.

Read `saved_runs`, then `related_runs`; `task_answers` and `recent_models` are kept as `json_files`.
"""

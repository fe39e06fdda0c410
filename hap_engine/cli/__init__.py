"""The terminal: ``python -m hap_engine``.

Read `commands`, then `options` (arguments), `tables` and `progress_lines` (what is printed), `tasks_command`.
"""

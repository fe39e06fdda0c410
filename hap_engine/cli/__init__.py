"""The terminal: ``python -m hap_engine``.

Read `commands`, then `options` (arguments), `tables` and `progress_bar` (what is printed), `tasks_command`.
"""

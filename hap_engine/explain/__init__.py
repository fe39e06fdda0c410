"""What heads do and why: roles, path effects, live changes, and why EAP missed a head.

Read `path_effects` and `roles`, then `head_facts`, `what_if` and `why_missed`.
"""

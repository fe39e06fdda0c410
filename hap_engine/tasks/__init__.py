"""What is asked of a model: pairs of a clean and a corrupted prompt, generated or written by hand.

Read `pair` and `task`, then `templates` (one file a task) and `builtin`; own prompts: `prompts_file`, `rows`,
`custom`, `editing`.
"""

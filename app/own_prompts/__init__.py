"""Write prompts of one's own: a table, a row, its tokens, and drafts that survive a reload.

Read `table`, `row`, `tokens`, `drafts`.
"""

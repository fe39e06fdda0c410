"""What was measured for the pages in docs/studies: each command computes what is missing and writes its page.

The commands are `pruning`, `scorers`, `tasks`, `sizes`, `roles`, `ground_truth` and `results` (the README's
figures); what they computed is kept in data/, so a page is made again in a moment. `pages` says where everything lies.
"""

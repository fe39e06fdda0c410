"""What was measured for the pages in docs/studies: each command computes what is missing and writes its page.

`tasks` and `sizes` read the folders of sweeps, whose studies are the .toml files in docs/studies.

The commands are `pruning`, `scorers`, `tasks`, `sizes`, `roles`, `ground_truth` and `results` (the README's
figures); what they computed is kept in data/, so a page is made again in a moment. `pages` says where everything lies.
"""

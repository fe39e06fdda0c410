"""A Hugging Face model taken apart by asking it: no family is known by its name.

Read `twins` (how a model's own code is asked), `skeleton` (where its layers are) and `blocks` (a layer, piece by piece:
`norms`, `slots`, `attention`, `closed_form`, `replay`, `mlps`), then `ends` and `parts`.
"""

"""The one mechanism: a forward pass in which every edge carries a mask.

Read `masked_pass`, then `plan` and `delta_buffer` (how it is made fast), `opening` with `self_check`, `ablation`,
and `prompt_cache`; `workspace` is memory that passes use again, and `processes` is how several share a run.
"""

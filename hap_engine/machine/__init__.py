"""What a machine can do and what a run will cost on it, counted without torch.

Read `speed` and `memory`, then `workload` (counts) and `estimate` (seconds and bytes); `threads` is about waiting.
"""

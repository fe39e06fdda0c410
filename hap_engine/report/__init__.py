"""What a run means, in words: pure functions of its record, without a model.

Read `titles` and `verdict`, then `missed_heads`, `metric_sentences`, `test_sentences`, `by_prompt`, `token_places`,
`node_edges` and `two_runs`.
"""

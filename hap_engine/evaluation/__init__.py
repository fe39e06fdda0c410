"""How good is a circuit? Metrics per prompt, controls, intervals and tests.

Read `metrics`, `measure` and `evaluate`, then `full_tests` with its parts `curves`, `knockouts` and
`filter_bound`; `statistics` has the intervals.
"""

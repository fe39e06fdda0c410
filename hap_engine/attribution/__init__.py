"""Edge Attribution Patching and its relatives: a score for every edge from gradients of the mask.

Read `scorers`, then `edge_gradients` and `gradient_rules`.
"""

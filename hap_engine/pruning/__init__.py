"""Edge Pruning: learn which edges to keep by gradient descent on gates, within a budget.

Read `gates`, `budgets`, `edge_pruning`, then `gate_loss` (the gradient of one batch).
"""

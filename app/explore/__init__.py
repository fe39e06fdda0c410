"""Before a result: choose model, task and sparsity, see the cost, start, and watch the run.

Read `settings_form` with `model_and_task`, `offered` and `cost`, then `run_progress` and `prompts`.
"""

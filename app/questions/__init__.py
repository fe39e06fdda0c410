"""Under the picture: questions to the model and to the run, one module each.

Read `menu`, then any question; `chosen_prompt` is the prompt that they share.
"""

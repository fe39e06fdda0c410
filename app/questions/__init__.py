"""Under the picture: questions to the model and to the run, one module each.

Read `menu`, then any question; `choices` is the prompt that they share.
"""

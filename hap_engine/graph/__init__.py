"""What a circuit is: the edges of a transformer, sets of them, their ranking, and changes by hand.

Read `graph`, then `circuit`, `ranking`, `edits`, and `eapig_file` for files of the EAP-IG code.
"""

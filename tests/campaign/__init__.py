"""The campaign: every way in is attacked many times with chance's help, and every loss and every crash is counted.

``python -m tests.campaign`` takes hours, and writes its report to ``docs/campaign.md``; ``--short`` takes a minute.
"""

"""HAP: transformer circuits by hybrid attribution and pruning (arXiv 2510.03282)."""

__version__ = "0.1.0"

"""Weights in fewer bits than they are computed with: `weights` (for whoever computes), `codes` (of 4 and 8 bits)."""

"""Optimizers as equations, and the loop that runs what the printers wrote."""

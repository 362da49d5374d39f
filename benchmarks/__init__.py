"""Measurements beside other tools, side by side in one run. `python -m benchmarks` makes them all."""

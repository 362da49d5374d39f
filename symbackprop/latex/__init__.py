"""Equations as LaTeX: scalars, matrix form and index form."""

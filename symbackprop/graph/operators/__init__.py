"""The structural operators: what elementwise SymPy cannot say. One file a family; each operator states side by side its
shape rule, its pullback in this same language, its index form, its LaTeX and its NumPy."""

from symbackprop.graph.operators import contraction, gather, indexing, layout, norm, positions, products, reduction, solve, window
from symbackprop.graph.tensor import SYNTAX

SYNTAX.update(matmul=products.matmul, getitem=indexing.getitem, transpose=products.transpose)

__all__ = ["contraction", "gather", "indexing", "layout", "norm", "positions", "products", "reduction", "solve", "window"]

"""The structural operators: what elementwise SymPy cannot say. One file a family; each operator states side by side its
shape rule, its pullback in this same language, its index form, its LaTeX and its NumPy."""

from symbackprop.graph.operators.layout import getitem
from symbackprop.graph.operators.products import matmul, transpose
from symbackprop.graph.tensor import SYNTAX

SYNTAX.update(matmul=matmul, getitem=getitem, transpose=transpose)

"""The structural operators: what elementwise SymPy cannot say. One file a family; each operator states side by side its
shape rule, its pullback in this same language, its index form, its LaTeX and its NumPy."""

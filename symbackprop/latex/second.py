from symbackprop.latex.equations import align
FORMS = ("matrix", "index")
def block_lines(blocks, kind, keys, form): return []

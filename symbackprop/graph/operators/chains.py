"""Contractions of several tensors as paper writes them: a chain of matrices with diagonal matrices between them, as in X^T diag(s) X, and
Kronecker products of two such chains."""

from collections.abc import Sequence
from typing import Any

import sympy as sp

from symbackprop.graph.operators.base import LatexPrinter
from symbackprop.graph.shapes import rank_of

Operands = Sequence[tuple[str, sp.Expr]]


def chain_latex(operands: Operands, out: str, p: LatexPrinter) -> str | None:
    """The contraction as one product, its rows the first letter of `out` and its columns the second; a vector for one letter. None where
    indices alone can say it."""
    if not 1 <= len(out) <= 2 or any(not 1 <= rank_of(x) <= 2 for _, x in operands):
        return None
    edges: list[tuple[str, str]] = []
    weights: dict[str, list[str]] = {}
    for letters, x in operands:
        if len(letters) == 1:
            weights.setdefault(letters, []).append(p.plain(x))
        elif alone := [c for c in letters if c not in out and sum(c in s for s, _ in operands) == 1]:
            if len(alone) == 2:
                return None
            (kept,) = set(letters) - set(alone)
            matrix = _turned(x, letters[0] != kept, p)
            weights.setdefault(kept, []).append(rf"{matrix} \mathbf{{1}}")
        else:
            edges.append((letters, _turned(x, False, p)))
    transposed = {letters[::-1]: _turned(x, True, p) for letters, x in operands if len(letters) == 2}
    if len({"".join(sorted(s)) for s, _ in edges}) < len(edges):
        return None  # two matrices between the same indices: a product entry by entry
    path, texts = out[0], []
    left = dict(edges)
    if len(left) < len(edges):
        return None
    while left:
        step = next((s for s in left if path[-1] in s), None)
        if step is None or (len(path) > 1 and path[-1] in out):
            return None
        del left[step]
        following = step.replace(path[-1], "")
        texts.append(dict(edges)[step] if step[0] == path[-1] else transposed[step[::-1]])
        path += following
    if len(set(path)) < len(path) or set(weights) - set(path) or (len(out) == 2) != (path[-1] == out[-1] and len(path) > 1):
        return None
    return _written(path, texts, weights, vector=len(out) == 1)


class _Blank:
    """Stands for a printer where only the form matters."""

    def plain(self, expr: sp.Basic) -> str:
        return "x"

    atom = factor = plain

    def call(self, name: str, *arguments: sp.Basic) -> str:
        return name


def is_chain(operands: Operands, out: str) -> bool:
    """Whether `chain_latex` has a form for the contraction."""
    return chain_latex(operands, out, _Blank()) is not None


def _turned(x: sp.Expr, transposed: bool, p: LatexPrinter) -> str:
    return rf"{p.atom(x)}^{{\top}}" if transposed else p.factor(x)


def _written(path: str, texts: Sequence[str], weights: dict[str, list[str]], vector: bool) -> str | None:
    last = weights.pop(path[-1], []) if vector else []
    if vector and (len(last) > 1 or not texts):
        return None
    parts = []
    for at, text in zip(path, [*texts, ""], strict=True):
        if at in weights:
            inside = r" \odot ".join(weights[at])
            parts.append(rf"\operatorname{{diag}}\left({inside}\right)")
        if text and not (text.startswith("I_{") and (weights or len(texts) > 1)):
            parts.append(text)
    return " ".join([*parts, *(last or ([r"\mathbf{1}"] if vector else []))]) or None


def kronecker_latex(ins: Sequence[str], out: str, xs: Sequence[sp.Expr], split: int, p: LatexPrinter) -> str | None:
    """A contraction whose axes are those of a block of a matrix over flattened tensors, the first `split` of them its rows, as A ⊗ B: the
    Kronecker product of two chains. Rows and columns run over their tensors in C order."""
    if split != 2 or len(out) != 4:
        return None
    halves = []
    for rows, columns in ((out[0], out[2]), (out[1], out[3])):
        reached, grown = {rows, columns}, True
        while grown:
            more = {c for letters in ins if reached & set(letters) for c in letters}
            grown, reached = not more <= reached, reached | more
        halves.append((reached, rows + columns))
    if halves[0][0] & halves[1][0]:
        return None
    texts = [chain_latex([(s, x) for s, x in zip(ins, xs, strict=True) if set(s) & reached], wanted, p) for reached, wanted in halves]
    return None if None in texts else r" \otimes ".join(map(_bracketed, texts))


def _bracketed(text: Any) -> str:
    return text if " " not in text or text.startswith("I_") else rf"\left({text}\right)"


__all__ = ["chain_latex", "is_chain", "kronecker_latex"]

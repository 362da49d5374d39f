"""The binary cross-entropy of a logit and its slope as functions that lose nothing where the answer is sure: softplus(z) - t z there is a
difference of two large numbers, and sigmoid(z) - t of two that are nearly 1.

Source: I. Goodfellow, Y. Bengio & A. Courville, Deep Learning (2016), section 6.2.2.2, whose softplus((1 - 2 t) z) is the case of t = 0 and 1;
N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 1.7 (cancellation).
"""

# ruff: noqa: N801  (a SymPy function is a class, and is called as it is written)

from typing import Any

import sympy as sp

from symbackprop.graph.functions import sigmoid, softplus
from symbackprop.graph.stable import Stable


class logistic_loss(Stable):
    """a log(1 + e^z) + b log(1 + e^-z), the cross-entropy of sigmoid(z) with an answer that weighs a for no and b for yes. Derivatives: its slope,
    softplus(z) and softplus(-z)."""

    nargs = 3

    @classmethod
    def eval(cls, z: sp.Expr, a: sp.Expr, b: sp.Expr) -> sp.Expr | None:
        if a == 0 or b == 0:
            return b * softplus(-z) if a == 0 else a * softplus(z)
        return None

    @staticmethod
    def formula(z: Any, a: Any, b: Any) -> sp.Expr:
        return a * sp.log(1 + sp.exp(z)) + b * sp.log(1 + sp.exp(-z))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        z, a, b = self.args
        return (logistic_slope(z, a, b), softplus(z), softplus(-z))[argindex - 1]


class logistic_slope(Stable):
    """a/(1 + e^-z) - b/(1 + e^z), the slope of the logistic loss. Derivatives: (a + b) sigmoid(z) sigmoid(-z), sigmoid(z) and -sigmoid(-z)."""

    nargs = 3

    @staticmethod
    def formula(z: Any, a: Any, b: Any) -> sp.Expr:
        return a / (1 + sp.exp(-z)) - b / (1 + sp.exp(z))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        z, a, b = self.args
        return ((a + b) * sigmoid(z) * sigmoid(-z), sigmoid(z), -sigmoid(-z))[argindex - 1]


__all__ = ["logistic_loss", "logistic_slope"]

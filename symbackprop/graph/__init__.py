"""Tensors, equations and operators. Whoever imports any of it has the operators, without which `@`, `[...]` and `.T` mean nothing."""

from symbackprop.graph import operators

__all__ = ["operators"]

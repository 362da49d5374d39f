"""The functions of the text form, and what each of their arguments may be. What is not listed here cannot be called."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from symbackprop.graph import functions as f
from symbackprop.graph.operators.gather import one_hot, take
from symbackprop.graph.operators.layout import broadcast_to, concatenate, pad, reshape
from symbackprop.graph.operators.norm import norm
from symbackprop.graph.operators.positions import positions
from symbackprop.graph.operators.products import einsum, matmul, mean, reduce_sum, transpose
from symbackprop.graph.operators.reduction import log_softmax, logsumexp, reduce_max, reduce_min, softmax
from symbackprop.graph.operators.solve import solve
from symbackprop.graph.operators.window import window

CONSTANTS: dict[str, sp.Expr] = {"pi": sp.pi}

# What an argument of this name is read as; all others are expressions.
KINDS = {
    "axis": "axis",
    "axes": "axes",
    "keepdims": "flag",
    "bias": "flag",
    "gain": "flag",
    "reverse": "flag",
    "unroll": "flag",
    "spec": "text",
    "shape": "shape",
    "tensors": "group",
    "size": "size",
    "units": "integer",
    "channels": "integer",
    "groups": "integer",
    **dict.fromkeys(("kernel_size", "sizes", "stride", "dilation", "widths"), "numbers"),
    "padding": "padding",
    "heads": "integer",
    "causal": "flag",
    "activation": "word",
    "name": "word",
}


@dataclass(frozen=True)
class Parameter:
    """One argument of a function: what it is read as, and whether it must be there. The last one may stand for many. `number`: it is no
    expression of tensors."""

    name: str
    required: bool = True
    many: bool = False
    number: bool = False

    @property
    def kind(self) -> str:
        return "number" if self.number else KINDS.get(self.name, "expression")


@dataclass(frozen=True)
class Function:
    """What may be called: the Python function behind a name, and its parameters."""

    apply: Callable[..., Any]
    parameters: tuple[Parameter, ...]

    @property
    def usage(self) -> str:
        return ", ".join(p.name + "..." * p.many + "=..." * (not p.required) for p in self.parameters)


def function(apply: Callable[..., Any]) -> Function:
    """A function of the package, with the parameters that Python knows."""
    found = inspect.signature(apply).parameters.values()
    many = inspect.Parameter.VAR_POSITIONAL
    return Function(apply, tuple(Parameter(p.name, p.default is p.empty and p.kind is not many, p.kind is many, p.annotation is float) for p in found))


def elementwise(apply: Callable[..., Any], *names: str) -> Function:
    """A function of SymPy, which does not name its arguments."""
    return Function(apply, tuple(map(Parameter, names or ("x",))))


_ELEMENTARY: dict[str, Callable[..., Any]] = {
    name: getattr(sp, name)
    for name in "exp log sqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc sign".split()
}
_ELEMENTARY |= {"ln": sp.log, "abs": sp.Abs, "arcsin": sp.asin, "arccos": sp.acos, "arctan": sp.atan}
_ELEMENTARY |= {"sigmoid": f.sigmoid, "softplus": f.softplus, "relu": f.relu, "step": f.step, "expm1": f.expm1, "log1p": f.log1p}
_ELEMENTARY |= {a.__name__: a for a in (f.gelu, f.gelu_tanh, f.silu, f.selu, f.mish, f.softsign, f.hard_tanh, f.hard_sigmoid)}

FUNCTIONS: Mapping[str, Function] = {
    **{name: elementwise(apply) for name, apply in _ELEMENTARY.items()},
    "maximum": elementwise(sp.Max, "a", "b"),
    "minimum": elementwise(sp.Min, "a", "b"),
    **{a.__name__: function(a) for a in (einsum, matmul, mean, transpose, reshape, broadcast_to, concatenate, pad, window, take, one_hot, positions, solve)},
    **{a.__name__: function(a) for a in (f.leaky_relu, f.elu)},
    **{a.__name__: function(a) for a in (logsumexp, softmax, log_softmax, norm)},
    "sum": function(reduce_sum),
    "max": function(reduce_max),
    "min": function(reduce_min),
}

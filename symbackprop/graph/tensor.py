"""Tensors: SymPy symbols that know their shape and what they are (data, weight, node or adjoint), and the equations they name."""

import itertools
import operator
import weakref
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Never

import sympy as sp

from symbackprop.errors import ArgumentError, NetworkError, ShapeError, UnsupportedError
from symbackprop.graph.draw import Draw
from symbackprop.graph.names import check_name, split_names
from symbackprop.graph.shapes import Dim, Shape, Shaped, as_shape, postorder, shape_of, show

_ARITHMETIC = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "true_divide": operator.truediv,
    "power": operator.pow,
}
_serial = itertools.count()
_known: "weakref.WeakValueDictionary[Hashable, Tensor]" = weakref.WeakValueDictionary()


class Equation(NamedTuple):
    """`symbol = expr`: what every list in this package is made of."""

    symbol: "Tensor"
    expr: sp.Expr


# What Python's own syntax builds: `@`, `[...]` and `.T`. The operators enter themselves here, since they are made of tensors.
SYNTAX: dict[str, Callable[..., sp.Expr]] = {}


_METHODS = {name: f"sbp.{name}(x)" for name in ("sum", "mean", "max", "min", "reshape", "take")}
_METHODS |= {"dot": "x @ y", "ndim": "len(x.shape)", "size": "the product of x.shape", "astype": "dtype= where the network is trained"}
_INSTEAD = {name: f"sbp.{name}" for name in ("sum", "mean", "max", "min", "einsum", "transpose", "reshape", "concatenate", "take", "matmul")}
_INSTEAD |= {"dot": "@", "inner": "@", "vdot": "@", "maximum": "sympy.Max or sbp.max", "minimum": "sympy.Min or sbp.min", "where": "sympy.Piecewise"}
_INSTEAD |= {"amax": "sbp.max", "amin": "sbp.min", "add.reduce": "sbp.sum", "absolute": "sympy.Abs", "power": "**"}


_DECLARE = "declare arrays: data(...) is fed, weight(..., init=array) is learnt, state(name, shape, array) stays as it is"


def _brief(value: Any) -> str:
    """What was found where it does not belong, on one line."""
    shape = None if isinstance(value, sp.Basic) else getattr(value, "shape", None)
    return f"{type(value).__name__} of shape {shape}" if shape else " ".join(str(value).split())[:60]


def _named(value: Any) -> str:
    brief, kind = _brief(value), type(value).__name__
    return brief if brief.startswith(f"{kind} of shape") else f"{kind} {brief!r}"


def instead(name: str) -> str | None:
    """What to write for NumPy's or SymPy's function of this name, if there is something."""
    return _INSTEAD.get(name, f"sympy.{name}" if callable(getattr(sp, name, None)) else None)


def _refused(name: str, inputs: Any) -> NetworkError:
    """NumPy computes numbers; an equation needs the function of the same meaning that keeps the expression."""
    written = instead(name) or "SymPy's functions or those of symbackprop"
    return NetworkError(f"NumPy's {name} was applied to {' and '.join(map(_brief, inputs))}; write {written}, and {_DECLARE}")


def _of_expressions(operation: str, sign: str) -> Callable[[Any, Any], Any]:
    """SymPy's operator of this name, which would hand lists on to Python, whose message names neither the tensor nor what to do."""

    def apply(self: Any, other: Any) -> Any:
        if isinstance(other, (list, tuple)):
            first, second = (_named(other), str(self)) if operation.startswith("__r") else (str(self), _named(other))
            raise NetworkError(f"{first} {sign} {second}: a {type(other).__name__} is no tensor; {_DECLARE}")
        return getattr(sp.Expr, operation)(self, other)

    return apply


class TensorMethods:
    """What Python's operators and NumPy's attributes mean on tensors and on operators."""

    __slots__ = ()
    _iterable = False  # for SymPy: indexing does not make a tensor a sequence

    __add__, __radd__ = _of_expressions("__add__", "+"), _of_expressions("__radd__", "+")
    __sub__, __rsub__ = _of_expressions("__sub__", "-"), _of_expressions("__rsub__", "-")
    __mul__, __rmul__ = _of_expressions("__mul__", "*"), _of_expressions("__rmul__", "*")
    __truediv__, __rtruediv__ = _of_expressions("__truediv__", "/"), _of_expressions("__rtruediv__", "/")

    def __float__(self) -> float:
        raise ArgumentError(
            f"{self} is an expression and has no number, which float() and the functions of Python's math ask for; "
            f"write SymPy's functions, such as sympy.tanh({self}), and evaluate(...) for a number"
        )

    def __iter__(self) -> Never:
        shape = shape_of(self)
        written = f"write sbp.sum({self}) or sbp.max({self}, axis=0), indices for single rows, and sbp.scan for steps along an axis"
        hint = written if shape else "it is a scalar"
        raise ArgumentError(f"{self} is an expression of shape {show(shape)} and not iterable; {hint}")

    def __len__(self) -> int:
        shape = shape_of(self)
        of = f"has shape {show(shape)}; its length is {self}.shape[0], {shape[0]}" if shape else "is a scalar, without a length"
        raise ArgumentError(f"len({self}): {self} {of}")

    def __bool__(self) -> bool:
        return True  # as for all of SymPy; Python would ask for the length

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> sp.Expr:
        """NumPy's scalars are numbers like any other; its arrays are refused, since an equation would hide them."""
        operation = _ARITHMETIC.get(ufunc.__name__) if method == "__call__" else None
        plain = [x.item() if getattr(x, "shape", None) == () and hasattr(x, "item") else x for x in inputs]
        if operation is None or any(hasattr(x, "__array__") for x in plain):
            raise _refused(ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}", inputs)
        result: sp.Expr = operation(*plain)
        return result

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> sp.Expr:
        raise _refused(function.__name__, args)

    def __getattr__(self, name: str) -> Any:
        if name in _METHODS:
            raise AttributeError(f"{self} is an expression, without NumPy's method {name}; write {_METHODS[name]}")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __matmul__(self, other: Any) -> sp.Expr:
        return SYNTAX["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> sp.Expr:
        return SYNTAX["matmul"](other, self)

    def __getitem__(self, key: Any) -> sp.Expr:
        return SYNTAX["getitem"](self, key)

    @property
    def T(self) -> sp.Expr:
        """The axes in reverse order."""
        return SYNTAX["transpose"](self)

    def transpose(self, *axes: Any) -> sp.Expr:
        """The axes in reverse order, or in the order of `axes`, as NumPy's method."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return SYNTAX["transpose"](self, order)

    def _eval_Mod(self, other: Any) -> sp.Expr:  # noqa: N802  (SymPy's name; its own way takes what has __getitem__ for a sequence)
        made: sp.Expr = sp.Mod(self, other, evaluate=False)
        return made

    def _eval_transpose(self) -> sp.Expr:  # what sympy.transpose asks for
        return SYNTAX["transpose"](self)

    _eval_adjoint = _eval_transpose


class TensorSymbol(TensorMethods, Shaped, sp.Symbol):
    """A named tensor. Two tensors are the same if they agree in name, role, shape, definitions and initial value.

    Attributes: `name`; `role`, one of "data", "weight", "node", "adjoint", "state"; `shape`, a tuple of integers and
    dimensions; `definition`, the expression of a node, else None; `init`, how a weight or a state starts, or how data are drawn
    that nobody gives, else None; `adjoint_of`, the pair (C, z) of an adjoint ∂C/∂z, else None; `inference`, what a node is at
    inference where that is something else, else None; `update`, what a state becomes with every training step, in terms of its old
    value `before`, else None;
    `serial`, which grows with every declaration and every node, so a node is always younger than those it is defined by.
    """

    role: str
    definition: sp.Expr | None
    init: Any
    adjoint_of: "tuple[Tensor, Tensor] | None"
    inference: sp.Expr | None
    update: sp.Expr | None
    serial: int
    _shape: Shape
    _key: tuple[Hashable, ...]

    def __new__(
        cls,
        name: str,
        shape: Any = (),
        role: str = "data",
        definition: sp.Expr | None = None,
        init: Any = None,
        adjoint_of: "tuple[Tensor, Tensor] | None" = None,
        inference: sp.Expr | None = None,
        update: sp.Expr | None = None,
    ) -> "Tensor":
        shape = as_shape(shape)
        # An array as initial value is told apart by identity; anything that can be hashed, by value.
        mark = (type(init).__name__, init if isinstance(init, Hashable) else id(init))
        key = (name, role, shape, definition, mark, adjoint_of, inference, update)
        found = _known.get(key)
        if found is not None:
            return found
        made: Tensor = sp.Symbol.__xnew__(cls, name, real=True)
        made.role, made._shape, made.definition, made.init, made.adjoint_of = role, shape, definition, init, adjoint_of
        made.inference, made.update = inference, update
        made.serial = next(_serial)
        made._key = key
        _known[key] = made
        return made

    @property
    def shape(self) -> Shape:
        return self._shape

    @cached_property
    def mentioned(self) -> frozenset[sp.Symbol]:
        """The symbols in the definition: tensors and dimensions."""
        return frozenset() if self.definition is None else frozenset(self.definition.free_symbols)

    @cached_property
    def inputs(self) -> frozenset["Tensor"]:
        """The tensors in the definition."""
        return frozenset(s for s in self.mentioned if isinstance(s, Tensor))

    @property
    def before(self) -> "Tensor":
        """The old value of a state, as its update reads it."""
        return Tensor(self.name, self.shape, self.role, init=self.init)

    @cached_property
    def sources(self) -> frozenset["Tensor"]:
        """The tensors in all that is known of this one: in its definitions for training and for inference, and in its update."""
        known = [expr for expr in (self.definition, self.inference, self.update) if expr is not None]
        return frozenset(s for expr in known for s in expr.free_symbols if isinstance(s, Tensor)) - {self.before}

    @property
    def order(self) -> tuple[bool, int]:
        """The place among tensors: data and weights as they were last declared, then nodes, each after those it is defined by, and states,
        each after those it is updated by. It is the same however often a notebook's cell was run, and in a network that was read from a file."""
        return self.definition is not None or self.update is not None, self.serial

    def _hashable_content(self) -> tuple[Any, ...]:
        return (self.name, *self._key[1:])

    def __eq__(self, other: object) -> bool:
        return self is other  # equal tensors are one object: __new__ sees to it

    def __ne__(self, other: object) -> bool:
        return self is not other

    __hash__ = object.__hash__  # as fast as equality; SymPy would hash the name, the shape and the definition

    def __str__(self) -> str:
        return self.name  # as SymPy's printer has it, which would be made anew for every name

    __repr__ = __str__

    def __reduce__(self) -> Any:
        return Tensor, (self.name, self.shape, self.role, self.definition, self.init, self.adjoint_of, self.inference, self.update)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()


Tensor = TensorSymbol  # SymPy's printers dispatch on the class's own name, and have another Tensor


def declare(name: str, shape: Any, role: str, init: Any = None, definition: sp.Expr | None = None) -> Tensor:
    """A tensor that belongs to no network alone. Declared again, it stands where it was declared last: networks list their tensors in
    this order."""
    made = Tensor(name, shape, role, definition, init)
    made.serial = next(_serial)
    return made


def _declare(names: str, shape: Any, role: str, init: Any = None) -> Any:
    parts, single = split_names(names, role)
    made = tuple(declare(name, shape, role, init) for name in parts)
    return made[0] if single else made


def data(names: str, shape: Any = (), draw: Draw | None = None) -> Any:
    """Placeholder(s) that are fed at run time.

    `names` is read as `sympy.symbols` reads it: "x" gives one tensor, "x t" or "x, t" a tuple. `shape` is a tuple of
    integers and dimension names; `("n", 784)` leaves the batch size open until run time.
    `draw`, `Bernoulli(p)` or `Normal(mean, std)`, is a distribution that training draws the entries from, anew for every update, where the
    data are not given: the mask of a dropout layer, noise.
    Raises `NetworkError` for a name that cannot be written in code or another `draw`, and `ShapeError` for an unusable shape.
    """
    if draw is not None and not isinstance(draw, Draw):
        raise NetworkError(f"data {names!r}: draw is {draw!r}; expected Bernoulli(p) or Normal(mean, std)")
    shape = as_shape(shape)
    if not all(isinstance(size, (int, Dim)) for size in shape):
        raise ShapeError(f"data {names!r} has shape {show(shape)}; its sizes must be integers or names of dimensions, which are read off the array")
    return _declare(names, shape, "data", draw)


def weight(names: str, shape: Any = (), init: Any = None) -> Any:
    """Learnt tensor(s).

    `init` is a number, an array of the weight's shape, the name of an initializer ("glorot_uniform", "he_normal",
    "zeros" ...), or None for the default that suits the weight's use: zeros for a bias, Glorot or He for a factor.
    Raises `NetworkError` for a bad name, `ShapeError` for a shape that is not made of integers.
    """
    return _declare(names, _stored_shape("weight", names, shape, init), "weight", init)


def _stored_shape(role: str, names: str, shape: Any, init: Any) -> Shape:
    """The shape of what is stored from update to update."""
    shape = as_shape(shape)
    if not all(isinstance(size, int) for size in shape):
        raise ShapeError(f"{role} {names!r} has shape {show(shape)}; a {role}'s sizes must be integers, since it is kept once for every batch")
    if hasattr(init, "shape") and tuple(init.shape) != shape:
        raise ShapeError(f"{role} {names!r} has shape {show(shape)} but its initial value has shape {show(tuple(init.shape))}; make them equal")
    return shape


def state(name: str, shape: Any = (), init: Any = 0, update: Callable[[Any], Any] | None = None) -> Tensor:
    """A tensor that is kept with the weights and changed by every training step, but not learnt: running statistics, counts, averages.

    `update` is a function of the old value's symbol that gives the new value: `state("m", (3,), update=lambda m: 0.9*m + 0.1*mu)` is
    the moving average of mu. All states are updated at once from the values that the step began with. A state without an update
    is a constant array. `init`: a number, an array, or the name of an initializer, as for a weight. A gradient is never taken in it.
    Raises `NetworkError` for a bad name or an undeclared symbol, `ShapeError` where the new value has another shape than the state.
    """
    check_name(name, "state")
    shape = _stored_shape("state", name, shape, init)
    if update is None:
        return Tensor(name, shape, "state", init=init)
    if not callable(update):
        raise NetworkError(f"the update of state {name!r} is {update!r}; expected a function of its old value, such as lambda {name}: 0.9*{name} + 0.1*x")
    return Tensor(name, shape, "state", init=init, update=_checked(name, update(Tensor(name, shape, "state", init=init)), shape, "update"))


def node(name: str, expr: Any, inference: Any = None) -> Tensor:
    """A tensor with a name and a defining equation `name = expr`; its shape is inferred and checked here.

    `inference` is what the node is once the network is trained, where that is something else: `predict` computes it, and so does the
    loss on validation data; the loss, its gradients and the updates follow `expr`. It has the shape of `expr`.
    Raises `ShapeError` where shapes do not fit, `NetworkError` for a bad name or an undeclared symbol, and
    `UnsupportedError` for mathematics that has no place in a network (complex numbers, integrals, matrices of SymPy).
    """
    check_name(name, "node")
    expr = _checked(name, expr)
    shape = shape_of(expr)
    return Tensor(name, shape, "node", expr, inference=None if inference is None else _checked(name, inference, shape, "inference"))


def _checked(name: str, value: Any, shape: Shape | None = None, kind: str = "") -> sp.Expr:
    """The right side of an equation, of the given shape if there is one, checked and made of shallow equations. `kind`: what it is of its
    name, "inference" or "update", where it is not the definition."""
    what = f"{kind} equation".lstrip()
    expr = as_expression(value, f"{what} {name!r}")
    parts = list(postorder(expr))
    check_expression(name, expr, parts)
    try:
        for part in parts:  # arguments first, so that no shape is looked for deeper than Python's stack
            shape_of(part)
    except ShapeError as error:
        raise ShapeError(f"{what} {name!r} ({name} = {expr}): {error}") from None
    if shape is not None and shape_of(expr) != shape:
        raise ShapeError(f"{what} {name!r} ({name} = {expr}): it has shape {show(shape_of(expr))}; expected {show(shape)}")
    return _shallow("__".join(filter(None, [name, kind])), expr, parts)


# An expression of more levels than DEPTH is cut into equations of about PIECE levels: SymPy is recursive, and a person could not read it either.
DEPTH, PIECE = 16, 6


def _shallow(name: str, root: sp.Expr, parts: Sequence[sp.Basic]) -> sp.Expr:
    """The expression, with parts of a very deep one named `<name>__1`, `<name>__2` ..., so that each equation stays shallow."""
    depth: dict[sp.Basic, int] = {}
    for part in parts:
        depth[part] = 1 + max((depth[a] for a in part.args), default=-1)
    if depth[root] <= DEPTH:
        return root
    done: dict[sp.Basic, sp.Basic] = {}
    count = itertools.count(1)
    for part in parts:
        args = [done[a] for a in part.args]
        rebuilt = part if all(a is b for a, b in zip(args, part.args, strict=True)) else part.func(*args)
        level = 1 + max((depth[a] for a in args), default=-1)
        if level >= PIECE and isinstance(rebuilt, sp.Expr) and part is not root:
            rebuilt = Tensor(f"{name}__{next(count)}", shape_of(rebuilt), "node", rebuilt)
            level = 0
        depth[rebuilt] = level
        done[part] = rebuilt
    return done[root]


def as_expression(value: Any, where: str) -> sp.Expr:
    """A SymPy expression from a number or an expression. Text and arrays are refused: neither is ever parsed here."""
    if isinstance(value, sp.Expr) and not isinstance(value, sp.MatrixExpr):
        return value
    if isinstance(value, (int, float, complex)) or getattr(value, "shape", None) == ():
        return sp.sympify(value.item() if hasattr(value, "item") else value, strict=True)
    raise NetworkError(f"{where}: found {_named(value)}; expected a SymPy expression of tensors ({_DECLARE})")


_REFUSED = (sp.Integral, sp.Sum, sp.Product, sp.Derivative, sp.Limit, sp.MatrixExpr, sp.Order)
_COMPLEX = (sp.re, sp.im, sp.arg, sp.conjugate)


def _is_complex(power: sp.Pow) -> bool:
    if power.exp.is_Integer and not power.is_number:
        return False  # no need to ask: its base was looked at
    return power.is_extended_real is False


def check_expression(name: str, expr: sp.Expr, parts: Sequence[sp.Basic]) -> None:
    """Refuse what cannot stand in an equation, with the equation's name in the message; `parts` are all its subexpressions."""
    for part in parts:
        if part is sp.I or (isinstance(part, sp.Pow) and _is_complex(part)) or isinstance(part, _COMPLEX) or part is sp.zoo:
            raise UnsupportedError(f"equation {name!r} ({name} = {expr}): {part} is complex; a network's values are real, so write its real form")
        if part is sp.nan:
            raise UnsupportedError(f"equation {name!r}: the expression is not a number (nan); check it for 0/0 or oo - oo")
        if isinstance(part, (*_REFUSED, sp.MatrixBase, sp.NDimArray)):
            raise UnsupportedError(
                f"equation {name!r} ({name} = {expr}): {type(part).__name__} has no place in a network; "
                "write tensors with data/weight and the operators of this package"
            )
        if isinstance(part, sp.Symbol) and not isinstance(part, (Tensor, Dim)):
            raise NetworkError(
                f"equation {name!r} ({name} = {expr}): the name {part.name!r} is unknown; "
                f"declare it with data({part.name!r}) or weight({part.name!r})"
            )

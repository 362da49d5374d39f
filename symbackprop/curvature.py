"""Second derivatives and Jacobians as users meet them: a mapping from weights, or pairs of weights, to equations that can be printed,
generated and computed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sympy as sp

from symbackprop.calculus import second
from symbackprop.calculus.batch import is_single_sample, lift
from symbackprop.calculus.deep import deep
from symbackprop.calculus.forms import shape_index
from symbackprop.calculus.index import IndexForm, free_indices, hoisted
from symbackprop.calculus.second import Blocks
from symbackprop.calculus.stabilise import stabilise
from symbackprop.errors import NetworkError, UnknownWeightError, UnsupportedError
from symbackprop.graph.equations import System, collect
from symbackprop.graph.shapes import show
from symbackprop.graph.tensor import Tensor
from symbackprop.latex import second as tex
from symbackprop.version import __version__

if TYPE_CHECKING:
    from os import PathLike
    from types import ModuleType

    from symbackprop.training.feed import Array, Checker
    from symbackprop.training.repeat import Repeat


class Derivative:
    """One block. `.symbol`: it as a node, which further networks may use; `.shape`; `.local`: its definition, in the network's named values;
    `.closed`: one entry in weights and data only, a `Lambda` of its indices; `[i, j, k]`: that entry."""

    def __init__(self, derivatives: "Derivatives", key: tuple[Tensor, ...], symbol: Tensor) -> None:
        self._derivatives = derivatives
        self._key = key
        self.symbol = symbol

    @property
    def shape(self) -> tuple[Any, ...]:
        """Its axes: those of the node (or the samples) or of the first weight, then those of the last weight."""
        return self.symbol.shape

    @property
    def local(self) -> sp.Expr:
        assert self.symbol.definition is not None
        return self.symbol.definition

    @property
    def closed(self) -> sp.Expr:
        index = free_indices(self.shape, (t.name for t in collect([self.symbol])))
        entry = self._entry(index)
        return sp.Lambda(index, entry) if index else entry

    def __getitem__(self, key: Any) -> sp.Expr:
        """One entry in weights and data only. Raises `IndexError` for an index outside the shape."""
        return self._entry(shape_index(self.shape, key, self.symbol.name))

    __iter__ = None

    @deep
    def _entry(self, index: tuple[Any, ...]) -> sp.Expr:
        taken = {t.name for t in collect([self.symbol])} | {i.name for i in index if isinstance(i, sp.Symbol)}
        return hoisted(IndexForm(lambda t: t.definition, taken).entry(self.symbol, index))

    @deep
    def latex(self, form: str = "matrix") -> str:
        """The block in the form "matrix" or "index", after the products that it needs."""
        return self._derivatives._latex([self._key], form, "aligned")

    @deep
    def __repr__(self) -> str:
        """Its equation in matrix form, on one line."""
        _, of = tex.lines_by_block(self._derivatives._written, self._derivatives.kind, [self._key], "matrix")
        return " = ".join(of[self._key])

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"


class Derivatives(Mapping[Any, Derivative]):
    """Weight name, or a pair of weight names, → `Derivative`. Weights themselves are keys too.

    Called with weights and data it computes all of them: a dictionary with the same keys. `.matrix` computes one array of them, all
    weights flattened (in C order) and one after the other.
    """

    def __init__(self, kind: str, derive: Callable[[System, Sequence[Tensor]], Blocks], system: System, wrt: Any = None) -> None:
        self.kind = kind
        self._derive = derive
        self._system = system
        self._wrt = _chosen(system, wrt)
        self._repeat: Repeat | None = None  # what the last call with all arguments was like

    @cached_property
    def _written(self) -> Blocks:
        """Of the network as it was written; the code computes a batch of it."""
        return self._derived(stabilise(self._system))

    @cached_property
    def _computed(self) -> Blocks:
        return self._derived(stabilise(lift(self._system))) if self._single else self._written

    @property
    def _single(self) -> bool:
        return is_single_sample(self._system)

    @deep
    def _derived(self, system: System) -> Blocks:
        names = {w.name for w in self._wrt}
        return self._derive(system, [w for w in system.weights if w.name in names])

    @property
    def node(self) -> Tensor | None:
        """The node whose Jacobian this is, or through which the loss is seen (Gauss-Newton)."""
        return self._written.node

    # --- a mapping ------------------------------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Derivative:
        parts = key if isinstance(key, tuple) else (key,)
        names = tuple(getattr(part, "name", part) for part in parts)
        for found, symbol in self._written.blocks.items():
            if tuple(t.name for t in found) == names:
                return Derivative(self, found, symbol)
        raise UnknownWeightError(f"the {self.kind} has no block {key!r}; it has {', '.join(map(repr, self))}")

    def __iter__(self) -> Iterator[Any]:
        return iter(_key(found) for found in self._written.blocks)

    def __len__(self) -> int:
        return len(self._written.blocks)

    # --- printed and generated ------------------------------------------------------------------------------------------

    def latex(self, form: str = "matrix") -> str:
        """One align* of all blocks (of a symmetric matrix those on and below the diagonal), in the form "matrix" or "index".

        In matrix form `vec` of a matrix is its entries in C order, row by row; a block that no matrices can say is written with indices.
        """
        return self._latex(list(self._written.blocks), form, "align*")

    @deep
    def _latex(self, keys: Sequence[tuple[Tensor, ...]], form: str, environment: str) -> str:
        if form not in tex.FORMS:
            raise UnsupportedError(f"the form {form!r} of a {self.kind} is unknown; expected one of {', '.join(tex.FORMS)}")
        return tex.align(tex.block_lines(self._written, self.kind, keys, form), environment)

    def generate(self, target: str = "numpy", dtype: str = "float64") -> str:
        """The source of a standalone module with one function, named like the method that made this; `draw` for what is drawn; and `check`,
        which holds it against central differences, as does the module when it is run. Gauss-Newton, which is no derivative, has no check."""
        if target != "numpy":
            raise UnsupportedError(f"the target {target!r} of a {self.kind} is unknown; expected 'numpy'")
        if dtype not in ("float64", "float32"):
            raise UnsupportedError(f"the dtype {dtype!r} is unknown; expected 'float64' or 'float32'")
        return self._source(dtype, checked=True)

    def save(self, path: "str | PathLike[str]") -> None:
        """Write what `generate()` returns to a file `.py`: `python hessian.py` checks itself. Raises `UnsupportedError` for another suffix."""
        from symbackprop.display.files import save

        save(path, {".py": self.generate}, f"a {self.kind}")

    def _source(self, dtype: str, checked: bool) -> str:
        from symbackprop.codegen.derivative_module import derivative_module

        source: str = derivative_module(self._computed, self.kind, _TITLES[self.kind], self._single, dtype, __version__, checked)
        return source

    def compiled(self) -> "Derivatives":
        """The same, computed in compiled code. It is compiled at the first call, which takes seconds, half a minute where there are many equations
        (attention, recurrences), and kept on disk, piece by piece: a second process loads it, and other networks use the pieces that they share.

        Worth it for a small network whose derivatives are computed often; of a large one most of the time is spent in matrix products anyway.
        Raises `ImportError` without the extra [fast], `UnsupportedError` for what compiled code cannot say.
        """
        from symbackprop.training.native_blocks import NativeBlocks

        other = copy(self)
        other.__dict__["_compute"] = NativeBlocks(self._computed, "float64")
        return other

    @property
    def _function(self) -> str:
        return self.kind.replace(" ", "_")

    # --- computed -------------------------------------------------------------------------------------------------------

    @cached_property
    def _module(self) -> "ModuleType":
        from symbackprop.codegen.load import load_source

        return load_source(self._source("float64", checked=False), self._function)

    @cached_property
    def _compute(self) -> "Callable[..., dict[Any, Array]]":
        compute: Callable[..., dict[Any, Array]] = getattr(self._module, self._function)
        return compute

    def _draw(self, rng: Any, **sizes: int) -> "dict[str, Array]":
        drawn: dict[str, Array] = self._module.draw(rng, **sizes)
        return drawn

    @cached_property
    def _unread(self) -> set[str]:
        """The states that no block reads, such as the moving averages of batch norm. A trainer's weights hold them too."""
        return {s.name for s in self._system.states} - self._start.keys()

    @cached_property
    def _start(self) -> "dict[str, Array]":
        """The states that blocks read, such as a mask that is an array, as they are where they are not given."""
        from symbackprop.training.evaluator import Evaluator

        names = {t.name for t in collect(self._computed.blocks.values())}
        read = {s.name for s in self._system.states} & names
        initial: dict[str, Array] = Evaluator(self._system).module.initialize() if read else {}
        return {name: initial[name] for name in read}

    @cached_property
    def _check(self) -> "Checker":
        from symbackprop.training.feed import Checker

        return Checker(self._system, "float64")

    @cached_property
    def _needed(self) -> list[str]:
        vectors = set(self._computed.vectors.values())
        return [t.name for t in collect(self._computed.blocks.values()) if t.role == "data" and t not in vectors]

    def __call__(self, weights: Mapping[Any, Any], vectors: Mapping[Any, Any] | None = None, **data: Any) -> "dict[Any, Array]":
        """The blocks as arrays, at the given weights and data. `vectors`: of a Hessian-vector product, the direction, as one array for each
        weight. Raises `DataError` for what is missing, unknown, unnamed, ill-shaped or not finite, `NetworkError` for a missing direction,
        `UnsupportedError` where the blocks for all pairs of weights do not fit into memory."""
        known = self._repeat
        if known is not None and vectors is None and type(weights) is dict and known.fits(weights, data):
            return self._compute({name: array.copy() for name, array in weights.items()}, **data)
        return self._checked(weights, vectors, data)

    def _checked(self, weights: Mapping[Any, Any], vectors: Mapping[Any, Any] | None, data: Mapping[str, Any]) -> "dict[Any, Array]":
        from symbackprop.training.feed import refuse_positional
        from symbackprop.training.repeat import Repeat
        from symbackprop.training.weights import complete

        if not self._computed.vectors:  # nobody names a direction that there is not
            refuse_positional([] if vectors is None else [vectors], self._function, self._needed)
        own = {k: v for k, v in weights.items() if getattr(k, "name", k) not in self._unread} if self._unread else weights
        kept = [t for t in self._system.kept if t.name not in self._unread] if self._start else self._system.weights
        point = complete(kept, own, self._start)
        feed = self._check.evaluated(data, self._draw, self._needed)
        arguments = [point]
        if self._computed.vectors:
            if vectors is None:
                raise NetworkError(f"a {self.kind} needs a direction: pass an array for each of {', '.join(w.name for w in self._wrt)}")
            arguments.append(complete(self._wrt, vectors))
        elif feed.arrays.keys() == data.keys() and not self._start:
            self._repeat = Repeat(point, feed.arrays)
        with self._room():
            return self._compute(*arguments, **feed.arrays)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Memory for all pairs of weights: where there is too little the error says so, before anything is computed if that is known before."""
        if any(len(key) == 1 for key in self._computed.blocks):
            yield
            return
        import numpy as np

        from symbackprop.training.room import entries, no_room

        try:
            np.empty((entries(self._wrt),) * 2)  # asks for the memory, and uses none of it
            yield
        except MemoryError as error:
            advice = "derive by fewer weights with wrt=..., or use hessian_vector_product(), which makes no matrix"
            raise no_room(_TITLES[self.kind], self._wrt, error, advice) from None

    def matrix(self, weights: Mapping[Any, Any], vectors: Mapping[Any, Any] | None = None, **data: Any) -> "Array":
        """All blocks in one array: each weight flattened in C order, in the network's order. Of a Hessian it is the square matrix over all
        weights; of a Jacobian or of the gradients of samples the weights lie along the columns; of a product it is a vector.
        Raises `UnsupportedError` where it does not fit into memory."""
        with self._room():
            return self._joined(self(weights, vectors, **data))

    def _joined(self, found: "dict[Any, Array]") -> "Array":
        import numpy as np

        sizes = {w.name: int(np.prod(w.shape, dtype=int)) for w in self._wrt}
        if len(next(iter(self._computed.blocks))) == 2:
            if len(sizes) == 1:
                (name,) = sizes
                return found[name, name].reshape(sizes[name], sizes[name])
            starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
            total = np.empty((sum(sizes.values()),) * 2)
            for (p, q), block in found.items():
                total[starts[p] : starts[p] + sizes[p], starts[q] : starts[q] + sizes[q]] = block.reshape(sizes[p], sizes[q])
            return total
        rows = np.concatenate([block.reshape(-1, sizes[name]) for name, block in found.items()], axis=1)
        return rows[0] if self._computed.vectors else rows

    @deep
    def __repr__(self) -> str:
        """A block a line, its name, its shape and its formula in matrix form, after what the formulas read."""
        before, of = tex.lines_by_block(self._written, self.kind, list(self._written.blocks), "matrix")
        formulas = {key: " = ".join(of[key]) if key in of else f"the transpose of {_key(key[::-1])!r}" for key in self._written.blocks}
        table = [(repr(_key(key)), show(t.shape), formulas[key]) for key, t in self._written.blocks.items()]
        wide, high = (max(len(row[k]) for row in table) for k in (0, 1))
        lines = [f"{_TITLES[self.kind]}, loss {self._system.loss}:", *(f"  {name:<{wide}}  {shape:<{high}}  {text}" for name, shape, text in table)]
        return "\n".join([*lines, *(["where:"] if before else []), *(f"  {left} = {right}" for left, right in before)])

    def _repr_latex_(self) -> str:
        return "$$" + self._latex(list(self._written.blocks), "matrix", "aligned") + "$$"


_TITLES = {
    "hessian": "The Hessian",
    "hessian vector product": "The product of the Hessian with a vector",
    "jacobian": "The Jacobian",
    "gauss newton": "The Gauss-Newton matrix",
    "fisher": "The empirical Fisher matrix",
    "per sample gradients": "The gradients of single samples",
}


def _key(found: tuple[Tensor, ...]) -> Any:
    names = tuple(t.name for t in found)
    return names[0] if len(names) == 1 else names


def _chosen(system: System, wrt: Any) -> list[Tensor]:
    """The weights that are meant: all, one, or several, by name or as tensors; in the network's order."""
    if wrt is None:
        chosen = set(system.weights)
    else:
        by_name = {w.name: w for w in system.weights}
        names = [getattr(w, "name", w) for w in (wrt if isinstance(wrt, Iterable) and not isinstance(wrt, (str, sp.Expr)) else [wrt])]
        for name in names:
            if not isinstance(name, str) or name not in by_name:
                raise UnknownWeightError(f"wrt: {_what(system, name)}; derivatives are by weights, {', '.join(map(repr, by_name)) or 'of which it has none'}")
        chosen = {by_name[name] for name in names}
    if not chosen:
        raise NetworkError("there are no weights to derive by; declare some with weight(...), or name them")
    return [w for w in system.weights if w in chosen]


def jacobian(system: System, node: Any, wrt: Any) -> Derivatives:
    """The Jacobian of a node of the network, given as the tensor or by its name."""
    name = _named(system, node)
    return Derivatives("jacobian", lambda s, w: second.jacobian(s, s.by_name[name], w), system, wrt)


def gauss_newton(system: System, wrt: Any, output: Any) -> Derivatives:
    """The Gauss-Newton matrix through the node `output`, or through the one that suits the loss."""
    name = None if output is None else _named(system, output)
    return Derivatives("gauss newton", lambda s, w: second.gauss_newton(s, s.by_name[name] if name else second.loss_input(s), w), system, wrt)


def _named(system: System, node: Any) -> str:
    name = getattr(node, "name", node)
    nodes = [t.name for t, _ in system.equations]
    if not isinstance(name, str) or name not in nodes:
        raise NetworkError(f"{_what(system, name)}; expected a node, given as the tensor or by its name: {', '.join(map(repr, nodes))}")
    return name


def _what(system: System, name: Any) -> str:
    """What was given in the place of something else, for an error message."""
    if not isinstance(name, str):
        return f"got {str(name)[:60]}, of type {type(name).__name__}"
    role = system.by_name[name].role if name in system.by_name else None
    return f"{name!r} is not in the network" if role is None else f"{name!r} is {'data' if role == 'data' else f'a {role}'}"


__all__ = ["Derivative", "Derivatives", "gauss_newton", "jacobian"]

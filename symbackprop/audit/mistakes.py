"""The mistakes that people make in a backward pass. Each generator goes over the network's equations and yields, for every place where
one mistake can be made, what a derivation with that mistake computes instead.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sympy as sp

from symbackprop.audit.backward import Backward, Change, is_activation
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.functions import step
from symbackprop.graph.operators.products import reduce_sum, transpose
from symbackprop.graph.operators.reduction import SameShape, Softmax, softmax
from symbackprop.graph.shapes import postorder, rank_of, shape_of
from symbackprop.graph.tensor import Tensor


@dataclass(frozen=True)
class Mistake:
    """`code`: a short name; `cost`: how far-fetched it is, so that of several explanations the simplest is told; `text`: what was done and
    what to do, for a learner."""

    code: str
    cost: float
    text: str
    change: Change


Generator = Callable[[Backward], Iterator[Mistake]]


def mistakes(b: Backward) -> list[Mistake]:
    """All of them, with their code written."""
    found = [m for generator in GENERATORS for m in generator(b)]
    b.learn(m.change for m in found)
    return found


# --- activations ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Activation:
    """a = f(z), and `back`, what it hands back to z."""

    a: Tensor
    z: Tensor
    back: sp.Expr
    adjoint: Tensor

    @property
    def slope(self) -> sp.Expr:
        return self.back.xreplace({self.adjoint: sp.S.One})

    @property
    def name(self) -> str:
        assert self.a.definition is not None
        return str(self.a.definition.func.__name__).lower()


def _activations(b: Backward) -> list[_Activation]:
    found = []
    for a in b.equations:
        f = a.definition
        if f is not None and (is_activation(f) or isinstance(f, SameShape)) and isinstance(f.args[-1], Tensor) and (a, f.args[-1]) in b.edges:
            found.append(_Activation(a, f.args[-1], b.edges[a, f.args[-1]], b.adjoint[a]))
    return found


def _right(b: Backward, f: _Activation) -> str:
    """The derivative as it should be: a factor, or what goes back where entries are not on their own."""
    return str(b.written(f.slope)) if is_activation(f.a.definition) else _plain(b, f.a, f.back)


def _groups(b: Backward) -> Iterator[list[_Activation]]:
    """Each activation, and all of one function together, as one habit makes the same mistake everywhere."""
    activations = _activations(b)
    yield from ([one] for one in activations)
    for name in dict.fromkeys(f.name for f in activations):
        same = [f for f in activations if f.name == name]
        if len(same) > 1:
            yield same
    if len({f.name for f in activations}) > 1:
        yield activations


def _habit(
    b: Backward, cost: float, make: Callable[[_Activation], sp.Expr | None], tell: Callable[[_Activation, sp.Expr], str]
) -> Iterator[Mistake]:
    """The mistake that writes `make(f)` for what each activation f hands back."""
    for group in _groups(b):
        edges = {(f.a, f.z): made for f in group if (made := make(f)) is not None and made != f.back}
        if edges and len(edges) == len(group):
            first = group[0]
            shown = b.written(edges[first.a, first.z].xreplace({first.adjoint: sp.S.One}))
            text = tell(first, shown).replace("<f>", str(b.written(first.a.definition))).replace("<slope>", _right(b, first))
            where = f" The equation is {b.equation(first.a)}." if len(group) == 1 else f" The same holds at {', '.join(str(b.owner[f.a]) for f in group)}."
            yield Mistake("activation derivative", cost + 0.2 * (len(group) > 1), text + where, Change(edges=edges))


def missing_derivative(b: Backward) -> Iterator[Mistake]:
    yield from _habit(
        b,
        3,
        lambda f: f.adjoint,
        lambda f, _: f"The derivative of {f.name} is missing: going back through <f> multiplies by <slope>, so put in that factor.",
    )


def derivative_at_wrong_point(b: Backward) -> Iterator[Mistake]:
    """1 - z² for 1 - a², and 1 - tanh(a)² for 1 - tanh(z)²."""
    yield from _habit(
        b,
        3,
        lambda f: f.back.xreplace({f.a: f.z}),
        lambda f, wrong: f"The derivative of {f.name} is taken as {wrong}, with the argument where the value of {f.name} belongs: write <slope>.",
    )
    yield from _habit(
        b,
        3,
        lambda f: f.back.xreplace({f.a: f.a.definition}).xreplace({f.z: f.a}),
        lambda f, wrong: f"The derivative of {f.name} is taken at the wrong point, as {wrong}: take it at {b.written(f.z)}, not at <f>; it is <slope>.",
    )


def derivative_twice(b: Backward) -> Iterator[Mistake]:
    """As (y - t) σ' where the cross-entropy has consumed σ' already."""
    yield from _habit(
        b,
        3,
        lambda f: f.back * f.slope if is_activation(f.a.definition) else None,
        lambda f, _: f"The derivative of {f.name}, <slope>, is multiplied in twice (or stands beside a simplified expression that contains it already): "
        "take it out once.",
    )


def derivative_of_another_function(b: Backward) -> Iterator[Mistake]:
    """a (1 - a) for a tanh, 1 - a² for a sigmoid, a (1 - a) entry by entry for a softmax."""
    others: list[Callable[[_Activation], sp.Expr]] = [lambda f: f.a * (1 - f.a), lambda f: 1 - f.a**2, lambda f: step(f.z)]
    for other in others:
        yield from _habit(
            b,
            3.3,
            lambda f, other=other: f.adjoint * other(f),  # type: ignore[misc]
            lambda f, wrong: f"The derivative of {f.name} is taken as {wrong}, which is another function's: write <slope>.",
        )


def sign_inside_derivative(b: Backward) -> Iterator[Mistake]:
    """1 + a² for 1 - a²."""

    def flipped(f: _Activation, which: int) -> sp.Expr | None:
        terms = [(total, term) for total in postorder(f.back) if isinstance(total, sp.Add) for term in total.args if not term.is_number]
        if not is_activation(f.a.definition) or which >= len(terms):
            return None
        total, term = terms[which]
        return f.back.xreplace({total: total - 2 * term})

    for which in range(2):
        yield from _habit(
            b,
            3.2,
            lambda f, which=which: flipped(f, which),  # type: ignore[misc]
            lambda f, wrong: f"A sign inside the derivative of {f.name} is wrong: it is taken as {wrong}; write <slope>.",
        )


def another_convention(b: Backward) -> Iterator[Mistake]:
    """relu'(0) = 1 or ½: at a kink there is no derivative, and a convention decides."""
    for value, jump in (("1", lambda u: 1 - step(-u)), ("1/2", lambda u: (1 + step(u) - step(-u)) / 2)):
        edges = {edge: back.replace(step, jump) for edge, back in b.edges.items() if back.has(step)}
        text = f"It differs only at a kink, as of relu at 0, where there is no derivative: {value} was taken there, and here it is 0, as usual."
        if edges:
            yield Mistake("kink", 1.0, text, Change(edges=edges))


# --- the softmax and the loss ------------------------------------------------------------------------------------------------


def softmax_entry_by_entry(b: Backward) -> Iterator[Mistake]:
    """P (1 - P) for the softmax inside a cross-entropy, whose derivative P - T contains the softmax's already: -T/P · P (1 - P), or beside it."""
    for (y, x), back in b.edges.items():
        for total in postorder(back):
            for term in total.args if isinstance(total, sp.Add) else ():
                for P in (p for p in sp.Mul.make_args(term) if isinstance(p, Softmax)):
                    right = f"going back through {b.equation(y)} the two together give {_plain(b, y, back)}."
                    alone, twice = back.xreplace({total: (total - term) * (1 - P)}), back.xreplace({total: total * P * (1 - P)})
                    text = "The softmax's derivative is taken entry by entry, as P (1 - P), but each entry of P depends on all arguments: " + right
                    yield Mistake("activation derivative", 3, text, Change(edges={(y, x): alone}))
                    text = "The softmax's derivative, as P (1 - P), is multiplied in beside the cross-entropy's, which contains it already: " + right
                    yield Mistake("activation derivative", 3, text, Change(edges={(y, x): twice}))


def another_softmax(b: Backward) -> Iterator[Mistake]:
    """The softmax left out, not normalised, or over another axis, in the equation itself or in the derivative of a cross-entropy."""

    def others(P: Softmax) -> Iterator[tuple[str, sp.Expr]]:
        z = P.operands[0]
        yield "is left out", z
        yield "is not divided by the sum of its exponentials", sp.exp(z)
        for axis in range(rank_of(z)):
            if axis - rank_of(z) != P.axis:
                yield f"runs over axis {axis} where the classes are on axis {P.axis + rank_of(z)}", softmax(z, axis)

    for y in b.equations:
        assert y.definition is not None
        for P in y.definition.atoms(Softmax):
            for what, other in others(P):
                text = f"The softmax {what}, in {b.equation(y)}."
                yield from _forward(b, 3.2, y, y.definition.xreplace({P: other}), "softmax", text)
    for (y, x), back in b.edges.items():
        for P in back.atoms(Softmax):
            for what, other in others(P):
                text = f"The softmax {what}: going back through {b.equation(y)} gives {_plain(b, y, back)}."
                yield Mistake("softmax", 3, text, Change(edges={(y, x): back.xreplace({P: other})}))


def undifferentiated_square(b: Backward) -> Iterator[Mistake]:
    """(y - t)² where its derivative 2 (y - t) belongs, with and without the 2."""
    for (y, x), back in b.edges.items():
        assert y.definition is not None
        for square in postorder(y.definition):
            if isinstance(square, sp.Pow) and square.exp == 2:
                kept = back.xreplace({square.base: square})
                text = f"The square is not differentiated, in {b.equation(y)}: the derivative with respect to {b.written(x)} is {_plain(b, y, back)}."
                for wrong in (kept / 2, kept) if kept != back else ():
                    yield Mistake("square", 3.1, text, Change(edges={(y, x): wrong}))


# --- the chain rule ------------------------------------------------------------------------------------------------------


def missing_path(b: Backward) -> Iterator[Mistake]:
    """One of several paths through which x acts on the loss is left out, or all but one."""
    users: dict[Tensor, list[Tensor]] = {}
    for y, x in b.edges:
        users.setdefault(x, []).append(y)
    for x, ys in users.items():
        for y in ys if len(ys) > 1 else ():
            text = f"One path of the chain rule is missing: {b.written(x)} also enters {b.equation(y)}, and the sum over all paths needs that term."
            yield Mistake("path", 3, text, Change(edges={(y, x): sp.S.Zero}))
            if len(ys) > 2:
                text = f"Only the path through {b.equation(y)} is there; {b.written(x)} enters {len(ys)} equations, and the chain rule adds up all."
                yield Mistake("path", 3.2, text, Change(edges={(z, x): sp.S.Zero for z in ys if z is not y}))
    for (y, x), back in b.edges.items():
        for term in back.args if isinstance(back, sp.Add) else ():
            text = f"In the derivative of {b.equation(y)} with respect to {b.written(x)} a term is missing: {_plain(b, y, term)}."
            yield Mistake("path", 3.2, text, Change(edges={(y, x): back - term}))


def wrong_sign(b: Backward) -> Iterator[Mistake]:
    """The sign of one local derivative."""
    for (y, x), back in b.edges.items():
        text = f"The sign of the derivative of {b.equation(y)} with respect to {b.written(x)} is flipped: it is {_plain(b, y, back)}."
        yield Mistake("sign", 2.6, text, Change(edges={(y, x): -back}))


def missing_factor(b: Backward) -> Iterator[Mistake]:
    """A local derivative, or one factor of it, left out of the product."""
    activations = {(f.a, f.z) for f in _activations(b)}
    for (y, x), back in b.edges.items():
        adjoint = b.adjoint[y]
        if (y, x) in activations or not isinstance(back, sp.Mul) or adjoint not in back.args:
            continue
        for factor in back.args:
            if factor is not adjoint and not factor.is_number and tensors_in(factor) and shape_of(back / factor) == x.shape:
                text = f"The factor {b.written(factor)} is missing: it is part of the derivative of {b.equation(y)} with respect to {b.written(x)}."
                yield Mistake("missing factor", 3.2, text, Change(edges={(y, x): back / factor}))


def untransposed(b: Backward) -> Iterator[Mistake]:
    """W where its transpose belongs, which only a square matrix allows."""
    for (y, x), back in b.edges.items():
        for W in _tensors(back):
            if len(W.shape) == 2 and W.shape[0] == W.shape[1] and W.definition is None and not W.adjoint_of:
                text = (
                    f"In the product that goes back through {b.equation(y)}, {W} has the index order of its transpose: "
                    f"forward and backward the order is opposite, so exchange {W} and its transpose; the term is {_plain(b, y, back)}."
                )
                yield Mistake("transposed", 3, text, Change(edges={(y, x): back.xreplace({W: transpose(W)})}))


def sum_over_everything(b: Backward) -> Iterator[Mistake]:
    """d.sum() for d.sum(axis=0), which NumPy then broadcasts to the shape of the weight."""
    for (y, x), back in b.edges.items():
        if x.role == "weight" and x.shape:
            text = (
                f"One sum over all entries stands in each place of it: sum over the batch alone, so that the shape of {x} is left, as in "
                f"{_plain(b, y, back)}; `d.sum(axis=0)`, not `d.sum()`."
            )
            yield Mistake("sum", 3, text, Change(edges={(y, x): reduce_sum(back)}))


def another_tensor(b: Backward) -> Iterator[Mistake]:
    """In a local derivative one tensor in another's place: z where a belongs, W_1 for W_2."""
    for (y, x), back in b.edges.items():
        for right in _tensors(back):
            if right.adjoint_of:
                continue
            for other in b.tensors:
                if other.shape == right.shape and other is not right and other is not b.system.loss:
                    code = "another weight" if right.role == other.role == "weight" else "another value"
                    text = (
                        f"Going back through {b.equation(y)} to {b.written(x)} reads {b.written(other)} "
                        f"where {b.written(right)} belongs: the term is {_plain(b, y, back)}."
                    )
                    cost = 3.5 if right.role == other.role else 3.8
                    yield Mistake(code, cost, text, Change(edges={(y, x): back.xreplace({right: other})}))


# --- the forward pass ----------------------------------------------------------------------------------------------------


def _forward(b: Backward, cost: float, y: Tensor, definition: sp.Expr, code: str, text: str) -> Iterator[Mistake]:
    """An equation computed wrongly: with the derivatives of the right equation, or with its own."""
    if definition == y.definition or shape_of(definition) != y.shape:
        return
    yield Mistake(code, cost, text, Change({y: definition}))
    if y in b.active:
        try:
            own = b.pull(y, definition)
        except UnsupportedError:  # a mistaken equation need not have a derivative
            return
        old = {x: sp.S.Zero for v, x in b.edges if v is y}
        yield Mistake(code, cost + 0.1, text, Change({y: definition}, {(y, x): e for x, e in (old | own).items()}))


def another_weight_forward(b: Backward) -> Iterator[Mistake]:
    for y in b.equations:
        assert y.definition is not None
        for right in _tensors(y.definition):
            for other in b.system.weights if right.role == "weight" else ():
                if other.shape == right.shape and other is not right:
                    text = f"The forward pass uses {other} where {right} belongs, in {b.equation(y)}."
                    yield from _forward(b, 3.4, y, y.definition.xreplace({right: other}), "another weight", text)


def wrong_term_forward(b: Backward) -> Iterator[Mistake]:
    """A term of a sum with the wrong sign, as y - XW + b for y - (XW + b), or forgotten, as a bias."""
    for y in b.equations:
        assert y.definition is not None
        for total in postorder(y.definition):
            for term in total.args if isinstance(total, sp.Add) else ():
                if not tensors_in(term) or shape_of(total - term) != shape_of(total):
                    continue
                shown = b.written(abs(term.as_coeff_Mul()[0]) * term.as_coeff_Mul()[1])
                flipped = y.definition.xreplace({total: total - 2 * term})
                text = f"The sign of the term {shown} is flipped in {b.equation(y)}: a minus before a bracket holds for each term in it."
                yield from _forward(b, 3.1, y, flipped, "sign of a term", text)
                without = y.definition.xreplace({total: total - term})
                yield from _forward(b, 3.3, y, without, "forward pass", f"The forward pass leaves out the term {shown} of {b.equation(y)}.")


def missing_activation(b: Backward) -> Iterator[Mistake]:
    for f in _activations(b):
        text = f"The forward pass leaves out {f.name}, in {b.equation(f.a)}."
        yield from _forward(b, 3.3, f.a, f.z, "forward pass", text)


def _tensors(expr: sp.Expr) -> list[Tensor]:
    return sorted(tensors_in(expr), key=lambda t: t.order)


def _plain(b: Backward, y: Tensor, back: sp.Expr) -> str:
    """What goes back, in the user's names: d_Z_2 @ W_2.T as dC/dZ_2 @ W_2.T."""
    adjoint = Tensor(f"d{b.system.loss}/d{b.owner[y]}", y.shape, "adjoint")
    return str(b.written(back.xreplace({b.adjoint[y]: adjoint if y is not b.system.loss else sp.S.One})))


GENERATORS: tuple[Generator, ...] = (
    missing_derivative,
    derivative_at_wrong_point,
    derivative_twice,
    derivative_of_another_function,
    sign_inside_derivative,
    another_convention,
    softmax_entry_by_entry,
    another_softmax,
    undifferentiated_square,
    missing_path,
    wrong_sign,
    missing_factor,
    untransposed,
    sum_over_everything,
    another_tensor,
    another_weight_forward,
    wrong_term_forward,
    missing_activation,
)

__all__ = ["GENERATORS", "Mistake", "mistakes"]

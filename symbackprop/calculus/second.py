"""Second derivatives as equations: Hessians, their products with a vector, Jacobians, Gauss-Newton and Fisher matrices, and the
gradients of single samples.

An adjoint is a node, so the gradient of <g, v> is the Hessian-vector product H v (Pearlmutter, "Fast Exact Multiplication by the
Hessian", Neural Computation 1994), linear in v; with v put to the identity (`calculus.linear`) it is H. A Jacobian is the same of
<y, u>. Gauss-Newton: J^T (d2C/dy2) J (Schraudolph, "Fast Curvature Matrix-Vector Products", Neural Computation 2002, section 3;
Martens, "New Insights and Perspectives on the Natural Gradient Method", JMLR 2020, section 8).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from symbackprop.calculus.batch import Lifter, batch_dimension
from symbackprop.calculus.differentiate import Adjoints, adjoints, differentiate
from symbackprop.calculus.linear import Axes, Linear, Space
from symbackprop.calculus.linear_rules import apply
from symbackprop.calculus.units import squeezed
from symbackprop.errors import NetworkError, UnsupportedError
from symbackprop.graph.equations import System, collect, depends_on, tensors_in
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.contraction import LETTERS, broadcast_in, contract
from symbackprop.graph.operators.layout import reshape
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.shapes import Dim, Shape, rank_of, shape_of
from symbackprop.graph.tensor import Tensor

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Blocks:
    """What was derived: a tensor for each weight or pair of weights. `system`: what it is a function of; `vectors`: further data of
    it, one for each weight; `node`: the tensor whose Jacobian is meant, or through which the loss is seen (Gauss-Newton)."""

    system: System
    blocks: dict[tuple[Tensor, ...], Tensor]
    vectors: dict[Tensor, Tensor]
    node: Tensor | None = None


def namer(system: System) -> Namer:
    """New names beside those of the system and of its adjoints."""
    taken = {t.name for t in system.tensors} | {d.name for d in system.dims}
    return Namer(taken | {symbol.name for symbol, _ in adjoints(system).equations})


def inner(pairs: Iterable[tuple[sp.Expr, sp.Expr]]) -> sp.Expr:
    """The sum of the inner products of pairs of tensors of one shape."""
    total: sp.Expr = sp.S.Zero
    for x, y in pairs:
        letters = LETTERS[: rank_of(y)]
        total += contract([letters, letters], "", [x, y]) if letters and rank_of(x) else x * (contract([letters], "", [y]) if letters else y)
    return total


class Transposed:
    """The derivative of `<x, v>` for tensors x and directions v: linear in v. Its matrix is found by putting v to the identity, or to any
    other map."""

    def __init__(self, system: System, pairs: Sequence[tuple[sp.Expr, Tensor]], wrt: Sequence[Tensor], space: Space) -> None:
        self.system = system
        self.directions = [v for _, v in pairs]
        total = inner((x, v) for x, v in pairs if x != 0)
        self.slope = Tensor(space.name("slope"), (), "node", total)
        self.adjoints: Adjoints = differentiate(self.slope, wrt, system.tensors)
        self.space = space

    def at(self, direction: Tensor, start: Linear, wrt: Iterable[Tensor]) -> dict[Tensor, Linear]:
        """The derivative in each of `wrt`, with `direction` put to the map `start` and all others to zero."""
        table: dict[Tensor, Linear] = {v: Linear(self.space.axes(v.shape), ()) for v in self.directions}
        table[direction] = start
        roots = {t for w in wrt if isinstance(t := self.adjoints.of[w], Tensor)}
        needed = collect(roots)
        inner = set().union(*(t.inputs for t in needed))
        for symbol, expr in self.adjoints.equations:
            if symbol in needed and not expr.free_symbols.isdisjoint(table):  # what a recurrence has passed does not move
                table[symbol] = apply(expr, table, self.space, end=symbol not in inner)
        zero = {w: Linear(self.space.axes(w.shape), ()) for w in wrt}
        return {w: table[t] if isinstance(t := self.adjoints.of[w], Tensor) else zero[w] for w in wrt}

    def bends(self, direction: Tensor, start: Linear) -> tuple[dict[Tensor, Linear], dict[Tensor, Linear]]:
        """Of the gradient's derivative along `direction`: how each node of the network moves, and where the network is curved, that is what
        the equations of a node's users add to the derivative of its adjoint besides handing on their own."""
        table: dict[Tensor, Linear] = {v: Linear(self.space.axes(v.shape), ()) for v in self.directions}
        table[direction] = start
        nodes = {symbol: symbol.adjoint_of[1] for symbol, _ in adjoints(self.system).equations if symbol.adjoint_of}
        moves: dict[Tensor, Linear] = {}
        curved: dict[Tensor, Linear] = {}
        for symbol, expr in self.adjoints.equations:
            assert symbol.adjoint_of is not None
            x = symbol.adjoint_of[1]
            if x in nodes:  # what multiplies the adjoint of a node is the node's own motion
                moves[nodes[x]] = table[symbol] = apply(expr, table, self.space)
            else:
                added = apply(expr, table, self.space)
                table[symbol] = Linear(self.space.axes(x.shape), ())
                if added.terms:
                    curved[x] = added
        return moves, curved


def _vectors(tensors: Iterable[Tensor], name: Namer) -> dict[Tensor, Tensor]:
    return {t: Tensor(name(f"v_{t.name}"), t.shape, "data") for t in tensors}


def _transposed(block: Tensor, rank: int) -> sp.Expr:
    """A block with its first `rank` axes behind the others."""
    letters = LETTERS[: block.rank]
    return contract([letters], letters[rank:] + letters[:rank], [block])


def _block(name: Namer, kind: str, parts: Sequence[Tensor], expr: sp.Expr, shape: Shape) -> Tensor:
    if shape_of(expr) != shape:  # a number, or what is the same in every entry
        expr = broadcast_in(expr, shape, ()) if shape else expr
    return Tensor(name("_".join([kind, *(t.name for t in parts)])), shape, "node", expr)


def _symmetric(name: Namer, kind: str, found: Mapping[Pair, sp.Expr], wrt: Sequence[Tensor]) -> dict[tuple[Tensor, ...], Tensor]:
    """All blocks of a symmetric matrix from those on and below its diagonal."""
    lower = {(p, q): _block(name, kind, (p, q), expr, p.shape + q.shape) for (p, q), expr in found.items()}
    blocks: dict[tuple[Tensor, ...], Tensor] = {}
    for p in wrt:
        for q in wrt:
            if (p, q) in lower:
                blocks[p, q] = lower[p, q]
            else:
                blocks[p, q] = _block(name, kind, (p, q), _transposed(lower[q, p], q.rank), p.shape + q.shape)
    return blocks


def hessian(system: System, wrt: Sequence[Tensor]) -> Blocks:
    """d2C/(dp dq) for every pair of weights, shape (*p, *q)."""
    name = namer(system)
    space = Space(name)
    vectors = _vectors(wrt, name)
    product = Transposed(system, [(adjoints(system).of[q], vectors[q]) for q in wrt], wrt, space)
    found = _curved_once(product, vectors, wrt, space)
    if found is None:
        found = {}
        for k, q in enumerate(wrt):
            rows = product.at(vectors[q], space.identity(q.shape), wrt[k:])
            found |= {(p, q): space.expression(rows[p]) for p in wrt[k:]}
    return Blocks(system, _symmetric(name, "H", found, wrt), {})


def _curved_once(product: Transposed, vectors: Mapping[Tensor, Tensor], wrt: Sequence[Tensor], space: Space) -> dict[Pair, sp.Expr] | None:
    """The blocks as J_p^T B J_q, if all the curvature B of the loss stands at one node; None otherwise. The Jacobians are found on the way
    forwards, so that the way back need not be taken."""
    if any(isinstance(expr, Scan) for _, expr in product.system.equations):  # it is curved at every step of time
        return None
    moves: dict[Tensor, Linear] = {}
    curved: dict[Tensor, Linear] = {}
    directions: dict[Tensor, Axes] = {}
    places: set[Tensor] = set()
    for q in wrt:
        moved, added = product.bends(vectors[q], space.identity(q.shape))
        places |= added.keys()
        if len(places) != 1:
            return None
        (x,) = places
        if x in wrt or x not in moved or x not in added:
            return None
        moves[q], curved[q], directions[q] = moved[x], added[x], space.direction
    found: dict[Pair, sp.Expr] = {}
    for k, q in enumerate(wrt):
        for p in wrt[k:]:
            rows = space.axes(p.shape)
            left = _with_axes(moves[p], directions[p], rows)
            space.direction = directions[q]
            found[p, q] = space.expression(Linear(rows, space.inner(left, curved[q])))
    return found


def _with_axes(x: Linear, old: Axes, new: Axes) -> Linear:
    """A map with other indices for some of its axes or directions."""
    table = {a: b for a, b in zip(old, new, strict=True) if a is not None and b is not None}
    return Linear(tuple(table.get(c, c) if c is not None else None for c in x.axes), tuple(t.renamed(table) for t in x.terms))


def hessian_vector_product(system: System, wrt: Sequence[Tensor]) -> Blocks:
    """(H v)_p for every weight p, with a direction v_q for every weight q."""
    name = namer(system)
    vectors = _vectors(wrt, name)
    product = Transposed(system, [(adjoints(system).of[q], vectors[q]) for q in wrt], wrt, Space(name))
    blocks: dict[tuple[Tensor, ...], Tensor] = {(p,): _block(name, "Hv", (p,), product.adjoints.of[p], p.shape) for p in wrt}
    listed = (*system.data, *vectors.values(), *system.weights)
    return Blocks(System(system.loss, system.output, system.extra, listed), blocks, vectors)


def _jacobians(system: System, node: Tensor, wrt: Sequence[Tensor], space: Space) -> dict[Tensor, Linear]:
    """dy/dp as a map whose own axes are those of p, and whose direction is y."""
    direction = Tensor(space.name(f"u_{node.name}"), node.shape, "data")
    transposed = Transposed(system, [(node, direction)], wrt, space)
    return transposed.at(direction, space.identity(node.shape), wrt)


def jacobian(system: System, node: Tensor, wrt: Sequence[Tensor]) -> Blocks:
    """dy/dp for every weight p, shape (*y, *p)."""
    name = namer(system)
    space = Space(name)
    found = _jacobians(system, node, wrt, space)
    blocks: dict[tuple[Tensor, ...], Tensor] = {}
    for p, x in found.items():
        blocks[(p,)] = _block(name, "J", (p,), space.expression(x, (*space.direction, *x.axes)), node.shape + p.shape)
    return Blocks(system, blocks, {}, node)


def gauss_newton(system: System, node: Tensor, wrt: Sequence[Tensor]) -> Blocks:
    """J_p^T (d2C/dy2) J_q for every pair of weights, with y = `node`, shape (*p, *q). What is added to the loss and does not depend on y, a
    penalty on weights, has its Hessian in it. Raises `NetworkError` where the loss sees weights on other ways too."""
    around = _around(system, node, wrt)
    if around:
        raise NetworkError(
            f"Gauss-Newton through {node.name}: the loss sees {', '.join(w.name for w in around)} on other ways too; "
            "name a node that all ways go through with output=..., or leave these weights out with wrt=[...]"
        )
    name = namer(system)
    space = Space(name)
    maps = _jacobians(system, node, wrt, space)
    rows = space.direction
    first = differentiate(system.loss, [node], system.tensors)
    vector = Tensor(name(f"v_{node.name}"), node.shape, "data")
    curvature = Transposed(system, [(first.of[node], vector)], [node], space)
    found: dict[Pair, sp.Expr] = {}
    for k, q in enumerate(wrt):
        space.direction = space.axes(q.shape)  # each map is used with many; its columns need indices of their own
        columns = _with_axes(maps[q], maps[q].axes, space.direction)
        bent = curvature.at(vector, Linear(rows, columns.terms), [node])[node]
        for p in wrt[k:]:
            left = Linear(rows, maps[p].terms)
            found[p, q] = space.expression(Linear(maps[p].axes, space.inner(left, bent)))
    penalty = _beside(system, node, wrt)
    if penalty is not None:
        bent_too = hessian(System(penalty, listed=(*system.data, *system.weights)), [w for w in wrt if w in collect([penalty])]).blocks
        found |= {pair: found[pair] + bent_too[pair] for pair in found.keys() & bent_too.keys()}
    return Blocks(system, _symmetric(name, "G", found, wrt), {}, node)


def _around(system: System, node: Tensor, wrt: Sequence[Tensor]) -> list[Tensor]:
    """The weights that the loss sees on ways around the node, in terms that see the node too."""
    through = depends_on(system.tensors, [node])
    seen = {node}
    stack = [t for term in sp.Add.make_args(system.loss.definition) if through & tensors_in(term) for t in tensors_in(term)]
    while stack:
        t = stack.pop()
        if t not in seen:
            seen.add(t)
            stack.extend(t.inputs)
    return [w for w in wrt if w in seen]


def _beside(system: System, node: Tensor, wrt: Sequence[Tensor]) -> Tensor | None:
    """The sum of the terms of the loss that the weights change, but not through the node."""
    loss = system.loss.definition
    through, reached = depends_on(system.tensors, [node]), depends_on(system.tensors, wrt)
    terms = [t for t in sp.Add.make_args(loss) if reached & tensors_in(t) and not through & tensors_in(t)]
    return Tensor(f"{system.loss.name}_beside", (), "node", sp.Add(*terms)) if terms else None


# --- single samples ------------------------------------------------------------------------------------------------------


def _samples(system: System) -> Dim:
    n = batch_dimension(system)
    if n is None:
        raise NetworkError("the network has no dimension that counts samples; give its data a leading dimension such as 'n'")
    return n


def _sample_gradients(system: System, wrt: Sequence[Tensor], name: Namer) -> tuple[Dim, dict[Tensor, Tensor]]:
    """The gradient of the loss of each sample alone, shape (n, *p): the network with n = 1, lifted."""
    n = _samples(system)
    single: dict[sp.Basic, sp.Basic] = {n: sp.S.One}
    lifted: dict[Tensor, Tensor] = {}
    listed = []
    for t in system.tensors:
        shape = tuple(1 if size == n else size if isinstance(size, int) else size.subs(n, 1) for size in t.shape)
        if t.role == "data" and n in t.shape:
            if t.shape.count(n) != 1:
                raise UnsupportedError(f"the data {t.name!r} has more than one axis along {n}, so a single sample of it is not defined")
            one = Tensor(t.name, shape, "data")
            single[t] = one
            lifted[one] = t
        elif t.definition is not None and (t.mentioned & single.keys()):
            single[t] = Tensor(t.name, shape, "node", t.definition.xreplace(single))
        else:
            continue
        listed.append(single[t])
    loss = single.get(system.loss, system.loss)
    alone = differentiate(loss, wrt, [t for t in listed if isinstance(t, Tensor)])
    known = {t.definition: t for t in system.tensors if t.definition is not None}
    lifter = Lifter({one: _leading(t, n) for one, t in lifted.items()}, n)
    for t in collect([*alone.forward(), *(s for s, _ in alone.equations)]):
        if t.definition is None:
            continue
        moved = lifter(t.definition)
        if moved is not t.definition:
            full, moved = shape_of(moved), squeezed(moved)
            wish = f"g_{t.adjoint_of[1].name}" if t.adjoint_of else f"{t.name}_each"
            each = known.get(moved) or Tensor(name(wish), shape_of(moved), "node", moved)  # what is so in a batch has a name
            lifter.lifted[t] = reshape(each, full)
    found: dict[Tensor, Tensor] = {}
    for p in wrt:
        g = alone.of[p]
        each = lifter.lifted.get(g, g) if isinstance(g, Tensor) else g
        full = (n, *p.shape)
        each = reshape(each, full) if shape_of(each)[:1] == (n,) else broadcast_in(each, full, list(range(1, 1 + rank_of(each))))
        found[p] = each if isinstance(each, Tensor) and each not in known.values() else _block(name, "g", (p,), each, full)
    return n, found


def _leading(t: Tensor, n: Dim) -> sp.Expr:
    """The samples of a data tensor, each as a batch of one: (n, 3) as (n, 1, 3)."""
    at = t.shape.index(n)
    letters = LETTERS[: t.rank]
    moved = contract([letters], letters[at] + letters[:at] + letters[at + 1 :], [t])
    return reshape(moved, (n, *(1 if size == n else size for size in t.shape)))


def per_sample_gradients(system: System, wrt: Sequence[Tensor]) -> Blocks:
    """The gradient of each sample's loss alone, shape (n, *p)."""
    name = namer(system)
    _, found = _sample_gradients(system, wrt, name)
    return Blocks(system, {(p,): found[p] for p in wrt}, {})


def fisher(system: System, wrt: Sequence[Tensor]) -> Blocks:
    """The empirical Fisher matrix: the mean over the samples of the outer products of their gradients, shape (*p, *q)."""
    name = namer(system)
    n, each = _sample_gradients(system, wrt, name)
    blocks = {}
    for k, q in enumerate(wrt):
        for p in wrt[k:]:
            count = p.rank + q.rank
            own, other, sample = LETTERS[: p.rank], LETTERS[p.rank : count], LETTERS[count]
            blocks[p, q] = contract([sample + own, sample + other], own + other, [each[p], each[q]]) / n
    return Blocks(system, _symmetric(name, "F", blocks, wrt), {})


def loss_input(system: System) -> Tensor:
    """The node through which Gauss-Newton sees the loss: the output, where the loss sees the weights through it alone; else the one node that both the
    loss reads and the weights reach, such as the logits of a cross-entropy whose softmax is the output. A node of which the loss is a
    linear function, such as the losses of single samples, has no curvature: there what that node reads counts."""
    reached = depends_on(system.tensors, system.weights)
    y = system.output
    if y is not None and y is not system.loss and y in collect([system.loss]) and y in reached and not _around(system, y, system.weights):
        return y
    node = system.loss
    while node is system.loss or node not in collect(tensors_in(differentiate(system.loss, [node], system.tensors).of[node])):
        direct = [t for t in node.inputs if t.definition is not None and t in reached]
        if len(direct) != 1:
            found = ", ".join(sorted(t.name for t in direct)) or "none"
            reader = "the loss" if node is system.loss else f"{node.name}, of which the loss is a linear function,"
            raise NetworkError(f"Gauss-Newton needs the node through which the loss is seen; {reader} reads {found}: name one with output=...")
        node = direct[0]
    return node


__all__ = [
    "Blocks",
    "fisher",
    "gauss_newton",
    "hessian",
    "hessian_vector_product",
    "jacobian",
    "loss_input",
    "per_sample_gradients",
]

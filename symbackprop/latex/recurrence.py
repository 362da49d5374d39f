r"""How the tensors of a recurrence's body are set: by the time that their values are from, h_{t-1}, \bar{z}_{t+1}."""

from collections.abc import Sequence

import sympy as sp

from symbackprop.graph.equations import dims_in, tensors_in
from symbackprop.graph.operators.base import TimePrinter
from symbackprop.graph.operators.contraction import Broadcast, Einsum, contract
from symbackprop.graph.operators.layout import Reshape
from symbackprop.graph.operators.positions import Positions
from symbackprop.graph.operators.scan import Body, Part, Scan, is_carry, moment
from symbackprop.graph.shapes import Dim, shape_of, size_of
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.names import Name, name_of

SHIFTS = {-1: "t-1", 0: "t", 1: "t+1"}


def names_at(body: Body, operands: Sequence[sp.Basic], step: str, p: TimePrinter) -> dict[Tensor, Name]:
    """The names of a body's tensors at time `step`; what a body captures is written as outside."""
    outside = dict(zip((*body.states, *body.items, *body.captured), operands, strict=True))
    names = {}
    for t in body.tensors:
        base, when = moment(t.name)
        x = outside.get(t)
        if t in body.captured and x is not None:
            names[t] = Name(p.factor(x))
        elif isinstance(x, Positions):  # the number of the step
            names[t] = Name(step)
        elif x is not None and from_outside(t):
            names[t] = row_of(x, _time(step, when), p)
        else:
            names[t] = _timed(base, _time(step, when))
            if moment(base)[1] is not None and step.startswith("t"):  # what the step behind hands back, not yet the adjoint itself
                names[t] = names[t]._replace(above=r"\leftarrow")
    return names


def scan_latex(scan: Scan, p: TimePrinter) -> str:
    """How the recurrence begins, what it takes of its sequences, and the equations of one step."""
    body, last = scan.body, p.plain(sp.sympify(scan.length, strict=True) - 1)
    inside = p.inside(body, scan.operands)
    first, span = (last, rf"t = {last}, \dots, 0") if scan.reverse else ("0", rf"t = 0, \dots, {last}")
    starting = p.inside(body, scan.operands, first)
    rows = []
    hidden = carried(body)
    for state, x in zip(body.states, scan.initial, strict=True):
        left = p.inside(body, scan.operands, _time(first, _side(body))).plain(hidden[state]) if state in hidden else starting.plain(state)
        rows.append(f"{left} = {'0' if isinstance(x, Broadcast) and x.operands[0] == 0 else p.plain(x)}")
    written = {body.after(state) for state in hidden}
    lines = [f"{inside.plain(symbol)} = {inside.plain(expr)}" for symbol, expr in body.equations if symbol not in written]
    for t, x in zip(body.items, scan.sequences, strict=True):
        result = isinstance(x, Part) or (isinstance(x, Tensor) and isinstance(x.definition, Part))
        if moment(t.name)[1] == 0 and not from_outside(t) and not result and not isinstance(x, Positions):
            lines.insert(0, f"{inside.plain(t)} = {row_of(x, 't', p).plain()}")
    return r"\begin{cases} " + r" \\ ".join([*rows, rf"\text{{for }} {span} \text{{:}}", *lines]) + r" \end{cases}"


def _side(body: Body) -> int:
    """From which side, in time, the states of a body come."""
    return moment(body.states[0].name)[1] or 0


def row_of(sequence: sp.Basic, time: str, p: TimePrinter) -> Name:
    """What a sequence holds at one time: [X]_t, or [X]_{:, t} where time is its second axis and was brought to the front."""
    before = 0
    if isinstance(sequence, Einsum) and len(sequence.operands) == 1 and len(sequence.spec[1]) == len(sequence.spec[0][0]):
        (letters,), out = sequence.spec
        if letters.replace(out[0], "") == out[1:]:  # the other axes stay in their order
            before, sequence = letters.index(out[0]), sequence.operands[0]
    if isinstance(sequence, Reshape) and sequence.moves_unit_axes():  # on paper they are not there
        before, sequence = sum(size != 1 for size in sequence.shape[:before]), sequence.operands[0]
    return Name(rf"\left[{p.plain(sequence)}\right]", ", ".join([":"] * before + [time]))


def _timed(base: str, time: str) -> Name:
    """h_t; of a name with a subscript of its own, z^{(1)}_t."""
    inner, when = moment(base)
    name = name_of(sp.Symbol(inner if when is not None else base))
    above = ",".join(filter(None, [name.above, name.below]))
    return Name(name.head, _time(time, when), f"({above})" if above else "")


def _time(step: str, when: int | None) -> str:
    if not when:
        return step
    at = next((shift for shift, text in SHIFTS.items() if text == step), None)
    if at is not None:
        return SHIFTS.get(at + when, f"t{at + when:+}")
    if step.lstrip("-").isdigit():
        return str(int(step) + when)
    return step.removesuffix(" - 1") if when == 1 and step.endswith(" - 1") else f"{step}{when:+}"


def over_time(e: Einsum, p: TimePrinter) -> str | None:
    """A contraction of stacked values as a sum over t of what stands at one time, or as its values at all times; None where it has no
    matrix form, or no operand is the result of a recurrence."""
    found = next(((x, x.definition.scan) for x in e.operands if _is_stack(x)), None)
    if found is None:
        return None
    ins, out = e.spec
    time = ins[e.operands.index(found[0])][0]
    names: dict[Tensor, Name] = {}
    rows = []
    for k, (letters, x) in enumerate(zip(ins, e.operands, strict=True)):
        if time not in letters:
            rows.append((letters, x))
            continue
        at = letters.index(time)
        shape = shape_of(x)
        row = Tensor(f"row_{k}", (*shape[:at], *shape[at + 1 :]), "state")
        names[row] = _row(x, at, p)
        rows.append((letters.replace(time, "", 1), row))
    inner = contract([s for s, _ in rows], out.replace(time, ""), [x for _, x in rows])
    if any(isinstance(part, Einsum) and max(map(len, (*part.spec[0], part.spec[1]))) > 2 for part in inner.atoms(Einsum)):
        return None
    text = p.naming(names).plain(inner)
    last = p.plain(sp.sympify(found[1].length, strict=True) - 1)
    return rf"\sum_{{t=0}}^{{{last}}} {text}" if time not in out else rf"\left({text}\right)_{{t = 0, \dots, {last}}}"


def _is_stack(x: sp.Basic) -> bool:
    return isinstance(x, Tensor) and isinstance(x.definition, Part) and not x.definition.result.final


def _row(x: sp.Expr, at: int, p: TimePrinter) -> Name:
    """What a stack holds at time t, by its name in the equations of a step."""
    if at == 0 and _is_stack(x):
        scan = x.definition.scan
        return Name(p.inside(scan.body, scan.operands).plain(x.definition.result.tensor))
    return Name(rf"\left[{p.plain(x)}\right]", ", ".join([":"] * at + ["t"]))


def entry_of_result(scan: Scan, flat: sp.Expr, p: TimePrinter) -> str | None:
    """One entry of all results of a scan in one row, by the name that the result has on paper: (h_2)_{n i}. None where the place in the row
    does not say which index it is."""
    found = unravelled(scan, flat)
    if found is None:
        return None
    number, index = found
    tensor, final = scan.body.results[number]
    if final:
        name = p.plain(Part(sp.Integer(number), scan))
    else:
        (time, *index) = index
        name = p.inside(scan.body, scan.operands, p.plain(time)).plain(tensor)
    several = any(not isinstance(i, sp.Symbol) for i in index)
    return rf"\left({name}\right)_{{{(', ' if several else ' ').join(map(p.plain, index))}}}" if index else name


def unravelled(scan: Scan, flat: sp.Expr) -> tuple[int, list[sp.Expr]] | None:
    """The number of a result, and the index in it, of an entry of the row that holds them all, which is the inverse of `Part.entry`."""
    counts = [size_of(scan.shape_of_result(k)) for k in range(len(scan.body.results))]
    table: dict[sp.Basic, sp.Basic] = {d: sp.Integer(1000 + k) for k, d in enumerate(dims_in(sp.Tuple(flat, *counts)))}
    table |= {s: sp.S.Zero for s in flat.free_symbols if not isinstance(s, Dim)}
    first = flat.xreplace(table)  # the first entry, in some sizes: what holds for all of them holds for these
    number = max(k for k in range(len(counts)) if sp.Add(*counts[:k]).xreplace(table) <= first)
    rest, index, shape = sp.expand(flat - sp.Add(*counts[:number])), [], scan.shape_of_result(number)
    for axis, size in enumerate(shape):
        stride = size_of(shape[axis + 1 :])
        parts = [sp.Integer(int(t) // int(stride)) if t.is_Integer and stride.is_Integer else t / stride for t in sp.Add.make_args(rest)]
        i = sp.Add(*(t for t in parts if sp.denom(t) == 1)) if size != 1 else sp.S.Zero
        rest = sp.expand(rest - i * stride)
        index.append(i)
    return (number, index) if rest == 0 else None


def names_inside(body: Body, operands: Sequence[sp.Basic], step: str, p: TimePrinter) -> dict[Tensor, Name]:
    """The same; what a step backwards is handed back by the step behind is written out."""
    names = names_at(body, operands, step, p)
    if step == "t":
        later = p.inside(body, operands, f"t{_side(body):+}")
        names |= {state: Name(later.plain(expr)) for state, expr in carried(body).items()}
    return names


def carried(body: Body) -> dict[Tensor, sp.Expr]:
    """State → what the step behind hands back to this one, where that is read by nothing else: it is written where it is read."""
    read = {t for _, expr in body.equations for t in tensors_in(expr)}
    made = dict(body.equations)
    found = {state: made[new] for state, new in zip(body.states, body.news, strict=True) if is_carry(new) and new not in read}
    known = {*body.states, *(t for t in body.items if from_outside(t))}  # before the first step there is no such item
    return {state: expr for state, expr in found.items() if not tensors_in(expr) & known}


def from_outside(item: Tensor) -> bool:
    """Whether an item of a recurrence backwards is the adjoint that comes from outside."""
    return moment(item.name)[0].endswith("_out")


__all__ = ["entry_of_result", "names_inside", "over_time", "scan_latex", "unravelled"]

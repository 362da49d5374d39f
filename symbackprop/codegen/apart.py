"""What softmaxes and cross-entropies of a training step are taken apart into, so that their values and slopes share one exponential: besides the
maximum, the exponentials below it and quotients, the sum of all exponentials but the largest, and a share less its target. In NumPy both know
where the largest entry stands, which was found together with the maximum; compiled code asks which exponential is 1.

Source: P. Blanchard, D. J. Higham & N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021),
section 4.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import sympy as sp

from symbackprop.calculus.match import definition
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.functions import Elementwise, log1p
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.base import CodePrinter, Index, IndexContext, Operator, shape_code
from symbackprop.graph.operators.cross_entropy import CrossEntropy, CrossEntropySlope
from symbackprop.graph.operators.layout import expand_axes
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.operators.reduction import AxisMax, LogSoftmax, LogSumExp, Reduction, Softmax
from symbackprop.graph.shapes import Shape, rank_of, shape_of, size_of
from symbackprop.graph.stable import expsub, guarded
from symbackprop.graph.stable_losses import logistic_loss
from symbackprop.graph.tensor import Equation, Tensor

if TYPE_CHECKING:
    from symbackprop.codegen.array_calls import Calls


class difference(Elementwise):  # noqa: N801  (a SymPy function is called as it is written)
    """x - y, where neither is taken apart: SymPy makes one sum of log + (m - z), and so may a compiler that sums in any order; but m - z is exact,
    and log + m is not."""

    nargs = 2


class share_less_target(Elementwise):  # noqa: N801
    """An entry of `ShareLessTarget`."""

    nargs = 5


class SumOfOthers(Reduction):
    """The sum of e along an axis without the largest entry, at its first place; m: the maximum of what e are the exponentials of."""

    def numpy_form(self, p: CodePrinter) -> str:
        return f"{p.helper('_sum_of_others')}({p.plain(self.operands[0])}, {self.axis})"


class ShareLessTarget(Operator):
    """a e/total - t, and where e is 1, which is what a sum of exponentials is counted from, (a - t) - a rest/total: total is 1 + rest."""

    n_parameters = 1

    @property
    def axis(self) -> int:
        return int(self.args[0])

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0])

    def infer_shape(self) -> Shape:
        return shape_of(self.operands[0])

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        at = self.axis + self.rank
        row = (*index[:at], *index[at + 1 :])
        e, t = (context.entry(x, index) for x in (self.operands[0], self.operands[3]))
        rest, total, a = (context.entry(x, row) if rank_of(x) else x for x in (self.operands[1], self.operands[2], self.operands[4]))
        return share_less_target(e, rest, total, t, a)

    def numpy_form(self, p: CodePrinter) -> str:
        e, rest, total, t, a = map(p.plain, self.operands[:5])
        return f"{p.helper('_share_less_target')}({e}, {rest}, {total}, {t}, {a}, {self.axis})"


class Exponentials:
    """The equations behind all softmaxes, logarithms and cross-entropies `of_x` of one operand, made when they are first asked for.

    `lowest`, if there are masks: the least number, which stands for the maximum of nothing but -oo. The softmax of that is zero. `precise`: the
    exponentials make good how x less the maximum is rounded.
    """

    def __init__(
        self,
        axis: sp.Expr,
        x: sp.Expr,
        of_x: Sequence[sp.Expr],
        table: dict[sp.Basic, sp.Basic],
        name: Namer,
        lowest: sp.Expr | None,
        precise: bool,
    ) -> None:
        self.axis, self.name, self.lowest, self.precise = axis, name, lowest, precise
        self.label = x.name if isinstance(x, Tensor) else "s"
        self.made: list[Equation] = []
        x = x.xreplace(table)
        self.x = x if isinstance(x, Tensor) else self.named("z", x)
        self.has_logs = not all(isinstance(part, Softmax) for part in of_x)
        # By itself: x minus a logarithm minus the maximum would be rounded at the size of x.
        self.reads_below = any(isinstance(part, LogSoftmax) or (isinstance(part, CrossEntropy) and part.adds_up) for part in of_x)

    def named(self, kind: str, value: sp.Expr) -> Tensor:
        symbol = Tensor(self.name(f"{kind}_{self.label}"), shape_of(value), "node", value)
        self.made.append(Equation(symbol, value))
        return symbol

    def taken(self) -> list[Equation]:
        """The equations that were made since this was last asked."""
        made, self.made = self.made, []
        return made

    def spread(self, y: sp.Expr) -> sp.Expr:
        return expand_axes(y, (int(self.axis),), self.x.rank) if rank_of(y) else y

    @cached_property
    def maximum(self) -> Tensor:
        return self.named("max", AxisMax(self.axis, self.x))

    @cached_property
    def largest(self) -> Tensor:
        return self.maximum if self.lowest is None else self.named("least", sp.Max(self.maximum, self.lowest))

    @cached_property
    def below(self) -> sp.Expr:
        below = self.x - self.spread(self.largest)
        return self.named("below", below) if self.reads_below else below

    @cached_property
    def e(self) -> Tensor:
        return self.named("exp", expsub(self.x, self.spread(self.largest)) if self.precise else sp.exp(self.below))

    @cached_property
    def rest(self) -> Tensor:
        """The sum of all but the largest, which is 1: it stands in log1p."""
        return self.named("rest", SumOfOthers(self.axis, self.e, self.maximum))

    @cached_property
    def total(self) -> Tensor:
        if self.has_logs:
            return self.named("sum", 1 + self.rest)
        total = self.named("sum", reduce_sum(self.e, int(self.axis)))
        return total if self.lowest is None else self.named("share", sp.Max(total, 1))  # the largest e is 1, if there is one

    @cached_property
    def log(self) -> Tensor:
        return self.named("log", log1p(self.rest))

    def form(self, part: sp.Expr, table: dict[sp.Basic, sp.Basic]) -> sp.Expr:
        """How one of them is computed; `table` says so of those inside it."""
        if isinstance(part, Softmax):
            return self.e / self.spread(self.total)
        if isinstance(part, LogSoftmax):
            return self.below - self.spread(self.log)
        if isinstance(part, LogSumExp):
            return self.log + self.largest
        t, a = (y.xreplace(table) for y in part.operands[1:])
        if isinstance(part, CrossEntropySlope):
            return ShareLessTarget(self.axis, self.e, self.rest, self.total, t, a, self.maximum)
        if part.adds_up:
            return a * self.log - reduce_sum(t * self.aimed_at(t, self.below), int(self.axis))
        return difference(a * self.log, reduce_sum(t * self.aimed_at(t, self.x), int(self.axis)) - a * self.largest)

    def aimed_at(self, t: sp.Expr, y: sp.Expr) -> sp.Expr:
        """y where the target is not 0; what a mask has made -oo has no part in the loss otherwise."""
        return y if self.lowest is None else guarded(sp.Abs(t), y, 0)


class Logistic:
    """The equations behind the logistic losses and slopes of one logit, which share the exponential of what is not positive."""

    def __init__(self, z: sp.Expr, table: dict[sp.Basic, sp.Basic], name: Namer) -> None:
        label = z.name if isinstance(z, Tensor) else "s"
        z = z.xreplace(table)
        self.made: list[Equation] = []
        self.z = z if isinstance(z, Tensor) else self.named(name(f"z_{label}"), z)
        self.e = self.named(name(f"exp_{label}"), sp.exp(-sp.Abs(self.z)))

    def named(self, name: str, value: sp.Expr) -> Tensor:
        self.made.append(Equation(Tensor(name, shape_of(value), "node", value), value))
        return self.made[-1].symbol

    def taken(self) -> list[Equation]:
        made, self.made = self.made, []
        return made

    def form(self, part: sp.Expr, table: dict[sp.Basic, sp.Basic]) -> sp.Expr:
        """How one of them is computed; `table` says so of what is inside its weights."""
        z, e = self.z, self.e
        a, b = (x.xreplace(table) for x in part.args[1:])
        if isinstance(part, logistic_loss):
            both = definition(a) + definition(b)  # of t and 1 - t it is 1
            return sp.Abs(z) * sp.Piecewise((a, z > 0), (b, True)) + (both if both.is_number else a + b) * log1p(e)
        return sp.Piecewise((difference(a, b * e), z > 0), (difference(a * e, b), True)) / (1 + e)


class Places:
    """The variables for the places of maxima in the flat memory of their operands, by the variable of the maximum, and the lines that use them."""

    def __init__(self, calls: "Calls") -> None:
        self.calls = calls
        found = {part for _, expr in calls.program.equations for part in expr.atoms(SumOfOthers)}
        self.wanted = {part.operands[1].name for part in found if part.axis == -1 and part.rank and isinstance(part.operands[0], Tensor)}
        self.of: dict[str, str] = {}
        inside = {part: sp.S.Zero for _, expr in calls.program.equations for part in expr.atoms(SumOfOthers, ShareLessTarget)}
        self.read = {t.name for _, expr in calls.program.equations for t in tensors_in(expr.xreplace(inside))} if self.wanted else set()

    def maximum(self, x: str, shape: Shape, out: str) -> None:
        """The largest entries along the last axis, read where they stand: for short rows far faster than a maximum."""
        calls, lead = self.calls, shape[:-1]
        rows, length = (calls.text(sp.sympify(size, strict=True)) for size in (size_of(lead), shape[-1]))
        starts = f"np.arange({rows})" + (f".reshape({shape_code(lead, calls.printer)})" if len(lead) > 1 else "") + f" * {length}"
        top = self.of[out] = calls.name(f"top_{out.removeprefix('max_')}")
        calls.lines += [f"{top} = {x}.argmax(-1)", f"{top} += {calls.constant(starts, 'starts')}"]
        calls.lines.append(f'{x}.take({top}, out={out}, mode="clip")')

    def written(self, expr: SumOfOthers | ShareLessTarget, out: str) -> bool:
        """Whether the place of the maximum is known; then the expression is written."""
        top = self.of.get(self.calls.text(expr.operands[-1]))
        if top is not None:
            (self.others if isinstance(expr, SumOfOthers) else self.less_target)(expr, out, top)
        return top is not None

    def others(self, expr: Operator, out: str, top: str) -> None:
        """The sum of all entries but the largest, which is 0 from then on, unless something else reads it."""
        e = self.calls.text(expr.operands[0])
        lines = [f"{e}.put({top}, 0)", f"{e}.dot({self.calls.row('ones', shape_of(expr.operands[0])[-1])}, out={out})"]
        if expr.operands[0].name in self.read:
            held = self.calls.name(f"held_{out}")
            lines = [f"{held} = {e}.take({top})", *lines, f"{e}.put({top}, {held})"]
        self.calls.lines += lines

    def less_target(self, expr: Operator, out: str, top: str) -> None:
        """Shares less their targets, and once more where a share is largest."""
        e, rest, total, t, a, _ = expr.operands
        calls = self.calls
        e_, rest_, total_ = map(calls.text, (e, rest, total))
        with calls.argument(t) as t_, calls.argument(a) as a_, calls.argument(expand_axes(total, (-1,), expr.rank)) as column:
            calls.lines.append(f"np.divide({e_}, {column}, out={out})")
            sure = f"{rest_} / {total_}"
            if a != 1:
                calls.lines.append(f"np.multiply({out}, {a_}{'[..., None]' * (rank_of(a) > 0)}, out={out})")
                sure = f"{a_} * {rest_} / {total_}"
            calls.lines += [f"np.subtract({out}, {t_}, out={out})", f"{out}.put({top}, {a_} - {t_}.take({top}) - {sure})"]


__all__ = ["Exponentials", "Logistic", "Places", "ShareLessTarget", "SumOfOthers", "difference", "share_less_target"]

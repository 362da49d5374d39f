"""Target "python": the training loop of a network of scalars, as straight-line Python on floats, one sample after another."""

import sympy as sp

from symbackprop.codegen.expressions import POWER, PythonPrinter, Spelling
from symbackprop.codegen.helpers import helper_source
from symbackprop.codegen.program import Program
from symbackprop.codegen.schedule import inlined, scheduled
from symbackprop.graph.tensor import Tensor


def is_scalar(program: Program) -> bool:
    """Whether every value is a scalar, so that floats do."""
    return all(t.rank == 0 for t in program.system.tensors) and all(e.symbol.rank == 0 for e in program.equations)


def stored(program: Program) -> list[Tensor]:
    """The values that live from step to step, in the order in which `run` takes and returns them."""
    return [*program.system.kept, *program.states.values()]


class _FloatPrinter(PythonPrinter):
    """Integers as floats, which Python multiplies faster; powers keep them."""

    def _number(self, expr: sp.Expr) -> Spelling:
        text, precedence = super()._number(expr)
        return (f"{text}.0", precedence) if expr.is_Integer and text.lstrip("-").isdigit() else (text, precedence)

    def _pow(self, expr: sp.Pow) -> Spelling:
        base, exponent = expr.args
        if exponent.is_Integer and exponent > 0 and not (base.is_Symbol and exponent == 2):
            return f"{self.atom(base)}**{exponent}", POWER
        return super()._pow(expr)


def scalar_source(program: Program) -> str:
    """A module with `run(values, step, samples) -> (values, losses)`: one update for each sample."""
    program = scheduled(inlined(program))
    printer = _FloatPrinter(scalar=True, names={new: place.name for new, place in program.places.items()})
    loss = program.system.loss
    body = [f"{printer.plain(symbol)} = {printer.plain(expr)}" for symbol, expr in program.equations]
    values = ", ".join(t.name for t in stored(program)) + ","
    data = ", ".join(t.name for t in program.data) + ("," if len(program.data) == 1 else "")
    losses, samples, given = program.name("losses"), program.name("samples"), program.name("values")
    uses_step = any(program.step in e.expr.free_symbols for e in program.equations)
    count = [f"{program.step.name} += 1"] if uses_step else []
    loop = "\n".join(f"            {line}" for line in [*count, *body, f"{losses}.append({loss.name})"])
    unpack = f"for {data or '_'} in {samples}:"
    helpers = helper_source(printer.helpers, scalar=True)
    run = f'''def run({given}, {program.step.name}, {samples}):
    """Update the weights once for each sample. Returns the new values and the losses before the updates. Where an operation fails it
    stops: the values then mean nothing, and there is a loss for each update that was made."""
    {values} = {given}
    {losses} = []
    try:
        {unpack}
{loop}
    except (ArithmeticError, ValueError):  # what float arithmetic raises where an array would hold infinity or NaN
        pass
    return ({values}), {losses}'''
    header = '"""Training loop of a network of scalars, on floats. Written by symbackprop."""\n\nimport math'
    return "\n\n\n".join([header, *helpers, run]) + "\n"

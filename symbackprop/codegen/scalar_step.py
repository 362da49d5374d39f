"""Target "python": the training loop of a network of scalars, as straight-line Python on floats, one sample after another."""

from symbackprop.codegen.expressions import PythonPrinter
from symbackprop.codegen.helpers import helper_source
from symbackprop.codegen.program import Program
from symbackprop.graph.tensor import Tensor


def is_scalar(program: Program) -> bool:
    """Whether every value is a scalar, so that floats do."""
    return all(t.rank == 0 for t in program.system.tensors) and all(e.symbol.rank == 0 for e in program.equations)


def stored(program: Program) -> list[Tensor]:
    """The values that live from step to step, in the order in which `run` takes and returns them."""
    return [*program.system.weights, *program.states.values()]


def scalar_source(program: Program) -> str:
    """A module with `run(values, step, samples) -> (values, losses)`: one update for each sample, as long as the loss is finite."""
    printer = PythonPrinter(scalar=True)
    latest: dict[Tensor, str] = {}
    body = []
    loss = program.system.loss
    for symbol, expr in program.equations:
        body.append(f"{symbol.name} = {printer.plain(expr)}")
        if symbol in program.places:
            latest[program.places[symbol]] = symbol.name
        if symbol is loss:
            body += [f"if {loss.name} - {loss.name} != 0:  # infinite or NaN", "    break"]
    keep = [f"{place.name} = {name}" for place, name in latest.items()]
    values = ", ".join(t.name for t in stored(program)) + ","
    data = ", ".join(t.name for t in program.data) + ("," if len(program.data) == 1 else "")
    losses, samples, given = program.name("losses"), program.name("samples"), program.name("values")
    uses_step = any(program.step in e.expr.free_symbols for e in program.equations)
    count = [f"{program.step.name} += 1"] if uses_step else []
    loop = "\n".join(f"            {line}" for line in [*count, *body, *keep, f"{losses}.append({loss.name})"])
    unpack = f"for {data or '_'} in {samples}:"
    helpers = helper_source(printer.helpers, scalar=True)
    run = f'''def run({given}, {program.step.name}, {samples}):
    """Update the weights once for each sample. Returns the new values and the losses before the updates: fewer than there are
    samples if one was not finite."""
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

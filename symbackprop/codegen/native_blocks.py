"""Target "numba" for second derivatives and Jacobians: a step that computes every block, as loops over arrays.

To the compiler each block is the new value of an array that the caller gives, as a weight's is in training.
"""

from dataclasses import dataclass

from symbackprop.calculus.second import Blocks
from symbackprop.calculus.share import share
from symbackprop.codegen.contractions import planned
from symbackprop.codegen.lower import lowered
from symbackprop.codegen.native_step import NativeSource, native_source
from symbackprop.codegen.program import Program
from symbackprop.codegen.schedule import scheduled
from symbackprop.graph.equations import collect
from symbackprop.graph.names import Namer
from symbackprop.graph.tensor import Equation, Tensor


@dataclass(frozen=True)
class BlocksSource:
    """`native`: the source of `run`; `program`: what it computes; `results`: the arrays that it fills, in the order of the blocks."""

    native: NativeSource
    program: Program
    results: tuple[Tensor, ...]


def native_blocks(blocks: Blocks, dtype: str) -> BlocksSource:
    """The compiled code for all blocks. Raises `UnsupportedError` for what compiled code cannot say."""
    system = blocks.system
    required = collect(blocks.blocks.values())
    name = Namer({t.name for t in (*system.tensors, *required)} | {d.name for d in system.dims})
    equations = [Equation(t, t.definition) for t in required if t.definition is not None]
    results: dict[Tensor, Tensor] = {}
    for symbol in blocks.blocks.values():
        new = Tensor(name(f"{symbol.name}_new"), symbol.shape, "state", symbol)
        results[new] = Tensor(name(f"{symbol.name}_result"), symbol.shape, "state")
        equations.append(Equation(new, symbol))
    equations = share(planned(equations, name), name)
    states = {(place.name, symbol): place for (new, place), symbol in zip(results.items(), blocks.blocks.values(), strict=True)}
    data = [t for t in required if t.role == "data"]
    program = Program(system, equations, results, states, {}, Tensor(name("step"), (), "state"), data, name)
    program = scheduled(lowered(program, dtype))
    return BlocksSource(native_source(program, dtype, None), program, tuple(results.values()))


__all__ = ["BlocksSource", "native_blocks"]

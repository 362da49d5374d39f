"""Which memory the values of a training step in NumPy stand in. Values that are never needed at the same time share a block; a block is as
large as the largest of them.

Blocks are handed out while the code is written, in sizes with open dimensions, so that it reads as if written by hand. `lifetimes` places
the arrays of compiled code instead: there all of them and their sizes are known before the first is placed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import sympy as sp

from symbackprop.graph.names import Namer
from symbackprop.graph.operators.base import Printer, shape_code
from symbackprop.graph.shapes import Shape, size_of


@dataclass(eq=False)
class Block:
    """`size`: how many entries; `views`: the variables that look into it, and their shapes."""

    size: sp.Expr
    views: dict[str, Shape] = field(default_factory=dict)


class Memory:
    """Hands out blocks, takes them back, and writes the lines that make them."""

    def __init__(self, name: Namer) -> None:
        self.name = name
        self.blocks: list[Block] = []
        self.free: list[Block] = []
        self.shared = 0
        self.of: dict[str, Block] = {}  # a variable → the block that it looks into

    def take(self, shape: Shape) -> Block:
        """A free block: the smallest that the shape fits into, else the largest of its kind, made larger; else a new block."""
        size = size_of(shape)
        ratios = {block: ratio for block in self.free if (ratio := _ratio(block.size, size)) is not None}
        block = min(ratios, key=lambda b: (ratios[b] < 1, abs(ratios[b] - 1)), default=None)
        if block is None:
            block = Block(size)
            self.blocks.append(block)
        else:
            self.free.remove(block)
            block.size = size if ratios[block] < 1 else block.size
        return block

    def view(self, block: Block, shape: Shape, wish: str | None = None) -> str:
        """A variable of this shape that looks into the block: called as wished, or any that there is."""
        if wish is None:
            known = next((name for name, other in block.views.items() if other == shape), None)
            wish = known or self.name(f"buffer_{len(self.of) + 1}")
        block.views[wish] = shape
        self.of[wish] = block
        return wish

    def give(self, block: Block) -> None:
        self.free.append(block)

    def source(self, printer: Printer) -> list[str]:
        """The lines that make the blocks and the variables that look into them."""
        return [line for block in self.blocks for line in self.lines(block, printer)]

    def lines(self, block: Block, printer: Printer) -> Iterator[str]:
        shapes = dict.fromkeys(block.views.values())
        names = {shape: " = ".join(name for name, other in block.views.items() if other == shape) for shape in shapes}
        if len(shapes) == 1:
            (shape,) = shapes
            yield f"{names[shape]} = np.empty({shape_code(shape, printer)}, DTYPE)"
            return
        self.shared += 1
        whole = self.name(f"block_{self.shared}")
        yield f"{whole} = np.empty({printer.plain(block.size)}, DTYPE)"
        for shape in shapes:
            part = whole if size_of(shape) == block.size else f"{whole}[: {printer.plain(size_of(shape))}]"
            yield f"{names[shape]} = {part}.reshape({shape_code(shape, printer)})"


def _ratio(a: sp.Expr, b: sp.Expr) -> Fraction | None:
    """a / b where that is a number whatever the open dimensions are; else None."""
    ratio = a / b if b != 0 else sp.nan
    return Fraction(int(ratio.p), int(ratio.q)) if isinstance(ratio, sp.Rational) else None

"""What a diagram shows: a node for each tensor, an edge for each mention of one in the equation of another, and the gradient that
travels back along it."""

from dataclasses import dataclass

import sympy as sp

from symbackprop.calculus.forms import Forms
from symbackprop.display.diagram.formula import fitted
from symbackprop.display.diagram.text import Span, Text, name_text, plain, width
from symbackprop.graph.equations import System, tensors_in
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.tensor import Tensor

KINDS = ("data", "weight", "state", "node", "output", "loss")
SMALL = 12.0  # the font size of formulas and shapes
FORMULA_WIDTH, TITLE_LENGTH = 165, 400


@dataclass(frozen=True)
class Node:
    """A tensor as a diagram shows it. `kind` is one of "data", "weight", "state", "node", "output", "loss"; `formula` a text short enough for a
    box, `equation` the whole one."""

    name: str
    kind: str
    is_output: bool
    shape: tuple[str, ...]
    label: Text
    formula: Text
    equation: str

    @property
    def size(self) -> Text:
        """The shape in one line: n × 64; nothing for a scalar."""
        return tuple(span for s in self.shape for span in (Span(" × "), Span(s, 0, s.isalpha())))[1:]


@dataclass(frozen=True)
class Edge:
    """`target`'s equation mentions `source`. `gradient`: what that equation contributes to the gradient in `source`, None where no
    gradient flows."""

    source: str
    target: str
    forward: str
    gradient: str | None = None


def nodes_of(system: System) -> list[Node]:
    return [_node(system, t) for t in system.tensors]


def edges_of(system: System, backward: bool) -> list[Edge]:
    """The edges in the order of the equations; where `backward` is set, with the gradients that flow along them."""
    flows = Forms(system).adjoints.edges if backward else {}
    places = {t: i for i, t in enumerate(system.tensors)}
    edges = []
    for y, expr in system.equations:
        for x in sorted(tensors_in(expr), key=places.__getitem__):
            names = plain(name_text(x)), plain(name_text(y))
            flow = flows.get((y, x), sp.S.Zero)
            gradient = None if flow == 0 else _title(f"∂{plain(name_text(system.loss))}/∂{names[0]} from {names[1]}:", flow)
            edges.append(Edge(x.name, y.name, f"{names[0]} → {names[1]}", gradient))
    return edges


def _node(system: System, t: Tensor) -> Node:
    is_output = t is system.output
    kind = t.role if t.definition is None else "loss" if t is system.loss else "output" if is_output else "node"
    label = name_text(t)
    shape = () if isinstance(t.definition, Scan) else tuple(str(size) for size in t.shape)  # it has several results
    if t.definition is None:
        return Node(t.name, kind, is_output, shape, label, (), f"{plain(label)}: {t.role}")
    formula = fitted(t.definition, lambda found: width(found, SMALL) <= FORMULA_WIDTH)
    return Node(t.name, kind, is_output, shape, label, formula, _title(f"{plain(label)} =", t.definition))


def _title(start: str, expr: sp.Expr) -> str:
    return f"{start} {plain(fitted(expr, lambda found: len(plain(found)) <= TITLE_LENGTH))}"

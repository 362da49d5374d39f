"""What `net.diagram()` returns: the graph of a network's named nodes, and its pictures."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import cached_property
from html import escape
from os import PathLike

from symbackprop.display.diagram import markup
from symbackprop.display.diagram.graph import KINDS, Edge, Node, edges_of, nodes_of
from symbackprop.display.diagram.layout import Picture, picture
from symbackprop.display.diagram.svg import svg
from symbackprop.display.diagram.text import plain
from symbackprop.display.files import save
from symbackprop.graph.equations import System


class Diagram:
    """The graph of a network: a node for each tensor, an edge for each mention of one in the equation of another.

    `.nodes` and `.edges` are the graph; `.svg()`, `.dot()` and `.mermaid()` its pictures; `.save(path)` writes the one that the
    suffix asks for. It shows itself in Jupyter.
    """

    def __init__(self, nodes: Sequence[Node], edges: Sequence[Edge], width: float | None = 1000, legend: bool = True) -> None:
        self.nodes = list(nodes)
        self.edges = list(edges)
        self._width = width
        self._legend = legend

    @classmethod
    def of(cls, system: System, backward: bool = True, width: float | None = 1000, legend: bool = True) -> "Diagram":
        return cls(nodes_of(system), edges_of(system, backward), width, legend)

    @cached_property
    def picture(self) -> Picture:
        """Where everything stands."""
        return picture(self.nodes, self.edges, self._width)

    def svg(self) -> str:
        """A picture for pages and books: one self-contained SVG element."""
        return svg(self.nodes, self.edges, self.picture, self._title, self._description, self._legend)

    def dot(self) -> str:
        """The graph in the language of Graphviz."""
        return markup.dot(self.nodes, self.edges)

    def mermaid(self) -> str:
        """The graph in the language of Mermaid, which GitHub draws."""
        return markup.mermaid(self.nodes, self.edges)

    def save(self, path: str | PathLike[str]) -> None:
        """Write .svg, .dot or .gv, .mmd, or .md (Mermaid in a code block). Raises `UnsupportedError` for another suffix."""
        writers: dict[str, Callable[[], str]] = {
            ".svg": self.svg,
            ".dot": self.dot,
            ".gv": self.dot,
            ".mmd": self.mermaid,
            ".md": lambda: f"```mermaid\n{self.mermaid()}```\n",
        }
        save(path, writers, "a diagram")

    @property
    def _title(self) -> str:
        loss = next(n for n in self.nodes if n.kind == "loss")
        return f"The network of the loss {plain(loss.label)}"

    @property
    def _description(self) -> str:
        """The graph in words."""
        kinds = {kind: [plain(n.label) for n in self.nodes if n.kind == kind] for kind in KINDS}
        listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
        equations = "; ".join(n.equation for n in self.nodes if n.formula)
        return f"{listed}. Equations: {equations}."

    def __repr__(self) -> str:
        back = sum(e.gradient is not None for e in self.edges)
        return f"Diagram({len(self.nodes)} nodes, {len(self.edges)} edges, {back} with a gradient)"

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        """The picture as an image, to be scrolled where the page is narrower than it can be read. Notebooks on the web remove or break
        SVG that stands in the page itself."""
        source = b64encode(self.svg().encode()).decode()
        style = f"max-width:100%;min-width:{0.6 * self.picture.width:.0f}px"
        return f'<div style="overflow-x:auto"><img alt="{escape(self._title)}" style="{style}" src="data:image/svg+xml;base64,{source}"></div>'

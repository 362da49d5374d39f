"""The graph as text for other programs: DOT (Graphviz) and Mermaid (GitHub, many wikis). They lay it out themselves."""

from collections.abc import Sequence

from symbackprop.display.diagram.graph import KINDS, Edge, Node
from symbackprop.display.diagram.svg import LIGHT
from symbackprop.display.diagram.text import plain

_DOT_SHAPES = {"data": "parallelogram", "weight": "ellipse", "state": "box", "node": "box", "output": "box", "loss": "hexagon"}
_MERMAID_SHAPES = {"data": ("[/", "/]"), "weight": ("([", "])"), "state": ("(", ")"), "node": ("[", "]"), "output": ("[[", "]]"), "loss": ("{{", "}}")}
_MERMAID_ESCAPES = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "\\": "#92;", "`": "#96;"}
FORWARD, BACKWARD = "#333333", "#c04a00"


def dot(nodes: Sequence[Node], edges: Sequence[Edge]) -> str:
    lines = ["digraph network {", "  rankdir=LR;", '  node [fontname="Times", style=filled];']
    for n in nodes:
        fill, frame = LIGHT[n.kind]
        label = r"\n".join(map(_quoted, _lines(n)))
        look = f'shape={_DOT_SHAPES[n.kind]}, peripheries={2 if n.is_output else 1}, fillcolor="{fill}", color="{frame}"'
        look += ', style="filled,rounded"' if n.kind in ("state", "node", "output") else ""
        lines.append(f'  "{n.name}" [label="{label}", tooltip="{_quoted(n.equation)}", {look}];')
    for e in edges:
        lines.append(f'  "{e.source}" -> "{e.target}" [color="{FORWARD}", tooltip="{_quoted(e.forward)}"];')
        if e.gradient is not None:
            lines.append(f'  "{e.target}" -> "{e.source}" [color="{BACKWARD}", style=dashed, constraint=false, tooltip="{_quoted(e.gradient)}"];')
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(nodes: Sequence[Node], edges: Sequence[Edge]) -> str:
    ids = {n.name: f"n{i}" for i, n in enumerate(nodes)}
    lines = ["flowchart LR"]
    for n in nodes:
        left, right = _MERMAID_SHAPES[n.kind]
        label = "<br/>".join("".join(_MERMAID_ESCAPES.get(c, c) for c in line) for line in _lines(n))
        lines.append(f'  {ids[n.name]}{left}"{label}"{right}:::{n.kind}')
    arrows: list[str] = []
    back = []
    for e in edges:
        arrows.append(f"  {ids[e.source]} --> {ids[e.target]}")
        if e.gradient is not None:
            back.append(len(arrows))
            arrows.append(f"  {ids[e.target]} -.-> {ids[e.source]}")
    lines += arrows
    used = {n.kind for n in nodes}
    lines += [f"  classDef {kind} fill:{LIGHT[kind][0]},stroke:{LIGHT[kind][1]},color:#1a1a1a" for kind in KINDS if kind in used]
    if back:
        lines.append(f"  linkStyle {','.join(map(str, back))} stroke:{BACKWARD}")
    return "\n".join(lines) + "\n"


def _lines(n: Node) -> list[str]:
    name = plain(n.label) + (f"  {plain(n.size)}" if n.size else "")
    return [name, plain(n.formula)] if n.formula else [name]


def _quoted(content: str) -> str:
    """Text between the quotes of a DOT string."""
    return content.replace("\\", "\\\\").replace('"', '\\"')

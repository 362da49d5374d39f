r"""Formulas as MathML Core, the mathematics that browsers set by themselves.

What LaTeX leaves to the reader's eye is said here: an invisible times between factors, an invisible "applied to" between a function
and its arguments, an invisible comma between indices. Screen readers and computer algebra read these; so do browsers, for the room.
"""

import unicodedata
from html import escape

from symbackprop.calculus.deep import deep
from symbackprop.latex.boxes import read
from symbackprop.latex.metrics import resolved
from symbackprop.latex.nodes import Accent, Atom, Box, Call, Delimited, Fraction, Grid, Phantom, Root, Row, Script, Space, Text
from symbackprop.latex.symbols import Kind

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
APPLY, TIMES, COMMA = "\N{FUNCTION APPLICATION}", "\N{INVISIBLE TIMES}", "\N{INVISIBLE SEPARATOR}"

_SILENT = (Space, Text, Phantom)
_BARS = {"/", "|", "‖", "!", "\\"}
_FENCES = set("()[]{}⌊⌋⌈⌉⟨⟩") | _BARS

# How Unicode calls the letters of an alphabet, and what the ones are called that had a name before: h in italics is Planck's constant.
_ALPHABETS = {
    "bold": ("MATHEMATICAL BOLD",),
    "bold italic": ("MATHEMATICAL BOLD ITALIC", "MATHEMATICAL BOLD"),
    "slanted": ("MATHEMATICAL ITALIC",),
    "double-struck": ("DOUBLE-STRUCK", "MATHEMATICAL DOUBLE-STRUCK"),
    "script": ("SCRIPT", "MATHEMATICAL SCRIPT"),
    "fraktur": ("BLACK-LETTER", "MATHEMATICAL FRAKTUR"),
    "sans-serif": ("MATHEMATICAL SANS-SERIF",),
    "monospace": ("MATHEMATICAL MONOSPACE",),
}


@deep
def mathml(latex: str, block: bool = True) -> str:
    r"""A formula in LaTeX as a `<math>` element: displayed, or within a line of text. Whole environments such as align* are formulas
    too. The LaTeX itself is kept as an annotation; a command that is not known is shown by its name."""
    display = ' display="block"' if block else ""
    note = f'<annotation encoding="application/x-tex">{escape(latex, quote=False)}</annotation>'
    return f'<math xmlns="{NAMESPACE}"{display}><semantics>{_one(_row(read(latex, strict=False)))}{note}</semantics></math>'


# --- elements ------------------------------------------------------------------------------------------------------------


def _element(tag: str, *content: str, **attributes: str) -> str:
    stated = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{stated}>{''.join(content)}</{tag}>"


def _leaf(tag: str, text: str, **attributes: str) -> str:
    return _element(tag, escape(text, quote=False), **attributes)


def _one(elements: list[str]) -> str:
    """Several elements as one, where exactly one may stand."""
    return elements[0] if len(elements) == 1 else _element("mrow", *elements)


def _row(row: Box, index: bool = False, before: Kind | None = None) -> list[str]:
    """The elements of boxes side by side. `index`: what stands side by side is listed, not multiplied."""
    items = row.items if isinstance(row, Row) else (row,)
    elements: list[str] = []
    previous: Box | None = None
    for item, (left, _) in zip(items, resolved(items, before), strict=True):
        if previous is not None and (joint := _joint(previous, item, index)):
            elements.append(_leaf("mo", joint))
        if isinstance(item, Atom) and item.kind in ("binary", "relation"):
            elements.append(_operator(item, "infix" if item.kind == "relation" or left == "binary" else "prefix"))
        else:
            elements.append(_box(item))
        previous = item
    return elements


def _joint(left: Box, right: Box, index: bool) -> str:
    """What is meant, and not written, between two neighbours."""
    if isinstance(left, _SILENT) or isinstance(right, _SILENT) or _is_sign(left) or _is_sign(right):
        return ""
    a, b = left.ends[1], right.ends[0]
    if a == "operator":
        return "" if _is_big(left) or b not in ("ordinary", "open", "inner") else APPLY
    if a in ("ordinary", "close", "inner") and b in ("ordinary", "open", "inner", "operator"):
        return COMMA if index else TIMES
    return ""


def _is_sign(box: Box) -> bool:
    """Signs that are no factors, though TeX takes some of them for letters; and braces with nothing in them."""
    if isinstance(box, Atom):
        return box.kind not in ("ordinary", "operator") or box.text in _BARS or box.text == "∂"
    return isinstance(box, Row) and not box.items


def _is_big(box: Box) -> bool:
    """Whether it is a sum sign or one of its kind, which is not applied to anything in brackets."""
    base = box.base if isinstance(box, Script) else box
    return isinstance(base, Atom) and base.big


def _box(box: Box) -> str:
    match box:
        case Row():
            return _one(_row(box))
        case Atom():
            return _atom(box)
        case Call(head=head, arguments=arguments):
            return _element("mrow", _box(head), _leaf("mo", APPLY), _box(arguments))
        case Delimited():
            return _delimited(box)
        case Fraction(above=above, below=below, bar=bar):
            parts = _box(above), _box(below)
            return _element("mfrac", *parts) if bar else _element("mfrac", *parts, linethickness="0")
        case Script():
            return _script(box)
        case Root(inside=inside, degree=None):
            return _element("msqrt", *_row(inside))
        case Root(inside=inside, degree=degree):
            assert degree is not None
            return _element("mroot", _box(inside), _box(degree))
        case Accent(mark=mark, base=base, under=under):
            attributes = {"accentunder" if under else "accent": "true"}
            stretchy = "true" if mark in ("‾", "_") else "false"
            return _element("munder" if under else "mover", _box(base), _leaf("mo", mark, stretchy=stretchy), **attributes)
        case Grid():
            return _grid(box)
        case Text(text=text):
            return _leaf("mtext", text.replace(" ", "\u00a0"))
        case Space(width=width):
            return _element("mspace", width=f"{width:.4g}em")
        case Phantom(inside=inside):
            return _element("mphantom", *_row(inside))
    raise TypeError(f"no MathML is known for {type(box).__name__}")


# --- signs ---------------------------------------------------------------------------------------------------------------


def _atom(atom: Atom) -> str:
    if atom.size:
        size = f"{atom.size:g}em"
        return _leaf("mo", atom.text, stretchy="true", minsize=size, maxsize=size)
    if atom.text[:1].isalpha() or (atom.kind == "operator" and not _is_big(atom)):
        return _identifier(atom)
    if atom.is_number:
        return _leaf("mn", _lettered(atom.text, atom.style))
    if atom.kind == "ordinary" and atom.text not in _BARS and "PRIME" not in unicodedata.name(atom.text[0]):
        return _identifier(atom)
    return _operator(atom)


def _identifier(atom: Atom) -> str:
    text = _lettered(atom.text, atom.style)
    if len(atom.text) == 1 and atom.style == "upright":
        return _leaf("mi", text, mathvariant="normal")
    return _leaf("mi", text.replace(" ", "\u2009"))


def _operator(atom: Atom, form: str = "") -> str:
    attributes = {"form": form} if form else {}
    if atom.kind == "binary" and atom.text == "mod":
        return _leaf("mo", "mod", lspace="0.2222em", rspace="0.2222em")
    if atom.text in _FENCES:
        attributes |= {"stretchy": "false"}
    return _leaf("mo", atom.text, **attributes)


def _lettered(text: str, style: str) -> str:
    """Letters and digits of one alphabet, as Unicode has them."""
    return "".join(_letter(c, style) for c in text) if style in _ALPHABETS else text


def _letter(character: str, style: str) -> str:
    name = unicodedata.name(character, "")
    kind = "CAPITAL" if "CAPITAL LETTER" in name else "SMALL" if "SMALL LETTER" in name else "DIGIT" if "DIGIT" in name else ""
    last = name.rpartition(" ")[2]
    for alphabet in _ALPHABETS[style]:
        try:
            return unicodedata.lookup(f"{alphabet} {kind} {last}")
        except KeyError:
            continue
    return "\N{PLANCK CONSTANT}" if (character, style) == ("h", "slanted") else character


def _delimited(box: Delimited) -> str:
    if box.size is None:
        attributes = {"stretchy": "true"}
    elif box.size:
        attributes = {"stretchy": "true", "minsize": f"{box.size:g}em", "maxsize": f"{box.size:g}em"}
    else:
        attributes = {"stretchy": "false"}
    left = [_leaf("mo", box.left, fence="true", form="prefix", **attributes)] if box.left else []
    right = [_leaf("mo", box.right, fence="true", form="postfix", **attributes)] if box.right else []
    return _element("mrow", *left, *_row(box.inside), *right)


def _script(box: Script) -> str:
    base = _limited(box.base) if box.limits else _box(box.base)
    below = None if box.below is None else _one(_row(box.below, index=True))
    above = None if box.above is None else _box(box.above)
    names = ("munder", "mover", "munderover") if box.limits else ("msub", "msup", "msubsup")
    if above is None:
        assert below is not None
        return _element(names[0], base, below)
    return _element(names[1], base, above) if below is None else _element(names[2], base, below, above)


def _limited(base: Box) -> str:
    """A sum sign, or max: what stands below it moves to its side within a line of text."""
    if isinstance(base, Atom) and not _is_big(base):
        return _leaf("mo", base.text, movablelimits="true", lspace="0em", rspace="0.1667em")
    return _leaf("mo", base.text, movablelimits="true") if isinstance(base, Atom) else _box(base)


# --- rows and columns ----------------------------------------------------------------------------------------------------


def _grid(grid: Grid) -> str:
    """Browsers of today align cells by style alone, other readers by columnalign: both are stated."""
    columns = max(map(len, grid.rows))
    name = grid.environment.rstrip("*")
    if grid.is_aligned:
        sides = ["center"] * columns if name.startswith("gather") or name == "equation" else ["right" if i % 2 == 0 else "left" for i in range(columns)]
    else:
        sides = ["left" if name == "cases" else "center"] * columns
    rows = []
    for row in grid.rows:
        cells = []
        for i, cell in enumerate(row):
            content = _row(cell, before="ordinary" if grid.is_aligned and i % 2 else None)
            cells.append(_element("mtd", *content, style=_cell_style(grid, i, columns, sides[i])))
        rows.append(_element("mtr", *cells))
    attributes = {"columnalign": " ".join(sides)}
    if grid.is_aligned:
        attributes |= {"displaystyle": "true", "columnspacing": "0em"}
    table = _element("mtable", *rows, **attributes)
    if not grid.left and not grid.right:
        return table
    fences = [_leaf("mo", grid.left, fence="true", form="prefix")] if grid.left else []
    closing = [_leaf("mo", grid.right, fence="true", form="postfix")] if grid.right else []
    return _element("mrow", *fences, table, *closing)


def _cell_style(grid: Grid, column: int, columns: int, side: str) -> str:
    if grid.is_aligned:
        room = "0.3em 0"
    else:
        half = "0.5em"
        room = f"0.1em {half if column < columns - 1 else '0'} 0.1em {half if column else '0'}"
    return f"text-align: {side}; padding: {room}"


__all__ = ["NAMESPACE", "mathml"]

r"""Formulas as MathML Core, the mathematics that browsers set by themselves.

What LaTeX leaves to the reader's eye is said here: an invisible times between factors, an invisible "applied to" between a function
and its arguments, an invisible comma between indices. Screen readers and computer algebra read these; so do browsers, for the room.
"""

import unicodedata
from html import escape

from symbackprop.calculus.deep import deep
from symbackprop.latex.boxes import read
from symbackprop.latex.metrics import Style, extent, fence_size, gap, resolved
from symbackprop.latex.nodes import Accent, Atom, Box, Call, Delimited, Fraction, Grid, Phantom, Root, Row, Script, Space, Text
from symbackprop.latex.symbols import Kind

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
APPLY, TIMES, COMMA = "\N{FUNCTION APPLICATION}", "\N{INVISIBLE TIMES}", "\N{INVISIBLE SEPARATOR}"

_SILENT = (Space, Text, Phantom)
_LINES = {"‾", "_"}
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


_ROOM = {"lspace": "0em", "rspace": "0em"}  # none: within scripts signs stand close to their operands
_BESIDE_FRACTION = 0.12  # em, so that the lines of two fractions do not touch


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


def _row(row: Box, script: bool = False, index: bool = False, before: Kind | None = None) -> list[str]:
    """The elements of boxes side by side. `script`: within a script. `index`: what stands side by side is listed, not multiplied."""
    items = row.items if isinstance(row, Row) else (row,)
    kinds = resolved(items, before)
    elements: list[str] = []
    for i, (item, (left, _)) in enumerate(zip(items, kinds, strict=True)):
        if i and (joint := _joint(items[i - 1], item, index)):
            room = gap(kinds[i - 1][1], left, Style(int(script)))
            room += _BESIDE_FRACTION * (isinstance(item, Fraction) + isinstance(items[i - 1], Fraction))
            elements.append(_leaf("mo", joint, lspace="0em", rspace=f"{room:.4g}em") if room else _leaf("mo", joint))
        if isinstance(item, Atom) and item.kind in ("binary", "relation") and not item.size:
            form = "infix" if item.kind == left else "prefix"
            elements.append(_operator(item, script, form=form))
        else:
            elements.append(_box(item, script))
    return elements


def _joint(left: Box, right: Box, index: bool) -> str:
    """What is meant, and not written, between two neighbours."""
    if isinstance(left, _SILENT) or isinstance(right, _SILENT) or _is_sign(left) or _is_sign(right):
        return ""
    a, b = left.ends[1], right.ends[0]
    if a == "operator":
        return "" if _is_big(left) or b not in ("ordinary", "open", "inner", "operator") else APPLY
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


def _box(box: Box, script: bool = False) -> str:
    match box:
        case Row():
            return _one(_row(box, script))
        case Atom():
            return _atom(box, script)
        case Call(head=head, arguments=arguments):
            return _element("mrow", _box(head, script), _leaf("mo", APPLY), _box(arguments, script))
        case Delimited():
            return _element("mrow", *_delimited(box, script))
        case Fraction(above=above, below=below, bar=bar):
            parts = _box(above, script), _box(below, script)
            return _element("mfrac", *parts) if bar else _element("mfrac", *parts, linethickness="0")
        case Script():
            return _script(box, script)
        case Root(inside=inside, degree=None):
            return _element("msqrt", *_row(inside, script))
        case Root(inside=inside, degree=degree):
            assert degree is not None
            return _element("mroot", _box(inside, script), _box(degree, True))
        case Accent(mark=mark, base=base, under=under):
            if mark in _LINES:  # few fonts have a line that grows: its own border is one
                side = "bottom" if under else "top"
                return _element("mrow", *_row(base, script), style=f"border-{side}: 0.05em solid; padding-{side}: 0.1em")
            size = {"mathsize": "60%"} if mark == "→" else {}
            return _element("mover", _box(base, script), _leaf("mo", mark, stretchy="true" if mark in "^~" else "false", **size), accent="true")
        case Grid():
            return _grid(box)
        case Text(text=text):
            return _leaf("mtext", text.replace(" ", "\u00a0"))
        case Space(width=width):
            return _element("mspace", width=f"{width:.4g}em")
        case Phantom(inside=inside):
            return _element("mphantom", *_row(inside, script, before="ordinary"))
    raise TypeError(f"no MathML is known for {type(box).__name__}")


# --- signs ---------------------------------------------------------------------------------------------------------------


def _atom(atom: Atom, script: bool) -> str:
    if atom.size:
        return _leaf("mo", atom.text, **_fixed(atom.size), **_ROOM)
    if atom.text[:1].isalpha() or (atom.kind == "operator" and not _is_big(atom)):
        return _identifier(atom)
    if atom.is_number:
        return _leaf("mn", _lettered(atom.text, atom.style))
    if atom.kind == "ordinary" and atom.text not in _BARS and "PRIME" not in unicodedata.name(atom.text[0]):
        return _identifier(atom)
    return _operator(atom, script)


def _identifier(atom: Atom) -> str:
    text = _lettered(atom.text, atom.style)
    if len(atom.text) == 1 and atom.style == "upright":
        return _leaf("mi", text, mathvariant="normal")
    return _leaf("mi", text.replace(" ", "\N{THIN SPACE}"))


def _operator(atom: Atom, script: bool, **attributes: str) -> str:
    if atom.text == "mod":
        return _leaf("mo", "mod", lspace="0.2222em", rspace="0.2222em")
    if atom.text in _FENCES:
        attributes |= {"stretchy": "false"}
    if atom.big:
        attributes |= {"lspace": "0em"}
    elif script:
        attributes |= _ROOM
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


# --- brackets and scripts ------------------------------------------------------------------------------------------------


def _delimited(box: Delimited, script: bool) -> list[str]:
    if box.size:
        attributes = _fixed(box.size)
    else:
        tall = box.size is None and fence_size(extent(box.inside, Style(int(script), not script))) > 0
        attributes = {"stretchy": "true" if tall else "false"}
    left = [_leaf("mo", box.left, fence="true", form="prefix", **attributes)] if box.left else []
    right = [_leaf("mo", box.right, fence="true", form="postfix", **attributes)] if box.right else []
    return [*left, *_row(box.inside, script), *right]


def _fixed(size: float) -> dict[str, str]:
    return {"stretchy": "true", "minsize": f"{size:g}em", "maxsize": f"{size:g}em"}


def _script(box: Script, script: bool) -> str:
    below = None if box.below is None else _one(_row(box.below, True, index=True))
    if isinstance(box.above, Atom) and set(box.above.text) == {"\N{PRIME}"}:
        # The glyph of a prime is small and raised already: as a superscript it would be so twice.
        base = box.base if box.below is None else Script(box.source, box.base, box.below, None, box.limits)
        return _element("mrow", _box(base, script), _leaf("mo", box.above.text, lspace="0em", rspace="0em"))
    above = None if box.above is None else _box(box.above, True)
    if isinstance(box.base, Delimited) and box.base.size == 0.0 and extent(box.base).height > _LINE:
        # As high as at a bracket of its size, as in TeX, not as high as at what is in the bracket.
        *inside, last = _delimited(box.base, script)
        return _element("mrow", *inside, _scripted(last, below, above, box.limits))
    return _scripted(_limited(box.base) if box.limits else _box(box.base, script), below, above, box.limits)


_LINE = 0.75  # the height of a bracket at the size of a line


def _scripted(base: str, below: str | None, above: str | None, limits: bool) -> str:
    under, over, both = ("munder", "mover", "munderover") if limits else ("msub", "msup", "msubsup")
    if above is None:
        assert below is not None
        return _element(under, base, below)
    return _element(over, base, above) if below is None else _element(both, base, below, above)


def _limited(base: Box) -> str:
    """A sum sign, or max: what stands below it moves to its side within a line of text."""
    if isinstance(base, Atom) and not _is_big(base):
        return _leaf("mo", base.text, movablelimits="true", **_ROOM)
    return _leaf("mo", base.text, movablelimits="true", lspace="0em") if isinstance(base, Atom) else _box(base)


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
    """Browsers take what is in a cell for a block, which only the second alignment moves."""
    left, right = "0.5em" if column else "0", "0.5em" if column < columns - 1 else "0"
    room = "0.3em 0" if grid.is_aligned else f"0.1em {right} 0.1em {left}"
    return f"text-align: {side}; text-align: -webkit-{side}; padding: {room}"


__all__ = ["NAMESPACE", "mathml"]

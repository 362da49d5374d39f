r"""How much room a box takes: its width, and its height above and depth below the line, in em of a ten point font.

The rules are those of appendix G of the TeXbook, without kerning and with the widths of Computer Modern. Letters of scripts come
from fonts of their own that are wider than the ten point font scaled down; `_SCALE` says by how much on average.
"""

import string
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from symbackprop.latex.nodes import Accent, Atom, Box, Call, Delimited, Fraction, Grid, Phantom, Root, Row, Script, Space, Text
from symbackprop.latex.symbols import CHARACTERS, SYMBOLS, Kind


class Extent(NamedTuple):
    width: float
    height: float = 0.7
    depth: float = 0.0

    @property
    def total(self) -> float:
        return self.height + self.depth


class Style(NamedTuple):
    """`size`: 0 for text, 1 for scripts, 2 for scripts of scripts. `display`: fractions and sums have their full size."""

    size: int = 0
    display: bool = True

    @property
    def scale(self) -> float:
        return _SCALE[self.size]

    @property
    def script(self) -> "Style":
        return Style(min(self.size + 1, 2), False)

    @property
    def smaller(self) -> "Style":
        """That of a numerator."""
        return Style(0, False) if self.display else self.script


_SCALE = (1.0, 0.8, 0.68)
_AXIS = 0.25  # the height of the fraction line
_RULE = 0.24  # room on both sides of a fraction
_THIN, _MEDIUM, _THICK = 3 / 18, 4 / 18, 5 / 18

# --- widths of letters, in thousandths of an em --------------------------------------------------------------------------

_ITALIC = dict(
    zip(
        string.ascii_letters,
        (
            *(529, 429, 433, 520, 466, 490, 477, 576, 345, 412, 521, 298, 878, 600, 485, 503, 446, 451, 469, 361, 572, 485, 716, 572, 490, 465),
            *(750, 759, 715, 828, 738, 643, 786, 831, 440, 555, 849, 681, 970, 803, 763, 642, 791, 759, 613, 584, 683, 583, 944, 828, 581, 683),
        ),
        strict=True,
    )
)
_SLOPE = {  # how far a letter leans over its right edge
    **{"f": 108, "g": 36, "j": 57, "k": 31, "l": 20, "q": 36, "r": 28, "v": 36, "w": 27, "y": 36, "z": 44, "B": 50, "C": 72, "D": 28},
    **{"E": 58, "F": 139, "H": 81, "I": 78, "J": 96, "K": 72, "M": 109, "N": 109, "O": 28, "P": 139, "R": 8, "S": 58, "T": 139},
    **{"U": 109, "V": 222, "W": 139, "X": 78, "Y": 222, "Z": 72},
}
_UPRIGHT = dict(
    zip(
        string.ascii_letters,
        (
            *(500, 556, 444, 556, 444, 306, 500, 556, 278, 306, 528, 278, 833, 556, 500, 556, 528, 392, 394, 389, 556, 528, 722, 528, 528, 444),
            *(750, 708, 722, 764, 681, 653, 785, 750, 361, 514, 778, 625, 917, 750, 778, 681, 778, 736, 556, 722, 750, 750, 1028, 750, 750, 611),
        ),
        strict=True,
    )
)
_WIDER = {"bold": 1.15, "bold italic": 1.12, "slanted": 1.02, "sans-serif": 0.95}
_SIGNS = {symbol.character: symbol.width for symbol in (*CHARACTERS.values(), *SYMBOLS.values())}
_FENCES = {  # at the size of a line and at the four fixed sizes
    "(": (389, 458, 597, 736, 792),
    ")": (389, 458, 597, 736, 792),
    "[": (278, 417, 472, 528, 583),
    "]": (278, 417, 472, 528, 583),
    "{": (500, 583, 667, 750, 806),
    "}": (500, 583, 667, 750, 806),
    "|": (278, 333, 333, 333, 333),
    "‖": (500, 556, 556, 556, 556),
    "⌊": (444, 472, 528, 583, 639),
    "⌋": (444, 472, 528, 583, 639),
    "⌈": (444, 472, 528, 583, 639),
    "⌉": (444, 472, 528, 583, 639),
    "⟨": (389, 472, 611, 750, 806),
    "⟩": (389, 472, 611, 750, 806),
    "": (120, 120, 120, 120, 120),
}
HEIGHTS = (1.0, 1.2, 1.8, 2.4, 3.0)  # of those fences


def fence_size(inside: Extent) -> int:
    """Which of the five sizes covers the content, as nearly as TeX wants it: nine tenths of it, and all but half an em."""
    height = 2 * max(inside.height - _AXIS, inside.depth + _AXIS)
    return next((i for i, size in enumerate(HEIGHTS) if size >= max(0.901 * height, height - 0.5)), len(HEIGHTS) - 1)


def _letters(text: str, style: str) -> float:
    """The width of a word in em; of a single italic letter without its slope."""
    if style == "italic" and len(text) == 1 and text in _ITALIC:
        return _ITALIC[text] / 1000
    wider = _WIDER.get(style, 1.0)
    return sum(_UPRIGHT.get(c) or (500 if c.isdigit() else 278 if c == "-" else 167 if c == " " else _SIGNS.get(c, 500)) for c in text) * wider / 1000


# --- rows ----------------------------------------------------------------------------------------------------------------


def resolved(items: Sequence[Box], before: Kind | None = None) -> list[tuple[Kind, Kind]]:
    """The classes of boxes side by side. A sign such as + is binary only between two operands; elsewhere it is a sign in front of one."""
    ends = [item.ends for item in items]
    previous = before
    for i, (left, _) in enumerate(ends):
        if isinstance(items[i], Space):
            continue
        if left == "binary" and previous in (None, "binary", "operator", "relation", "open", "punctuation"):
            ends[i] = ("ordinary", "ordinary")
        elif left in ("relation", "close", "punctuation") and previous == "binary":
            ends[i - 1] = ("ordinary", "ordinary")
        previous = ends[i][1]
    if previous == "binary" and ends:
        ends[-1] = ("ordinary", "ordinary")
    return ends


# The room between neighbours, the left one's class down, the right one's across: 1 thin, 2 medium, 3 thick; negative: not in scripts.
_KINDS: tuple[Kind, ...] = ("ordinary", "operator", "binary", "relation", "open", "close", "punctuation", "inner")
_GAPS: dict[Kind, tuple[int, ...]] = {
    "ordinary": (0, 1, -2, -3, 0, 0, 0, -1),
    "operator": (1, 1, 0, -3, 0, 0, 0, -1),
    "binary": (-2, -2, 0, 0, -2, 0, 0, -2),
    "relation": (-3, -3, 0, 0, -3, 0, 0, -3),
    "open": (0, 0, 0, 0, 0, 0, 0, 0),
    "close": (0, 1, -2, -3, 0, 0, 0, -1),
    "punctuation": (-1, -1, 0, -1, -1, -1, -1, -1),
    "inner": (-1, 1, -2, -3, -1, 0, -1, -1),
}


def gap(left: Kind, right: Kind, style: Style) -> float:
    """The room between two neighbours: the table of chapter 18 of the TeXbook."""
    room = _GAPS[left][_KINDS.index(right)]
    if room < 0 and style.size:
        return 0.0
    return (0.0, _THIN, _MEDIUM, _THICK)[abs(room)]


def spaced(items: Sequence[Box], style: Style, before: Kind | None = None) -> Iterator[tuple[float, Box]]:
    """Each item with the room in front of it."""
    previous = before
    for item, (left, right) in zip(items, resolved(items, before), strict=True):
        if isinstance(item, Space):
            yield 0.0, item
            continue
        yield (gap(previous, left, style) if previous else 0.0), item
        previous = right


def _row(items: Sequence[Box], style: Style, before: Kind | None = None) -> Extent:
    width, height, depth = 0.0, 0.0, 0.0
    for room, item in spaced(items, style, before):
        part = extent(item, style)
        width += room + part.width
        height, depth = max(height, part.height), max(depth, part.depth)
    return Extent(width, height, depth)


# --- boxes ---------------------------------------------------------------------------------------------------------------


def extent(box: Box, style: Style = Style()) -> Extent:  # noqa: B008
    """The room that a box takes."""
    match box:
        case Row(items=items):
            return _row(items, style)
        case Atom():
            return _atom(box, style)
        case Call(head=head, arguments=arguments):
            return _row((head, arguments), style)
        case Delimited():
            return _delimited(box, style)
        case Fraction():
            return _fraction(box, style)
        case Script():
            return _script(box, style)
        case Root(inside=inside, degree=degree):
            under = extent(inside, style)
            extra = 0.3 if degree else 0.0
            return Extent(under.width + extra + (1.0 if under.total > 1.1 else 0.833) * style.scale, under.height + 0.2, under.depth)
        case Accent(base=base):
            under = extent(base, style)
            return under._replace(height=under.height + 0.15)
        case Grid():
            return _grid(box, style)
        case Text(text=text):
            return Extent(_letters(text.replace(" ", "  "), "upright") * style.scale)
        case Space(width=width):
            return Extent(width, 0.0)
        case Phantom(inside=inside):
            return extent(inside, style)
    raise TypeError(f"no room is known for {type(box).__name__}")


def _atom(atom: Atom, style: Style) -> Extent:
    if atom.size:
        i = HEIGHTS.index(atom.size)
        return Extent(_FENCES.get(atom.text, (500,) * 5)[i] / 1000, atom.size / 2 + _AXIS, atom.size / 2 - _AXIS)
    width = _letters(atom.text, atom.style)
    if atom.big and atom.text in _SIGNS:
        return Extent(width * (1.0 if style.display else 0.73) * style.scale, 0.95, 0.45) if style.display else Extent(width * 0.73 * style.scale, 0.75, 0.25)
    if atom.style == "italic":
        width += _SLOPE.get(atom.text, 0) / 1000
    return Extent(width * style.scale, 0.7 * style.scale, (0.2 if atom.text[:1] in "gjpqyQ()[]" else 0.0) * style.scale)


def _fraction(box: Fraction, style: Style) -> Extent:
    above, below = extent(box.above, style.smaller), extent(box.below, style.smaller)
    up, down = (0.677, 0.686) if style.display else (0.394 * style.scale, 0.345 * style.scale)
    high = max(up + above.height, _AXIS + 0.12 + above.total)
    return Extent(max(above.width, below.width) + _RULE, high, max(down + below.depth, 0.12 - _AXIS + below.total))


def _script(box: Script, style: Style) -> Extent:
    base = extent(box.base, style)
    above = extent(box.above, style.script) if box.above else Extent(0, 0, 0)
    below = extent(box.below, style.script) if box.below else Extent(0, 0, 0)
    if box.limits and style.display:
        height = base.height + (above.total + 0.2 if box.above else 0)
        return Extent(max(base.width, above.width, below.width), height, base.depth + (below.total + 0.2 if box.below else 0))
    lean = _SLOPE.get(box.base.text, 0) / 1000 * style.scale if isinstance(box.base, Atom) and box.base.style == "italic" else 0.0
    side = max(above.width, below.width - lean) + 0.05
    height = max(base.height, max(0.36, base.height - 0.39) + above.height) if box.above else base.height
    return Extent(base.width + side, height, max(base.depth, 0.15 + below.depth) if box.below else base.depth)


def _delimited(box: Delimited, style: Style) -> Extent:
    inside = _row(box.inside.items, style)
    size = fence_size(inside) if box.size is None else HEIGHTS.index(box.size or 1.0)
    fences = (_FENCES.get(box.left, _FENCES["|"])[size] + _FENCES.get(box.right, _FENCES["|"])[size]) / 1000
    half = HEIGHTS[size] / 2
    return Extent(inside.width + fences * (style.scale if not size else 1.0), max(inside.height, half + _AXIS), max(inside.depth, half - _AXIS))


def _grid(grid: Grid, style: Style) -> Extent:
    aligned = grid.is_aligned
    inner = Style(0, True) if aligned else Style(style.size, False)
    count = max(map(len, grid.rows))
    columns = [0.0] * count
    total = 0.0
    for row in grid.rows:
        cells = [_row(cell.items, inner, "ordinary" if aligned and i % 2 else None) for i, cell in enumerate(row)]
        for i, cell in enumerate(cells):
            columns[i] = max(columns[i], cell.width)
        total += max(1.2, max(cell.total for cell in cells) + 0.3)
    between = 0.0 if aligned else 1.0
    size = fence_size(Extent(0.0, total / 2 + _AXIS, total / 2 - _AXIS))
    fences = (_FENCES[grid.left][size] + _FENCES[grid.right][size]) / 1000 if grid.left or grid.right else 0.0
    return Extent(sum(columns) + between * (count - 1) + fences, total / 2 + _AXIS, total / 2 - _AXIS)

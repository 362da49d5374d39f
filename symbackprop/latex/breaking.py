r"""Breaks formulas that are wider than the page, as a typesetter does.

Where: before a relation first, then before + and - of the whole formula, then between factors; within brackets only where a term
does not fit on a line by itself. Signs begin the new line. What was multiplied without a sign is multiplied with a dot across lines,
unless matrices are. Brackets that are broken get a fixed size, since \left and \right must stand on one line; a fraction, a root or
an exponential that no line can hold is written out with brackets.

Which: not greedily, but all lines at once, so that together they are filled most evenly: the least sum of squares of what stays
empty, with a price for every break that a reader would rather not have (Knuth & Plass 1981, with the prices of formulas).

The lines are those of an align environment: the relation, or the indentation, starts the right column.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from symbackprop.calculus.deep import deep
from symbackprop.latex.boxes import read
from symbackprop.latex.equations import block
from symbackprop.latex.metrics import Style, extent, fence_size, gap, resolved
from symbackprop.latex.nodes import Atom, Box, Call, Delimited, Fraction, Grid, Root, Row, Script, Space, Text
from symbackprop.latex.openings import fences, fixed, grid_in, in_brackets, linear
from symbackprop.latex.symbols import Kind

Line = tuple[str, str]  # what stands left and right in an align; the first line of a formula has an equals sign between

PAGE = 40.0  # em
_RELATION = 4 / 3  # "=" and the room around it
_QUAD = 1.0
_SURE = 0.98  # widths are estimates, a little too small for some formulas


@deep
def break_lines(left: str, right: str, width: float = PAGE) -> list[Line]:
    """The formula `left = right` on as many lines as it needs: pairs for `align`. Lines after the first have nothing on the left, and
    start with their indentation, or with a relation."""
    return _broken(left, [right], width)


@deep
def break_chain(left: str, rights: Sequence[str], width: float = PAGE) -> list[Line]:
    """The chain `left = a = b = ...`, each part on a line of its own, or on as many as it needs."""
    return _broken(left, rights, width)


def _broken(left: str, rights: Sequence[str], width: float) -> list[Line]:
    room = max(_SURE * width - extent(read(left, strict=False)).width, width / 2)
    lines: list[Line] = []
    for i, right in enumerate(rights):
        row = read(right, strict=False)
        first, *rest = [right] if _RELATION + extent(row).width <= room + (1 - _SURE) * width else _best(row, room).written()
        lines.append(("", f"= {first}") if i else (left, first))
        lines += [("", line) for line in rest]
    return lines


def _best(row: Row, room: float) -> "_Lines":
    """Within brackets a line has less room, by an indentation that is known only when the lines are. So first little is assumed, and
    more only where a line does not fit otherwise."""
    for share in _SHARES:
        lines = _Lines(_Pieces(row, room, share).found, room)
        if lines.fit:
            break
    return lines


# --- where a line may end ------------------------------------------------------------------------------------------------


class _Break(NamedTuple):
    """A place where a line may begin: its price, in hundredths of a line that stays empty; by how many quads it is indented beyond
    the terms around it; the sign that is added there. Where the formula's own sign begins the line, the room before that sign stays;
    a relation starts where the first one of the formula stands."""

    price: float
    quads: int = 0
    added: str = ""
    at_sign: bool = False
    is_relation: bool = False


_IN_BRACKETS = 30.0  # the price of each level of brackets around a break, up to six of them
_WITHIN_LINK = 60.0  # the price of a break between two relations, which are where a chain is broken first
_TERM, _FACTOR, _NAME, _ARGUMENT = 2.0, 15.0, 30.0, 15.0
_SHARES = (0.85, 0.7, 0.5)
_DOT = 0.72  # the width of a dot at the start of a line
_MATRICES = (r"\odot", r"\otimes", r"\top")  # a formula with these has products that are no dots


@dataclass(frozen=True)
class _Piece:
    """What stays on one line. `room` is the gap in front of it, `glued` whether its LaTeX touches what is in front of it. In a piece
    that opens or closes a bracket, `fixed` is its LaTeX if a line ends within the bracket; `opened_by` is the piece with the other end."""

    text: str
    width: float
    room: float = 0.0
    glued: bool = True
    before: _Break | None = None
    fixed: str = ""
    opens: bool = False
    opened_by: int = -1


class _Pieces:
    """The pieces of a formula that is wider than its lines, which are `room` em wide; within brackets, by that `share`."""

    def __init__(self, row: Row, room: float, share: float) -> None:
        self.room = room
        self.share = share
        self.found: list[_Piece] = []
        self.sign = "" if any(sign in row.source for sign in _MATRICES) else r"\cdot"
        self._row(row, 0)

    def _row(self, row: Row, depth: int) -> None:
        items = row.items
        kinds = resolved(items, "open" if depth else "relation")
        chain = _WITHIN_LINK * (depth == 0 and any(left == "relation" for left, _ in kinds))
        widths = [extent(item).width for item in items]
        rooms = [0.0, *(gap(kinds[i - 1][1], kinds[i][0], Style()) for i in range(1, len(items)))]
        breaks = [self._break(items, kinds, i, depth) for i in range(len(items))]
        breaks = [b._replace(price=b.price + chain) if b and not b.is_relation else b for b in breaks]
        room = self.room - 2 * _QUAD - _DOT if depth == 0 else self.room * self.share  # of a line
        ends = [i for i, b in enumerate(breaks) if b is not None and b.quads == 0] + [len(items)]  # of terms
        term = 0  # where in `ends` the term of an item ends
        taken = 0
        for i, item in enumerate(items):
            term += i == ends[term]
            start = ends[term - 1] if term else 0
            long = sum(widths[start : ends[term]]) + sum(rooms[start + 1 : ends[term]]) > room
            place = row.source.index(item.source, taken)
            between = row.source[taken:place].lstrip("{")
            taken = place + len(item.source)
            first = len(self.found)
            self._item(item, widths[i], depth, room if long else None)
            self.found[first] = replace(self.found[first], room=rooms[i], glued=not between, before=breaks[i])

    def _break(self, items: Sequence[Box], kinds: Sequence[tuple[Kind, Kind]], i: int, depth: int) -> _Break | None:
        if i == 0 or isinstance(items[i], (Space, Text)) or isinstance(items[i - 1], (Space, Text)):
            return None
        extra = _IN_BRACKETS * min(depth, 6)
        item, last, left, right = items[i], items[i - 1], kinds[i - 1][1], kinds[i][0]
        if right == "relation":
            return _Break(extra, at_sign=True, is_relation=depth == 0)
        if right == "binary":
            if not isinstance(item, Atom) or item.text in ("mod", "∘"):
                return None
            is_term = item.text in "+−±∓"
            return _Break((_TERM if is_term else _FACTOR) + extra, 0 if is_term else 1, at_sign=True)
        if left == "punctuation":
            return _Break(_ARGUMENT + extra)
        if _is_sign(last) or _is_sign(item) or left not in _FACTOR_ENDS or right not in _FACTOR_STARTS:
            return None
        return _Break((_FACTOR if _is_large(last) or _is_large(item) else _NAME) + extra, 1, self.sign)

    def _item(self, item: Box, width: float, depth: int, room: float | None) -> None:
        """The pieces of one item. `room` is that of a line where the item's term is too long for one."""
        if room is not None and width > 0.35 * room and (parts := in_brackets(item)) is not None:
            self._opened(*parts, depth)
        elif room is not None and width > room and (written := self._written_out(item, width, room)):
            self._row(written, depth)
        elif room is not None and width > room and (grid := grid_in(item)):
            text = item.source.replace(grid.source, _narrowed(grid, room - width + extent(grid).width))
            self.found.append(_Piece(text, extent(read(text, strict=False)).width))
        else:
            self.found.append(_Piece(item.source, width))

    def _written_out(self, item: Box, width: float, room: float) -> Row | None:
        """A box written with brackets, if that gives narrower ones."""
        row = read(linear(item, room), strict=False)
        return row if row.items and all(extent(part).width < width or in_brackets(part) for part in row.items) else None

    def _opened(self, head: str, box: Delimited, tail: str, depth: int) -> None:
        """A bracket whose content may be broken, between what touches it left and right."""
        opening, closing = fences(box)
        inside = extent(box.inside)
        size = fence_size(inside) if box.size is None else 0
        fence = (extent(box).width - inside.width) / 2
        before, behind = (extent(read(part, strict=False)).width if part else 0.0 for part in (head, tail))
        place = len(self.found)
        self.found.append(_Piece(head + opening, before + fence, fixed=head + fixed(opening, size, "l"), opens=True))
        self._row(box.inside, depth + 1)
        self.found.append(_Piece(closing + tail, fence + behind, fixed=fixed(closing, size, "r") + tail, opened_by=place))


_FACTOR_ENDS: tuple[Kind, ...] = ("ordinary", "close", "inner")
_FACTOR_STARTS: tuple[Kind, ...] = ("ordinary", "open", "inner", "operator")


def _is_sign(box: Box) -> bool:
    """Whether it is no factor, though TeX takes it for a letter: a sign in front, ∂, a bar, a bracket without its other half."""
    if isinstance(box, Row):
        return not box.items
    return isinstance(box, Atom) and (box.kind not in ("ordinary", "operator") or box.text in ("∂", "/", "|", "‖") or box.size > 0)


def _is_large(box: Box) -> bool:
    """Whether it is more than a name or a number, so that a reader sees where the factor starts or ends."""
    base = box.base if isinstance(box, Script) else box
    return isinstance(base, (Delimited, Call, Fraction, Root)) or (isinstance(base, Atom) and base.big)


def _narrowed(grid: Grid, room: float) -> str:
    """The LaTeX of a grid whose cells are broken, so that it is no wider than `room` if that can be."""
    widths = [[extent(cell, Style(0, False)).width for cell in row] for row in grid.rows]
    columns = [max(row[i] if i < len(row) else 0.0 for row in widths) for i in range(max(map(len, widths)))]
    excess = extent(grid).width - room
    widest = max(columns)
    text, end = "", 0
    for row in grid.rows:
        for i, cell in enumerate(row):
            start = grid.source.index(cell.source, end) if cell.source else end
            text += grid.source[end:start]
            end = start + len(cell.source)
            lines = _best(cell, max(widest - excess, 8 * _QUAD)).written() if columns[i] == widest and excess > 0 else [cell.source]
            text += cell.source if len(lines) == 1 else block([f"& {line}" for line in lines], "aligned")
    return text + grid.source[end:]


# --- where lines do end --------------------------------------------------------------------------------------------------


class _Indent(NamedTuple):
    """Where lines start within a bracket: behind it, as wide as a line up to there, or some quads to the right; its width."""

    width: float
    phantom: bool = False
    quads: int = 1


@dataclass
class _State:
    """The best lines up to a break: their cost, where the last of them starts, how lines in the brackets that are open are indented."""

    cost: float
    since: int
    start: float
    brackets: dict[int, _Indent] = field(default_factory=dict)


_OUTERMOST = _Indent(_QUAD)
_TOO_WIDE = 1e6


class _Lines:
    def __init__(self, pieces: list[_Piece], room: float) -> None:
        self.pieces = pieces
        self.room = room
        self.at = [0.0]  # where each piece starts, gap included, if all stand on one line
        self.open: list[tuple[int, ...]] = []  # the brackets around the place in front of each piece, by the pieces that open them
        inner: tuple[int, ...] = ()
        for i, piece in enumerate(pieces):
            inner = inner[:-1] if piece.opened_by >= 0 else inner
            self.open.append(inner)
            inner = (*inner, i) if piece.opens else inner
            self.at.append(self.at[-1] + piece.room + piece.width)
        self.states: dict[int, _State] = {0: _State(0.0, 0, _RELATION)}
        for i in range(len(pieces)):
            if i in self.states:
                self._continue(i)

    @property
    def fit(self) -> bool:
        return self.states[len(self.pieces)].cost < _TOO_WIDE

    def _continue(self, i: int) -> None:
        """All lines that start with piece i."""
        state, n = self.states[i], len(self.pieces)
        piece = self.pieces[i]
        origin = state.start - self.at[i] - (0.0 if piece.before and piece.before.at_sign else piece.room)
        fitted = False
        for j in range(i + 1, n + 1):
            end = origin + self.at[j]
            stop = self.pieces[j].before if j < n else _Break(0.0)
            if end > self.room and fitted:
                break
            if stop is None:
                continue
            empty = (self.room - end) / self.room
            cost = state.cost + stop.price + (100 * empty**2 if empty >= 0 else _TOO_WIDE * (1 - empty))
            fitted = True
            if j not in self.states or cost < self.states[j].cost:
                self.states[j] = self._state(cost, i, j, origin)

    def _state(self, cost: float, i: int, j: int, origin: float) -> _State:
        if j == len(self.pieces):
            return _State(cost, i, 0.0)
        line = self._indent(i)
        brackets: dict[int, _Indent] = {}
        for opening in self.open[j]:
            if opening < i:
                brackets[opening] = self.states[i].brackets[opening]
                continue
            behind = origin + self.at[opening + 1]
            if behind <= _QUAD + 0.3 * self.room:
                brackets[opening] = _Indent(behind, phantom=True)
            else:
                deeper = line + _QUAD <= 0.4 * self.room
                brackets[opening] = _Indent(line + deeper * _QUAD, quads=int(deeper))
        stop = self.pieces[j].before
        assert stop is not None
        indent = brackets[self.open[j][-1]] if self.open[j] else _OUTERMOST
        start = 0.0 if stop.is_relation else indent.width + stop.quads * _QUAD + (_DOT if stop.added else 0.0)
        return _State(cost, i, start, brackets)

    def _indent(self, i: int) -> float:
        """How far the line that starts with piece i is indented."""
        stop = self.pieces[i].before
        if stop is None or stop.is_relation:
            return _QUAD
        around = self.states[i].brackets[self.open[i][-1]] if self.open[i] else _OUTERMOST
        return around.width + stop.quads * _QUAD

    # --- the lines as LaTeX ---------------------------------------------------------------------------------------------

    def written(self) -> list[str]:
        stops = [len(self.pieces)]
        while stops[-1]:
            stops.append(self.states[stops[-1]].since)
        stops.reverse()
        broken = {opening for stop in stops[1:-1] for opening in self.open[stop]}
        indents: dict[int, tuple[str, int]] = {}  # bracket → the LaTeX that indents a line within it: phantoms, and quads
        lines = []
        for i, j in pairwise(stops):
            stop = self.pieces[i].before or _Break(0.0, is_relation=True)
            phantoms, quads = indents[self.open[i][-1]] if self.open[i] else ("", 1)
            quads += stop.quads
            lead = "" if stop.is_relation else phantoms + _quads(quads)
            text = stop.added if i else "="
            for k in range(i, j):
                piece = self.pieces[k]
                bracket = k if piece.opens else piece.opened_by
                text += ("" if piece.glued and k > i else " ") + (piece.fixed if bracket in broken else piece.text)
                if piece.opens and k in broken:
                    indent = self.states[j].brackets[k] if k in self.open[j] else None
                    if indent is not None:
                        behind = (lead + rf"\hphantom{{{{}}{text.strip()}}}", 0)
                        indents[k] = behind if indent.phantom else (phantoms, quads + indent.quads)
            lines.append(f"{lead} {text.strip() if i else text.removeprefix('=').strip()}".strip())
        return lines


def _quads(count: int) -> str:
    return r"\qquad" * (count // 2) + r"\quad" * (count % 2)


__all__ = ["PAGE", "Line", "break_chain", "break_lines"]

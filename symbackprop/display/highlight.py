"""Python source as HTML, its words told apart by kind. The tokens are the standard library's own."""

import builtins
import io
import keyword
import tokenize
from html import escape

_KINDS = {tokenize.STRING: "string", tokenize.NUMBER: "number", tokenize.COMMENT: "comment"}
STYLE = """\
pre.code { background: var(--code); padding: 1em 1.2em; overflow-x: auto; font: 0.82rem/1.45 ui-monospace, Menlo, Consolas, monospace; }
pre.code .keyword { color: var(--keyword); font-weight: 600; }
pre.code .string { color: var(--string); }
pre.code .number { color: var(--number); }
pre.code .comment { color: var(--quiet); font-style: italic; }
pre.code .defined { color: var(--defined); font-weight: 600; }
pre.code .builtin { color: var(--number); }"""


def highlighted(source: str) -> str:
    """The source in a `<pre class="code">`, each word that has a kind in a `<span>`."""
    lines = source.splitlines(keepends=True)
    text, row, column, before = "", 1, 0, ""
    for kind, word, start, end, _ in tokenize.generate_tokens(io.StringIO(source).readline):
        if kind in (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            continue
        text += escape(_between(lines, (row, column), start), quote=False)
        name = _KINDS.get(kind, "")
        if kind == tokenize.NAME:
            name = "keyword" if keyword.iskeyword(word) else "defined" if before in ("def", "class") else "builtin" if hasattr(builtins, word) else ""
        shown = escape(word, quote=False)
        text += f'<span class="{name}">{shown}</span>' if name else shown
        (row, column), before = end, word
    return f'<pre class="code">{text.rstrip()}\n</pre>'


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    (row, column), (last, stop) = start, end
    if row == last:
        return lines[row - 1][column:stop] if row <= len(lines) else ""
    return lines[row - 1][column:] + "".join(lines[row : last - 1]) + (lines[last - 1][:stop] if last <= len(lines) else "")


__all__ = ["STYLE", "highlighted"]

"""Derivations as one HTML page that opens without a network: formulas in MathML, the network as SVG, steps that fold, code that is
coloured."""

from collections.abc import Sequence
from html import escape

from symbackprop.codegen.numpy_module import numpy_module
from symbackprop.derivation.steps import Section, Step
from symbackprop.display.diagram.diagram import Diagram
from symbackprop.display.highlight import STYLE as CODE_STYLE
from symbackprop.display.highlight import highlighted
from symbackprop.display.lines import Group, Row, contents, definitions, groups, reason, rows, verdict
from symbackprop.display.mathml import mathml
from symbackprop.display.prose import capital, written
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import System
from symbackprop.graph.rule import Rule
from symbackprop.latex.equations import align
from symbackprop.version import __version__

WIDTH = 44.0  # em: the column of formulas

STYLE = """\
:root { --paper: #fffefb; --ink: #1c1b19; --quiet: #6b675f; --line: #e2ded4; --accent: #7a3b12; --code: #f6f3ec;
  --good: #2f6b3a; --bad: #b3261e; --keyword: #7a3b12; --string: #2f6b3a; --number: #1d4f8f; --defined: #1d4f8f; }
@media (prefers-color-scheme: dark) { :root { --paper: #191816; --ink: #e9e5dc; --quiet: #a29c90; --line: #3a3731; --accent: #e0a070;
  --code: #22201d; --good: #8cc79a; --bad: #ff8a80; --keyword: #e0a070; --string: #9ccc9f; --number: #9ec1f0; --defined: #9ec1f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.02rem/1.55 "Latin Modern Roman", "STIX Two Text", Georgia, "Times New Roman", serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; font-weight: 600; line-height: 1.2; margin: 0 0 .3rem; }
h2 { display: inline; font-size: 1.3rem; font-weight: 600; }
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", math; }
nav { color: var(--quiet); font-size: .9rem; margin-bottom: 1.4rem; }
nav button { font: inherit; color: var(--accent); background: none; border: 0; padding: 0; margin-right: 1.2em; cursor: pointer; text-decoration: underline; }
summary { cursor: pointer; }
summary::marker { color: var(--accent); }
details.section { border-top: 1px solid var(--line); padding: 1rem 0 .4rem; }
details.section > summary { margin-bottom: .5rem; }
details.block { margin: .9rem 0 .9rem .2rem; }
details.block > summary { font-weight: 600; }
details.block > summary .result { font-weight: 400; margin-left: 1em; }
details.block[open] > summary .result { display: none; }
.equations { display: grid; grid-template-columns: max-content minmax(0, 1fr) minmax(11rem, 17rem) max-content; column-gap: .55em; row-gap: .5em;
  align-items: center; margin: .4rem 0 0; padding: .2rem 0; overflow-x: auto; overflow-y: hidden; }
.equations > .left { justify-self: end; }
.equations math { display: inline math; }
.equations > .right { overflow-x: auto; overflow-y: hidden; padding: .1em 0; }
.why { color: var(--quiet); font-size: .84rem; line-height: 1.35; padding-left: 1em; }
.why a { color: inherit; }
.number { color: var(--quiet); font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
.number:target { color: var(--accent); font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 700; }
.where { margin: .3rem 0 .3rem 2em; }
.verdict { border-top: 1px solid var(--line); padding-top: 1rem; color: var(--quiet); }
figure { margin: 1.2rem 0; overflow-x: auto; }
.contents { columns: 18rem; list-style: none; padding: 0; font-size: .9rem; color: var(--quiet); } .contents a { color: var(--accent); }
@media (max-width: 60rem) { /* the reason below its equation, the number beside it */
  .equations { grid-template-columns: max-content minmax(0, 1fr) max-content; grid-auto-flow: dense; row-gap: .15em; }
  .equations > .left { grid-column: 1; } .equations > .right { grid-column: 2; } .equations > .number { grid-column: 3; }
  .equations > .why { grid-column: 1 / 4; padding: 0 0 .35em 3em; } .equations > div:not([class]) { display: none; } }
@media print { nav { display: none; } main { max-width: none; padding: 0; } summary { break-after: avoid; } .equations > div { break-inside: avoid; } }
"""

SCRIPT = """\
for (const button of document.querySelectorAll("nav button"))
  button.addEventListener("click", () => document.querySelectorAll("details.block").forEach(d => d.open = button.dataset.open === "yes"));
addEventListener("hashchange", () => {
  for (let e = document.querySelector(location.hash); e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
});
"""


def prose(sentence: str) -> str:
    return written(sentence, escape, lambda formula: mathml(formula, block=False))


def page(title: str, system: System, sections: Sequence[Section], rule: Rule | None) -> str:
    """The whole page."""
    body = [
        f"<h1>{prose(title)}</h1>",
        '<nav><button data-open="yes">unfold all steps</button><button data-open="no">fold all steps</button></nav>',
        *_contents(sections),
        f"<figure>{Diagram.of(system).svg()}</figure>",
        *(_section(section, number) for number, section in enumerate(sections, 1)),
        _code(system, rule),
    ]
    if closing := verdict(sections):
        body.append(f'<p class="verdict">{prose(closing)}</p>')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="symbackprop {__version__}">\n<title>{escape(title.replace("$", ""))}</title>\n'
        f"<style>\n{STYLE}{CODE_STYLE}\n</style>\n</head>\n<body>\n<main>\n" + "\n".join(body) + f"\n</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _contents(sections: Sequence[Section]) -> list[str]:
    entries = [f'<li><a href="#section-{k}">{prose(title)}</a> {escape(n)}</li>' for k, (title, n) in enumerate(contents(sections), 1)]
    return [f'<ul class="contents">{"".join(entries)}</ul>'] if entries else []


def _section(section: Section, number: int) -> str:
    parts = [f"<p>{prose(text)}</p>" for text in section.text]
    parts += [_group(group) for group in groups(section)]
    parts += [f"<p>{prose(capital(note))}</p>" for note in section.notes]
    heading = f"<summary><h2>{prose(section.title)}</h2></summary>"
    return f'<details class="section" id="section-{number}" open>{heading}\n' + "\n".join(parts) + "\n</details>"


def _group(group: Group) -> str:
    lines = _equations(group.steps)
    if not group.title:
        return lines
    left = next(step.left for step in group.steps if step.left)
    result = mathml(f"{left} {group.steps[-1].relation} {group.steps[-1].right}", block=False)
    heading = f'<summary>{prose(group.title)}<span class="result">{result}</span></summary>'
    return f'<details class="block" open>{heading}\n{lines}\n</details>'


def _equations(steps: Sequence[Step]) -> str:
    """A grid: left sides, right sides, reasons, numbers. An equation that is broken has a line for each piece, its number on the last."""
    cells, where = [], []
    for row in rows(steps, WIDTH):
        left = mathml(row.left) if row.left else ""
        cells.append(f'<div class="left">{left}</div><div class="right">{_right(row)}</div>')
        if not row.ends:
            cells.append("<div></div><div></div>")
            continue
        step = row.step
        cells.append(f'<div class="why">{_why(step)}</div><div class="number" id="eq-{step.number}">({step.number}){_mark(step)}</div>')
        if step.where:
            where.append(f'<div class="where">where {mathml(align(definitions(step, WIDTH), "aligned"))}</div>')
    return '<div class="equations">' + "\n".join(cells) + "</div>" + "\n".join(where)


def _right(row: Row) -> str:
    return mathml(f"{row.relation} {row.right}".strip())


def _why(step: Step) -> str:
    text = prose(reason(step))
    for n in step.uses:
        text = text.replace(f"({n})", f'<a href="#eq-{n}">({n})</a>')
    return text


def _mark(step: Step) -> str:
    """Whether the numbers agree, with the figure on hovering."""
    check = step.verification
    if check is None:
        return ""
    kind, sign = ("", "–") if check.unchecked else ("good", "✓") if check.ok else ("bad", "✗")
    return f' <span class="{kind}" title="{escape(str(check))}">{sign}</span>'


def _code(system: System, rule: Rule | None) -> str:
    try:
        shown = highlighted(numpy_module(system, rule, "float64", __version__))
    except UnsupportedError as error:
        shown = f"<p>{escape(str(error))}</p>"
    return f'<details class="section"><summary><h2>The code</h2></summary>\n{shown}\n</details>'


__all__ = ["page"]

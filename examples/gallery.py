"""Every text form among the examples as a derivation: pages for the browser, articles for pdflatex, Markdown, and the networks as pictures.

`python examples/gallery.py` writes them to examples/generated/gallery/, or to the folder given, with an index.html to start from.
"""

import itertools
import sys
from html import escape
from pathlib import Path

from two_hidden_layers import SAMPLE

import symbackprop as sbp

HERE = Path(__file__).parent
FILES = [*sorted(HERE.glob("*.net")), *sorted(HERE.glob("gallery/*.net"))]
MATRICES = ("softmax", "digits")  # these are read in matrices; the others in the form that a textbook would choose

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Derivations</title>
<style>
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 Georgia, serif; color: #1c1b19; background: #fffefb; }
section { border-top: 1px solid #e2ded4; padding: 1rem 0; }
h2 { font-size: 1.1rem; margin: 0 0 .5rem; }
img { max-width: 100%; }
a { color: #7a3b12; margin-right: 1em; }
</style>
<h1>Derivations</h1>
ENTRIES
</html>
"""


def derivations():
    """(name, what it is about, network, derivation) of each, one after the other."""
    optimizer = sbp.SGD(lr=0.01)
    for path in FILES:
        net = sbp.load(path)
        yield path.stem, about(path), net, net.derivation("matrix" if path.stem in MATRICES else "mixed", optimizer=optimizer)
    net = sbp.load(HERE / "tanh.net")
    steps = net.explain({"w_1": 0.5, "w_2": 2, "b": 0}, x=1, t=0, optimizer=sbp.SGD(lr=0.5), digits=4)
    yield "tanh_by_numbers", "The two tanh neurons by numbers, for one sample.", net, steps
    net = sbp.load(HERE / "three_layers.net")
    steps = net.explain(net.initialize(), **SAMPLE, optimizer=sbp.SGD(lr=0.5))
    yield "three_layers_by_numbers", "Mazur's worked example with three linear layers: one step by numbers.", net, steps


def about(path):
    """What a text form says of itself: the comment that it starts with."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    return " ".join(line.removeprefix("#").strip() for line in lines)


def write(folder):
    """All of them into `folder`; returns the names of the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for name, title, net, steps in derivations():
        for suffix in (".html", ".tex", ".md"):
            steps.save(folder / f"{name}{suffix}")
        net.diagram().save(folder / f"{name}.svg")
        links = " ".join(f'<a href="{name}{suffix}">{kind}</a>' for suffix, kind in ((".html", "page"), (".tex", "LaTeX"), (".md", "Markdown")))
        entries[name] = f'<section><h2>{escape(title)}</h2>\n<img src="{name}.svg" alt="its diagram">\n<p>{links}</p></section>'
    (folder / "index.html").write_text(PAGE.replace("ENTRIES", "\n".join(entries.values())), encoding="utf-8")
    return list(entries)


def main(folder=HERE / "generated" / "gallery"):
    names = write(Path(folder))
    print(f"{len(names)} derivations in {folder}; open index.html")


if __name__ == "__main__":
    main(*sys.argv[1:])

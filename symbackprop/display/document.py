"""A derivation as users meet it: the steps, and the pages that are made of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from symbackprop.calculus.forms import Forms
from symbackprop.derivation.build import build
from symbackprop.derivation.steps import Section, Step
from symbackprop.derivation.worked import worked
from symbackprop.display import article, markdown, page, plain
from symbackprop.display.files import save
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import System
from symbackprop.graph.rule import Rule
from symbackprop.latex.printer import TensorLatex
from symbackprop.training.optimizers import SGD, Optimizer


class Derivation:
    """The way from a network's equations to its gradients, in order: `.sections`, and `.steps` of all of them.

    `.latex()`, `.html()`, `.markdown()` and `.text()` write it, `.save(path)` writes the file that the suffix asks for. It shows itself
    in Jupyter.
    """

    def __init__(self, title: str, system: System, sections: Sequence[Section], rule: Rule | None = None) -> None:
        self.title = title
        self.system = system
        self.sections = list(sections)
        self.rule = rule

    @property
    def steps(self) -> list[Step]:
        return [step for section in self.sections for step in section]

    @property
    def ok(self) -> bool:
        """Whether every step that was checked by numbers came out."""
        return all(step.verification is None or step.verification.ok for step in self.steps)

    def latex(self, document: bool = False) -> str:
        """A fragment for a paper, which needs amsmath and amssymb; with `document`, a whole article for pdflatex."""
        return article.article(self.title, self.sections) if document else article.fragment(self.sections)

    def html(self) -> str:
        """One page that needs no network: formulas as MathML, the network's picture, steps that fold, the generated code."""
        return page.page(self.title, self.system, self.sections, self.rule)

    def markdown(self) -> str:
        """Markdown with formulas between dollar signs, as GitHub and Jupyter show it."""
        return markdown.markdown(self.title, self.sections)

    def text(self) -> str:
        """The steps for a terminal, formulas as LaTeX."""
        return plain.plain(self.title, self.sections)

    def save(self, path: str | PathLike[str]) -> None:
        """Write .tex (an article), .html, .md or .txt. Raises `UnsupportedError` for another suffix."""
        writers: dict[str, Callable[[], str]] = {
            ".tex": lambda: self.latex(document=True),
            ".html": self.html,
            ".htm": self.html,
            ".md": self.markdown,
            ".txt": self.text,
        }
        save(path, writers, "a derivation")

    def __repr__(self) -> str:
        wrong = "" if self.ok else ", WRONG where numbers disagree"
        return f"Derivation({self.title!r}: {len(self.sections)} sections, {len(self.steps)} steps{wrong})"

    def _repr_markdown_(self) -> str:
        """Its headings are small: in a notebook it stands below the notebook's own."""
        return re.sub("^#", "###", self.markdown(), flags=re.MULTILINE)


def derive(
    forms: Forms, form: str = "mixed", weights: Sequence[Any] | None = None, optimizer: Optimizer | None = None, verify: bool = True, seed: int = 0
) -> Derivation:
    """The derivation of a network's gradients (see `Network.derivation`)."""
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise UnsupportedError(f"the optimizer is {optimizer!r}; expected an Optimizer such as SGD(lr=0.01)")
    sections = build(forms, form, weights, optimizer, verify, seed)
    rule = optimizer.equations() if optimizer is not None else None
    return Derivation(f"The gradients of the loss ${TensorLatex().plain(forms.system.loss)}$", forms.system, sections, rule)


def explain(forms: Forms, weights: Mapping[Any, Any], data: Mapping[str, Any], optimizer: Optimizer | None = None, digits: int = 6) -> Derivation:
    """The same with numbers (see `Network.explain`)."""
    optimizer = SGD(lr=0.01) if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        raise UnsupportedError(f"the optimizer is {optimizer!r}; expected an Optimizer such as SGD(lr=0.01)")
    sections = worked(forms, weights, data, optimizer, digits)
    return Derivation(f"The gradients of the loss ${TensorLatex().plain(forms.system.loss)}$, by numbers", forms.system, sections, optimizer.equations())


__all__ = ["Derivation", "derive", "explain"]

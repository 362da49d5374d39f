"""The network as users meet it: one object that hands its equations to the calculus, the printers and the trainer."""

# What only some methods need is imported there, so that a network that is derived does not load what trains, draws and audits.

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Never

from symbackprop.calculus.forms import Forms
from symbackprop.errors import ArgumentError, NetworkError
from symbackprop.gradients import Gradients
from symbackprop.graph.equations import System
from symbackprop.graph.tensor import Equation, Tensor
from symbackprop.latex.equations import align, equation_lines

if TYPE_CHECKING:
    from symbackprop.audit.report import Audit
    from symbackprop.audit.stability_report import Stability
    from symbackprop.curvature import Derivatives
    from symbackprop.display.diagram.diagram import Diagram
    from symbackprop.display.document import Derivation
    from symbackprop.training.evaluator import Evaluator
    from symbackprop.training.optimizers import Optimizer
    from symbackprop.training.trainer import Trainer

_TRAINED = "write net.trainer(sbp.SGD(lr=0.1)).{}(...), with a trainer that keeps the weights"


class Network:
    """Everything that the scalar `loss` (and `output`, which `predict` returns) depends on, in the order of the equations.

    `loss` and `output` are nodes or expressions. Raises `NetworkError` where a name stands for two things, `ShapeError` where the
    loss is not a scalar.
    """

    def __init__(self, loss: Any, output: Any = None) -> None:
        self.system = System.of(loss, output)

    def __call__(self, *data: Any, **named: Any) -> Never:
        raise ArgumentError(f"a Network is equations, not a function; {_TRAINED.format('predict')}, and net.value_and_gradients(weights, ...)")

    if not TYPE_CHECKING:  # to a type checker it would say that there is everything

        def __getattr__(self, name):
            hint = f"; {_TRAINED.format(name)}" if name in ("predict", "fit", "step") else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=self)

    @property
    def loss(self) -> Tensor:
        return self.system.loss

    @property
    def output(self) -> Tensor | None:
        return self.system.output

    @property
    def equations(self) -> list[Equation]:
        """The named equations, in order."""
        return self.system.equations

    @property
    def weights(self) -> dict[str, Tensor]:
        return {t.name: t for t in self.system.weights}

    @property
    def states(self) -> dict[str, Tensor]:
        """What is kept with the weights and changed by every training step, but not learnt."""
        return {t.name: t for t in self.system.states}

    @property
    def data(self) -> dict[str, Tensor]:
        return {t.name: t for t in self.system.data}

    @cached_property
    def gradients(self) -> Gradients:
        """Weight name (or weight) → its gradient, in all forms."""
        return Gradients(self._forms)

    @cached_property
    def _forms(self) -> Forms:
        return Forms(self.system)

    def latex(self, form: str = "local") -> str:
        """One align* of all gradients, in the form "chain", "local", "closed", "matrix" or "index"; "equations" gives the network itself.

        Raises `UnsupportedError` for an unknown form, and for closed forms that would fill pages, counted before they are built.
        """
        if form == "equations":
            return align(equation_lines(self.system.equations))
        return self.gradients.latex(form)

    def derivation(self, form: str = "mixed", weights: Any = None, optimizer: "Optimizer | None" = None, verify: bool = True, seed: int = 0) -> "Derivation":
        """The way to the gradients, step by step: `.steps`, `.latex()`, `.html()`, `.markdown()`, `.save(path)`.

        `form`: "matrix" writes whole tensors, "index" one entry with free indices, "entry" each entry of each weight, and "mixed" what a
        textbook would: entries first, then the matrices that they make up. "chain" and "local" end a scalar weight's gradient early, before
        its factors are evaluated or before it is closed; "closed" is "mixed". `weights`: names of those whose gradients are derived, all
        unless given. `optimizer`: its update is the last section (of the first order; those that use curvature have no rule for one weight and
        raise `UnsupportedError`). `verify`: hold every equation against slopes found by numbers, at
        random inputs drawn with `seed`.

        Raises `UnsupportedError` for an unknown form, or for more entries than anybody reads; `UnknownWeightError` for an unknown weight.
        """
        from symbackprop.display.document import derive

        return derive(self._forms, form, weights, optimizer, verify, seed)

    def explain(self, weights: Mapping[Any, Any], *unnamed: Never, optimizer: "Optimizer | None" = None, digits: int = 6, **data: Any) -> "Derivation":
        """The same steps with numbers, for one sample: every sum and product written out, forward, backward and one update.

        `weights` and `data` as in `value_and_gradients`, of a single sample; so are masks that are drawn. `optimizer` is `SGD(lr=0.01)`
        unless another is given; `digits`, how many significant digits are shown. Where a page would not hold all values, of each tensor the
        first, the middle and the last entry are followed, and sums of many terms are not written out. Raises `DataError` for more than one
        sample, `UnsupportedError` for a network of more equations than anybody follows on paper, those of each step of time counted.
        """
        from symbackprop.display.document import explain

        self._by_name(unnamed, "explain")
        return explain(self._forms, weights, data, optimizer, digits)

    def generate(self, target: str = "numpy", optimizer: "Optimizer | None" = None, dtype: str = "float64") -> str:
        """The source of a standalone module with the network's loss, gradients and updates. `sbp.targets` lists the targets.

        The optimizer is `SGD(lr=0.01)` unless another is given.
        """
        from symbackprop.codegen import targets
        from symbackprop.training.optimizers import SGD, Optimizer

        optimizer = SGD(lr=0.01) if optimizer is None else optimizer
        if not isinstance(optimizer, Optimizer):
            raise NetworkError(f"the optimizer is {optimizer!r}; expected an Optimizer such as SGD(lr=0.01)")
        return targets.generate(target, *optimizer.prepared(self.system), dtype)

    def trainer(
        self,
        optimizer: "Optimizer",
        weights: Mapping[Any, Any] | None = None,
        seed: int = 0,
        dtype: Any = "float64",
        backend: str = "auto",
        precise: bool = False,
    ) -> "Trainer":
        """A trainer: `.step`, `.fit`, `.predict`, `.loss`, `.weights`, `.save`. `help(symbackprop.Trainer)` says what the options are."""
        from symbackprop.training.trainer import Trainer

        return Trainer(self.system, optimizer, weights, seed, dtype, backend, precise)

    def value_and_gradients(self, weights: Mapping[Any, Any], *unnamed: Never, **data: Any) -> tuple[float, dict[str, Any]]:
        """The loss and, for each weight, the array of its gradient, at the given weights and data: those of training, masks and noise included.

        Data that training draws, such as the masks of dropout, are drawn where they are not given, with the same numbers in every call; so
        it is in everything that takes weights and data (Hessians and Jacobians, `check_gradients`, `explain`, `audit`, `Trainer.loss`),
        and their results belong together. Raises `DataError` for what is missing, unknown, ill-shaped or not finite.
        """
        self._by_name(unnamed, "value_and_gradients")
        return self._evaluator(weights, data)

    def _by_name(self, unnamed: Sequence[Any], call: str) -> None:
        """Refuse data that were passed without their names."""
        from symbackprop.training.feed import refuse_positional

        refuse_positional(unnamed, call, self.data)

    def initialize(self, seed: int = 0) -> dict[str, Any]:
        """Weights, and states that training changes, to start from, as a trainer with the same seed has them: name → array.

        Constants, states without an update, are not among them: whatever takes weights knows them, and nobody overwrites them by chance.
        """
        start: dict[str, Any] = self._evaluator.module.initialize(seed)
        constants = {t.name for t in self.system.constants}
        return {name: array for name, array in start.items() if name not in constants}

    def audit(
        self, gradients: Any, weights: Mapping[Any, Any], *unnamed: Never, optimizer: "Optimizer | None" = None, tolerance: float | None = None, **data: Any
    ) -> "Audit":
        """What is wrong with gradients that somebody derived by hand: for every weight right or wrong, the relative error, the true formula,
        and the mistake that explains the numbers.

        `gradients` maps weights (or their names) to arrays, or is a function `f(weights, **data)` that returns such a mapping, or a pair
        (loss, mapping). Right is what is within `tolerance`, relative to an entry or a thousandth of the largest one, or within rounding; it
        is 1e-6, and 1e-4 for numbers in float32. A function is given the masks that are drawn where they are not given, as in
        `value_and_gradients`; with arrays, pass the masks that belong to them. With `optimizer` its learning rate is among the factors that are recognised.
        """
        from symbackprop.audit.case import Case
        from symbackprop.audit.gradients import audit_gradients

        self._by_name(unnamed, "audit")
        case = Case(self.system, self._evaluator, weights, data, optimizer)
        return audit_gradients(case, self.gradients, gradients, tolerance)

    def audit_update(
        self, update: Any, weights: Mapping[Any, Any], *unnamed: Never, optimizer: "Optimizer | None" = None, tolerance: float | None = None, **data: Any
    ) -> "Audit":
        """What is wrong with a function `update(weights, **data)` that makes one step: it returns new weights, or changes the copies that it
        is given.

        The step is held against gradient descent, whose learning rate is found from the weights that are right (`.learning_rate` of the
        report), or against the first step of `optimizer`.
        """
        from symbackprop.audit.case import Case
        from symbackprop.audit.updates import audit_update

        self._by_name(unnamed, "audit_update")
        case = Case(self.system, self._evaluator, weights, data, optimizer)
        return audit_update(case, self.gradients, update, tolerance)

    def hessian(self, wrt: Any = None) -> "Derivatives":
        """The second derivatives of the loss, for every pair of weights: `net.hessian()["W", "b"]`, shape (*W, *b).

        `wrt`: a weight, or several, by name or as tensors; all unless given. The result prints (`.latex("matrix")`, `.latex("index")`), is
        generated (`.generate("numpy")`), and computes: `hessian(weights, **data)` gives the blocks, `.matrix(...)` one matrix of them.
        Kinks as for gradients: relu'' is 0. Masks that are not given are drawn, the same in every call, as in `value_and_gradients`.
        Raises `UnknownWeightError` for a weight that is not in the network.

        Source: Laue, Mitterreiter & Giesen, "A Simple and Efficient Tensor Calculus", AAAI 2020, sections 2 and 3.
        """
        from symbackprop.calculus.second import hessian
        from symbackprop.curvature import Derivatives

        return Derivatives("hessian", hessian, self.system, wrt)

    def hessian_vector_product(self, wrt: Any = None) -> "Derivatives":
        """H v, for every weight: the gradient of <gradient, v>, which takes about twice the time of a gradient, whatever the number of weights.

        The result is called with the weights, the direction (name → array of the weight's shape) and the data:
        `product(weights, {"W": ..., "b": ...}, X=..., T=...)`. Source: Pearlmutter, "Fast Exact Multiplication by the Hessian", 1994.
        """
        from symbackprop.calculus.second import hessian_vector_product
        from symbackprop.curvature import Derivatives

        return Derivatives("hessian vector product", hessian_vector_product, self.system, wrt)

    def jacobian(self, node: Any, wrt: Any = None) -> "Derivatives":
        """The derivative of every entry of a node in every weight: shape (*node, *weight). Raises `NetworkError` for an unknown node."""
        from symbackprop.curvature import jacobian

        return jacobian(self.system, node, wrt)

    def gauss_newton(self, wrt: Any = None, output: Any = None) -> "Derivatives":
        """J^T (d²C/dy²) J for every pair of weights, where J is the Jacobian of y, and y is the node through which the loss is seen.

        That is `output`, or unless given the network's output where the loss is computed from it, else the one node that both the loss reads
        and the weights reach (the logits of a cross-entropy whose softmax is the output); `.node` of the result says which. What the
        loss has of the weights beside y, such as a penalty, is no part of it. Raises `NetworkError` where there are several such nodes.

        Source: Schraudolph, "Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent", 2002, section 3.1.
        """
        from symbackprop.curvature import gauss_newton

        return gauss_newton(self.system, wrt, output)

    def fisher(self, wrt: Any = None) -> "Derivatives":
        """The empirical Fisher matrix: the mean over the samples of g gᵀ, where g is the gradient of one sample's loss.

        Samples are counted along the first named dimension of the data. Source: Martens, "New Insights and Perspectives on the Natural
        Gradient Method", JMLR 2020, section 11. Raises `NetworkError` where the data have no such dimension.
        """
        from symbackprop.calculus.second import fisher
        from symbackprop.curvature import Derivatives

        return Derivatives("fisher", fisher, self.system, wrt)

    def per_sample_gradients(self, wrt: Any = None) -> "Derivatives":
        """The gradients of the losses of single samples, each as if it were the whole batch: shape (n, *weight)."""
        from symbackprop.calculus.second import per_sample_gradients
        from symbackprop.curvature import Derivatives

        return Derivatives("per sample gradients", per_sample_gradients, self.system, wrt)

    def stability(self, samples: int = 60, seed: int = 0, progress: bool = False) -> "Stability":
        """Which equations, gradients included, are computed otherwise than written so that nothing overflows or cancels, and how exact each
        is: the formula before and after, the rules, and the measured error of both in units in the last place, against mpmath.

        Errors are in units in the last place of the true value (float64), the worst that was found, not a proven bound. Each equation is measured by
        itself, in the generated NumPy code, as a function of the values that it reads: of those that it meets when the network is computed, with open
        dimensions of 3, at data and weights of any size. In each of up to 600 passes, drawn with `seed`, one input is at the extremes of floats, of
        any exponent up to 2^1000, of moderate size or nearly constant, or has single entries that are not 0. So a variance is not negative and the shares of
        a softmax add up to 1. Of these passes about `samples` are taken for each equation, a third or less where it reads tensors, as different from each other
        as there are; of a tensor that it makes one entry is computed by mpmath, with up to 800 digits. Gradients that arrive from the loss are any
        numbers from 2^-20 to 1. Arguments at which the formula has no finite real value are left out.

        Not a number or infinite is right where the true value is above 2^1000. Where terms of either sign cancel in a sum of inputs, no way of adding
        is exact, and the unit is what a change of them by one unit in their last place makes of the result. If half of its digits or more are lost the
        report says so; and it says of a formula whose own terms cancel that it `cancels`, with the error in units of the largest term. All else above 4
        units is in `defects`: not finite, inexact, or lost in numbers that are too small for floats on the way.

        `progress` shows a bar (needs the extra [progress]). Training keeps the stored value in 1 - a² of a tanh and in p(1 - p) of a logistic
        function, and subtracts the label from a softmax, where this report has the exact forms. Source: N. J. Higham, Accuracy and Stability of
        Numerical Algorithms, 2nd ed. (2002), sections 1.5 and 3.3.
        """
        from symbackprop.audit.stability import measure

        return measure(self.system, samples, seed, progress)

    def diagram(self, backward: bool = True, width: float | None = 1000, legend: bool = True) -> "Diagram":
        """The graph of the named nodes: `.svg()`, `.dot()`, `.mermaid()`, `.save(path)`; it shows itself in Jupyter.

        `backward` adds the gradients, which travel against the arrows. A picture wider than `width` pixels breaks into rows; None never does.
        """
        from symbackprop.display.diagram.diagram import Diagram

        return Diagram.of(self.system, backward, width, legend)

    @cached_property
    def _evaluator(self) -> "Evaluator":
        from symbackprop.training.evaluator import Evaluator

        return Evaluator(self.system)

    def __iter__(self) -> Iterator[Equation]:
        return iter(self.system.equations)

    def __repr__(self) -> str:
        lines = [f"  {e.symbol} = {e.expr}" for e in self.system.equations]
        return "\n".join([f"Network(loss={self.loss}, output={self.output})", *lines])

    def _repr_latex_(self) -> str:
        return "$$" + align(equation_lines(self.system.equations), "aligned") + "$$"



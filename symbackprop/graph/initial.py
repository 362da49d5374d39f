"""How weights start: the standard initializers, and the default that suits a weight's use.

Sources: Glorot & Bengio 2010, section 4.2.1 (glorot); He et al. 2015, section 2.2 (he); LeCun et al. 1998, section 4.6 (lecun).
"""

import math
from collections.abc import Callable, Sequence

import sympy as sp

from symbackprop.errors import NetworkError
from symbackprop.graph.equations import System
from symbackprop.graph.functions import relu
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.operators.gather import Take
from symbackprop.graph.operators.layout import Reshape
from symbackprop.graph.operators.scan import Scan, opened
from symbackprop.graph.operators.window import Window
from symbackprop.graph.shapes import postorder
from symbackprop.graph.tensor import Equation, Tensor

# name → (distribution, variance as a function of fan_in and fan_out); None stands for a constant.
_VARIANCES: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "glorot_uniform": ("uniform", lambda i, o: 2 / (i + o)),
    "glorot_normal": ("normal", lambda i, o: 2 / (i + o)),
    "he_uniform": ("uniform", lambda i, o: 2 / i),
    "he_normal": ("normal", lambda i, o: 2 / i),
    "lecun_uniform": ("uniform", lambda i, o: 1 / i),
    "lecun_normal": ("normal", lambda i, o: 1 / i),
    "uniform": ("uniform", lambda i, o: 0.05**2 / 3),
    "normal": ("normal", lambda i, o: 0.05**2),
}
INITIALIZERS = ("zeros", "ones", *_VARIANCES)


def fans(shape: Sequence[int], is_kernel: bool = False) -> tuple[float, float]:
    """Inputs and outputs of one unit, for a weight used as `x @ W`: the last axis is the outputs, the one before it the inputs. A
    convolution's kernel has them first, and each counts as often as its window has entries, as in PyTorch and Keras."""
    if len(shape) < 2:
        return (float(shape[0]) if shape else 1.0, 1.0)
    if is_kernel:
        outputs, inputs, *window = shape
        return inputs * float(math.prod(window)), outputs * float(math.prod(window))
    field = float(math.prod(shape[:-2]))
    return shape[-2] * field, shape[-1] * field


def default_initializers(system: System) -> dict[Tensor, str]:
    """Weight → initializer: zeros for a bias (a weight that is only added), ones for an elementwise gain, He before a relu, else Glorot."""
    uses: dict[Tensor, set[str]] = {w: set() for w in system.weights}
    before_relu: set[Tensor] = set()
    own = [Equation(t, t.definition) for t in system.forward if t.definition is not None]
    for symbol, expr in reversed(list(opened(own))):  # a relu's argument stands before the relu
        weight_of = _reshaped_weights(expr, system)
        if expr in weight_of:
            uses[weight_of[expr]].add("multiplied")
        for part in postorder(expr):
            if isinstance(part, (relu, sp.Max)):
                before_relu.update(s for s in part.free_symbols if isinstance(s, Tensor))
            for w in {weight_of[a] for a in part.args if a in weight_of and part not in weight_of and not isinstance(part, Scan)}:
                contracted = isinstance(part, (Einsum, Take))  # a lookup is a product with one-hot rows
                kind = "added" if isinstance(part, sp.Add) else "contracted" if contracted else "multiplied"
                uses[w].add("rectified" if kind == "contracted" and symbol in before_relu else kind)
    return {w: _default(w, uses[w]) for w in uses}


def _reshaped_weights(expr: sp.Expr, system: System) -> dict[sp.Basic, Tensor]:
    """The weights in an expression, by themselves and under other shapes."""
    found: dict[sp.Basic, Tensor] = {w: w for w in system.weights}
    for part in postorder(expr):
        if isinstance(part, Reshape) and part.operands[0] in found:
            found[part] = found[part.operands[0]]
    return found


def kernels(system: System) -> set[Tensor]:
    """The weights that are contracted with sliding windows."""
    found: set[Tensor] = set()
    for _, expr in system.equations:
        weight_of = _reshaped_weights(expr, system)
        for part in expr.atoms(Einsum):
            if any(isinstance(x, Window) for x in part.operands):
                found.update(weight_of[x] for x in part.operands if x in weight_of)
    return found


def _default(weight: Tensor, uses: set[str]) -> str:
    if "rectified" in uses:
        return "he_normal"
    if "multiplied" in uses and "contracted" not in uses and weight.shape:
        return "ones"
    return "zeros" if uses == {"added"} else "glorot_uniform"


def draw_source(weight: str, name: str, shape: Sequence[int], is_kernel: bool = False) -> str:
    """The NumPy expression that draws a weight by the initializer called `name`, in terms of a generator called `rng`."""
    size = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    if name in ("zeros", "ones"):
        return f"np.{name}({size}, DTYPE)"
    if name not in _VARIANCES:
        raise NetworkError(f"weight {weight!r}: the initializer {name!r} is unknown; expected a number, an array or one of {', '.join(INITIALIZERS)}")
    kind, variance = _VARIANCES[name]
    v = variance(*fans(shape, is_kernel))
    if kind == "normal":
        return f"rng.normal(0, {v**0.5:.6g}, {size}).astype(DTYPE)" if shape else f"np.array(rng.normal(0, {v**0.5:.6g}), DTYPE)"
    limit = (3 * v) ** 0.5
    draw = f"rng.uniform(-{limit:.6g}, {limit:.6g}"
    return f"{draw}, {size}).astype(DTYPE)" if shape else f"np.array({draw}), DTYPE)"


def initial_sources(system: System) -> dict[Tensor, str]:
    """Weight or state → the NumPy expression of its initial value."""
    defaults, convolved = default_initializers(system), kernels(system)
    return {t: _initial_source(t, defaults.get(t, "zeros"), t in convolved) for t in system.kept}


def _initial_source(weight: Tensor, default: str, is_kernel: bool) -> str:
    import numpy as np  # here, because whoever only reads the names of the initializers does without

    init = weight.init
    if init is None:
        return draw_source(weight.name, default, weight.shape, is_kernel)
    if isinstance(init, str):
        return draw_source(weight.name, init, weight.shape, is_kernel)
    try:
        value = np.asarray(init, dtype=float)
    except (TypeError, ValueError):
        raise NetworkError(
            f"{weight.role} {weight.name!r}: the initial value {init!r} is not numeric; "
            f"expected a number, an array or one of {', '.join(INITIALIZERS)}"
        ) from None
    if value.shape not in ((), weight.shape):
        raise NetworkError(f"{weight.role} {weight.name!r} has shape {weight.shape} but its initial value has shape {value.shape}; make them equal")
    if not np.all(np.isfinite(value)):
        raise NetworkError(f"{weight.role} {weight.name!r}: the initial value holds NaN or infinity; give finite numbers")
    if value.shape == () and weight.shape:
        return f"np.full({weight.shape}, {float(value)!r}, DTYPE)"
    return f"np.array({value.tolist()!r}, DTYPE)"

"""The table of targets: what `generate` can write."""

from collections.abc import Callable

from symbackprop.codegen.numpy_module import numpy_module
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import System
from symbackprop.graph.rule import Rule
from symbackprop.version import __version__

_TARGETS: dict[str, Callable[[System, Rule, str, str], str]] = {"numpy": numpy_module}
targets = tuple(_TARGETS)


def generate(target: str, system: System, rule: Rule, dtype: str = "float64") -> str:
    """The source for one target. Raises `UnsupportedError` for an unknown target or dtype, or mathematics it cannot say."""
    if target not in _TARGETS:
        raise UnsupportedError(f"the target {target!r} is unknown; expected one of {', '.join(_TARGETS)}")
    if dtype not in ("float64", "float32"):
        raise UnsupportedError(f"the dtype {dtype!r} is unknown; expected 'float64' or 'float32'")
    return _TARGETS[target](system, rule, dtype, __version__)

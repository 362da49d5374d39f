"""symbackprop: the gradient of a neural network as mathematics that you can read, print, prove and run.

Describe a network with `data`, `weight` and `node`; `Network(loss)` derives its gradients in closed form, prints them as LaTeX,
writes standalone update code and trains.
"""

# The public names, and where each is defined, stand in `__init__.pyi`, where type checkers and editors look for them. Here each is
# imported when it is first asked for, so that nobody waits for what they do not use.

import ast
import pkgutil
import sys
from importlib import import_module
from typing import Any


def _homes() -> dict[str, tuple[str, str]]:
    """Public name → the module that defines it, and its name there."""
    stub = pkgutil.get_data(__name__, "__init__.pyi")
    assert stub is not None  # what loads this file loads the one beside it
    imports = [(part.module or "", part.names) for part in ast.parse(stub).body if isinstance(part, ast.ImportFrom)]
    return {name.asname or name.name: (module, name.name) for module, names in imports for name in names}


_HOMES = _homes()
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        hint = None if name.startswith("_") else import_module("symbackprop.graph.tensor").instead(name)
        message = f"module {__name__!r} has no attribute {name!r}" + (f"; write {hint}" if hint else "")
        raise AttributeError(message, name=name, obj=sys.modules[__name__])
    module, defined = _HOMES[name]
    globals()[name] = found = getattr(import_module(module), defined)
    return found


def __dir__() -> list[str]:
    """The public names, without what this file imports for itself."""
    return sorted({*_HOMES, *(name for name in globals() if name.startswith("__"))})

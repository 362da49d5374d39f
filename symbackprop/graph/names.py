"""Names: which ones a tensor or a dimension may carry. Every name becomes a Python identifier in generated code,
so it is checked here, once, when the tensor is made."""

import keyword
import unicodedata

from symbackprop.errors import NetworkError

# What generated code calls things itself. A network name among them would clash once written as code.
RESERVED = frozenset(
    "np math weights state gradients loss_and_gradients DTYPE self print abs max min float int len range zip".split()
)


def check_name(name: str, what: str) -> str:
    """Return `name` if it can be written in code as it stands; raise `NetworkError` otherwise."""
    if not isinstance(name, str) or not name:
        raise NetworkError(f"the name of a {what} is {name!r}; expected a non-empty string such as 'w_1'")
    if not name.isidentifier():
        raise NetworkError(
            f"the {what} name {name!r} is not a Python identifier; "
            "use letters, digits and underscores, not starting with a digit (for example 'w_1')"
        )
    if keyword.iskeyword(name):
        raise NetworkError(f"the {what} name {name!r} is a Python keyword; write {name + '_'!r} or another name")
    if name in RESERVED:
        raise NetworkError(f"the {what} name {name!r} clashes with a name that generated code uses; choose another, such as {name + '_1'!r}")
    if name.startswith("_"):
        raise NetworkError(f"the {what} name {name!r} starts with an underscore, as the helper functions of generated code do; choose another")
    normal = unicodedata.normalize("NFKC", name)
    if normal != name:
        raise NetworkError(f"the {what} name {name!r} is read by Python as {normal!r}, so the two would clash once written as code; write {normal!r}")
    return name


def split_names(names: str, what: str) -> tuple[list[str], bool]:
    """Split `"x t"` or `"x, t"` as `sympy.symbols` does. The flag says whether one bare name was given."""
    if not isinstance(names, str):
        raise NetworkError(f"the names of {what} tensors are {names!r}; expected a string such as 'x t'")
    parts = [check_name(part, what) for part in names.replace(",", " ").split()]
    twice = [part for part in parts if parts.count(part) > 1]
    if twice:
        raise NetworkError(f"the {what} name {twice[0]!r} is given twice in {names!r}; give each tensor its own name")
    if not parts:
        raise NetworkError(f"no name was given for a {what} tensor; write for example {what}('x')")
    return parts, len(parts) == 1 and "," not in names


class Namer:
    """Hands out names that are not taken yet, so that what the package invents never hides what the user wrote."""

    def __init__(self, taken: set[str] | frozenset[str] = frozenset()) -> None:
        self.taken = set(taken) | RESERVED

    def __call__(self, wish: str) -> str:
        name = wish
        while name in self.taken or keyword.iskeyword(name):
            name += "_"
        self.taken.add(name)
        return name

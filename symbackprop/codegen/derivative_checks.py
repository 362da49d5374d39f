"""How a module of second derivatives checks itself: along random directions of ±1, in which every entry takes part, against central
differences of what the derivatives are of, or, for the gradients of samples, of the loss of each sample alone."""

from dataclasses import dataclass
from textwrap import indent


@dataclass(frozen=True)
class Check:
    """`of`: the function of the module that is differentiated, and `what`, in words; `found`: what is computed once; `compare`: the lines
    that yield the difference and the size of what is compared."""

    of: str
    what: str
    found: str
    compare: str

    def source(self, function: str, title: str, names: str, data: str) -> str:
        """The function `check`, and what runs it."""
        found = self.found.replace("<call>", function)
        compare = indent(self.compare.replace("<call>", function).strip("\n"), " " * 12)
        text = _CHECK.replace("<found>", f"        {found}\n" if found else "").replace("<compare>", compare)
        text = text.replace("<title>", title[0].lower() + title[1:]).replace("<what>", self.what)
        return text.replace("<of>", self.of).replace("<names>", names).replace("<data>", data)


_CHECK = '''
def check(seed=0):
    """Largest relative error of <title> along random directions, against central differences of <what>.

    It is measured at random weights and data, in float64.
    """
    global DTYPE
    kept, DTYPE = DTYPE, np.float64
    try:
        rng = np.random.default_rng(seed)
        weights = {name: np.array(w + rng.uniform(0.05, 0.15, np.shape(w)), DTYPE) for name, w in initialize(seed).items()}
        data = <data>
<found>        errors = [0.0]
        for _ in range(5):
            v = {name: rng.choice([-1.0, 1.0], weights[name].shape) for name in <names>}
            ahead = {**weights, **{name: weights[name] + 1e-5 * d for name, d in v.items()}}
            behind = {**weights, **{name: weights[name] - 1e-5 * d for name, d in v.items()}}
<compare>
        return float(np.max(errors))
    finally:
        DTYPE = kept


def _error(exact, above, below, whole=0.0):
    """The largest error of a derivative, relative to its largest entry, or to where rounding hides it.

    `whole`: the largest entry for all weights. What vanishes by cancelling is as exact as the others are.
    """
    numeric = (above - below) / 2e-5
    size = max(np.abs(numeric).max(), np.abs(exact).max(), 1e-3 * whole, 1e-4 * np.abs(above).max(), 1e-12)
    return np.abs(exact - numeric).max() / size


if __name__ == "__main__":
    error = check()
    print(f"largest relative error of <title>: {error:.1e}")
    raise SystemExit(0 if error < 1e-5 else 1)
'''

CHECKS = {
    "hessian": Check(
        "gradients",
        "the gradient",
        "found = <call>(weights, **data)",
        """
above, below = <of>(ahead, **data), <of>(behind, **data)
exact = {p: sum(np.tensordot(found[p, q], v[q], v[q].ndim) for q in v) for p in v}
whole = max(np.abs(x).max() for x in exact.values())
errors += [_error(exact[p], above[p], below[p], whole) for p in v]
""",
    ),
    "hessian vector product": Check(
        "gradients",
        "the gradient",
        "",
        """
above, below, found = <of>(ahead, **data), <of>(behind, **data), <call>(weights, v, **data)
whole = max(np.abs(x).max() for x in found.values())
errors += [_error(found[p], above[p], below[p], whole) for p in v]
""",
    ),
    "jacobian": Check(
        "value",
        "the node",
        "found = <call>(weights, **data)",
        """
exact = sum(np.tensordot(found[p], v[p], v[p].ndim) for p in v)
errors.append(_error(exact, <of>(ahead, **data), <of>(behind, **data)))
""",
    ),
    "per sample gradients": Check(
        "loss",
        "each sample's loss alone",
        "found, alone = <call>(weights, **data), _samples(data)",
        """
exact = sum(np.tensordot(found[p], v[p], v[p].ndim) for p in v)
above = np.array([<of>(ahead, **sample) for sample in alone])
below = np.array([<of>(behind, **sample) for sample in alone])
errors.append(_error(exact, above, below))
""",
    ),
    "fisher": Check(
        "loss",
        "each sample's loss alone",
        "found, alone = <call>(weights, **data), _samples(data)",
        """
exact = sum((v[p] * np.tensordot(found[p, q], v[q], v[q].ndim)).sum() for p in v for q in v)
above = np.array([<of>(ahead, **sample) for sample in alone])
below = np.array([<of>(behind, **sample) for sample in alone])
errors.append(abs(exact - np.mean(((above - below) / 2e-5) ** 2)) / max(exact, 1e-12))
""",
    ),
}

SAMPLES = '''
def _samples(data):
    """The samples one by one, each as a batch of one."""
    axes = {name: [axis for axis, size in enumerate(DATA[name]) if size == "<n>"] for name in data}
    count = next(np.shape(data[name])[places[0]] for name, places in axes.items() if places)
    return [{name: np.take(x, [k], axes[name][0]) if axes[name] else x for name, x in data.items()} for k in range(count)]
'''

__all__ = ["CHECKS", "SAMPLES", "Check"]

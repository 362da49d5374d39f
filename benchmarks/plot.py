"""The plot: for each network, how many times as long as this project's best everything else takes."""

from typing import Any

from benchmarks.candidates import CANDIDATES, NUMBA, NUMPY
from benchmarks.networks import LARGE, LINEAR, RELU, TANH
from benchmarks.report import RESULTS, digits, duration
from benchmarks.summary import BARE, with_bare_products

OURS, REFERENCE, PEER = "#1f6f5c", "#9aa5ad", "#c9793b"
PATH = RESULTS / "benchmarks.png"


def draw(steps: dict[str, Any] | None, digits_to_goal: dict[str, Any] | None) -> bool:
    """Write the picture; False where there is nothing to draw, or no matplotlib to draw it."""
    panels = [(f"{case.title}: one step", steps[case.title]) for case in (LINEAR, TANH, RELU, LARGE) if steps and case.title in steps]
    panels += [(f"digits to 97 %, start-up included, {state}", digits_to_goal[state]) for state in ("cold", "warm") if digits_to_goal]
    try:
        import matplotlib
    except ImportError:
        return False
    if not panels:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = (len(panels) + 1) // 2
    figure, axes = pyplot.subplots(rows, 2, figsize=(12, 3.9 * rows), squeeze=False, facecolor="white")
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (title, times) in zip(axes.flat, panels, strict=False):
        panel(axis, title, with_bare_products(times))
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=color) for color in (OURS, REFERENCE, PEER)]
    figure.legend(handles, ["symbackprop", "written by hand", "libraries"], loc="upper center", ncols=3, frameon=False, fontsize=11)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / (3.9 * rows)), h_pad=2, w_pad=2)
    figure.savefig(PATH, dpi=110)
    pyplot.close(figure)
    return True


def panel(axis: Any, title: str, times: dict[str, float]) -> None:
    """Bars of ratios on a logarithmic axis, the fastest on top, each with its ratio and its time."""
    best = min(times[name] for name in (NUMBA, NUMPY) if name in times)
    names = sorted(times, key=times.__getitem__, reverse=True)
    ratios = [times[name] / best for name in names]
    low, high = min(ratios) / 2, max(ratios) * (max(ratios) / min(ratios)) ** 0.45  # room for what is written beside the bars
    axis.barh(names, [r - low for r in ratios], left=low, color=[color(name) for name in names], height=0.72)
    for place, (name, r) in enumerate(zip(names, ratios, strict=True)):
        axis.text(r * (high / low) ** 0.01, place, f"{digits(r)} ×   {duration(times[name])}", va="center", fontsize=9)
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    axis.axvline(1, color=OURS, linewidth=0.8)
    axis.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axis.set_xlabel("time, as a multiple of symbackprop's", fontsize=9)
    axis.tick_params(labelsize=9)
    axis.spines[["top", "right"]].set_visible(False)


def color(name: str) -> str:
    if name in (NUMBA, NUMPY):
        return OURS
    return REFERENCE if name == BARE or CANDIDATES[name].reference else PEER

"""The plot: for each network, how many times as long as this project's best everything else takes."""

from math import ceil, floor, log10
from typing import Any

from benchmarks.candidates import CANDIDATES, OURS
from benchmarks.networks import LARGE, LINEAR, RELU, TANH
from benchmarks.report import RESULTS, digits, duration
from benchmarks.summary import BARE, with_bare_products

OWN, REFERENCE, PEER = "#1f6f5c", "#9aa5ad", "#c9793b"
PATH = RESULTS / "benchmarks.png"


def write(steps: dict[str, Any] | None, digits_to_goal: dict[str, Any] | None) -> str | None:
    """Write the picture; why not, where there is nothing to draw or nothing to draw it with."""
    if not (steps or digits_to_goal):
        return "there are no figures to draw"
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return "matplotlib is not installed"
    draw(steps, digits_to_goal).savefig(PATH, dpi=110)
    return None


def draw(steps: dict[str, Any] | None, digits_to_goal: dict[str, Any] | None) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    panels = [(case.title, "a step's time", steps[case.title]) for case in (LINEAR, TANH, RELU, LARGE) if steps and case.title in steps]
    for state, times in (digits_to_goal or {}).items():
        panels.append((f"digits to 97 %, caches {state}", "time with start-up", times))
    rows = (len(panels) + 1) // 2
    figure = Figure((12, 3.9 * rows), facecolor="white")
    axes = figure.subplots(rows, 2, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (title, measured, times) in zip(axes.flat, panels, strict=False):
        axis.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axis.set_xlabel(f"{measured}, as a multiple of symbackprop's", fontsize=9)
        bars(axis, with_bare_products(times))
    handles = [Patch(color=kind) for kind in (OWN, REFERENCE, PEER)]
    figure.legend(handles, ["symbackprop", "written by hand", "libraries"], loc="upper center", ncols=3, frameon=False, fontsize=11)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / (3.9 * rows)), h_pad=2, w_pad=2)
    return figure


def bars(axis: Any, times: dict[str, float]) -> None:
    """Ratios on a logarithmic axis, the fastest on top, each with its ratio and its time."""
    best = min(times[name] for name in OURS if name in times)
    names = sorted(times, key=times.__getitem__, reverse=True)
    ratios = [times[name] / best for name in names]
    low, high = min(ratios) / 2, max(ratios) * (max(ratios) / min(ratios)) ** 0.45  # room for what is written beside the bars
    axis.axvline(1, color=OWN, linewidth=0.8, zorder=0)
    axis.barh(names, [r - low for r in ratios], left=low, color=[color(name) for name in names], height=0.72)
    clear = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    for place, (name, r) in enumerate(zip(names, ratios, strict=True)):
        text = f"{digits(r)} ×   {duration(times[name])}"
        axis.annotate(text, (r, place), (4, 0), textcoords="offset points", va="center", fontsize=9, bbox=clear)
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    axis.set_xticks(ticks(low, high), [f"{value:,.10g}" for value in ticks(low, high)])
    axis.xaxis.set_minor_formatter(lambda *_: "")
    axis.tick_params(labelsize=9)
    axis.spines[["top", "right"]].set_visible(False)


def ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 between them on a short axis, and every other one alone on a long axis."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    short, long = high / low < 200, high / low > 1e5
    values = [digit * 10.0**k for k in powers for digit in ((1, 2, 5) if short else (1,)) if not long or k % 2 == 0]
    return [value for value in values if low <= value <= high]


def color(name: str) -> str:
    if name in OURS:
        return OWN
    return REFERENCE if name == BARE or CANDIDATES[name].reference else PEER

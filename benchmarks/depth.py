"""How the time to derive and generate grows with the depth of a network: it should grow no faster than the depth."""

from time import perf_counter

from benchmarks.derivation import imported
from benchmarks.report import Table, duration, ratio
from benchmarks.timing import in_fresh_process, interleave, medians

WIDTH = 8


def seconds(depth: int) -> float:
    """From the description of a tanh network with so many layers of eight units to the source of its update."""
    sbp = imported()
    start = perf_counter()
    source = sbp.mlp([WIDTH] * (depth + 1), "tanh").generate("numpy")
    elapsed = perf_counter() - start
    compile(source, "generated", "exec")
    return elapsed


def measure(short: bool) -> Table:
    depths = (10, 20, 40) if short else (50, 100, 200)
    runs = interleave({str(d): lambda d=d: in_fresh_process(seconds, d) for d in depths}, 1 if short else 5)
    times = medians(runs)
    first = depths[0]
    table = Table(
        "depth",
        "Derive and generate, by depth",
        f"A tanh network with layers of {WIDTH} units, from its description to the source of its update. Each repetition in a fresh process.",
        ["layers", "median", "a layer", f"ratio to {first}", f"depth over {first}"],
        [[d, duration(t), duration(t / int(d)), ratio(t, times[str(first)]), f"{int(d) // first} ×"] for d, t in times.items()],
        figures=times,
    )
    if short:
        table.notes.append("Short setting: depths 10, 20 and 40 stand for 50, 100 and 200, once each.")
    return table

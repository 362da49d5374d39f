"""`symbackprop train`: a network from its text form, data from a table, losses and weights as a table."""

import argparse
import importlib.util
import json
import sys
from typing import Any

import numpy as np

from symbackprop.cli import optimizers
from symbackprop.cli.binding import Bound, bind
from symbackprop.cli.errors import UsageError
from symbackprop.cli.outputs import check_output, scales_beside
from symbackprop.cli.table import read_table
from symbackprop.cli.terminal import table, wrote
from symbackprop.network import Network
from symbackprop.reading import load_source
from symbackprop.training.history import History
from symbackprop.training.optimizers import SGD
from symbackprop.training.trainer import Trainer

FEW = 20  # weights are printed where they have so many entries in all
EPILOG = """\
The table is a CSV file with a header. A text form says which columns its data are, and where it does not, the names are equal:

    data x = column("cylinders"), t = column("mpg")
    data X[n, 2] = columns("cgpa", "resume_score"), T[n, 1] = column("lpa")
    data X[n, 64] = columns("p0" : "p63")                 all columns from the one to the other

examples:
  symbackprop train cars.net --data cars.csv --epochs 1000
  symbackprop train cars.net --data cars.csv --optimizer adam --lr 0.01 --batch-size 32 --shuffle --standardize -o run.npz
  symbackprop train parabola.net --epochs 100          (a function of its weights alone needs no table)
"""


def add(commands: Any) -> None:
    parser = commands.add_parser("train", help="train it on a table", description="Train a network on a table.", epilog=EPILOG)
    parser.add_argument("file", metavar="FILE", help='the network in its text form; "-" reads the standard input')
    parser.add_argument("--data", metavar="TABLE", help="a CSV file with a header")
    parser.add_argument("--epochs", type=int, default=100, metavar="N", help="passes over the table (default: 100)")
    parser.add_argument("--batch-size", type=int, metavar="B", help="rows in one update (default: all)")
    parser.add_argument("--shuffle", action="store_true", help="a new order of the rows in every epoch")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first weights, the shuffle and the rows held out (default: 0)")
    parser.add_argument("--standardize", action="store_true", help="bring every input column to mean 0 and standard deviation 1")
    parser.add_argument("--validation", type=float, default=0.0, metavar="FRACTION", help="share of the rows that is held out, and whose loss is shown")
    parser.add_argument("-o", "--output", metavar="RUN.npz", help="save the run: Trainer.load reads it")
    optimizers.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_output(arguments.output, arguments.file, arguments.data, scales=arguments.standardize)
    source = load_source(arguments.file)
    net = Network(source.loss, source.output)
    if not 0 <= arguments.validation < 1:
        raise UsageError(f"--validation {arguments.validation:g}: expected a fraction from 0 to below 1")
    if arguments.seed < 0:
        raise UsageError(f"--seed {arguments.seed}: expected 0 or a positive integer")
    if net.data and arguments.data is None:
        raise UsageError(f"the network reads the data {', '.join(net.data)}; give them with --data TABLE.csv")
    if not net.data and arguments.data is not None:
        raise UsageError("the network reads no data; leave --data away")
    bound = Bound({})
    if arguments.data is not None:
        bound = bind(source, net.system, read_table(arguments.data), arguments.validation, arguments.standardize, arguments.seed)
    trainer = net.trainer(optimizers.optimizer(arguments) or SGD(), seed=arguments.seed)
    history = trainer.fit(
        bound.data,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        shuffle=arguments.shuffle,
        seed=arguments.seed,
        validation=bound.held_out,
        progress=sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None,
    )
    print(report(trainer, history, bound))
    if arguments.output is not None:
        save(trainer, arguments.output, bound)
    return 0


def report(trainer: Trainer, history: History, bound: Bound) -> str:
    """Losses of some epochs, the loss at the end, what the columns were scaled by, and the weights if they are few."""
    epochs = _milestones(len(history.loss))
    rows = [[str(e), f"{history.loss[e - 1]:.6g}"] + [f"{loss:.6g}" for loss in history.validation_loss[e - 1 : e]] for e in epochs]
    end = ["end", f"{trainer.loss(**bound.data):.6g}"] + [f"{loss:.6g}" for loss in history.validation_loss[-1:]]
    blocks = [table(["epoch", "loss", "held out"][: len(end)], [*rows, end], numbers=(0, 1, 2))]
    if bound.scales:
        scaled = [[name, f"{mean:.6g}", f"{scale:.6g}"] for name, (mean, scale) in bound.scales.items()]
        blocks.append(table(["standardized", "mean", "scale"], scaled, numbers=(1, 2)))
    if sum(np.size(w) for w in trainer.weights.values()) <= FEW:
        blocks.append(table(["weight", "value"], [[name, _digits(w.tolist())] for name, w in trainer.weights.items()]))
    return "\n\n".join(blocks)


def _digits(value: Any) -> str:
    """A number, or nested lists of numbers, to six digits."""
    return f"[{', '.join(map(_digits, value))}]" if isinstance(value, list) else f"{value:.6g}"


def save(trainer: Trainer, path: str, bound: Bound) -> None:
    """Save the run, and beside it what its input columns were scaled by: new inputs must be scaled alike."""
    trainer.save(path)
    if not bound.scales:
        wrote(path)
        return
    scales = scales_beside(path)
    scales.write_text(json.dumps({name: {"mean": m, "scale": s} for name, (m, s) in bound.scales.items()}, indent=2) + "\n", encoding="utf-8")
    wrote(path, str(scales))


def _milestones(epochs: int) -> list[int]:
    """1, 2, 5, 10, 20, 50 ... up to the last epoch."""
    found = [digit * 10**power for power in range(len(str(epochs))) for digit in (1, 2, 5)]
    return [e for e in found if e < epochs] + [epochs] * (epochs > 0)

"""Optimizers by name: `--optimizer adam --lr 0.01 --set betas=0.9,0.99`."""

import argparse
import inspect
from typing import Any

from symbackprop.cli.errors import UsageError
from symbackprop.text.page import suggestion
from symbackprop.training.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "adagrad": Adagrad}


def add_options(parser: argparse.ArgumentParser, default: str | None = "sgd") -> None:
    group = parser.add_argument_group("optimizer")
    group.add_argument(
        "--optimizer", choices=OPTIMIZERS, default=default, metavar="O", help=f"one of {', '.join(OPTIMIZERS)}" + " (default: sgd)" * (default is not None)
    )
    group.add_argument("--lr", type=float, metavar="R", help="learning rate (default: 0.01 for sgd, else PyTorch's)")
    group.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting, as in --set momentum=0.9 or --set betas=0.9,0.99; may be repeated"
    )


def optimizer(arguments: argparse.Namespace) -> Optimizer | None:
    """The optimizer that the arguments describe; None where they name none."""
    if arguments.optimizer is None:
        if arguments.lr is not None or arguments.set:
            raise UsageError("--lr and --set belong to an optimizer; add for example --optimizer sgd")
        return None
    kind = OPTIMIZERS[arguments.optimizer]
    known = {name: p.default for name, p in inspect.signature(kind).parameters.items()}
    settings: dict[str, Any] = {"lr": 0.01} if kind is SGD else {}
    if arguments.lr is not None:
        settings["lr"] = arguments.lr
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise UsageError(f"--set {text}: expected NAME=VALUE, such as momentum=0.9")
        if name not in known or name == "lr":
            hint = "; the learning rate is --lr" if name == "lr" else suggestion(name, known) or f"; expected one of {', '.join(k for k in known if k != 'lr')}"
            raise UsageError(f"--set {text}: {arguments.optimizer} has no setting {name!r}{hint}")
        settings[name] = _value(text, value, known[name])
    return kind(**settings)


def _value(text: str, value: str, default: Any) -> Any:
    """A setting of the kind of its default: a truth value, numbers with commas between them, or a number."""
    if isinstance(default, bool):
        if value.lower() not in ("true", "false"):
            raise UsageError(f"--set {text}: expected true or false")
        return value.lower() == "true"
    try:
        numbers = tuple(map(float, value.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) != (len(default) if isinstance(default, tuple) else 1):
        raise UsageError(f"--set {text}: expected {'numbers with a comma between them, such as 0.9,0.999' if isinstance(default, tuple) else 'a number'}")
    return numbers if isinstance(default, tuple) else numbers[0]

"""A training run on disk: one .npz file of plain arrays and one JSON text. Reading it runs no code from it.

The file holds the weights, the optimizer's state and rule, the number of updates, the random generators, and the network.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from symbackprop.errors import DataError, UnsupportedError
from symbackprop.graph.equations import System
from symbackprop.graph.rule import Rule
from symbackprop.graph.serialize import Arrays, read, write
from symbackprop.graph.tensor import Equation, Tensor
from symbackprop.training.optimizers import Assignments, Optimizer, State
from symbackprop.training.run import Run
from symbackprop.training.second_order import KFAC, GaussNewton, LevenbergMarquardt, Newton

R = TypeVar("R", bound=Run)
FORMAT = 1
_HEADER = "symbackprop"


class StoredOptimizer(Optimizer):
    """An optimizer that was read from a file: its rule, without the class that wrote it."""

    def __init__(self, rule: Rule, text: str) -> None:
        self._rule = rule
        self._text = text

    def rule(self, w: Tensor, g: Tensor, t: Tensor, state: State) -> Assignments:
        for symbol, start in self._rule.states.items():
            state(symbol.name, init=start)
        yield from self._rule.assignments

    def __repr__(self) -> str:
        return self._text


# Their updates belong to a network as a whole: they are stored by name and settings, and made again.
_SECOND_ORDER: dict[str, Callable[..., Optimizer]] = {kind.__name__: kind for kind in (Newton, GaussNewton, LevenbergMarquardt, KFAC)}


# --- writing -------------------------------------------------------------------------------------------------------------


def save(trainer: Run, path: str | Path) -> None:
    """Write a trainer to one file. The file is complete or it is not there: an earlier one is replaced only at the end."""
    arrays: Arrays = {f"weight.{name}": value for name, value in trainer._arrays.items()}
    for state, values in trainer.state.items():
        if state != "t":
            arrays |= {f"state.{state}.{name}": value for name, value in values.items()}
    header = {
        "format": FORMAT,
        "dtype": trainer.dtype,
        "backend": trainer.backend,
        "precise": trainer.precise,
        "compiled": trainer.compiled,
        "steps": trainer.steps,
        "weights": list(trainer._arrays),
        "states": [state for state in trainer.state if state != "t"],
        "random": [[_plain(seed), generator.bit_generator.state] for seed, generator in trainer._random.items()],
        "network": _network(trainer.system, arrays),
        "optimizer": _optimizer(trainer.optimizer, trainer.rule),
    }
    arrays[_HEADER] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    target = Path(path)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        part.replace(target)
    except OSError as error:
        raise UnwritableRunError(f"the file {str(path)!r} cannot be written: {error.strerror or error}; nothing was saved") from None
    finally:
        part.unlink(missing_ok=True)


def _plain(seed: Any) -> Any:
    return int(seed) if isinstance(seed, np.integer) else seed


def _network(system: System, arrays: Arrays) -> dict[str, Any]:
    roots = [system.loss, *([system.output] if system.output is not None else [])]
    try:
        nodes, places, initial = write(roots)
    except UnsupportedError as error:
        return {"not_storable": str(error)}
    arrays |= initial
    return {"nodes": nodes, "loss": places[0], "output": places[1] if system.output is not None else None}


def _optimizer(optimizer: Optimizer, rule: Rule) -> dict[str, Any]:
    text = repr(optimizer)
    if type(optimizer) in _SECOND_ORDER.values():
        return {"text": text, "second_order": type(optimizer).__name__, "settings": vars(optimizer)}
    try:
        nodes, places, _ = write([part for equation in rule.assignments for part in equation] + list(rule.states))
    except UnsupportedError as error:
        return {"not_storable": str(error), "text": text}
    split = 2 * len(rule.assignments)
    return {
        "text": text,
        "nodes": nodes,
        "assignments": places[:split],
        "states": [[place, value] for place, value in zip(places[split:], rule.states.values(), strict=True)],
    }


class UnwritableRunError(DataError, OSError):
    """A file that a run cannot be saved to: its folder does not exist, or there is no permission or no room."""


class UnreadableRunError(DataError, OSError):
    """A saved run that cannot be read: a directory, or one without permission."""


class MissingRunError(UnreadableRunError, FileNotFoundError):
    """A saved run that does not exist."""


# --- reading -------------------------------------------------------------------------------------------------------------


def load(make: Callable[..., R], path: str | Path, network: Any = None, optimizer: Optimizer | None = None) -> R:
    """The trainer that `save` wrote, built by `make`. `network` and `optimizer`, where given, stand in for the stored ones.

    Raises `DataError` for a file that is damaged or of another origin, or that does not fit the given network or optimizer, and
    `UnsupportedError` where the file could not hold the network or the optimizer and none is given.
    """
    header, arrays = _open(path)
    try:
        system = _read_network(header["network"], arrays) if network is None else getattr(network, "system", network)
        chosen = _read_optimizer(header["optimizer"]) if optimizer is None else optimizer
        trainer = make(system, chosen, dtype=header["dtype"], backend=header["backend"], precise=bool(header.get("precise", False)))
        trainer.compiled = bool(header.get("compiled", False))
        _fill(trainer, header, arrays)
    except UnsupportedError:
        raise
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the file is damaged: {error}") from error
    return trainer


def _open(path: str | Path) -> tuple[dict[str, Any], Arrays]:
    """The header and the arrays of a file, all read, so that what is damaged shows here."""
    foreign = f"{path} is not a file that Trainer.save wrote, or it is damaged"
    try:
        with Path(path).open("rb") as file:
            content = np.load(file, allow_pickle=False)
            arrays = {name: content[name] for name in content.files} if isinstance(content, np.lib.npyio.NpzFile) else {}
        header = json.loads(arrays.pop(_HEADER).tobytes())
        stored = header["format"]
    except FileNotFoundError:
        raise MissingRunError(f"the file {str(path)!r} does not exist; expected one that Trainer.save wrote") from None
    except OSError as error:
        raise UnreadableRunError(f"the file {str(path)!r} cannot be read: {error.strerror or error}; expected one that Trainer.save wrote") from None
    except (ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise DataError(foreign) from error
    if stored != FORMAT:
        raise DataError(f"{path} has format {stored!r}; expected {FORMAT}: it was written by another version of this package")
    return header, arrays


def _read_network(stored: dict[str, Any], arrays: Arrays) -> System:
    if "not_storable" in stored:
        raise UnsupportedError(f"the file does not hold the network ({stored['not_storable']}); pass it: Trainer.load(path, network=...)")
    parts: list[Any] = read(stored["nodes"], arrays)
    output = stored["output"]
    return System.of(parts[stored["loss"]], None if output is None else parts[output])


def _read_optimizer(stored: dict[str, Any]) -> Optimizer:
    if "not_storable" in stored:
        raise UnsupportedError(
            f"the file does not hold the optimizer {stored['text']} ({stored['not_storable']}); pass it: Trainer.load(path, optimizer=...)"
        )
    if "second_order" in stored:
        return _SECOND_ORDER[stored["second_order"]](**stored["settings"])
    parts: list[Any] = read(stored["nodes"], {})
    places = stored["assignments"]
    assignments = tuple(Equation(parts[a], parts[b]) for a, b in zip(places[::2], places[1::2], strict=True))
    return StoredOptimizer(Rule(assignments, {parts[place]: float(value) for place, value in stored["states"]}), str(stored["text"]))


def _fill(trainer: Run, header: dict[str, Any], arrays: Arrays) -> None:
    """Put the stored numbers into a fresh trainer. Raises `DataError` where they are not the ones that it has places for."""
    for kind, stored, expected in (("weights", header["weights"], trainer._arrays), ("states", header["states"], trainer.state)):
        names = [name for name in expected if kind == "weights" or name != "t"]
        if set(stored) != set(names):
            raise DataError(
                f"the file holds the {kind} {', '.join(stored) or '(none)'}, "
                f"but expected {', '.join(names) or '(none)'}: it belongs to another network or optimizer"
            )
    for name, place in trainer._arrays.items():
        _put(place, arrays, f"weight.{name}")
        for state in header["states"]:
            if name in trainer.state[state]:  # a state of the network has none of the optimizer's
                _put(trainer.state[state][name], arrays, f"state.{state}.{name}")
    trainer.state["t"] = int(header["steps"])
    for seed, state in header["random"]:
        generator = np.random.default_rng()
        generator.bit_generator.state = state
        trainer._random[tuple(seed) if isinstance(seed, list) else seed] = generator


def _put(place: Any, arrays: Arrays, key: str) -> None:
    found = arrays.get(key)
    if found is None or found.shape != place.shape or found.dtype != place.dtype:
        what = "missing" if found is None else f"of shape {found.shape} and type {found.dtype}"
        raise DataError(f"{key} is {what}; expected shape {place.shape} and type {place.dtype}")
    place[...] = found


__all__ = ["StoredOptimizer", "load", "save"]

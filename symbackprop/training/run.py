"""What a training run consists of, for those who keep it safe: the guard against divergence and the file on disk."""

from types import ModuleType
from typing import Any, Protocol

import numpy as np

from symbackprop.graph.equations import System
from symbackprop.graph.rule import Rule
from symbackprop.training.engines import Engine, Outcome
from symbackprop.training.feed import Array, Batches, Checker, Feed
from symbackprop.training.optimizers import Optimizer

DRAWS = "draws"  # the key of the generator of data that are drawn; those of the others are seeds


class Run(Protocol):
    """The parts of a trainer: `_arrays`, weight name → array; `state`, the step count `t` and state name → weight name → array;
    `_random`, seed → generator of the shuffles, and the one of data that are drawn; `module`, the generated code."""

    system: System
    optimizer: Optimizer
    rule: Rule
    dtype: str
    backend: str
    precise: bool
    compiled: bool
    module: ModuleType
    state: dict[str, Any]
    _arrays: dict[str, Array]
    _random: dict[Any, np.random.Generator]
    _check: Checker

    @property
    def steps(self) -> int: ...

    def _drawn(self, feed: Feed) -> Feed: ...

    def _run(self, engine: Engine, feed: Feed, batches: Batches) -> Outcome: ...

"""C written by hand for the two small networks, whole epochs in one call: gcc -O3 -march=native, called through ctypes."""

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.candidates.base import Candidate
from benchmarks.networks import Case


class CByHand(Candidate):
    reference = True

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.x, self.t = networks.data(case)
        self.w = networks.weights(case)
        self.function = getattr(library(), "linear_2_2_1" if case.activation is None else "tanh_2_16_1")
        self.function.restype = None

    @classmethod
    def absent(cls) -> str | None:
        return None if shutil.which("gcc") else "there is no gcc"

    @classmethod
    def covers(cls, case: Case) -> bool:
        linear = case.sizes == (2, 2, 1) and case.activation is None and case.batch == 1
        tanh = case.sizes == (2, 16, 1) and case.activation == "tanh"
        return (linear or tanh) and (case.loss, case.dtype) == ("mse", "float64")

    def run(self, epochs: int) -> float:
        losses = np.empty(epochs)
        sizes = [len(self.x), *([] if self.case.activation is None else [self.case.batch]), epochs]
        arrays = [a.ctypes.data_as(ctypes.c_void_p) for a in (*self.w.values(), self.x, self.t)]
        self.function(*arrays, *map(ctypes.c_long, sizes), ctypes.c_double(self.case.lr), losses.ctypes.data_as(ctypes.c_void_p))
        return float(losses[-1])

    def reset(self) -> None:
        for name, value in networks.weights(self.case).items():
            self.w[name][...] = value

    def weights(self) -> dict[str, Any]:
        return {name: w.copy() for name, w in self.w.items()}


@cache
def library() -> ctypes.CDLL:
    source = Path(__file__).with_name("by_hand.c")
    with tempfile.TemporaryDirectory() as folder:  # a library that is loaded needs its file no longer
        built = Path(folder) / "by_hand.so"
        subprocess.run(["gcc", "-O3", "-march=native", "-shared", "-fPIC", "-o", built, source, "-lm"], check=True)
        return ctypes.CDLL(str(built))

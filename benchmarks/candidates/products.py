"""The bare matrix products of a step, forward and backward, into arrays that are there: what no step with this BLAS can undercut
except by doing less. Nothing is learnt and no loss is computed."""

from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.candidates.base import Candidate
from benchmarks.networks import Case


class Products(Candidate):
    """`Z_k = H_{k-1} W_k` forward, `G_k = H_{k-1}ᵀ D_k` and `D_{k-1} = D_k W_kᵀ` backward, with H_0 = X, and Z_k in the place of H_k."""

    reference = True

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.x, _ = networks.data(case)
        self.w = [w for w, _ in networks.layers(networks.weights(case))]
        self.z = [np.empty((case.batch, units), case.dtype) for units in case.sizes[1:]]
        self.d = [np.full((case.batch, units), 1 / case.batch, case.dtype) for units in case.sizes[1:]]
        self.g = [np.empty(shape, case.dtype) for shape in pairwise(case.sizes)]

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            for i in range(0, len(self.x), self.case.batch):
                self.step(self.x[i : i + self.case.batch])

    def step(self, x: Any) -> None:
        raise NotImplementedError

    def reset(self) -> None:
        """Nothing was changed."""

    def weights(self) -> dict[str, Any]:
        return {}


class NumPyProducts(Products):
    def step(self, x: Any) -> None:
        h = [x, *self.z]
        for k, w in enumerate(self.w):
            np.matmul(h[k], w, out=self.z[k])
        for k in reversed(range(len(self.w))):
            np.matmul(h[k].T, self.d[k], out=self.g[k])
            if k:
                np.matmul(self.d[k], self.w[k].T, out=self.d[k - 1])


class SciPyProducts(Products):
    """SciPy's BLAS wants its arrays column by column: a product of rows is the product of the transposes, the other way round."""

    needs = ("scipy",)

    def __init__(self, case: Case) -> None:
        from scipy.linalg.blas import get_blas_funcs

        super().__init__(case)
        self.gemm = get_blas_funcs("gemm", dtype=np.dtype(case.dtype))

    def step(self, x: Any) -> None:
        gemm, h = self.gemm, [x, *self.z]
        for k, w in enumerate(self.w):
            gemm(1.0, w.T, h[k].T, c=self.z[k].T, overwrite_c=1)
        for k in reversed(range(len(self.w))):
            gemm(1.0, self.d[k].T, h[k].T, trans_b=1, c=self.g[k].T, overwrite_c=1)
            if k:
                gemm(1.0, self.w[k].T, self.d[k].T, trans_a=1, c=self.d[k - 1].T, overwrite_c=1)

"""The value and slopes of the formulas as PyTorch, JAX and PyTensor compute them, written as naively: their own differentiation, their own
rewrites."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.formulas import Formula, Point


class Peer:
    """What a formula calls of a library, where all have it under one name."""

    pi = np.pi
    dtype: Any

    def sum(self, x: Any) -> Any:
        return x.sum(1)

    def keep(self, x: Any) -> Any:
        return x.sum(1, keepdims=True)

    def first(self, x: Any) -> Any:
        return x[:, 0]

    def constant(self, array: Any) -> Any:
        return array

    def value(self, formula: Formula, variables: Sequence[Any], n: int) -> Any:
        """Of so many points."""
        if formula.target:
            variables = [*variables, self.constant(np.eye(1, 3).repeat(n, 0).astype(self.dtype))]
        return formula.row(self, *variables) if formula.row is not None else formula.build(self, *variables)


class Torch(Peer):
    """PyTorch, eager."""

    def __init__(self, dtype: str) -> None:
        import torch

        self.torch, self.dtype = torch, dtype
        for name in ("exp", "log", "tanh", "cosh", "sinh", "sin", "cos", "erf", "erfc", "abs"):
            setattr(self, name, getattr(torch, name))

    def sqrt(self, x: Any) -> Any:
        return self.torch.sqrt(x) if hasattr(x, "backward") else np.sqrt(x)

    def max(self, x: Any) -> Any:
        return self.torch.relu(x)

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        return self.torch.where(condition, yes, no)

    def keep(self, x: Any) -> Any:
        return x.sum(1, keepdim=True)

    def softmax(self, x: Any) -> Any:
        return self.torch.softmax(x, 1)

    def log_softmax(self, x: Any) -> Any:
        return self.torch.log_softmax(x, 1)

    def constant(self, array: Any) -> Any:
        return self.torch.tensor(array)

    def __call__(self, formula: Formula, inputs: Sequence[Any]) -> list[Any]:
        variables = [self.torch.tensor(x, dtype=getattr(self.torch, self.dtype), requires_grad=True) for x in inputs]
        y = self.value(formula, variables, len(inputs[0]))
        y.sum().backward()
        return [y.detach().numpy(), *(v.grad.numpy() for v in variables)]


class Jax(Peer):
    """JAX, under jit."""

    def __init__(self, dtype: str) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax, self.dtype = jax, dtype
        for name in ("exp", "log", "tanh", "cosh", "sinh", "sin", "cos", "abs", "where"):
            setattr(self, name, getattr(jax.numpy, name))
        self.erf, self.erfc, self.max = jax.scipy.special.erf, jax.scipy.special.erfc, jax.nn.relu

    def sqrt(self, x: Any) -> Any:
        return self.jax.numpy.sqrt(x) if hasattr(x, "dtype") else np.sqrt(x).item()

    def softmax(self, x: Any) -> Any:
        return self.jax.nn.softmax(x, 1)

    def log_softmax(self, x: Any) -> Any:
        return self.jax.nn.log_softmax(x, 1)

    def __call__(self, formula: Formula, inputs: Sequence[Any]) -> list[Any]:
        def total(*variables: Any) -> Any:
            y = self.value(formula, variables, len(inputs[0]))
            return y.sum(), y

        found = self.jax.jit(self.jax.value_and_grad(total, argnums=tuple(range(len(inputs))), has_aux=True))
        (_, y), slopes = found(*(self.jax.numpy.asarray(x, self.dtype) for x in inputs))
        return [np.asarray(y), *map(np.asarray, slopes)]


class PyTensor(Peer):
    """PyTensor, with all its rewrites, which are applied after differentiation."""

    def __init__(self, dtype: str) -> None:
        import pytensor
        import pytensor.tensor as pt

        self.pytensor, self.pt, self.dtype = pytensor, pt, dtype
        for name in ("exp", "log", "tanh", "cosh", "sinh", "sin", "cos", "erf", "erfc"):
            setattr(self, name, getattr(pt, name))
        self.abs, self.where = pt.abs, pt.switch

    def sqrt(self, x: Any) -> Any:
        return self.pt.sqrt(x) if hasattr(x, "owner") else np.sqrt(x).item()

    def max(self, x: Any) -> Any:
        return self.pt.maximum(x, 0)

    def constant(self, array: Any) -> Any:
        return self.pt.as_tensor_variable(array)

    def softmax(self, x: Any) -> Any:
        return self.pt.special.softmax(x, axis=1)

    def log_softmax(self, x: Any) -> Any:
        return self.pt.special.log_softmax(x, axis=1)

    def __call__(self, formula: Formula, inputs: Sequence[Any]) -> list[Any]:
        kind = self.pt.matrix if formula.row is not None else self.pt.vector
        variables = [kind(f"x{i}", dtype=self.dtype) for i in range(len(inputs))]
        y = self.value(formula, variables, len(inputs[0]))
        slopes = self.pytensor.grad(y.sum(), variables)
        function = self.pytensor.function(variables, [y, *slopes], mode=self.pytensor.compile.mode.Mode(linker="py", optimizer="fast_run"))
        return [np.asarray(x) for x in function(*(np.asarray(x, self.dtype) for x in inputs))]


PEERS = {"PyTorch": Torch, "JAX": Jax, "PyTensor": PyTensor}


def computed(peer: Any, formula: Formula, points: Sequence[Point], dtype: str) -> Any:
    """The rows of `precision.errors`."""
    columns = np.array(points, dtype)
    with np.errstate(all="ignore"):
        if formula.row is not None:
            y, slopes = peer(formula, [columns])
            return np.concatenate([np.asarray(y, float)[:, None], np.asarray(slopes, float)], axis=1)
        return np.stack([np.asarray(x, float) for x in peer(formula, list(columns.T.copy()))], axis=1)

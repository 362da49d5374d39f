"""PyTorch: eager with modules, autograd and its optimizer; and `torch.compile` of the whole step."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from benchmarks import networks
from benchmarks.candidates.base import Candidate
from benchmarks.networks import Case


class Torch(Candidate):
    """`Linear` layers, autograd and `torch.optim.SGD`."""

    needs = ("torch",)

    def __init__(self, case: Case) -> None:
        import torch

        super().__init__(case)
        self.x, self.t = map(torch.from_numpy, networks.data(case))
        layers: list[Any] = []
        for i, o in pairwise(case.sizes):
            layers += [torch.nn.Linear(i, o, dtype=getattr(torch, case.dtype))]
            layers += [{"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[case.activation]()] if case.activation else []
        self.model = torch.nn.Sequential(*(layers[:-1] if case.activation else layers))
        self.linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
        self.cost = cost_of(case)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=case.lr)
        self.reset()

    def run(self, epochs: int) -> float:
        step, x, t, size = self.step, self.x, self.t, self.case.batch
        mean = 0.0
        for _ in range(epochs):
            losses = [step(x[i : i + size], t[i : i + size]).item() for i in range(0, len(x), size)]
            mean = sum(losses) / len(losses)
        return mean

    def step(self, x: Any, t: Any) -> Any:
        self.optimizer.zero_grad()
        loss = self.cost(self.model(x), t)
        loss.backward()
        self.optimizer.step()
        return loss

    def reset(self) -> None:
        import torch

        with torch.no_grad():
            for layer, (w, b) in zip(self.linear, networks.layers(networks.weights(self.case)), strict=True):
                layer.weight.copy_(torch.from_numpy(w.T))
                layer.bias.copy_(torch.from_numpy(b))

    def weights(self) -> dict[str, Any]:
        return networks.named((layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in self.linear)


class TorchCompile(Torch):
    """Loss, gradients and update in one compiled function: for small networks three times as fast as a compiled model between an
    eager `backward` and `optimizer.step`."""

    compiles = True

    def __init__(self, case: Case) -> None:
        import torch

        super().__init__(case)
        cost, activation = self.cost, getattr(torch, case.activation) if case.activation else None

        def loss(w: Any, x: Any, t: Any) -> Any:
            for k, (matrix, bias) in enumerate(w, 1):
                x = torch.nn.functional.linear(x, matrix, bias)
                if activation and k < len(w):
                    x = activation(x)
            return cost(x, t)

        def step(w: Any, x: Any, t: Any) -> Any:
            gradients, value = torch.func.grad_and_value(loss)(w, x, t)
            for pair, slopes in zip(w, gradients, strict=True):
                for parameter, slope in zip(pair, slopes, strict=True):
                    parameter.sub_(slope, alpha=case.lr)
            return value

        self.w = [(layer.weight.detach(), layer.bias.detach()) for layer in self.linear]
        self.compiled = torch.compile(step, fullgraph=True, dynamic=False)

    def step(self, x: Any, t: Any) -> Any:
        return self.compiled(self.w, x, t)


def cost_of(case: Case) -> Callable[[Any, Any], Any]:
    import torch

    return torch.nn.functional.cross_entropy if case.loss == "cross_entropy" else torch.nn.functional.mse_loss

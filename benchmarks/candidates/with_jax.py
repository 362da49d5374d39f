"""JAX: the step under `jit`, and a whole epoch of steps in one `lax.scan`."""

from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.candidates.base import Candidate
from benchmarks.networks import Case


class Jax(Candidate):
    """Batches are cut inside the compiled step, and the weights given up to it: the fastest of the usual forms. The losses become
    numbers once an epoch."""

    needs = ("jax",)

    def __init__(self, case: Case) -> None:
        import jax

        super().__init__(case)
        jax.config.update("jax_enable_x64", True)  # float32 stays what it is
        self.x, self.t = map(jax.numpy.asarray, networks.data(case))
        self.step = self.compiled()
        self.reset()

    def compiled(self) -> Any:
        import jax

        def step(w: Any, x: Any, t: Any, i: Any) -> Any:
            return self.update(w, *(jax.lax.dynamic_slice_in_dim(a, i, self.case.batch) for a in (x, t)))

        return jax.jit(step, donate_argnums=0)

    def loss(self, w: Any, x: Any, t: Any) -> Any:
        import jax
        from jax import numpy as jnp

        activation = {"tanh": jnp.tanh, "relu": jax.nn.relu, None: lambda z: z}[self.case.activation]
        for matrix, bias in w[:-1]:
            x = activation(x @ matrix + bias)
        matrix, bias = w[-1]
        z = x @ matrix + bias
        if self.case.loss == "cross_entropy":
            return -jnp.take_along_axis(jax.nn.log_softmax(z), t[:, None], axis=1).mean()
        return ((z - t) ** 2).mean()

    def update(self, w: Any, x: Any, t: Any) -> Any:
        import jax

        loss, gradients = jax.value_and_grad(self.loss)(w, x, t)
        return jax.tree.map(lambda p, g: p - self.case.lr * g, w, gradients), loss

    def run(self, epochs: int) -> float:
        mean = 0.0
        for _ in range(epochs):
            losses = []
            for i in range(0, len(self.x), self.case.batch):
                self.w, loss = self.step(self.w, self.x, self.t, i)
                losses.append(loss)
            mean = float(np.mean([float(loss) for loss in losses]))
        return mean

    def reset(self) -> None:
        import jax

        self.w = [(jax.numpy.array(w), jax.numpy.array(b)) for w, b in networks.layers(networks.weights(self.case))]

    def weights(self) -> dict[str, Any]:
        return networks.named(self.w)


class JaxScan(Jax):
    def compiled(self) -> Any:
        import jax

        self.batches = [a.reshape(self.case.batches, self.case.batch, *a.shape[1:]) for a in (self.x, self.t)]

        def epoch(w: Any, x: Any, t: Any) -> Any:
            return jax.lax.scan(lambda w, batch: self.update(w, *batch), w, (x, t))

        return jax.jit(epoch, donate_argnums=0)

    def run(self, epochs: int) -> float:
        mean = 0.0
        for _ in range(epochs):
            self.w, losses = self.step(self.w, *self.batches)
            mean = float(np.mean(losses))
        return mean

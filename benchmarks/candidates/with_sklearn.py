"""scikit-learn: `partial_fit` of its multilayer perceptrons, one call an epoch."""

from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.candidates.base import Candidate
from benchmarks.networks import Case


class ScikitLearn(Candidate):
    needs = ("sklearn",)

    def __init__(self, case: Case) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        super().__init__(case)
        self.x, t = networks.data(case)
        self.t = t if case.loss == "cross_entropy" else t[:, 0]
        # Its regressor minimizes half the squared error, so the same steps take twice the learning rate.
        self.scale = 1 if case.loss == "cross_entropy" else 2
        kind, classes = (MLPClassifier, {"classes": np.arange(case.sizes[-1])}) if case.loss == "cross_entropy" else (MLPRegressor, {})
        self.model = kind(
            hidden_layer_sizes=case.sizes[1:-1],
            activation=case.activation or "identity",
            solver="sgd",
            alpha=0,
            batch_size=case.batch,
            learning_rate_init=case.lr * self.scale,
            momentum=0,
            nesterovs_momentum=False,
            shuffle=False,
        )
        self.model.partial_fit(self.x[: case.batch], self.t[: case.batch], **classes)  # makes the weights
        self.reset()

    def run(self, epochs: int) -> float:
        for _ in range(epochs):
            self.model.partial_fit(self.x, self.t)
        return self.scale * float(self.model.loss_)

    def reset(self) -> None:
        for k, (w, b) in enumerate(networks.layers(networks.weights(self.case))):
            self.model.coefs_[k][...] = w
            self.model.intercepts_[k][...] = b

    def weights(self) -> dict[str, Any]:
        return networks.named(zip(self.model.coefs_, self.model.intercepts_, strict=True))

"""Adam as Keras runs it: an optimizer of one's own, written as the three formulas that it is.

The paper (Kingma & Ba 2015) gives two versions, which differ in the place of epsilon. `sbp.Adam` is the one of algorithm 1,
which PyTorch runs; Keras runs the one of section 2, with epsilon 1e-7. Two of the notebooks train with it.
"""

import sympy as sp

import symbackprop as sbp


class KerasAdam(sbp.Optimizer):
    """w ← w - lr √(1 - beta_2ᵗ)/(1 - beta_1ᵗ) m/(√v + epsilon), with running means m of g and v of g²."""

    def __init__(self, lr=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
        self.lr, self.beta_1, self.beta_2, self.epsilon = lr, beta_1, beta_2, epsilon

    def rule(self, w, g, t, state):
        m, v = state("m"), state("v")
        yield m, self.beta_1 * m + (1 - self.beta_1) * g
        yield v, self.beta_2 * v + (1 - self.beta_2) * g**2
        step_size = self.lr * sp.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        yield w, w - step_size * m / (sp.sqrt(v) + self.epsilon)

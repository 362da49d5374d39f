"""Two tanh neurons in a row, two functions to minimise and two regressions: what automatic differentiation computes, as formulas.

The notebook derives the three gradients of the neurons on paper, and then lets TensorFlow and PyTorch find the rest. Two slips of
its own stay: one in a forward pass, one in a residual.
"""

import csv
from pathlib import Path

import numpy as np
import sympy as sp

import symbackprop as sbp

DATA = Path(__file__).parent / "data"
GENERATED = Path(__file__).parent / "generated" / "tanh_update.py"
SAMPLES = {"x": [-1.0, -0.5, 0.25, 0.5, 1.0], "t": [-0.6, -0.1, 0.5, 0.7, 0.9]}
ONES = {"w_1": 1.0, "w_2": 1.0, "b": 1.0}
LR = 0.01


# --- two neurons --------------------------------------------------------------------------------------------------------


def two_neurons():
    x, t = sbp.data("x t")
    w1, w2, b = sbp.weight("w_1 w_2 b", init=1)
    z1 = sbp.node("z_1", w1 * x)
    a1 = sbp.node("a_1", sp.tanh(z1))
    z2 = sbp.node("z_2", w2 * a1 + b)
    y = sbp.node("y", sp.tanh(z2))
    return sbp.Network(sbp.node("C", (y - t) ** 2 / 2), output=y)


def derivation(net, weight):
    """∂C/∂weight as a list of named partial derivatives, with each of them evaluated, and as a formula in z_1 and z_2."""
    gradient = net.gradients[weight]
    partials = gradient.chain.args
    definition = {equation.symbol: equation.expr for equation in net.equations if equation.symbol.name in ("a_1", "y")}
    return partials, [partial.doit() for partial in partials], gradient.local.xreplace(definition)


def train_neurons(net, epochs=10):
    """Sample by sample."""
    trainer = net.trainer(sbp.SGD(lr=LR))
    return trainer, trainer.fit(SAMPLES, epochs=epochs, batch_size=1)


def notebook_gradients(weights, x, t):
    """The gradients as the notebook computes them: the right formulas, but its forward pass multiplies a_1 by w_1."""
    w1, w2, b = weights["w_1"], weights["w_2"], weights["b"]
    z1 = w1 * x
    z2 = w1 * np.tanh(z1) + b  # wrong: w_2 in the text
    delta = (np.tanh(z2) - t) * (1 - np.tanh(z2) ** 2)
    return {"w_1": x * (1 - np.tanh(z1) ** 2) * w2 * delta, "w_2": np.tanh(z1) * delta, "b": delta}


def train_as_notebook(epochs=10):
    weights = dict(ONES)
    for _ in range(epochs):
        for x, t in zip(SAMPLES["x"], SAMPLES["t"], strict=True):
            gradients = notebook_gradients(weights, x, t)
            weights = {name: weights[name] - LR * gradients[name] for name in weights}
    return weights


# --- networks without data --------------------------------------------------------------------------------------------


def function(expression):
    """A function of one weight x is a network too: there is nothing to feed."""
    return sbp.Network(sbp.node("f", expression(sbp.weight("x"))))


def parabola():
    return function(lambda x: x**2 + 4 * x)


def cost():
    return function(lambda x: 750 / x + 10 * x)


def minimise(net, start, lr, steps=100):
    """Where gradient descent arrives."""
    trainer = net.trainer(sbp.SGD(lr=lr), weights={"x": start})
    trainer.fit({}, epochs=steps)
    return float(trainer.weights["x"])


# --- regressions on real data -----------------------------------------------------------------------------------------


def columns(file, x, t):
    """Two columns of a table, as the data of a network."""
    with open(DATA / file, newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {"x": np.array([float(row[x]) for row in rows]), "t": np.array([float(row[t]) for row in rows])}


def linear_regression():
    x, t = sbp.data("x t", "n")
    y = sbp.node("y", sbp.weight("w") * x + sbp.weight("b"))
    return sbp.Network(sbp.node("C", sbp.mse(y, t)), output=y)


def notebook_linear_regression():
    """The same with the notebook's residual, t - x w + b."""
    x, t = sbp.data("x t", "n")
    w, b = sbp.weight("w b")
    return sbp.Network(sbp.node("C", sbp.mean((t - x * w + b) ** 2)), output=w * x + b)


def logistic_regression(tolerance=1e-7):
    """Mean log loss; the tolerance keeps the logarithm away from zero."""
    x, t = sbp.data("x t", "n")
    p = sbp.node("p", sbp.sigmoid(sbp.weight("w") * x + sbp.weight("b")))
    log_loss = t * sp.log(p + tolerance) + (1 - t) * sp.log(1 - p + tolerance)
    return sbp.Network(sbp.node("C", -sbp.mean(log_loss)), output=p)


def descend(net, data, epochs):
    """From zero, with all rows in every step. Returns w, b and the loss where it arrives."""
    trainer = net.trainer(sbp.SGD(lr=LR), weights={"w": 0, "b": 0})
    trainer.fit(data, epochs=epochs)
    return float(trainer.weights["w"]), float(trainer.weights["b"]), trainer.loss(**data)


# --- the tour -----------------------------------------------------------------------------------------------------------


def show_neurons():
    net = two_neurons()
    print(f"=== Two tanh neurons ===\n{net.latex('equations')}\n")
    for weight in net.gradients:
        partials, values, evaluated = derivation(net, weight)
        print(f"dC/d{weight} = {' * '.join(map(str, partials))}")
        print(f"  = {' * '.join(f'({value})' for value in values)}")
        print(f"  = {evaluated}")
    print(f"\nThe same as LaTeX:\n{net.latex('chain')}\n{net.latex('local')}\n{net.latex('closed')}")

    GENERATED.parent.mkdir(exist_ok=True)
    GENERATED.write_text(net.generate("numpy", optimizer=sbp.SGD(lr=LR)), encoding="utf-8")
    print(f"\nThe update code, which needs NumPy only and checks itself: examples/{GENERATED.parent.name}/{GENERATED.name}")

    trainer, history = train_neurons(net)
    print(f"\nTen epochs: mean loss {history.loss[0]:.6f} → {history.loss[-1]:.6f}, weights {rounded(trainer.weights)}")
    print("What is wrong: the notebook's forward pass has w_1 where the text has w_2. At the start both are 1, and nobody")
    print(f"notices; it arrives at {rounded(train_as_notebook())}.")
    print("Where w_1 = 1/2, w_2 = 2 and b = 0, the gradients for x = 1, t = 0 are")
    elsewhere = {"w_1": 0.5, "w_2": 2.0, "b": 0.0}
    print(f"  true     {rounded(net.value_and_gradients(elsewhere, x=1.0, t=0.0)[1])}")
    print(f"  notebook {rounded(notebook_gradients(elsewhere, 1.0, 0.0))}")


def show_functions():
    print("\n=== Two functions of one variable ===")
    for net in (parabola(), cost()):
        print(net.latex("equations"), net.latex("local"), sep="\n")
    slopes = [float(parabola().value_and_gradients({"x": x})[1]["x"]) for x in (0, 3)]
    print(f"The slope of x² + 4x is {slopes[0]:g} at 0 and {slopes[1]:g} at 3; its minimum is at -2.")
    slow, fast = minimise(parabola(), 0, 0.01), minimise(parabola(), 0, 0.1)
    print(f"100 steps from 0 lead to {slow:.6f} with a rate of 0.01, and to {fast:.6f} with 0.1.")
    print(f"100 steps on 750/x + 10x from 1 lead to {minimise(cost(), 1, 0.01):.6f}; its minimum is at √75 = {75**0.5:.6f}.")


def show_regressions():
    cars, women = columns("auto_mpg.csv", "cylinders", "mpg"), columns("pima.csv", "pregnancies", "diabetes")
    print(f"\n=== Miles per gallon by cylinders, {len(cars['x'])} cars ===\n{linear_regression().latex('matrix')}")
    for name, net in (("y = w x + b", linear_regression()), ("the notebook's residual", notebook_linear_regression())):
        w, b, loss = descend(net, cars, epochs=5000)
        error = np.mean((w * cars["x"] + b - cars["t"]) ** 2)
        print(f"  {name:24} w {w:9.4f}   b {b:9.4f}   loss {loss:8.4f}   mean squared error of w x + b {error:10.4f}")
    print("What is wrong: the residual t - x w + b finds the b of the opposite sign, and w x + b predicts nothing.")

    print(f"\n=== Diabetes by pregnancies, {len(women['x'])} women ===\n{logistic_regression().latex('equations')}")
    w, b, loss = descend(logistic_regression(), women, epochs=5000)
    print(f"  w {w:.4f}   b {b:.4f}   mean log loss {loss:.6f}")


def rounded(weights):
    return {name: round(float(value), 6) for name, value in weights.items()}


def main():
    show_neurons()
    show_functions()
    show_regressions()


if __name__ == "__main__":
    main()

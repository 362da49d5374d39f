"""Two 2-2-1 networks, one sample at a time: a regression with linear layers, a classification with sigmoids.

The notebook derives its updates by hand. Here they are derived for it, run, and set beside the hand-made ones, three lines of
which are wrong.
"""

import numpy as np
import sympy as sp
from keras_adam import KerasAdam

import symbackprop as sbp

SALARIES = {"x": [[8, 8], [7, 9], [6, 10], [5, 12]], "t": [4, 5, 6, 7]}  # cgpa, resume score → lpa
PLACEMENTS = {"x": [[8, 8], [7, 9], [6, 10], [5, 5]], "t": [1, 1, 0, 0]}  # cgpa, resume score → placed or not
START = {"W_1": np.full((2, 2), 0.1), "b_1": np.zeros(2), "W_2": np.full(2, 0.1), "b_2": 0.0}
LR = 0.001


def inputs_and_weights():
    x, t = sbp.data("x", 2), sbp.data("t")
    W1, b1 = sbp.weight("W_1", (2, 2)), sbp.weight("b_1", 2)
    W2, b2 = sbp.weight("W_2", 2), sbp.weight("b_2")
    return x, t, W1, b1, W2, b2


def regression():
    """Linear layers and the squared error of one sample."""
    x, t, W1, b1, W2, b2 = inputs_and_weights()
    a1 = sbp.node("a_1", W1.T @ x + b1)
    y = sbp.node("y", W2 @ a1 + b2)
    return sbp.Network(sbp.node("C", (y - t) ** 2), output=y)


def classification():
    """Sigmoids on both layers and the binary cross-entropy of one sample."""
    x, t, W1, b1, W2, b2 = inputs_and_weights()
    z1 = sbp.node("z_1", W1.T @ x + b1)
    a1 = sbp.node("a_1", sbp.sigmoid(z1))
    z2 = sbp.node("z_2", W2 @ a1 + b2)
    y = sbp.node("y", sbp.sigmoid(z2))
    return sbp.Network(sbp.node("C", sbp.binary_cross_entropy(y, t)), output=y)


def train(net, data, optimizer, epochs):
    """From the start, sample by sample in the order of the table."""
    trainer = net.trainer(optimizer, weights=START)
    return trainer, trainer.fit(data, epochs=epochs, batch_size=1)


def true_step(net, weights, x, t):
    """One step down the gradient."""
    _, gradients = net.value_and_gradients(weights, x=x, t=t)
    return {name: weights[name] - LR * gradients[name] for name in weights}


def notebook_step(weights, x, t, sigmoid):
    """The same step as the notebook writes it; `sigmoid` for the classification."""
    W1, b1, W2, b2 = (np.array(weights[name]) for name in ("W_1", "b_1", "W_2", "b_2"))
    a1 = W1.T @ x + b1
    if sigmoid:
        a1 = 1 / (1 + np.exp(-a1))
        error, slope = t - 1 / (1 + np.exp(-(W2 @ a1 + b2))), a1 * (1 - a1)
    else:
        error, slope = 2 * (t - (W2 @ a1 + b2)), np.ones(2)

    W2 += LR * error * a1
    b2 = W2[1] + LR * error  # wrong: starts from W_2, not from b_2
    for i in range(2):
        for j in range(2):
            # wrong: W_2 is already the new one, and it should be W1[j, i]
            W1[i, j] += LR * error * W2[i] * slope[i] * x[j]
        b1[i] += LR * error * W2[i] * slope[i]  # wrong: the new W_2 again
    return {"W_1": W1, "b_1": b1, "W_2": W2, "b_2": b2}


def train_as_notebook(net, data, epochs, sigmoid):
    """The mean loss of each epoch under the notebook's updates."""
    weights, means = START, []
    for _ in range(epochs):
        losses = []
        for x, t in zip(data["x"], data["t"], strict=True):
            losses.append(net.value_and_gradients(weights, x=x, t=t)[0])
            weights = notebook_step(weights, x, t, sigmoid)
        means.append(float(np.mean(losses)))
    return means


def compare_steps(net, x, t, sigmoid):
    print(f"\nOne step from the start on the sample {x} → {t}:")
    true, notebook = true_step(net, START, x, t), notebook_step(START, x, t, sigmoid)
    for name in START:
        verdict = "" if np.allclose(true[name], notebook[name], rtol=1e-9) else "   <- wrong"
        print(f"  {name}  true     {np.round(true[name], 8).tolist()}")
        print(f"       notebook {np.round(notebook[name], 8).tolist()}{verdict}")


def show(title, net, data, epochs, sigmoid):
    print(f"\n=== {title} ===\n{net.latex('equations')}\n\nIts gradients:\n{net.latex('matrix')}")
    if sigmoid:
        print(f"Simplified, the first of them is dC/dz_2 = {sp.simplify(net.gradients['b_2'].local)}.")
    compare_steps(net, data["x"][0], data["t"][0], sigmoid)
    compare_steps(net, data["x"][1], data["t"][1], sigmoid)

    descent, history = train(net, data, sbp.SGD(LR), epochs)
    notebook = train_as_notebook(net, data, epochs, sigmoid)
    adam, adam_history = train(net, data, KerasAdam(lr=0.01), epochs=75)
    print(f"\nMean loss of the first and the last epoch, and predictions for {data['t']}:")
    for name, losses, trainer in (
        (f"gradient descent, {epochs} epochs", history.loss, descent),
        ("the notebook's updates", notebook, None),
        ("Adam as in Keras, 75 epochs", adam_history.loss, adam),
    ):
        predictions = "" if trainer is None else trainer.predict(x=data["x"]).round(3)
        print(f"  {name:27}   {losses[0]:.6f} → {losses[-1]:.6f}   {predictions}")



def main():
    show("Regression: cgpa, resume score → lpa", regression(), SALARIES, epochs=5, sigmoid=False)
    show("Classification: cgpa, resume score → placed", classification(), PLACEMENTS, epochs=50, sigmoid=True)
    print("\nWhat is wrong by hand: b_2 is set from W_2, to more than 0.1, where it should stay near 0; the first layer reads the")
    print("W_2 that was just updated; W_1 is indexed as its transpose, which the equal inputs [8, 8] hide and [7, 9] show.")


if __name__ == "__main__":
    main()

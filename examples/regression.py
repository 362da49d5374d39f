"""The regression once more, with a row for each student: A = X W + b, the whole table as one batch.

The notebook has one loss in its text, another in its code and a third in Keras, and claims that the two runs are equal. Here are
the three losses, their gradients, and the run that Keras makes.
"""

import numpy as np
from keras_adam import KerasAdam

import symbackprop as sbp

X = np.array([[8, 8], [7, 9], [6, 10], [5, 12]])  # cgpa, resume score
T = np.array([[4], [5], [6], [7]])  # lpa
START = {"W_1": np.full((2, 2), 0.1), "b_1": np.full(2, 0.1), "W_2": np.full((2, 1), 0.1), "b_2": np.full(1, 0.1)}

LOSSES = {
    "half the sum (text)": lambda y, t: sbp.sum((y - t) ** 2) / 2,
    "sum (code)": lambda y, t: sbp.sum((y - t) ** 2),
    "mean (Keras)": sbp.mse,
}


def network(loss):
    """2-2-1, linear, n rows at once."""
    x, t = sbp.data("X", ("n", 2)), sbp.data("T", ("n", 1))
    a = sbp.node("A", x @ sbp.weight("W_1", (2, 2)) + sbp.weight("b_1", 2))
    y = sbp.node("Y", a @ sbp.weight("W_2", (2, 1)) + sbp.weight("b_2", 1))
    return sbp.Network(sbp.node("C", loss(y, t)), output=y)


def train(net, optimizer, epochs=10, batch_size=None):
    trainer = net.trainer(optimizer, weights=START)
    return trainer, trainer.fit({"X": X, "T": T}, epochs=epochs, batch_size=batch_size)


def true_step(x, t, lr=0.001):
    """One step down the gradient of (y - t)², on one row."""
    _, gradients = network(LOSSES["sum (code)"]).value_and_gradients(START, X=[x], T=[t])
    return {name: START[name] - lr * gradients[name] for name in START}


def notebook_step(x, t):
    """The same step as the notebook writes it: `W =+ step` is `W = +step`, and sets the weight instead of adding to it."""
    W1, b1, W2, b2 = (START[name].copy() for name in START)
    a = x @ W1 + b1
    error = 2 * (t - (a @ W2 + b2))
    W2[:, 0] = +0.001 * error * a  # wrong: overwritten
    b2[:] = +0.001 * error  # wrong: overwritten
    for i in range(2):
        for j in range(2):
            # wrong: overwritten, another rate, the new W_2, and it should be W1[j, i]
            W1[i, j] = +0.01 * error[0] * W2[i, 0] * x[j]
        b1[i] = +0.01 * error[0] * W2[i, 0]  # wrong: overwritten, another rate, the new W_2
    return {"W_1": W1, "b_1": b1, "W_2": W2, "b_2": b2}


def loss_after(step):
    """(y - t)² on the first row, with the weights that a step leaves."""
    return network(LOSSES["sum (code)"]).value_and_gradients(step, X=X[:1], T=T[:1])[0]


def main():
    networks = {name: network(loss) for name, loss in LOSSES.items()}
    print(networks["mean (Keras)"].latex("equations"))
    print(f"\nThe gradients of the mean squared error:\n{networks['mean (Keras)'].latex('matrix')}")

    print("\nOne network, three losses, and the gradient of b_2 at the start:")
    for name, net in networks.items():
        loss, gradients = net.value_and_gradients(START, X=X, T=T)
        print(f"  {name:20} loss {loss:9.4f}   dC/db_2 {gradients['b_2'][0]:9.4f}")

    print("\nOne step from the start on the first row:")
    true, notebook = true_step(X[0], T[0]), notebook_step(X[0], T[0])
    for name in START:
        print(f"  {name}  true     {true[name].round(6).tolist()}\n       notebook {notebook[name].round(6).tolist()}   <- wrong")
    before, after, overwritten = (loss_after(weights) for weights in (START, true, notebook))
    print(f"The squared error of that row was {before:.4f}; the true step leaves {after:.4f}, the notebook's {overwritten:.4f}.")

    _, by_hand = train(networks["sum (code)"], sbp.SGD(lr=0.001), batch_size=1)
    trainer, keras = train(networks["mean (Keras)"], KerasAdam(lr=0.01))
    print("\nTen epochs: row by row with true steps (lr 0.001), and as Keras runs them (Adam, lr 0.01, all rows at once):")
    for epoch, (hand, adam) in enumerate(zip(by_hand.loss, keras.loss, strict=True), start=1):
        print(f"  epoch {epoch:2}   {hand:9.5f}   {adam:9.5f}")
    print(f"After Keras's run the network predicts {trainer.predict(X=X)[:, 0].round(3)} for {T[:, 0]}.")

    print("\nWhat is wrong by hand: =+ overwrites the weight; there are two learning rates, 0.001 and 0.01; the first layer")
    print("reads the W_2 that was just set; W_1 is indexed as its transpose. And the run is not equal to Keras's: it has")
    print("another loss, another rule and other batches, as the two columns show.")


if __name__ == "__main__":
    main()

"""The adding problem of Hochreiter & Schmidhuber, "Long short-term memory" (1997), experiment 4: a sequence of random numbers, two of which
are marked; what is wanted is their sum, at the end. Who cannot remember the first number over the steps between does no better than
a constant, with an error of 1/6.
"""

import numpy as np

import symbackprop as sbp

STEPS, UNITS = 20, 16


def sequences(count, seed):
    """Sequences of pairs (number from 0 to 1, mark), one mark in each half, and the sums of the marked numbers less their mean."""
    rng = np.random.default_rng(seed)
    numbers, marks = rng.uniform(0, 1, (count, STEPS)), np.zeros((count, STEPS))
    rows = np.arange(count)
    marks[rows, rng.integers(0, STEPS // 2, count)] = 1
    marks[rows, rng.integers(STEPS // 2, STEPS, count)] = 1
    return {"X": np.stack([numbers, marks], axis=2), "Y": (numbers * marks).sum(axis=1, keepdims=True) - 1}


def network():
    """An LSTM, whose last state is read by one linear unit."""
    x, wanted = sbp.data("X", ("n", "T", 2)), sbp.data("Y", ("n", 1))
    _, (h, _) = sbp.lstm(x, UNITS)
    y = sbp.dense(sbp.node("h_last", h), 1, name="out")
    return sbp.Network(sbp.node("C", sbp.mse(y, wanted)), output=y)


def train(samples=5000, epochs=4):
    """The trainer after its last epoch, and the losses, with those on sequences that it was not trained on."""
    trainer = network().trainer(sbp.Adam(lr=0.01), seed=0)
    history = trainer.fit(sequences(samples, 1), epochs=epochs, batch_size=50, shuffle=True, validation=sequences(1000, 2))
    return trainer, history


def main():
    net = network()
    print(net.latex("equations"), net.latex("matrix"), sep="\n\nIts gradients, through time:\n", end="\n\n")
    trainer, history = train()
    for epoch, (loss, unseen) in enumerate(zip(history.loss, history.validation_loss, strict=True), 1):
        print(f"epoch {epoch}   loss {loss:.5f}   on sequences it never saw {unseen:.5f}")
    data = sequences(1000, 3)
    wanted, found = data["Y"], trainer.predict(X=data["X"])
    print(f"Mean squared error on 1,000 new sequences: {np.mean((found - wanted) ** 2):.5f}; of the best constant: {np.var(wanted):.5f}")


if __name__ == "__main__":
    main()

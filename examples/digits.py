"""Handwritten digits: 1,797 images of 8 × 8 pixels, a 64-32-10 network, in seconds.

The images are those of scikit-learn (`pip install 'symbackprop[examples]'`). A fifth of them is held out and never trained on.
"""

import numpy as np

import symbackprop as sbp

try:
    from sklearn.datasets import load_digits
except ModuleNotFoundError:
    raise SystemExit("The images come with scikit-learn, which is not installed: pip install 'symbackprop[examples]'") from None


def split(seed=0):
    """Training and held-out images (pixels from 0 to 1) and labels, drawn once and for all by the seed."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    held_out, training = np.split(order, [len(images) // 5])
    return (images[training] / 16, labels[training]), (images[held_out] / 16, labels[held_out])


def network():
    """tanh in the middle, softmax at the end, and its cross-entropy with the labels 0 to 9."""
    x, labels = sbp.data("X", ("n", 64)), sbp.data("labels", "n")
    hidden = sbp.dense(x, 32, "tanh")
    logits = sbp.dense(hidden, 10)
    p = sbp.node("P", sbp.softmax(logits))
    return sbp.Network(sbp.node("C", sbp.cross_entropy(logits, labels)), output=p)


def train(epochs=30, batch_size=32):
    """The trainer after its last epoch, and the losses of both parts of the data."""
    trainer = network().trainer(sbp.SGD(lr=0.1, momentum=0.9), seed=0)
    return trainer, fit(trainer, epochs, batch_size)


def fit(trainer, epochs, batch_size):
    """Train on the digits; the losses of both parts of the data."""
    (images, labels), (unseen, unseen_labels) = split()
    return trainer.fit(
        {"X": images, "labels": labels},
        epochs=epochs,
        batch_size=batch_size,
        shuffle=True,
        validation={"X": unseen, "labels": unseen_labels},
    )


def accuracy(trainer, images, labels):
    return float(np.mean(trainer.predict(X=images).argmax(axis=1) == labels))


def report(trainer, history, epochs):
    """Print the losses after some epochs, and the accuracy on both parts of the data."""
    for epoch in epochs:
        loss, validation_loss = history.loss[epoch - 1], history.validation_loss[epoch - 1]
        print(f"epoch {epoch:2}   loss {loss:.4f}   on the held-out fifth {validation_loss:.4f}")
    for name, part in zip(("training images", "images it never saw"), split(), strict=True):
        print(f"Accuracy on {len(part[0])} {name}: {accuracy(trainer, *part):.2%}")


def main():
    net = network()
    print(net.latex("equations"), net.latex("matrix"), sep="\n\nIts gradients:\n", end="\n\n")
    report(*train(), epochs=(1, 2, 5, 10, 20, 30))


if __name__ == "__main__":
    main()

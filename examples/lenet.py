"""A LeNet on the handwritten digits: two convolutions with a pooling between them, and two dense layers, in seconds.

After LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document Recognition" (1998), figure 2, made smaller for images of
8 × 8 pixels. The images are those of `digits.py`, a fifth of which is held out and never trained on (`pip install 'symbackprop[examples]'`).
"""

from digits import fit, report

import symbackprop as sbp


def network():
    """8 × 8 pixels → 8 maps of 8 × 8, their 4 × 4 maxima → 16 maps of 2 × 2 → 48 → 10."""
    x, labels = sbp.data("X", ("n", 64)), sbp.data("labels", "n")
    image = sbp.node("I", sbp.reshape(x, ("n", 1, 8, 8)))
    maps = sbp.conv2d(image, 8, 3, padding="same", activation="tanh")
    pooled = sbp.node("P", sbp.max_pool2d(maps, 2))
    maps = sbp.conv2d(pooled, 16, 3, activation="tanh")
    hidden = sbp.dense(sbp.reshape(maps, ("n", -1)), 48, "tanh")
    logits = sbp.dense(hidden, 10)
    y = sbp.node("Y", sbp.softmax(logits))
    return sbp.Network(sbp.node("C", sbp.cross_entropy(logits, labels)), output=y)


def train(epochs=12, batch_size=32, backend="auto"):
    """The trainer after its last epoch, and the losses of both parts of the data."""
    trainer = network().trainer(sbp.SGD(lr=0.05, momentum=0.9), seed=0, backend=backend)
    return trainer, fit(trainer, epochs, batch_size)


def main():
    net = network()
    print(net.latex("equations"), net.latex("matrix"), sep="\n\nIts gradients:\n", end="\n\n")
    report(*train(), epochs=(1, 2, 4, 8, 12))


if __name__ == "__main__":
    main()

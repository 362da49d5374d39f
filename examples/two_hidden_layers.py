"""Three linear layers, 2-2-2-2, after Mazur's worked example: one step by hand, then ten points in two classes.

The notebook finds the three gradients of one step. Its training never runs: the loop ends in an error, and two of its numbers
lost their point and their sign on the way.
"""

import numpy as np

import symbackprop as sbp

START = {
    "W_1": np.array([[0.01, 0.2], [0.15, 0.08]]),
    "W_2": np.array([[0.01, 0.5], [0.7, 0.1]]),
    "W_3": np.array([[0.24, 0.55], [0.35, 0.6]]),
}
SAMPLE = {"x": np.array([0.5, 0.1]), "t": np.array([0.1, 0.99])}

POINTS = np.array([
    [2.7810836, 2.550537003],
    [1.465489372, 2.362125076],
    [3.96561688, 4.400293529],
    [1.38807019, 1.850220317],
    [3.06407232, 3.005305973],
    [7.627531214, 2.759262235],
    [5.332441248, 2.088626775],
    [6.922596716, 1.77106367],
    [8.675418651, -0.242068655],
    [7.673756466, 3.508563011],
])  # fmt: skip
CLASSES = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])


def network():
    """h_1 = W_1 x, h_2 = W_2 h_1, o = W_3 h_2, and half the squared error, summed over the two outputs."""
    x, t = sbp.data("x t", 2)
    W1, W2, W3 = sbp.weight("W_1 W_2 W_3", (2, 2))
    h1 = sbp.node("h_1", W1 @ x)
    h2 = sbp.node("h_2", W2 @ h1)
    o = sbp.node("o", W3 @ h2)
    return sbp.Network(sbp.node("C", sbp.half_squared_error(o, t)), output=o)


def one_step(lr=0.5):
    """The gradients at the start, and the loss before and after one step against them."""
    trainer = network().trainer(sbp.SGD(lr=lr), weights=START)
    _, gradients = network().value_and_gradients(START, **SAMPLE)
    before = trainer.step(**SAMPLE)
    return gradients, dict(trainer.weights), before, trainer.loss(**SAMPLE)


def gradients_by_hand():
    """The same gradients from the textbook's three products."""
    x, t = SAMPLE.values()
    W1, W2, W3 = START.values()
    h1 = W1 @ x
    h2 = W2 @ h1
    delta3 = W3 @ h2 - t
    delta2 = W3.T @ delta3
    delta1 = W2.T @ delta2
    return {"W_1": np.outer(delta1, x), "W_2": np.outer(delta2, h1), "W_3": np.outer(delta3, h2)}


def train(points=POINTS, lr=0.1, epochs=5000):
    """All points in every step; the two outputs stand for the two classes."""
    trainer = network().trainer(sbp.SGD(lr=lr), weights=START)
    history = trainer.fit({"x": points, "t": np.eye(2)[CLASSES]}, epochs=epochs)
    return trainer, history


def classify(trainer, points=POINTS):
    return trainer.predict(x=points).argmax(axis=1)


def one_layer(trainer):
    """Three linear layers are one: o = W_3 W_2 W_1 x."""
    return trainer.weights["W_3"] @ trainer.weights["W_2"] @ trainer.weights["W_1"]


def notebook_points():
    """The points as the notebook types them."""
    points = POINTS.copy()
    points[2, 0] = 396561688  # wrong: 3.96561688
    points[8, 1] = 0.242068655  # wrong: -0.242068655
    return points


def notebook_classes(trainer):
    """`return` stands inside the loop: it leaves with the first point."""
    classes = []
    for point in POINTS:
        classes.append(int(trainer.predict(x=point).argmax()))
        return classes


def gradient_of_point(points, k):
    """∂C/∂W_1 at the start, for one point."""
    return network().value_and_gradients(START, x=points[k], t=np.eye(2)[CLASSES[k]])[1]["W_1"]


def show_step():
    net = network()
    print(net.latex("equations"))
    print(f"\nThe errors go back through the transposed weights:\n{net.latex('matrix')}")
    print(f"\nPut into each other:\n{net.latex('local')}")

    gradients, weights, before, after = one_step()
    print("\nOne step with η = 0.5:")
    for name, by_hand in gradients_by_hand().items():
        print(f"  dC/d{name} = {gradients[name].round(9).tolist()}")
        print(f"    by hand {by_hand.round(9).tolist()}")
        print(f"    new {name} {weights[name].round(9).tolist()}")
    print(f"  the loss falls from {before:.9f} to {after:.9f}")


def show_training():
    trainer, history = train()
    print(f"\nTen points, {len(history.loss)} steps with η = 0.1: loss {history.loss[0]:.6f} → {history.loss[-1]:.6f},")
    print(f"classes {classify(trainer).tolist()}, {np.sum(classify(trainer) == CLASSES)} of {len(POINTS)} right.")
    best = np.linalg.lstsq(POINTS, np.eye(2)[CLASSES], rcond=None)[0].T
    print(f"Three linear layers are one: W_3 W_2 W_1 = {one_layer(trainer).round(6).tolist()};")
    print(f"       one layer by least squares would be {best.round(6).tolist()}.")
    return trainer


def show_mistakes(trainer):
    wrong = notebook_points()
    print(f"\nWhat is wrong in the notebook: the third point lost its decimal point, {wrong[2, 0]:.0f} for {POINTS[2, 0]}.")
    try:
        train(wrong)
    except sbp.TrainingDivergedError as error:
        print(f"  Training with it stops: {error}.")
    print("The ninth lost its sign. Its dC/dW_1 at the start becomes")
    print(f"  {gradient_of_point(wrong, 8).round(4).tolist()} and should be {gradient_of_point(POINTS, 8).round(4).tolist()}.")
    print(f"`return` stands inside the loop: {notebook_classes(trainer)} comes back for {len(POINTS)} points. And the loop that should")
    print("train ends in a TypeError, so that nothing of this was ever seen.")


def main():
    show_step()
    show_mistakes(show_training())


if __name__ == "__main__":
    main()

"""A physics-informed network: it learns the solution of u'' + u = 0, u(0) = 0, u'(0) = 1 from the equation alone, without one value of it.

The trial solution u = x + x^2 N(x) fulfils the initial conditions whatever the network N is (Lagaris, Likas & Fotiadis 1998). The loss is the
mean square of u'' + u at some points, so it contains the network's own second derivative. The solution is sin x.
"""

import numpy as np
import sympy as sp

import symbackprop as sbp

END = 2 * np.pi


def network():
    x = sbp.data("x", ("n", 1))
    hidden = sbp.dense(sbp.dense(x, 20, "tanh"), 20, "tanh")
    u = sbp.node("u", x + x**2 * sbp.dense(hidden, 1))
    u_xx = sbp.derivative(sbp.derivative(u, x), x)
    return sbp.Network(sbp.node("C", sbp.mean((u_xx + u) ** 2)), output=u)


def train(net, epochs=15_000):
    """The trainer after so many updates, each with all points, and its history."""
    halved = 2 ** (-sp.Symbol("t") / 2_500)  # the learning rate, every 2,500 updates
    trainer = net.trainer(sbp.Adam(lr=1e-2 * halved))
    return trainer, trainer.fit({"x": np.linspace(0, END, 64)[:, None]}, epochs=epochs)


def main(epochs=15_000):
    net = network()
    print(net.latex("matrix"))
    trainer, history = train(net, epochs)
    x = np.linspace(0, END, 9)[:, None]
    print("\n      x       u    sin x")
    for point, u in zip(x[:, 0], trainer.predict(x=x)[:, 0], strict=True):
        print(f"{point:7.4f} {u:7.4f} {np.sin(point):7.4f}")
    print(f"mean square of u'' + u at the points: {history.loss[-1]:.1e}")
    print(f"largest error: {error(trainer):.1e}")


def error(trainer):
    """The largest distance from sin x on a fine grid that the training did not see."""
    x = np.linspace(0, END, 1_000)[:, None]
    return abs(trainer.predict(x=x) - np.sin(x)).max()


if __name__ == "__main__":
    main()

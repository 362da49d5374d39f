"""Derivatives from difference quotients, and what they cost: numbers, then a line, then two neurons in a row.

The notebook differentiates by [f(x + δ) - f(x)]/δ with δ = 1e-12. Rounding eats that difference: at 1e-12 the quotient has three or
four good digits. The central difference with a sensible step has nine or ten, and a formula has all.
"""

import numpy as np

import symbackprop as sbp

DELTA = 1e-12
STEP = np.finfo(float).eps ** (1 / 3)  # the best step of a central difference, relative to x: 6e-6


def forward_difference(f, x, delta=DELTA):
    """As the notebook does it."""
    return (f(x + delta) - f(x)) / delta


def central_difference(f, x):
    h = STEP * max(1.0, abs(x))
    return (f(x + h) - f(x - h)) / (2 * h)


# --- five functions -----------------------------------------------------------------------------------------------------


def functions():
    """(network, weight, point, data) for each derivative of the notebook. What is differentiated by is a weight."""
    x, x1, x2, m, c = sbp.weight("x x_1 x_2 m c")
    at = sbp.data("x")
    square = sbp.node("s", x**2)
    line = sbp.Network(sbp.node("f", m * at + c))
    plane = sbp.Network(sbp.node("f", 5 * x1 + x2**2))
    return [
        (sbp.Network(sbp.node("f", x**2)), "x", {"x": 2.0}, {}),
        (sbp.Network(sbp.node("f", x**3)), "x", {"x": 10.0}, {}),
        (sbp.Network(sbp.node("f", x**3)), "x", {"x": 2.0}, {}),
        (plane, "x_1", {"x_1": 10.0, "x_2": 20.0}, {}),
        (plane, "x_2", {"x_1": 10.0, "x_2": 20.0}, {}),
        (line, "m", {"m": 3.0, "c": 4.0}, {"x": 2.0}),
        (line, "c", {"m": 3.0, "c": 4.0}, {"x": 2.0}),
        (sbp.Network(sbp.node("f", square**3)), "x", {"x": 2.0}, {}),
    ]


def three_derivatives(net, weight, point, data):
    """The derivative by the notebook's quotient, by a central difference and by the formula."""

    def f(value):
        return net.value_and_gradients({**point, weight: value}, **data)[0]

    exact = float(net.value_and_gradients(point, **data)[1][weight])
    return forward_difference(f, point[weight]), central_difference(f, point[weight]), exact


# --- a line, and two linear neurons in a row ----------------------------------------------------------------------------


def noisy_line(samples=20, seed=0):
    """y = 4 + 3 x + noise."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, samples)
    return {"x": x, "t": 4 + 3 * x + rng.normal(0, 0.1, samples)}


def line():
    """The squared errors of m x + c, summed over the samples."""
    x, t = sbp.data("x t", "n")
    y = sbp.node("y", sbp.weight("m", init=0.5) * x + sbp.weight("c", init=0.5))
    return sbp.Network(sbp.node("C", sbp.sum((y - t) ** 2)), output=y)


def two_neurons():
    """Four weights that start at 0.5; the second neuron reads the first."""
    x, t = sbp.data("x t", "n")
    m1, c1, m2, c2 = sbp.weight("m_1 c_1 m_2 c_2", init=0.5)
    a = sbp.node("a", m1 * x + c1)
    y = sbp.node("y", m2 * a + c2)
    return sbp.Network(sbp.node("C", sbp.sum((y - t) ** 2)), output=y)


def descend(net, data, lr, epochs):
    """Gradient descent with the formulas."""
    trainer = net.trainer(sbp.SGD(lr=lr))
    history = trainer.fit(data, epochs=epochs)
    return {name: float(w) for name, w in trainer.weights.items()}, history.loss


def descend_numerically(net, data, lr, epochs):
    """Gradient descent with the notebook's quotient, one evaluation of the whole network for each weight."""
    weights = dict.fromkeys(net.weights, 0.5)
    losses = []
    for _ in range(epochs):
        loss = net.value_and_gradients(weights, **data)[0]
        raised = {name: net.value_and_gradients({**weights, name: w + DELTA}, **data)[0] for name, w in weights.items()}
        weights = {name: w - lr * (raised[name] - loss) / DELTA for name, w in weights.items()}
        losses.append(loss)
    return weights, losses


def neuron_by_neuron(weights, x, t):
    """The chain rule as the notebook applies it: each neuron multiplies what comes back by its own derivatives, and hands it on."""
    a = weights["m_1"] * x + weights["c_1"]
    back = 2 * (weights["m_2"] * a + weights["c_2"] - t)  # ∂C/∂y
    gradients = {"m_2": np.sum(back * a), "c_2": np.sum(back)}
    back = back * weights["m_2"]  # ∂C/∂a
    return gradients | {"m_1": np.sum(back * x), "c_1": np.sum(back)}


# --- the tour -----------------------------------------------------------------------------------------------------------


def show_derivatives():
    print(f"=== Eight derivatives: δ = {DELTA:g}, central difference, formula ===")
    for net, weight, point, data in functions():
        equations = ", ".join(f"{e.symbol} = {e.expr}" for e in net.equations)
        derivative = f"{equations}: df/d{weight} = {net.gradients[weight].closed}"
        quotient, central, exact = three_derivatives(net, weight, point, data)
        print(f"{derivative:38} at {point[weight]:4g}:  {quotient:17.10f} {central:17.10f} {exact:7g}")
    print(f"The chain rule on the last: {functions()[-1][0].gradients['x'].chain}.")


def show_fit(net, data, lr, epochs):
    names = list(net.weights)
    weights, losses = descend(net, data, lr, epochs)
    numeric, _ = descend_numerically(net, data, lr, epochs)
    print(f"\nη = {lr}, {epochs} steps; loss {losses[0]:.3f} → {losses[-1]:.6f}")
    print(f"  with the formulas    {', '.join(f'{n} = {weights[n]:.10f}' for n in names)}")
    print(f"  with δ = {DELTA:g}       {', '.join(f'{n} = {numeric[n]:.10f}' for n in names)}")
    if "m_1" in names:
        m, c = weights["m_2"] * weights["m_1"], weights["m_2"] * weights["c_1"] + weights["c_2"]
        print(f"  the two neurons together are the line y = {m:.4f} x + {c:.4f}")


def main():
    show_derivatives()
    data = noisy_line()
    print(f"\n=== The line y = 4 + 3 x, from {len(data['x'])} noisy samples ===\n{line().latex('local')}")
    show_fit(line(), data, lr=0.01, epochs=300)
    show_fit(line(), data, lr=0.001, epochs=300)

    net = two_neurons()
    print(f"\n=== Two linear neurons in a row ===\n{net.latex('equations')}\n{net.latex('chain')}\n{net.latex('matrix')}")
    start = dict.fromkeys(net.weights, 0.5)
    ours, hand = net.value_and_gradients(start, **data)[1], neuron_by_neuron(start, data["x"], data["t"])
    print("\nAt the start, derived here and neuron by neuron:")
    for name in start:
        print(f"  dC/d{name}   {float(ours[name]):.10f}   {hand[name]:.10f}")
    show_fit(net, data, lr=0.01, epochs=300)
    show_fit(net, data, lr=0.001, epochs=300)

    quotient, central, exact = three_derivatives(*functions()[4])
    print(f"\nWhat is wrong: δ = {DELTA:g} is far below the best step. For {exact:g} it gives {quotient:.4f}, an error of")
    print(f"{abs(quotient - exact):.0e}; the central difference with step {20 * STEP:.0e} has an error of {abs(central - exact):.0e}.")


if __name__ == "__main__":
    main()

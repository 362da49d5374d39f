"""The functions of a generated NumPy module that are the same in every one, but for what stands in angle brackets."""

NO_OUTPUT = '''
def predict(weights, **data):
    """There is nothing to predict: the network names no output."""
    raise ValueError("the network names no output; build it with Network(loss, output=...)")
'''

INITIALIZE_STATE = '''
def initialize_state(weights):
    """The optimizer's state before the first update: the number of updates so far, and its arrays for each weight."""
    return <body>
'''

ARRAYS = '''
def _arrays(**data):
    """The data as arrays, checked against DATA, and the sizes of the open dimensions."""
    arrays, sizes = [], {}
    for name, value in data.items():
        shape = DATA[name]
        value = <convert>
<axis>        if value.ndim != len(shape):
            raise ValueError(f"{name} has shape {value.shape}, expected {shape}")
        for found, expected in zip(value.shape, shape):
            if found != (sizes.setdefault(expected, found) if isinstance(expected, str) else expected) or found == 0:
                raise ValueError(f"{name} has shape {value.shape}, expected {shape} with {sizes}")
        arrays.append(value)
<range>    return *arrays, sizes
'''

RANGE = '''    counts = <counts>
    for name, value in zip(data, arrays):
        size = counts.get(name)
        if size is not None and (value.dtype.kind not in "iu" or value.min() < 0 or value.max() >= size):
            raise ValueError(f"{name} must hold integers from 0 to {size - 1}")
'''

CHECK = '''
def check_gradients(seed=0):
    """Largest relative error of the gradients against central differences, at random weights and data, in float64."""
    global DTYPE
    kept, DTYPE = DTYPE, np.float64
    try:
        rng = np.random.default_rng(seed)
        weights = {name: np.array(w + rng.uniform(0.05, 0.15, np.shape(w)), DTYPE) for name, w in initialize(seed).items()}
        data = <data>
        value, gradients = loss_and_gradients(weights, **data)
        errors = [0.0]
        for name, g in gradients.items():
            w = weights[name]
            directions = [np.eye(1, w.size, k).reshape(w.shape) for k in rng.permutation(w.size)[:50]]
            directions.append(rng.choice([-1.0, 1.0], w.shape))  # in which every entry takes part
            for d in directions:
                h = 1e-5 * max(1.0, np.abs(w).max())
                above = loss({**weights, name: w + h * d}, **data)
                below = loss({**weights, name: w - h * d}, **data)
                numeric, symbolic = (above - below) / (2 * h), float((g * d).sum())
                size = max(abs(numeric), abs(symbolic), 1e-3 * np.abs(g).max(), 1e-5 * abs(value), 1e-12)
                errors.append(abs(numeric - symbolic) / size)
        return float(np.max(errors))
    finally:
        DTYPE = kept
'''

MAIN = '''
if __name__ == "__main__":
    error = check_gradients()
    print(f"largest relative error of the gradients: {error:.1e}")
    raise SystemExit(0 if error < 1e-5 else 1)
'''

"""What the tests share: the profiles of the random tests, float64 in JAX, random values, and comparisons of arrays.

The random tests run a short, fixed set of examples; `pytest --hypothesis-profile=fuzz` searches for new ones.
"""

import os

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("ci", max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", max_examples=500, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(scope="session")
def close():
    """`close(found, expected, tolerance=1e-10, what="")`: the same shape, and equal entry by entry, relative to the entry or, where it
    is small by cancellation, to the largest entry."""

    def compare(found, expected, tolerance=1e-10, what=""):
        found, expected = np.asarray(found), np.asarray(expected)
        assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
        largest = np.abs(expected).max(initial=0.0)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * max(largest, 1e-2), err_msg=what)

    return compare


@pytest.fixture(scope="session")
def draw():
    """`draw(shapes, low, high, seed)`: name → array, uniform and reproducible."""

    def values(shapes, low=-2.0, high=2.0, seed=0):
        rng = np.random.default_rng(seed)
        return {name: rng.uniform(low, high, shape) for name, shape in shapes.items()}

    return values

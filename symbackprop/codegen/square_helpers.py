"""The helpers of generated code for sums of two squares (see `graph.stable_squares`).

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 1.8, for the difference by the sum.
"""

from symbackprop.codegen.helper import Helper, helper

SQUARES: dict[str, Helper] = {
    "_hypot_minus": helper(
        '''
        def _hypot_minus(x, y):
            """sqrt(x² + y²) - x: where x > 0, y²/(sqrt(x² + y²) + x)."""
            length = np.hypot(x, y)
            above = np.greater(x, 0)
            return np.where(above, y * (y / np.where(above, length + x, 1)), length - x)
        ''',
        '''
        def _hypot_minus(x, y):
            """sqrt(x² + y²) - x: where x > 0, y²/(sqrt(x² + y²) + x)."""
            length = math.hypot(x, y)
            return y * (y / (length + x)) if x > 0 else length - x
        ''',
        compiled=True,
    ),
    "_log_add_square": helper(
        '''
        def _log_add_square(a, x):
            """log(a + x²), a > 0: of a near 1 by log1p, of an x whose square may overflow from its logarithm."""
            y = np.abs(x)
            far = y > 1e9 * np.maximum(1, np.sqrt(a))
            square = np.where(far, 0, y) ** 2
            near = np.abs(np.subtract(a, 1.25)) <= 0.75
            rest = np.where(near, np.subtract(a, 1), 0).astype(DTYPE) + np.where(near, square, 0)
            return np.where(far, 2 * np.log(np.where(far, y, 1)), np.where(near, np.log1p(rest), np.log(a + square)))
        ''',
        '''
        def _log_add_square(a, x):
            """log(a + x²), a > 0: of a near 1 by log1p, of an x whose square may overflow from its logarithm."""
            if abs(x) > 1e9 * max(1.0, math.sqrt(a)):
                return 2 * math.log(abs(x))
            return math.log1p(a - 1 + x * x) if abs(a - 1.25) <= 0.75 else math.log(a + x * x)
        ''',
        compiled=True,
    ),
}

"""The helpers of generated code for norms along axes. The sum of squares is taken first; only where it left the range in which it is right to
the last digits is it taken again, of the entries divided by the largest one.

Source: J. L. Blue, "A portable Fortran program to find the Euclidean norm of a vector", ACM TOMS 4 (1978).
"""

from symbackprop.codegen.helper import Helper, helper

NORMS: dict[str, Helper] = {
    "_norm": helper(
        '''
        def _norm(x, axis, scale=1, eps=0, least=0):
            """max(sqrt(scale * sum(x²) + eps), least) along axes, although the squares may overflow or vanish."""
            with np.errstate(over="ignore", under="ignore"):
                root = np.maximum(np.sqrt(scale * np.square(x).sum(axis=axis) + eps), least)
            return root if _in_range(root) else _far_norm(x, axis, scale, eps, least)
        ''',
        needs=("_in_range", "_far_norm"),
    ),
    "_unit": helper(
        '''
        def _unit(x, axis, scale=1, eps=0, least=0):
            """x / max(sqrt(scale * sum(x²) + eps), least) along axes, although the squares may overflow or vanish; 0 for 0 / 0."""
            with np.errstate(over="ignore", under="ignore"):
                root = np.maximum(np.sqrt(scale * np.square(x).sum(axis=axis, keepdims=True) + eps), least)
            if _in_range(root):
                return x / root
            largest, root = _scaled_norm(x, axis, scale, eps, least)
            return x / largest / np.where(root == 0, 1, root)
        ''',
        needs=("_in_range", "_scaled_norm"),
    ),
    "_in_range": helper(
        '''
        def _in_range(root):
            """Whether no root's square is infinite, or so small that digits of its terms are lost."""
            limits = np.finfo(DTYPE)
            return root.size == 0 or (root.min() > limits.tiny**0.5 / limits.eps and root.max() <= limits.max)
        '''
    ),
    "_far_norm": helper(
        '''
        def _far_norm(x, axis, scale=1, eps=0, least=0):
            """The norm by way of the largest entries."""
            largest, root = _scaled_norm(x, axis, scale, eps, least)
            return np.squeeze(largest * root, axis)
        ''',
        needs=("_scaled_norm",),
    ),
    "_scaled_norm": helper(
        '''
        def _scaled_norm(x, axis, scale, eps, least):
            """The largest entries along axes (or the largest one of the numbers), and the norm divided by them (Blue 1978)."""
            least, other = DTYPE(least), DTYPE(eps**0.5)
            largest = np.maximum(np.abs(x).max(axis=axis, keepdims=True), max(least, other))
            largest = np.where((largest > 0) & (largest <= np.finfo(DTYPE).max), largest, DTYPE(1))
            root = np.sqrt(scale * np.square(x / largest).sum(axis=axis, keepdims=True))
            return largest, np.maximum(np.hypot(root, other / largest), least / largest)
        '''
    ),
}

__all__ = ["NORMS"]

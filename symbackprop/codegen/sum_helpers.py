"""The helpers of generated code for sums of exponentials with weights, given as c_1, u_1, c_2, u_2 ... (see `graph.stable_sums`).

Source: P. Blanchard, D. J. Higham & N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021), for what
is taken out of the sum, and for log1p of the sum without its largest term.
"""

from symbackprop.codegen.helper import Helper, helper

SUMS: dict[str, Helper] = {
    "_share_of_exponentials": helper(
        '''
        def _share_of_exponentials(v, *terms):
            """exp(v) / (c_1 exp(u_1) + c_2 exp(u_2) + ...), both divided by the largest exponential."""
            top = terms[1]
            for u in terms[3::2]:
                top = np.maximum(top, u)
            total = 0
            for c, u in zip(terms[::2], terms[1::2]):
                total = total + c * _exp_below(u, top)
            return _exp_below(v, top) / total
        ''',
        '''
        def _share_of_exponentials(v, *terms):
            """exp(v) / (c_1 exp(u_1) + c_2 exp(u_2) + ...), both divided by the largest exponential."""
            top = terms[1]
            for i in range(3, len(terms), 2):
                top = max(top, terms[i])
            total = 0.0
            for i in range(0, len(terms), 2):
                total += terms[i] * _exp_below(terms[i + 1], top)
            return _exp_below(v, top) / total
        ''',
        needs=("_exp_below",),
        compiled=True,
    ),
    "_log_of_exponentials": helper(
        '''
        def _log_of_exponentials(*terms):
            """log(c_1 exp(u_1) + c_2 exp(u_2) + ...): of weights near 1 the largest term is taken out, and of others where it may overflow or vanish."""
            weight, top = terms[:2]
            size = np.log(weight) + top
            for c, u in zip(terms[2::2], terms[3::2]):
                more = np.log(c) + u > size
                size, top, weight = np.where(more, np.log(c) + u, size), np.where(more, u, top), np.where(more, c, weight)
            near = np.abs(np.subtract(weight, 1.25)) <= 0.75
            shift, rest, found = np.where(near | (np.abs(top) > 80), top, 0).astype(DTYPE), 0, False
            for c, u in zip(terms[::2], terms[1::2]):
                own = (u == top) & (c == weight) & ~found
                found = found | own
                rest = rest + np.where(own, 0, c * _exp_below(u, shift))
            lead = np.where(near, 1, weight * _exp_below(top, shift)).astype(DTYPE)
            return shift + np.where(near, np.log1p(np.where(near, np.subtract(weight, 1).astype(DTYPE) + rest, 0)), np.log(lead + rest))
        ''',
        '''
        def _log_of_exponentials(*terms):
            """log(c_1 exp(u_1) + c_2 exp(u_2) + ...): of weights near 1 the largest term is taken out, and of others where it may overflow or vanish."""
            k = 0
            for i in range(2, len(terms), 2):
                if math.log(terms[i]) + terms[i + 1] > math.log(terms[k]) + terms[k + 1]:
                    k = i
            weight, top = terms[k], terms[k + 1]
            near = abs(weight - 1.25) <= 0.75
            shift = top if near or abs(top) > 80 else 0.0
            rest = 0.0
            for i in range(0, len(terms), 2):
                if i != k:
                    rest += terms[i] * _exp_below(terms[i + 1], shift)
            return shift + (math.log1p(weight - 1 + rest) if near else math.log(weight * _exp_below(top, shift) + rest))
        ''',
        needs=("_exp_below",),
        compiled=True,
    ),
    "_exp_below": helper(
        '''
        def _exp_below(u, top):
            """exp(u - top), with the rounding error of u - top made good; 1 where both are the same infinity."""
            with np.errstate(invalid="ignore"):
                return np.where(np.equal(u, top), 1, _expsub(u, top)).astype(DTYPE)
        ''',
        '''
        def _exp_below(u, top):
            """exp(u - top), with the rounding error of u - top made good; 1 where both are the same infinity."""
            return 1.0 if u == top else _expsub(u, top)
        ''',
        needs=("_expsub",),
    ),
}  # fmt: skip

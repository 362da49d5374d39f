"""Products of two tensors in each of the forms that are found in them, against `numpy.einsum` over random indices; and that the source of a step
does not depend on the process that writes it."""

import os
import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.codegen.stacks import stacked
from symbackprop.graph.operators.contraction import Einsum

SIZES = {"i": 2, "j": 3, "k": 4, "l": 5, "m": 1, "b": 6}


@st.composite
def contractions(draw):
    """Two operands with one to four indices each, and a result with every index that one of them has alone and some that both have."""
    a, b = ("".join(draw(st.lists(st.sampled_from("ijklmb"), min_size=1, max_size=4, unique=True))) for _ in range(2))
    both = [c for c in a if c in b]
    kept = draw(st.sets(st.sampled_from(both))) if both else set()
    alone = [c for c in a + b if (c in a) != (c in b)]
    return a, b, "".join(draw(st.permutations([*alone, *sorted(kept)])))


def built(spec):
    a, b, out = spec
    x, y = (np.random.default_rng(s).normal(size=[SIZES[c] for c in letters]) for s, letters in enumerate((a, b)))
    e = sbp.einsum(f"{a},{b}->{out}", sbp.weight("A", x.shape), sbp.weight("B", y.shape))
    return e, (x, y), np.einsum(f"{a},{b}->{out}", x, y)


def by_matmul(form, arrays, operands):
    x, y = (np.swapaxes(arrays[operands.index(x)], -1, -2) if turned else arrays[operands.index(x)] for x, turned in form.factors)
    product = np.matmul(x, y)
    return product.sum(axis=tuple(range(form.lead))) if form.summed else product


def by_stacks(form, arrays, shape):
    x, y = (arrays[i].reshape(stack.shape) for i, stack in zip(form.operands, (form.left, form.right), strict=True))
    x, y = (np.swapaxes(z, -1, -2) if stack.transposed else z for z, stack in ((x, form.left), (y, form.right)))
    product = np.matmul(x, y)
    return (product.sum(axis=form.sums, keepdims=True) if form.sums else product).reshape(shape)


@settings(max_examples=100)
@given(contractions())
def test_each_form_is_the_contraction(close, spec):
    e, arrays, expected = built(spec)
    if not isinstance(e, Einsum) or len(e.operands) != 2:
        return
    pair = e.pair
    left, right = (arrays[i] for i in pair.operands)
    assert set(pair.left + pair.right) == set(pair.rows) | set(pair.inner) | set(pair.columns) | set(pair.batch)
    assert len(pair.rows + pair.inner + pair.columns + pair.batch) == len(set(pair.left + pair.right))
    assert pair.swapped.swapped == pair
    if e.matmul is not None:
        close(by_matmul(e.matmul, arrays, e.operands), expected, 1e-12)
    if pair.is_outer:
        close(np.multiply.outer(left, right), expected, 1e-12)
    if pair.is_tensordot:
        close(np.tensordot(left, right, pair.inner_axes), expected, 1e-12)
    if (form := stacked(e)) is not None:
        close(by_stacks(form, arrays, expected.shape), expected, 1e-12)


def test_forms_are_found():
    """One of each; and what is none of them."""
    forms = {
        "ij,jk->ik": "matmul", "i,ij->j": "matmul", "bij,bjk->bik": "matmul", "bij,bjk->ik": "matmul", "ij,bjk->bik": "matmul", "i,j->ij": "outer",
        "kij,ijl->kl": "tensordot", "ijk,jil->kl": "tensordot", "bij,bj->bi": "", "ij,ij->ij": "", "ib,ib->b": "",
    }  # fmt: skip
    for spec, expected in forms.items():
        (a, b), out = spec.split("->")[0].split(","), spec.split("->")[1]
        e, _, _ = built((a, b, out))
        found = "matmul" if e.matmul else "outer" if e.pair.is_outer else "tensordot" if e.pair.is_tensordot else ""
        assert found == expected, spec
    assert built(("ij", "jk", "i"))[0].pair is None  # k is summed before


def test_a_planted_error_in_a_form_shows(close):
    x, y = np.random.default_rng(0).normal(size=(2, 3, 3))
    e = sbp.einsum("ij,jk->ki", sbp.weight("A", (3, 3)), sbp.weight("B", (3, 3)))
    first, (factor, turned) = e.matmul.factors
    wrong = e.matmul._replace(factors=(first, (factor, not turned)))
    close(by_matmul(e.matmul, (x, y), e.operands), (x @ y).T, 1e-12)
    assert not np.allclose(by_matmul(wrong, (x, y), e.operands), (x @ y).T)


# --- the same source everywhere ----------------------------------------------------------------------------------------------

SOURCE = """
import hashlib, symbackprop as sbp
x, t = sbp.data("X", ("n", 4, 2)), sbp.data("T", ("n", 1))
_, (h, _) = sbp.lstm(x, 3, unroll=True)
trainer = sbp.Network(sbp.mse(sbp.dense(h, 1), t)).trainer(sbp.SGD(lr=0.1), backend="numpy")
print(hashlib.sha256(trainer.source.encode()).hexdigest())
"""


def test_the_source_of_a_step_is_the_same_in_every_process():
    runs = [subprocess.Popen([sys.executable, "-c", SOURCE], env={**os.environ, "PYTHONHASHSEED": str(seed)}, stdout=subprocess.PIPE) for seed in (0, 1, 2)]
    assert len({run.communicate()[0] for run in runs}) == 1
    assert all(run.returncode == 0 for run in runs)

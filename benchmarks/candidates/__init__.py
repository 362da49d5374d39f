"""The candidates: this project, what is written by hand, and the libraries, one file a kind."""

from benchmarks.candidates.base import Candidate
from benchmarks.candidates.c_by_hand import CByHand
from benchmarks.candidates.numpy_by_hand import NumPyByHand
from benchmarks.candidates.ours import OursAuto, OursNumba, OursNumPy
from benchmarks.candidates.products import NumPyProducts, SciPyProducts
from benchmarks.candidates.pytorch import Torch, TorchCompile
from benchmarks.candidates.with_jax import Jax, JaxScan
from benchmarks.candidates.with_keras import Keras
from benchmarks.candidates.with_pytensor import PyTensor
from benchmarks.candidates.with_sklearn import ScikitLearn

OURS = NUMBA, NUMPY, AUTO = "symbackprop, Numba", "symbackprop, NumPy", "symbackprop, auto"
BY_HAND = "NumPy by hand"
PRODUCTS = ("bare products, NumPy", "bare products, SciPy")

CANDIDATES: dict[str, type[Candidate]] = {
    NUMBA: OursNumba,
    NUMPY: OursNumPy,
    AUTO: OursAuto,
    PRODUCTS[0]: NumPyProducts,
    PRODUCTS[1]: SciPyProducts,
    "C by hand": CByHand,
    BY_HAND: NumPyByHand,
    "torch eager": Torch,
    "torch.compile": TorchCompile,
    "JAX jit": Jax,
    "JAX scan": JaxScan,
    "PyTensor": PyTensor,
    "scikit-learn": ScikitLearn,
    "Keras": Keras,
}


def present() -> tuple[list[str], list[str]]:
    """The names of those that can be measured here, and a sentence for each that cannot."""
    reasons = {name: kind.absent() for name, kind in CANDIDATES.items()}
    return [n for n, reason in reasons.items() if reason is None], [f"{n} is left out: {r}." for n, r in reasons.items() if r is not None]

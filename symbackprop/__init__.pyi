# The public names, for type checkers and editors, and for `__init__.py`, which looks up here where each is defined.

from symbackprop.audit.report import Audit, Finding
from symbackprop.calculus.evaluate import evaluate
from symbackprop.check import GradientReport, check_gradients
from symbackprop.codegen.targets import targets
from symbackprop.curvature import Derivative, Derivatives
from symbackprop.derivation.steps import Section, Step
from symbackprop.directional import derivative
from symbackprop.display.diagram.diagram import Diagram
from symbackprop.display.document import Derivation
from symbackprop.errors import (
    ArgumentError,
    DataError,
    LogitsWarning,
    NetworkError,
    ParseError,
    ShapeError,
    SymbackpropError,
    TrainingDivergedError,
    UnknownWeightError,
    UnsupportedError,
    ZeroGradientWarning,
)
from symbackprop.gradients import Gradient, Gradients
from symbackprop.graph.draw import Bernoulli, Normal
from symbackprop.graph.equations import LossShapeError
from symbackprop.graph.functions import (
    elu,
    expm1,
    gelu,
    gelu_tanh,
    hard_sigmoid,
    hard_tanh,
    leaky_relu,
    log1p,
    mish,
    relu,
    selu,
    sigmoid,
    silu,
    softplus,
    softsign,
    step,
)
from symbackprop.graph.operators.gather import one_hot, take
from symbackprop.graph.operators.layout import broadcast_to, concatenate, pad, reshape
from symbackprop.graph.operators.norm import norm
from symbackprop.graph.operators.positions import positions
from symbackprop.graph.operators.products import einsum, matmul, mean, transpose
from symbackprop.graph.operators.products import reduce_sum as sum
from symbackprop.graph.operators.reduction import log_softmax, logsumexp, softmax
from symbackprop.graph.operators.reduction import reduce_max as max
from symbackprop.graph.operators.reduction import reduce_min as min
from symbackprop.graph.operators.solve import solve
from symbackprop.graph.operators.window import window
from symbackprop.graph.recurrence import Recurrence, scan
from symbackprop.graph.shapes import Dim
from symbackprop.graph.tensor import Equation, Tensor, data, node, state, weight
from symbackprop.layers.attention import attention, multi_head_attention, positional_encoding
from symbackprop.layers.bilinear import bilinear
from symbackprop.layers.convolution import avg_pool1d, avg_pool2d, conv1d, conv2d, correlate, max_pool1d, max_pool2d
from symbackprop.layers.dense import dense
from symbackprop.layers.dropout import dropout
from symbackprop.layers.embedding import embedding
from symbackprop.layers.mlp import mlp
from symbackprop.layers.normalisation import batch_norm, layer_norm, rms_norm
from symbackprop.layers.recurrent import gru, lstm, rnn
from symbackprop.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_loss,
    cosine_similarity,
    cross_entropy,
    half_squared_error,
    hinge,
    huber,
    kl_divergence,
    l1,
    l2,
    mse,
    negative_log_likelihood,
    smooth_l1,
)
from symbackprop.network import Network
from symbackprop.reading import MissingFileError, UnreadableFileError, load, parse
from symbackprop.text.page import LocatedNetworkError, LocatedShapeError, LocatedUnsupportedError
from symbackprop.training.checkpoint import MissingRunError, UnreadableRunError, UnwritableRunError
from symbackprop.training.history import History
from symbackprop.training.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from symbackprop.training.second_order import KFAC, GaussNewton, LevenbergMarquardt, Newton
from symbackprop.training.trainer import Trainer
from symbackprop.version import __version__

__all__ = [
    "KFAC",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "ArgumentError",
    "Audit",
    "Bernoulli",
    "DataError",
    "Derivation",
    "Derivative",
    "Derivatives",
    "Diagram",
    "Dim",
    "Equation",
    "Finding",
    "GaussNewton",
    "Gradient",
    "GradientReport",
    "Gradients",
    "History",
    "LevenbergMarquardt",
    "LocatedNetworkError",
    "LocatedShapeError",
    "LocatedUnsupportedError",
    "LogitsWarning",
    "LossShapeError",
    "MissingFileError",
    "MissingRunError",
    "Network",
    "NetworkError",
    "Newton",
    "Normal",
    "Optimizer",
    "ParseError",
    "RMSprop",
    "Recurrence",
    "Section",
    "ShapeError",
    "Step",
    "SymbackpropError",
    "Tensor",
    "Trainer",
    "TrainingDivergedError",
    "UnknownWeightError",
    "UnreadableFileError",
    "UnreadableRunError",
    "UnsupportedError",
    "UnwritableRunError",
    "ZeroGradientWarning",
    "__version__",
    "attention",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "broadcast_to",
    "check_gradients",
    "concatenate",
    "conv1d",
    "conv2d",
    "correlate",
    "cosine_loss",
    "cosine_similarity",
    "cross_entropy",
    "data",
    "dense",
    "derivative",
    "dropout",
    "einsum",
    "elu",
    "embedding",
    "evaluate",
    "expm1",
    "gelu",
    "gelu_tanh",
    "gru",
    "half_squared_error",
    "hard_sigmoid",
    "hard_tanh",
    "hinge",
    "huber",
    "kl_divergence",
    "l1",
    "l2",
    "layer_norm",
    "leaky_relu",
    "load",
    "log1p",
    "log_softmax",
    "logsumexp",
    "lstm",
    "matmul",
    "max",
    "max_pool1d",
    "max_pool2d",
    "mean",
    "min",
    "mish",
    "mlp",
    "mse",
    "multi_head_attention",
    "negative_log_likelihood",
    "node",
    "norm",
    "one_hot",
    "pad",
    "parse",
    "positional_encoding",
    "positions",
    "relu",
    "reshape",
    "rms_norm",
    "rnn",
    "scan",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1",
    "softmax",
    "softplus",
    "softsign",
    "solve",
    "state",
    "step",
    "sum",
    "take",
    "targets",
    "transpose",
    "weight",
    "window",
]

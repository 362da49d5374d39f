"""`parse` and `load`: networks from their text form. What the text form may call is the language of `text`, the losses and the layers."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from symbackprop.directional import derivative
from symbackprop.errors import ParseError
from symbackprop.layers.attention import attention, multi_head_attention, positional_encoding
from symbackprop.layers.bilinear import bilinear
from symbackprop.layers.convolution import avg_pool1d, avg_pool2d, conv1d, conv2d, correlate, max_pool1d, max_pool2d
from symbackprop.layers.dense import dense
from symbackprop.layers.dropout import dropout
from symbackprop.layers.embedding import embedding
from symbackprop.layers.mlp import LOSSES
from symbackprop.layers.normalisation import batch_norm, layer_norm, rms_norm
from symbackprop.layers.recurrent import gru, lstm, rnn
from symbackprop.losses import cosine_similarity, l1, l2
from symbackprop.network import Network
from symbackprop.text.builder import LONGEST, Source, read
from symbackprop.text.vocabulary import FUNCTIONS, Function, function


def states_of(layer: Callable[..., Any]) -> Function:
    """A recurrent layer as a text calls it, which has one value there: the sequence of its states."""

    @wraps(layer)
    def states(*args: Any, **kwargs: Any) -> Any:
        return layer(*args, **kwargs)[0]

    return function(states)


LAYERS = (
    *(dense, bilinear, embedding, dropout, layer_norm, rms_norm, batch_norm),
    *(attention, multi_head_attention, positional_encoding),
    *(correlate, conv1d, conv2d, max_pool1d, max_pool2d, avg_pool1d, avg_pool2d),
)
VOCABULARY: Mapping[str, Function] = {
    **FUNCTIONS,
    **{name: function(loss) for name, loss in LOSSES.items()},
    **{layer.__name__: function(layer) for layer in (cosine_similarity, l1, l2, derivative, *LAYERS)},
    **{layer.__name__: states_of(layer) for layer in (rnn, lstm, gru)},
}


class UnreadableFileError(ParseError, OSError):
    """A file that cannot be read: a directory, or one without permission."""


class MissingFileError(UnreadableFileError, FileNotFoundError):
    """A file that does not exist."""


def parse(text: str) -> Network:
    """The network of a text form, one equation a line:

        data   x, t
        weight w = 1, b = 0
        y = tanh(w*x + b)
        loss   C = (y - t)^2/2
        output y

    Shapes stand in brackets, as in `data X[n, 2]`; `#` begins a comment. Raises `ParseError`, which shows the line and the place. Nothing
    in the text is evaluated as Python.
    """
    source = parse_source(text)
    return Network(source.loss, source.output)


def load(path: str | os.PathLike[str]) -> Network:
    """The network of a text form in a file (UTF-8). Raises `ParseError` for a file that cannot be read, too."""
    source = load_source(path)
    return Network(source.loss, source.output)


def parse_source(text: str, file: str = "") -> Source:
    """What a text form says: the loss, the output, and the columns that its data are read from."""
    if not isinstance(text, str):
        raise ParseError(f"parse({type(text).__name__}): expected a text such as 'weight x' and 'loss C = x^2' on two lines")
    if "\n" not in text and "=" not in text and Path(text[:LONGEST]).suffix in (".net", ".txt"):
        raise ParseError(f"parse({text[:100]!r}): expected a text form, found the name of a file; read it with load(...)")
    return read(text, VOCABULARY, file)


def load_source(path: str | os.PathLike[str]) -> Source:
    """The same of a file; "-" is the standard input."""
    try:
        name = os.fspath(path)
    except TypeError:
        raise ParseError(f"load({path!r}): expected the path of a text form, found {type(path).__name__}") from None
    limit = 4 * LONGEST + 4  # bytes, of UTF-8: a device without an end is not read to its end
    try:
        if name == "-":
            content = sys.stdin.buffer.read(limit)
        else:
            with open(name, "rb") as file:
                content = file.read(limit)
    except FileNotFoundError:
        raise MissingFileError(f"the file {name!r} does not exist") from None
    except (OSError, ValueError) as error:
        raise UnreadableFileError(f"the file {name!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        raise ParseError(f"byte {column} of the line, 0x{content[error.start]:02x}, is not UTF-8; save the file as UTF-8", line, column, file=name) from None
    return parse_source(text, name)

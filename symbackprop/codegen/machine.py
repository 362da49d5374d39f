"""Runs compiled steps: a table of memory (addresses of arrays, and sizes), and a list of operations on it, most of them calls of compiled pieces.

It is compiled once for all networks and kept on disk, so that only pieces are ever compiled for a network. Python runs all of it too, with the pieces
that stand in `FUNCTIONS`. Needs numba (the extra [fast]).
"""

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import lower_builtin, register_jitable, type_callable
from numba.np.arrayobj import make_array, populate_array

from symbackprop.codegen.function_kernels import COMPILED

# mypy: disallow-untyped-decorators=False

PIECE, ROW, START, END = range(4)  # operations; their rows are (operation, what, first argument)
POINTER = types.CPointer(types.int64)
SIGNATURE = types.void(POINTER, POINTER)

# --- what pieces are made of -----------------------------------------------------------------------------------------------


def view(address: int, shape: tuple[int, ...], kind: Any) -> Any:
    """An array in C order of the numbers that stand at an address."""
    count = math.prod(map(int, shape))
    memory = (ctypes.c_char * (count * np.dtype(kind).itemsize)).from_address(int(address))
    return np.ndarray([int(size) for size in shape], kind, memory)


@type_callable(view)
def _(_: Any) -> Any:
    return lambda address, shape, kind: types.Array(kind.dtype, len(shape), "C")


@lower_builtin(view, types.Integer, types.BaseTuple, types.NumberClass)
def _(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = signature.return_type
    sizes = cgutils.unpack_tuple(builder, arguments[1])
    width = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(array.dtype)))
    strides = [width]
    for size in reversed(sizes[1:]):
        strides.insert(0, builder.mul(strides[0], size, flags=["nsw"]))
    out = make_array(array)(context, builder)
    populate_array(out, data=builder.inttoptr(arguments[0], out.data.type), shape=sizes, strides=strides, itemsize=width, meminfo=None)
    return out._getvalue()


# --- operations ------------------------------------------------------------------------------------------------------------

FUNCTIONS: dict[int, Callable[[Any, Any], None]] = {}  # pieces that Python runs, by what stands in the place of their address


def call(function: int, at: Any, args: Any, first: int) -> None:
    """Call a piece: a function of the table and of the places in it that it is about."""
    FUNCTIONS[int(function)](at, args[first:])


@type_callable(call)
def _(_: Any) -> Any:
    return lambda function, at, args, first: types.none


@lower_builtin(call, types.Integer, types.Array, types.Array, types.Integer)
def _(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    at, args = (make_array(kind)(context, builder, x).data for kind, x in zip(signature.args[1:3], arguments[1:3], strict=True))
    kind = ir.FunctionType(ir.VoidType(), [at.type] * 2)
    builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [at, builder.gep(args, [arguments[3]])])
    return context.get_dummy_value()


@register_jitable
def play(operations: Any, args: Any, at: Any, first: int, last: int) -> None:
    """The operations from `first` to before `last`.

    PIECE: call the function at the address `what`. ROW (item, sequence, time, bytes): the item is the row of the sequence that the time says.
    START (time, turns): the loop over time begins, END (time, turns): it goes on behind its START. `what` of START: whether it goes backwards;
    of END: how far back its START is.
    """
    k = first
    while k < last:
        operation, what, a = operations[k, 0], operations[k, 1], operations[k, 2]
        if operation == PIECE:
            call(what, at, args, a)
        elif operation == ROW:
            at[args[a]] = at[args[a + 1]] + at[args[a + 2]] * at[args[a + 3]]
        elif operation == START:
            at[args[a]] = at[args[a + 1]] - 1 if what else 0
        else:
            start = k - what
            at[args[a]] += -1 if operations[start, 1] else 1
            if 0 <= at[args[a]] < at[args[a + 1]]:
                k = start
        k += 1


# --- training --------------------------------------------------------------------------------------------------------------


@register_jitable
def fetch(data: Any, order: Any, start: int, n: int, at: Any) -> None:
    """Each data tensor's n samples from number `start` on, or those that the order names from there on, which are copied together.
    `data`: its place in the table, the addresses of all samples and of the room for a batch, and how many bytes a sample has."""
    for k in range(data.shape[0]):
        place, samples, room, width = data[k, 0], data[k, 1], data[k, 2], data[k, 3]
        if order.size:
            for i in range(n):
                view(room + i * width, (width,), np.uint8)[:] = view(samples + order[start + i] * width, (width,), np.uint8)
            at[place] = room
        else:
            at[place] = samples + start * width


def train(size: int, samples: int, first: int, last: int, t: int, step: int, loss: Any, tables: Any, operations: Any, args: Any, check: int,
          data: Any, order: Any, sums: Any) -> int:  # fmt: skip
    """Updates number `first` to `last`, counted over all epochs. Returns how many were made.

    There are fewer if a loss is not finite, which is found before that batch's update, after the first `check` operations. `tables`: for whole
    batches, and for a smaller last one. `t`: updates made before; `step`: the place of their number. `order`: the numbers of the samples in each epoch,
    or nothing. `sums`: for each epoch the sum of its samples' losses, to which each update adds its own, so that it is the same number wherever
    the updates are cut into calls.
    """
    full = samples // size  # whole batches in an epoch
    each = full + (samples % size > 0)
    done = first
    finite = True
    while finite and done < last:
        epoch, position = divmod(done, each)
        start = position * size + (epoch * samples if order.size else 0)
        n = size if position < full else samples - full * size
        count = min(last - done, full - position) if position < full else 1
        at = tables[0 if position < full else 1]
        for turn in range(count):
            fetch(data, order, start + turn * n, n, at)
            at[step] = t + done - first + 1
            play(operations, args, at, 0, check)
            finite = math.isfinite(loss[0])
            if not finite:
                break
            sums[epoch] += loss[0] * n
            play(operations, args, at, check, operations.shape[0])
            done += 1
    return done - first


compiled_play, compiled_train = njit(**COMPILED)(play), njit(**COMPILED)(train)

__all__ = ["END", "FUNCTIONS", "PIECE", "ROW", "SIGNATURE", "START", "compiled_play", "compiled_train", "play", "train", "view"]

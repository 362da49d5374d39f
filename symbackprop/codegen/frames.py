"""What stands around the statements of compiled code: whole epochs of training, or one function that fills arrays."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """What stands around the statements: the module, a line that says which buffers are used, and how deep views and statements stand in it."""

    module: str
    room: str
    views: int
    body: int


_TRAINING = '''
"""Training of a network in compiled code. Written by symbackprop {version}."""

import math

import numpy as np
from numba import njit

from symbackprop.codegen import {imported}

{real} = np.{dtype}
{helpers}

@njit(**{kernels}.COMPILED)
def {run}({size}, {samples}, {first}, {last}, {t}, {sizes}, {values}, {data}, {order}, {buffers}, {rest}, {means}):
    """Updates number `{first}` to `{last}`, counted over all epochs. Returns how many were made.

    There are fewer if a loss is not finite, which is found before that batch's update.
    `{t}`: updates made before. `{order}`: the numbers of the samples in each epoch, or nothing.
    `{rest}`: the buffers of a smaller last batch. `{means}`: for each epoch the mean of its losses, made by adding.
    """
{unpack}
    {full} = {samples} // {size}  # whole batches in an epoch
    {each} = {full} + ({samples} % {size} > 0)
    {done} = {first}
    {finite} = True
    while {finite} and {done} < {last}:
        {epoch}, {position} = divmod({done}, {each})
        {start} = {position} * {size} + ({epoch} * {samples} if {order}.size else 0)
        {n} = {size} if {position} < {full} else {samples} - {full} * {size}
        {count} = min({last} - {done}, {full} - {position}) if {position} < {full} else 1
{views}
        {total} = 0.0
        for {turn} in range({count}):
{body}
            {done} += 1
        {means}[{epoch}] += {total} * {n} / {samples}
{store}
    return {done} - {first}
'''

TRAINING = Frame(_TRAINING, "{room} = {buffers} if {position} < {full} else {rest}", 2, 3)

_DERIVATIVES = '''
"""Derivatives of a network in compiled code. Written by symbackprop {version}."""

import math

import numpy as np
from numba import njit

from symbackprop.codegen import {imported}

{real} = np.{dtype}
{helpers}

@njit(**{kernels}.COMPILED)
def {run}({sizes}, {values}, {data}, {buffers}):
    """Computes every block into its array, which stands behind the weights in `{values}`. `{buffers}`: working memory."""
{unpack}
{views}
{body}
{store}
'''

DERIVATIVES = Frame(_DERIVATIVES, "", 1, 1)

__all__ = ["DERIVATIVES", "TRAINING", "Frame"]

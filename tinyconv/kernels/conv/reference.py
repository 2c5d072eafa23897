"""The definition of convolution: one form, linear in three slots, and the map that fills each.

    T(x, w, y) = sum  x[n, c, ih, iw] * w[o, c, kh, kw] * y[n, o, oh, ow]      over  ih = oh*sh + kh*dh - ph,  iw likewise

Leave y open and T is the forward convolution (cross-correlation: the kernel is not flipped); leave x open and it is the
transposed convolution, which is the input gradient; leave w open and it is the weight gradient. All three walk the same
positions. x is (N, C, *input), w is (O, C/groups, *kernel), y is (N, O, *output), floats or integers of one dtype, which
the answer has too; `dims` says the sizes. Written to be read, for any number of spatial dimensions and groups.
Read next: direct.py, the same sums as compiled loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np

from ...dims import ConvDims


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Fill y: y[n, o, oh, ow] = sum over c, kh, kw of x[n, c, ih, iw] * w[o, c, kh, kw]."""
    y = np.zeros(dims.y_shape, x.dtype)
    for o, c, tap, at_x, at_y in positions(dims):
        y[:, o, *at_y] += x[:, c, *at_x] * w[o, c % w.shape[1], *tap]
    return y


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Fill x: x[n, c, ih, iw] = sum over o, kh, kw of y[n, o, oh, ow] * w[o, c, kh, kw]."""
    x = np.zeros(dims.x_shape, y.dtype)
    for o, c, tap, at_x, at_y in positions(dims):
        x[:, c, *at_x] += y[:, o, *at_y] * w[o, c % w.shape[1], *tap]
    return x


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Fill w: w[o, c, kh, kw] = sum over n, oh, ow of x[n, c, ih, iw] * y[n, o, oh, ow]."""
    w = np.zeros(dims.w_shape, x.dtype)
    for o, c, tap, at_x, at_y in positions(dims):
        w[o, c % w.shape[1], *tap] += np.sum(x[:, c, *at_x] * y[:, o, *at_y])
    return w


def unfold(x: np.ndarray, dims: ConvDims) -> np.ndarray:
    """The patches of x as columns: cols[n, (c, kh, kw), (oh, ow)] = x[n, c, ih, iw], and 0 where that lies outside."""
    cols = np.zeros((dims.N, dims.C, *dims.kernel, *dims.output), x.dtype)
    for o, c, tap, at_x, at_y in positions(dims):
        if o % (dims.O // dims.groups) == 0:  # a patch is the same for every output channel
            cols[:, c, *tap, *at_y] = x[:, c, *at_x]
    return cols.reshape(dims.N, dims.C * prod(dims.kernel), prod(dims.output))


def fold(cols: np.ndarray, dims: ConvDims) -> np.ndarray:
    """The adjoint of unfold: x[n, c, ih, iw] = sum of the entries of cols (N, C*K, P) that were copied from it."""
    x = np.zeros(dims.x_shape, cols.dtype)
    cols = cols.reshape(dims.N, dims.C, *dims.kernel, *dims.output)
    for o, c, tap, at_x, at_y in positions(dims):
        if o % (dims.O // dims.groups) == 0:
            x[:, c, *at_x] += cols[:, c, *tap, *at_y]
    return x


def positions(dims: ConvDims) -> Iterator[tuple]:
    """For every output channel o, input channel c of its group and tap: the x and the y positions it ties together.

    x counts its channels through all groups, w within one: channel c of x meets channel c % (C/groups) of w.
    """
    Cg, Og = dims.C // dims.groups, dims.O // dims.groups
    for tap in product(*map(range, dims.kernel)):
        axes = [_axis(k, *sizes) for k, *sizes in zip(
            tap, dims.input, dims.output, dims.stride, dims.dilation, (lo for lo, _ in dims.padding))]
        at_x, at_y = tuple(a for a, _ in axes), tuple(b for _, b in axes)
        for o in range(dims.O):
            for c in range(o // Og * Cg, (o // Og + 1) * Cg):
                yield o, c, tap, at_x, at_y


def _axis(k: int, i_size: int, o_size: int, s: int, d: int, p: int) -> tuple[slice, slice]:
    """The i = o*s + k*d - p that lie inside the input, as a slice of i, and the slice of o they belong to."""
    inside = [o for o in range(o_size) if 0 <= o * s + k * d - p < i_size]
    if not inside:
        return slice(0, 0), slice(0, 0)
    first, last = inside[0], inside[-1]
    return slice(first * s + k * d - p, last * s + k * d - p + 1, s), slice(first, last + 1)

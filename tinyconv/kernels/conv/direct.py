"""Direct convolution: the definition as compiled loops, over the cells that exist and no others.

    T(x, w, y) = sum  x[n, c, ih, iw] * w[o, c, kh, kw] * y[n, o, oh, ow]      over  ih = oh*sh + kh*dh - ph,  iw likewise

Each map gives every thread whole planes of what it fills (a y plane, an x plane, the taps of one o, c pair), so no two
threads ever add into one cell and the sums come out the same for any number of threads. The innermost loop is a row.
Nothing is padded, copied or inserted: no working memory, any stride, dilation and groups.
Read next: im2col.py, which buys the speed of a matrix product with memory.
"""

from __future__ import annotations

import numpy as np

from ...dims import ConvDims
from ..geometry import before, lift, plain, reaches, unsigned
from ..invoke import each
from ..jit import njit


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims, *, bias: np.ndarray | None = None) -> np.ndarray:
    """Compiled loops: each y plane is a sum of shifted x planes, one for every input channel and tap.

    The reference walks the same positions through NumPy, a fresh temporary for every (o, c, tap). Here a plane stays in
    cache while its C/g*KH*KW terms are added, a row at a time: per multiply-add one load of x, and a load and a store
    of y, which is what binds it.
    """
    d = lift(dims)
    y = np.empty(d.y_shape, x.dtype)
    b = np.zeros(dims.O, x.dtype) if bias is None else plain(bias, (dims.O,))
    _conv(plain(x, d.x_shape), plain(w, d.w_shape), b, y, d.stride, d.dilation, before(d), d.groups)
    return y.reshape(dims.y_shape)


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Compiled loops: each x plane gathers the y that touched it, i = o*s + k*d - p solved for o.

    At stride 1 that reads y backwards in the taps: the full convolution with the flipped kernel. At a stride s a tap
    reaches every s-th cell of x, and only those are visited: no zero is inserted or multiplied.
    """
    d = lift(dims)
    x = np.zeros(d.x_shape, y.dtype)
    _conv_input_grad(plain(y, d.y_shape), plain(w, d.w_shape), x, d.stride, d.dilation, before(d), d.groups)
    return x.reshape(dims.x_shape)


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Compiled loops: each w[o, c, tap] is the inner product of a y plane with the x plane shifted by the tap."""
    d = lift(dims)
    w = np.zeros(d.w_shape, x.dtype)
    _conv_weight_grad(plain(x, d.x_shape), plain(y, d.y_shape), w, d.stride, d.dilation, before(d), d.groups)
    return w.reshape(dims.w_shape)


@njit
def _conv(x, w, bias, y, stride, dilation, pad, groups):
    each(y.shape[0] * y.shape[1], _y_plane, (x, w, bias, y, stride, dilation, pad, groups))


@njit(inner=True)
def _y_plane(plane, x, w, bias, y, stride, dilation, pad, groups):
    O, (Cg, KD, KH, KW) = y.shape[1], w.shape[1:]
    n, o = divmod(plane, O)
    first_c = o // (O // groups) * Cg
    y[n, o] = bias[o]
    for c in range(Cg):
        for kd, kh, kw in np.ndindex(KD, KH, KW):
            _add_y(x[n, first_c + c], w[o, c, kd, kh, kw], y[n, o], (kd, kh, kw), stride, dilation, pad)


@njit
def _conv_input_grad(y, w, x, stride, dilation, pad, groups):
    each(x.shape[0] * x.shape[1], _x_plane, (y, w, x, stride, dilation, pad, groups))


@njit(inner=True)
def _x_plane(plane, y, w, x, stride, dilation, pad, groups):
    C, (Cg, KD, KH, KW), Og = x.shape[1], w.shape[1:], w.shape[0] // groups
    n, c = divmod(plane, C)
    first_o = c // Cg * Og
    for o in range(first_o, first_o + Og):
        for kd, kh, kw in np.ndindex(KD, KH, KW):
            _add_x(y[n, o], w[o, c % Cg, kd, kh, kw], x[n, c], (kd, kh, kw), stride, dilation, pad)


@njit
def _conv_weight_grad(x, y, w, stride, dilation, pad, groups):
    each(w.shape[0] * w.shape[1], _w_plane, (x, y, w, stride, dilation, pad, groups))


@njit(inner=True)
def _w_plane(pair, x, y, w, stride, dilation, pad, groups):
    (N, O), (Cg, KD, KH, KW) = y.shape[:2], w.shape[1:]
    o, c = divmod(pair, Cg)
    first_c = o // (O // groups) * Cg
    for n in range(N):
        for kd, kh, kw in np.ndindex(KD, KH, KW):
            w[o, c, kd, kh, kw] += _inner(x[n, first_c + c], y[n, o], (kd, kh, kw), stride, dilation, pad)


@njit(inner=True)
def _add_y(x, tap, y, k, stride, dilation, pad):
    """y plane += tap * the x plane as tap k sees it."""
    (yd, xd, nd), (yh, xh, nh), (yw, xw, nw) = reaches(k, x.shape, y.shape, stride, dilation, pad)
    sd, sh, sw = unsigned(stride)
    for d in range(nd):
        for h in range(nh):
            for w in range(nw):
                y[yd + d, yh + h, yw + w] += tap * x[xd + d * sd, xh + h * sh, xw + w * sw]


@njit(inner=True)
def _add_x(y, tap, x, k, stride, dilation, pad):
    """x plane, as tap k sees it, += tap * the y plane."""
    (yd, xd, nd), (yh, xh, nh), (yw, xw, nw) = reaches(k, x.shape, y.shape, stride, dilation, pad)
    sd, sh, sw = unsigned(stride)
    for d in range(nd):
        for h in range(nh):
            for w in range(nw):
                x[xd + d * sd, xh + h * sh, xw + w * sw] += tap * y[yd + d, yh + h, yw + w]


@njit(inner=True)
def _inner(x, y, k, stride, dilation, pad):
    """The inner product of the y plane with the x plane as tap k sees it."""
    (yd, xd, nd), (yh, xh, nh), (yw, xw, nw) = reaches(k, x.shape, y.shape, stride, dilation, pad)
    sd, sh, sw = unsigned(stride)
    total = x.dtype.type(0)
    for d in range(nd):
        for h in range(nh):
            for w in range(nw):
                total += x[xd + d * sd, xh + h * sh, xw + w * sw] * y[yd + d, yh + h, yw + w]
    return total

"""The two gradients as plain convolutions at stride 1, over zeros put in: the way the guide draws them.

    x = pad(stretch(y, s), d*(k-1) - p)  *  flipped w       a transposed convolution; a negative pad crops
    w = pad(x, p)  *  stretch(y, s) as the kernel           with stride d: x's batch plays the channels

stretch puts s - 1 zeros between neighbours. It explains why a transposed convolution is "fractionally strided", and costs
s*s times the multiply-adds, all but one in s*s of them by zero. The forward map has no zeros to insert and is not here.
Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2018), relationships 9 to 14.
Read next: simd.py, whose input gradient splits x into s*s phases and multiplies no zero at all.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ...dims import ConvDims, Ints
from . import im2col


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """A convolution of the stretched and padded y with the flipped kernel, its channels swapped.

    toeplitz writes C down to transpose it. Here no matrix is needed, only zeros between the cells of y; at stride 1 there
    are none, and this is the "full" convolution.
    """
    G, Og = dims.groups, dims.O // dims.groups
    flipped = np.flip(w, tuple(range(2, w.ndim))).reshape(G, Og, -1, *dims.kernel)
    swapped = np.ascontiguousarray(flipped.swapaxes(1, 2)).reshape(dims.C, Og, *dims.kernel)
    reach = tuple(d * (k - 1) for k, d in zip(dims.kernel, dims.dilation))
    lo = tuple(r - p for r, (p, _) in zip(reach, dims.padding))
    wide = pad(stretch(y, dims.stride), lo, tuple(i + r for i, r in zip(dims.input, reach)))
    return _plain(wide, swapped, dims.input, (1,) * dims.rank, dims.dilation, G)


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """A convolution of x with the stretched y as its kernel: the samples are what is summed over, as channels usually are."""
    N, G, Cg, Og = dims.N, dims.groups, dims.C // dims.groups, dims.O // dims.groups
    if not N:
        return np.zeros(dims.w_shape, x.dtype)
    long = stretch(y, dims.stride)
    size = tuple(d * (k - 1) + n for k, d, n in zip(dims.kernel, dims.dilation, long.shape[2:]))
    wide = pad(x, tuple(lo for lo, _ in dims.padding), size)
    # x as Cg samples of G*N channels, y as G*Og kernels over N channels: group g of w is group g of that convolution
    samples = np.ascontiguousarray(wide.reshape(N, G, Cg, *size).transpose(2, 1, 0, *range(3, 3 + dims.rank)))
    kernels = np.ascontiguousarray(long.swapaxes(0, 1))
    w = _plain(samples.reshape(Cg, G * N, *size), kernels, dims.kernel, dims.dilation, (1,) * dims.rank, G)
    return np.ascontiguousarray(w.swapaxes(0, 1)).reshape(G * Og, Cg, *dims.kernel)


def stretch(a: np.ndarray, s: Ints) -> np.ndarray:
    """s - 1 zeros between neighbours along each spatial axis: (N, C, *n) -> (N, C, *((n-1)*s + 1)).

    >>> stretch(np.array([[[1, 2, 3]]]), (2,))
    array([[[1, 0, 2, 0, 3]]])
    """
    out = np.zeros((*a.shape[:2], *((n - 1) * step + 1 for n, step in zip(a.shape[2:], s))), a.dtype)
    out[:, :, *(slice(None, None, step) for step in s)] = a
    return out


def pad(a: np.ndarray, lo: Ints, size: Ints) -> np.ndarray:
    """`lo` zeros before each spatial axis and as many after as make `size`; negative numbers crop.

    >>> pad(np.array([[[1, 2, 3]]]), (2,), (4,)), pad(np.array([[[1, 2, 3]]]), (-1,), (4,))
    (array([[[0, 0, 1, 2]]]), array([[[2, 3, 0, 0]]]))
    """
    out = np.zeros((*a.shape[:2], *size), a.dtype)
    into = tuple(slice(max(p, 0), min(p + n, total)) for p, n, total in zip(lo, a.shape[2:], size))
    if all(s.start < s.stop for s in into):
        out[:, :, *into] = a[:, :, *(slice(s.start - p, s.stop - p) for s, p in zip(into, lo))]
    return out


def scratch_x(dims: ConvDims, dtype: np.dtype) -> int:
    """Bytes of the flipped w and of the padded y, and beside them of what their convolution needs.

    Before that the stretched y lies there, where x is not yet: it counts by what it is larger than x.
    """
    wide = tuple(i + d * (k - 1) for i, k, d in zip(dims.input, dims.kernel, dims.dilation))
    inner = _unpadded((dims.N, dims.O, *wide), (dims.C, dims.O // dims.groups, *dims.kernel), dims.input, (1,) * dims.rank,
                      dims.dilation, dims.groups)
    beyond_x = dims.N * dims.O * prod(_long(dims)) - prod(dims.x_shape)
    kept = prod(dims.w_shape) + dims.N * dims.O * prod(wide)
    return dtype.itemsize * kept + max(dtype.itemsize * beyond_x, im2col.scratch(inner, dtype))


def scratch_w(dims: ConvDims, dtype: np.dtype) -> int:
    """Bytes of y stretched and turned, of x padded and turned, and of what their convolution needs, or of w to be turned.

    An array whose axes to be swapped have one entry is turned already.
    """
    if not dims.N:
        return 0
    long = _long(dims)
    wide = tuple(d * (k - 1) + n for k, d, n in zip(dims.kernel, dims.dilation, long))
    Cg, Og = dims.C // dims.groups, dims.O // dims.groups
    inner = _unpadded((Cg, dims.groups * dims.N, *wide), (dims.groups * Og, dims.N, *long), dims.kernel, dims.dilation,
                      (1,) * dims.rank, dims.groups)
    x_copies, y_copies = 1 + (sorted((dims.N, dims.groups, Cg))[1] > 1), 1 + (min(dims.N, dims.O) > 1)
    turned = dims.N * (y_copies * dims.O * prod(long) + x_copies * dims.C * prod(wide))
    return dtype.itemsize * turned + max(dtype.itemsize * prod(dims.w_shape), im2col.scratch(inner, dtype))


def _long(dims: ConvDims) -> Ints:
    """Spatial size of y stretched."""
    return tuple((o - 1) * s + 1 for o, s in zip(dims.output, dims.stride))


def _plain(x: np.ndarray, w: np.ndarray, output: Ints, stride: Ints, dilation: Ints, groups: int) -> np.ndarray:
    """The convolution itself, by patches and BLAS."""
    return im2col.conv(x, w, _unpadded(x.shape, w.shape, output, stride, dilation, groups))


def _unpadded(x: Ints, w: Ints, output: Ints, stride: Ints, dilation: Ints, groups: int) -> ConvDims:
    return ConvDims(x[0], x[1], w[0], x[2:], w[2:], output, stride, ((0, 0),) * len(output), dilation, groups)

"""Convolution as one big sparse matrix: y = C x, with the samples as the columns of x.

    C[(o, oh, ow), (c, ih, iw)] = w[o, c, kh, kw]      where ih = oh*sh + kh*dh - ph and iw likewise; 0 elsewhere

C is Toeplitz in two nested senses (blocks along diagonals, numbers along diagonals of each block), and it says in one
letter what a convolution is to linear algebra: its input gradient, the transposed convolution, is the transpose C^T y.
Refuses what has more than LIMIT non-zeros, and a machine without SciPy, whose sparse matrices do the products.
Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2018), section 4.1.
Read next: zero_insertion.py, the same transpose as a convolution again.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...dims import ConvDims

LIMIT = 1 << 23  # non-zeros of C, 32 bytes each in float32


class Structure(NamedTuple):
    """Where the non-zeros of C are, in the order of its rows, and which weight each of them is."""

    starts: np.ndarray  # of each row's non-zeros, and one past the last
    rows: np.ndarray
    columns: np.ndarray
    taps: np.ndarray  # position in w.ravel()


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """One sparse product C @ X: (O*P, C*I) @ (C*I, N), P and I the sizes of y and x.

    The definition walks channels and taps in Python; here one compiled loop walks the non-zeros. It costs C itself: every
    weight is written out P times, each with its column, so that memory is read 3 times for every multiply-add.
    """
    return _product(_sparse(w, dims), x, dims.y_shape)


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """One sparse product C.T @ Y: (C*I, O*P) @ (O*P, N); no zero is inserted, none multiplied."""
    return _product(_sparse(w, dims).T, y, dims.x_shape)


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """The products x*y that meet at every non-zero of C, summed over the non-zeros that hold the same weight."""
    at = structure(dims)
    xs, ys = x.reshape(dims.N, prod(dims.x_shape[1:])), y.reshape(dims.N, prod(dims.y_shape[1:]))
    met = np.zeros(len(at.taps), x.dtype)
    for n in range(dims.N):
        met += xs[n, at.columns] * ys[n, at.rows]
    return np.bincount(at.taps, met, prod(dims.w_shape)).astype(x.dtype).reshape(dims.w_shape)


def toeplitz_matrix(w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """C itself, dense, to look at: (O*prod(output), C*prod(input)), of w's dtype. Not for large sizes.

    Source: the guide's section 4.1, whose example is a 3x3 kernel on a 4x4 input. A 2x2 one on a line of two rows:

    >>> from tinyconv.dims import conv_dims
    >>> w = np.arange(1, 5).reshape(1, 1, 2, 2)
    >>> toeplitz_matrix(w, conv_dims((1, 1, 2, 4), w.shape))
    array([[1, 2, 0, 0, 3, 4, 0, 0],
           [0, 1, 2, 0, 0, 3, 4, 0],
           [0, 0, 1, 2, 0, 0, 3, 4]])
    """
    at = structure(dims)
    matrix = np.zeros((prod(dims.y_shape[1:]), prod(dims.x_shape[1:])), w.dtype)
    matrix[at.rows, at.columns] = w.ravel()[at.taps]
    return matrix


def refuse(dims: ConvDims, dtype: np.dtype) -> str:
    """Why not: complex numbers, no SciPy, or a matrix too large."""
    if dtype.kind == "c":
        return f"it sums weight gradients as real numbers, not {dtype}"
    if find_spec("scipy") is None:
        return "it needs SciPy's sparse matrices, and SciPy is not installed"
    count = nonzeros(dims)
    return f"C would have up to {count} non-zeros, the limit is {LIMIT}" if count > LIMIT else ""


def scratch(dims: ConvDims, dtype: np.dtype) -> int:
    """Bytes of C's structure, kept for the next call, and of its weights or of the products that meet in it, at most."""
    return nonzeros(dims) * (12 + max(4 * dtype.itemsize, dtype.itemsize + 16))


def nonzeros(dims: ConvDims) -> int:
    """Non-zeros of C, those over the padding counted too."""
    return dims.O * (dims.C // dims.groups) * prod(dims.kernel) * prod(dims.output)


@lru_cache(maxsize=16)
def structure(dims: ConvDims) -> Structure:
    """The non-zeros of C for these dims."""
    Cg, Og = dims.C // dims.groups, dims.O // dims.groups
    o = np.arange(dims.O)[:, None]
    c = o // Og * Cg + np.arange(Cg)  # (O, Cg): the input channels of the group of o
    rows, columns, taps = [], [], []
    for tap in product(*map(range, dims.kernel)):
        cells, inside = np.zeros((), int), np.ones((), bool)
        for k, size, outs, s, d, (lo, _) in zip(tap, dims.input, dims.output, dims.stride, dims.dilation, dims.padding):
            i = np.arange(outs) * s + k * d - lo
            cells, inside = cells[..., None] * size + i, inside[..., None] & (i >= 0) & (i < size)
        at = np.flatnonzero(inside)  # positions of y whose window has this tap inside x
        rows.append((o[..., None] * inside.size + at).repeat(Cg, 1).ravel())
        columns.append((c[..., None] * prod(dims.input) + cells.ravel()[at]).ravel())
        held = np.ravel_multi_index(tap, dims.kernel) + prod(dims.kernel) * (o * Cg + np.arange(Cg))
        taps.append(np.broadcast_to(held[..., None], (dims.O, Cg, at.size)).ravel())
    row, column, weight = (np.concatenate(part).astype(np.int32) for part in (rows, columns, taps))
    order = np.lexsort((column, row))
    starts = np.searchsorted(row[order], np.arange(dims.O * prod(dims.output) + 1)).astype(np.int32)
    return Structure(starts, row[order], column[order], weight[order])


def _sparse(w: np.ndarray, dims: ConvDims) -> Any:
    from scipy.sparse import csr_array

    at = structure(dims)
    shape = (prod(dims.y_shape[1:]), prod(dims.x_shape[1:]))
    return csr_array((w.ravel()[at.taps], at.columns, at.starts), shape)


def _product(matrix: Any, a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """matrix @ a with the samples of a as columns, back in the order of `shape`."""
    return np.ascontiguousarray((matrix @ a.reshape(len(a), -1).T).T).reshape(shape) if len(a) else np.zeros(shape, a.dtype)

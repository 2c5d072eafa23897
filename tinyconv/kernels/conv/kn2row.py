"""Convolution as shifted products: one small matrix product for every tap, and no patches.

Rows of the padded x are laid end to end, so that a tap is a constant offset q = kh*d*W + kw*d (W the padded width) and the
columns it reads are a slice of x as it lies, which BLAS multiplies in place:

    y[o, j] += sum over c of  w[o, c, tap] * x[c, j + q]        j = oh*W + ow; columns ow >= OW are computed and dropped

A stride splits x into phase planes first (every s-th cell of one residue); a tap reads the plane its offset falls into.
Source: Vasudevan, Anderson and Gregg, "Parallel multi channel convolution using general matrix multiplication" (2017).
Read next: im2col.py, which pays the memory of all taps at once for one long product; simd.py, which pays neither.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from ...dims import ConvDims, Ints


class Layout(NamedTuple):
    """How the cells of one problem lie end to end."""

    plane: Ints  # spatial size of a phase plane of the padded x
    length: int  # cells from the first position of y to the last, in rows of the plane's width
    taps: tuple[tuple[Ints, Ints, int], ...]  # of each tap: its index, the phase it reads, its offset q in that plane


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Shifted products: (O/g, C/g) @ (C/g, L) for every tap and sample, added up; no patches, a padded copy of x.

    im2col copies every cell K times before its one product. Here x is copied once; the price is K passes over y, products
    only C/g deep, and the columns between OW and W.
    """
    at = layout(dims)
    y = _open_rows(dims, dims.O, x.dtype)
    planes = {phase: _plane(x, phase, dims) for phase in {phase for _, phase, _ in at.taps}}
    taps = _tap_matrices(w, dims)
    shifted = np.empty((dims.N, dims.groups, dims.O // dims.groups, at.length), x.dtype)
    for tap, phase, q in at.taps:
        np.matmul(taps[tap], planes[phase][..., q:q + at.length], out=shifted)
        y[..., :at.length] += shifted
    return _close_rows(y, dims)


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Shifted products: (C/g, O/g) @ (O/g, L) for every tap and sample, each added to x at its offset."""
    at = layout(dims)
    rows = _rows_of(y, dims)
    planes: dict[Ints, np.ndarray] = {}
    taps = _tap_matrices(w, dims)
    shifted = np.empty((dims.N, dims.groups, dims.C // dims.groups, at.length), y.dtype)
    for tap, phase, q in at.taps:
        if phase not in planes:
            planes[phase] = np.zeros((dims.N, dims.groups, dims.C // dims.groups, prod(at.plane)), y.dtype)
        np.matmul(taps[tap].transpose(0, 2, 1), rows[..., :at.length], out=shifted)
        planes[phase][..., q:q + at.length] += shifted
    x = np.zeros((dims.N, dims.C, *(p * s for p, s in zip(at.plane, dims.stride))), y.dtype)
    for phase, cells in planes.items():
        x[:, :, *(slice(r, None, s) for r, s in zip(phase, dims.stride))] = cells.reshape(dims.N, dims.C, *at.plane)
    return _without_padding(x, dims)


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Shifted products: (O/g, L) @ (L, C/g) for every tap and sample, summed over the samples."""
    at = layout(dims)
    rows = _rows_of(y, dims)
    w = np.empty((*dims.kernel, dims.groups, dims.O // dims.groups, dims.C // dims.groups), x.dtype)
    planes = {phase: _plane(x, phase, dims) for phase in {phase for _, phase, _ in at.taps}}
    for tap, phase, q in at.taps:
        cells = planes[phase][..., q:q + at.length]
        w[tap] = np.matmul(rows[..., :at.length], cells.transpose(0, 1, 3, 2)).sum(axis=0)
    return np.ascontiguousarray(np.moveaxis(w.reshape(*dims.kernel, dims.O, -1), (-2, -1), (0, 1)))


def scratch(dims: ConvDims, dtype: np.dtype) -> int:
    """Bytes of the phase planes, of x put together from them, of y in open rows, of one shifted product and of w turned."""
    at = layout(dims)
    phases = len({phase for _, phase, _ in at.taps})
    cells = dims.C * prod(at.plane) * (phases + prod(dims.stride))
    rows = dims.O * dims.output[0] * prod(at.plane[1:])
    return dtype.itemsize * (dims.N * (cells + rows + max(dims.O, dims.C) * at.length) + prod(dims.w_shape))


@lru_cache(maxsize=512)
def layout(dims: ConvDims) -> Layout:
    """The planes of these dims and where each tap lands in them."""
    plane = tuple(o + (k - 1) * d // s for o, k, d, s in zip(dims.output, dims.kernel, dims.dilation, dims.stride))
    steps = tuple(prod(plane[a + 1:]) for a in range(dims.rank))
    taps = []
    for tap in product(*map(range, dims.kernel)):
        reach = [k * d for k, d in zip(tap, dims.dilation)]  # o*s + k*d = (o + k*d // s) * s + k*d % s
        phase = tuple(r % s for r, s in zip(reach, dims.stride))
        taps.append((tap, phase, sum(r // s * step for r, s, step in zip(reach, dims.stride, steps))))
    length = sum((o - 1) * step for o, step in zip(dims.output, steps)) + 1
    return Layout(plane, length, tuple(taps))


def _plane(x: np.ndarray, phase: Ints, dims: ConvDims) -> np.ndarray:
    """Cells phase + j*s of the padded x, end to end: (N, G, C/g, cells); x itself where that is what they are."""
    plane = layout(dims).plane
    cells = x
    if dims.input != plane or max(dims.stride) > 1 or any(lo for lo, _ in dims.padding):
        cells = np.zeros((dims.N, dims.C, *plane), x.dtype)
        into, source = [], []
        for r, n, s, i, (lo, _) in zip(phase, plane, dims.stride, dims.input, dims.padding):
            first = max(-(-(lo - r) // s), 0)  # the least j with r + j*s >= lo
            count = min(n, -(-(i + lo - r) // s)) - first  # up to the last j with r + j*s < i + lo
            start = r + first * s - lo
            into.append(slice(first, first + max(count, 0)))
            source.append(slice(start, start + max(count, 0) * s, s))
        cells[:, :, *into] = x[:, :, *source]
    return cells.reshape(dims.N, dims.groups, dims.C // dims.groups, prod(plane))


def _without_padding(x: np.ndarray, dims: ConvDims) -> np.ndarray:
    """The cells of x inside its padding; rows that no window reaches are zero."""
    out = np.zeros(dims.x_shape, x.dtype)
    within = [slice(lo, min(n, lo + i)) for n, i, (lo, _) in zip(x.shape[2:], dims.input, dims.padding)]
    out[:, :, *(slice(0, max(s.stop - s.start, 0)) for s in within)] = x[:, :, *within]
    return out


def _open_rows(dims: ConvDims, channels: int, dtype: np.dtype) -> np.ndarray:
    """Zeros for y in rows as wide as the plane's: (N, G, channels/g, cells)."""
    rows = dims.output[0] * prod(layout(dims).plane[1:])
    return np.zeros((dims.N, dims.groups, channels // dims.groups, rows), dtype)


def _rows_of(y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """y in rows as wide as the plane's, zeros past OW: what a tap multiplies there adds nothing."""
    rows = _open_rows(dims, dims.O, y.dtype)
    _spatial(rows, dims)[:, :, *(slice(0, o) for o in dims.output)] = y
    return rows


def _close_rows(rows: np.ndarray, dims: ConvDims) -> np.ndarray:
    """y without the columns past OW."""
    return np.ascontiguousarray(_spatial(rows, dims)[:, :, *(slice(0, o) for o in dims.output)])


def _spatial(rows: np.ndarray, dims: ConvDims) -> np.ndarray:
    return rows.reshape(dims.N, dims.O, dims.output[0], *layout(dims).plane[1:])


def _tap_matrices(w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """w as a matrix (O/g, C/g) for every tap and group, contiguous: (*kernel, G, O/g, C/g)."""
    taps = np.ascontiguousarray(np.moveaxis(w, (0, 1), (-2, -1)))
    return taps.reshape(*dims.kernel, dims.groups, dims.O // dims.groups, -1)

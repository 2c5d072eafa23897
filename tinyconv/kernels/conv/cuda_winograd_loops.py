"""The kernels under cuda_winograd.py: tiles to frequencies and back, for the images and for the weights.

    spread          V = B' d B of a tile of x, or Z = A dy A' of one of y      weigh            U = G g G'
    finish          y = A' M A, with the bias, the cells that there are        finish_weights   dg = G' dU G

A thread has one tile of one channel, or the weights of one pair of channels, and its neighbour the next: frequency f of
neighbours lies side by side, so that a warp reads and writes whole lines there. A transform is straight-line code: a sum is a
helper that calls the sum of the terms before it, with the factors of winograd_tiles.py as constants of the dtype and those
that are zero left out. Nothing of a tile is kept but in registers. int32(...) is all over, since Numba's sum of two int32 is
an int64.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np

from .. import gpu
from ..gpu import cuda, int32, uint32
from .winograd_tiles import matrices

Row = tuple[Fraction, ...]
Rows = tuple[Row, ...]


class Kernels(NamedTuple):
    """The kernels for tiles of one size and dtype."""

    spread_x: gpu.Function
    spread_y: gpu.Function
    weigh: gpu.Function
    finish: gpu.Function
    finish_weights: gpu.Function


@cache
def kernels(m: int, k: int, dtype: str) -> Kernels:
    """The kernels for tiles of m by m outputs of k by k taps."""
    A, G, B = (tuple(map(tuple, matrix)) for matrix in matrices(m, k))
    return Kernels(spread(B, m, dtype), spread(A, m, dtype), weigh(G, dtype), finish(tuple(zip(*A)), dtype),
                   finish_weights(tuple(zip(*G)), dtype))


@cache
def total(factors: Row, dtype: str) -> gpu.Function:
    """A helper: the sum over i of factors[i] * a[at + i*step]."""
    last = max(i for i, factor in enumerate(factors) if factor)
    factor, before = np.dtype(dtype).type(float(factors[last])), factors[:last]
    earlier = total(before, dtype) if any(before) else None

    @gpu.helper
    def add(a, at, step):
        if earlier is not None:
            return earlier(a, at, step) + factor * a[at + last * step]
        return factor * a[at + last * step]

    return add


@cache
def times(matrix: Rows, dtype: str) -> gpu.Function:
    """A helper: out[to + f*apart] is row f of the matrix times the numbers a[at + i*step]."""
    f = len(matrix) - 1
    earlier, row = times(matrix[:f], dtype) if f else None, total(matrix[f], dtype)

    @gpu.helper
    def multiply(a, at, step, out, to, apart):
        if earlier is not None:
            earlier(a, at, step, out, to, apart)
        out[to + f * apart] = row(a, at, step)

    return multiply


@gpu.helper
def place(i, first, tiles, g):
    """Of thread i the plane, and where its tile lies: the sample, rows of tiles down and tiles across."""
    plane = uint32(i // uint32(tiles))
    tile = uint32(i - plane * uint32(tiles) + uint32(first))
    rest = uint32(tile // uint32(g[4]))
    sample = uint32(rest // uint32(g[3]))
    return plane, sample, uint32(rest - sample * uint32(g[3])), uint32(tile - rest * uint32(g[4]))


def spread(matrix: Rows, m: int, dtype: str) -> gpu.Function:
    """The kernel for tiles that start m cells apart, each as wide as the matrix: with B' they overlap, with A they do not."""
    real = gpu.real(dtype)
    n, WIDE = len(matrix), len(matrix[0])
    CELLS = n * WIDE
    transform = times(matrix, dtype)

    @gpu.jit
    def kernel(out, size, x, first, tiles, g):
        """out (n*n, g[0], tiles) from x (N, g[0], H, W), zero where a cell lies outside; tile `first` is the first."""
        column = cuda.local.array(WIDE, real)
        half = cuda.local.array(CELLS, real)  # (n, WIDE): transformed along a column
        i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= uint32(size):
            return
        H, W = uint32(g[1]), uint32(g[2])
        plane, sample, down, across = place(i, first, tiles, g)
        top, left = int32(int32(down) * int32(m) + g[5]), int32(int32(across) * int32(m) + g[6])
        base = int32((int32(sample * uint32(g[0]) + plane) * int32(H) + top) * int32(W) + left)
        for c in range(WIDE):
            for r in range(WIDE):
                ok = (uint32(top + int32(r)) < H) & (uint32(left + int32(c)) < W)
                column[r] = x[int32(base + int32(r) * int32(W) + int32(c))] if ok else real(0)
            transform(column, 0, 1, half, c, WIDE)
        for f in range(n):
            transform(half, f * WIDE, 1, out, int32(i) + f * n * size, size)

    return kernel


def weigh(matrix: Rows, dtype: str) -> gpu.Function:
    """The kernel for the matrix G."""
    real = gpu.real(dtype)
    n, k = len(matrix), len(matrix[0])
    CELLS = n * k
    transform = times(matrix, dtype)

    @gpu.jit
    def kernel(u, size, w, g):
        """u (n*n, groups, Co, Ci) from w: channel i of the Ci begins i*g[2] on, o of the Co o*g[3], a group Ci*Co*k*k.

        The first tap lies g[4] on, and the next is g[5] = 1 away; or the last, and -1, for the kernel turned.
        """
        half = cuda.local.array(CELLS, real)
        i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= uint32(size):
            return
        Ci, Co, step = uint32(g[0]), uint32(g[1]), int32(g[5])
        rest = uint32(i // Ci)
        group = uint32(rest // Co)
        at = int32(group * Co * Ci * uint32(k * k) + (rest - group * Co) * uint32(g[3]) + (i - rest * Ci) * uint32(g[2]))
        for c in range(k):
            transform(w, int32(at + g[4] + c * step), k * step, half, c, k)
        for f in range(n):
            transform(half, f * k, 1, u, int32(i) + f * n * size, size)

    return kernel


def finish(matrix: Rows, dtype: str) -> gpu.Function:
    """The kernel for the matrix A'."""
    real = gpu.real(dtype)
    m, n = len(matrix), len(matrix[0])
    CELLS = m * n
    transform = times(matrix, dtype)

    @gpu.jit
    def kernel(out, size, a, bias, biased, first, tiles, g):
        """out (N, g[0], H, W), the cells that there are, from a (n*n, g[0], tiles); tile `first` is the first."""
        half = cuda.local.array(CELLS, real)  # (m, n): transformed along a column
        row = cuda.local.array(m, real)
        i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= uint32(size):
            return
        H, W = uint32(g[1]), uint32(g[2])
        plane, sample, down, across = place(i, first, tiles, g)
        top, left = uint32(down * uint32(m)), uint32(across * uint32(m))
        base = int32(((sample * uint32(g[0]) + plane) * H + top) * W + left)
        shift = bias[int32(plane)] if biased != 0 else real(0)
        for c in range(n):
            transform(a, int32(i) + c * size, n * size, half, c, n)
        for r in range(m):
            transform(half, r * n, 1, row, 0, 1)
            for c in range(m):
                if (top + uint32(r) < H) & (left + uint32(c) < W):
                    out[int32(base + int32(r) * int32(W) + int32(c))] = row[c] + shift

    return kernel


def finish_weights(matrix: Rows, dtype: str) -> gpu.Function:
    """The kernel for the matrix G'."""
    real = gpu.real(dtype)
    k, n = len(matrix), len(matrix[0])
    CELLS = k * n
    transform = times(matrix, dtype)

    @gpu.jit
    def kernel(w, size, u):
        """w (O, C/g, k, k) from u (n*n, O, C/g)."""
        half = cuda.local.array(CELLS, real)
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        for c in range(n):
            transform(u, int32(i) + c * size, n * size, half, c, n)
        for r in range(k):
            transform(half, r * n, 1, w, int32(i * int32(k * k)) + r * k, 1)

    return kernel

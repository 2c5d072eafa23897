"""What the compiled kernels of convolution and pooling share: one rank, one memory layout, one index relation.

Kernels are written once, for three spatial dimensions: a line is a volume of depth and height 1, an image one of depth 1.
They take C-contiguous, aligned, writeable arrays only, so that each is compiled once a dtype.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import numpy as np

from ..dims import ConvDims, PoolDims
from .jit import njit

Dims = TypeVar("Dims", ConvDims, PoolDims)


@lru_cache(maxsize=4096)
def lift(dims: Dims) -> Dims:
    """The same problem with three spatial dimensions: missing ones lead, of size 1 and without padding.

    >>> from tinyconv.dims import conv_dims
    >>> lift(conv_dims((2, 3, 8, 9), (4, 3, 3, 3), padding=1)).x_shape
    (2, 3, 1, 8, 9)
    """
    n = 3 - dims.rank
    if n == 0:
        return dims
    ones = {name: (1,) * n + getattr(dims, name) for name in ("input", "kernel", "output", "stride", "dilation")}
    return replace(dims, padding=((0, 0),) * n + dims.padding, **ones)


def plain(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`a` in this (lifted) shape as a kernel wants it: itself, unless it is strided, unaligned or read-only."""
    return (a if a.flags.carray else a.copy()).reshape(shape)


def before(dims: ConvDims | PoolDims) -> tuple[int, ...]:
    """The padding before the first cell of each dimension: p in i = o*s + k*d - p."""
    return tuple(lo for lo, _ in dims.padding)


def floats_only(dims: object, dtype: np.dtype) -> str:
    """The refusal of kernels that are compiled for float32 and float64."""
    return "" if dtype in (np.float32, np.float64) else f"it takes float32 and float64, not {np.dtype(dtype)}"


@njit(inner=True)
def reach(k, i_size, o_size, s, d, p):
    """Where tap k lies inside the input: at `n` output positions o, o + 1, ..., over inputs i, i + s, ... (from o*s + k*d - p).

    Nothing is tested cell by cell: the bounds are worked out once for a tap, and loops run free of them. They are
    unsigned, because an index that might be negative is tested at every access, and that keeps a loop out of vectors.
    """
    shift = k * d - p
    first = max(0, -(shift // s))  # the least o with o*s + shift >= 0
    last = min(o_size, (i_size - 1 - shift) // s + 1)  # one above the greatest o with o*s + shift < i_size
    return np.uintp(first), np.uintp(first * s + shift), np.uintp(max(0, last - first))


@njit(inner=True)
def reaches(tap, i_size, o_size, stride, dilation, pad):
    """`reach` of a tap (kd, kh, kw) in each of three dimensions."""
    return (reach(tap[0], i_size[0], o_size[0], stride[0], dilation[0], pad[0]),
            reach(tap[1], i_size[1], o_size[1], stride[1], dilation[1], pad[1]),
            reach(tap[2], i_size[2], o_size[2], stride[2], dilation[2], pad[2]))


@njit(inner=True)
def unsigned(sizes):
    """Three sizes or strides as unsigned integers: mixed with signed ones they would become floats."""
    return np.uintp(sizes[0]), np.uintp(sizes[1]), np.uintp(sizes[2])

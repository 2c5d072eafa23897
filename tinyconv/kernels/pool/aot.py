"""Pooling by the C of csrc/pool.c, compiled when tinyconv was installed: nothing is left to compile at the first call.

    max_pool:  y[o], at[o] = max over the cells i of window o of x[i], and where it stands      (first of equals, first NaN)
    gather:    y[o] = x[at[o]]          scatter:  x[at[o]] += y[o]
    avg_pool:  y[o] = sum over the cells i of window o of x[i] / divisor[o]     adjoint:  x[i] = sum of y[o] / divisor[o]

Here are sizes and memory, in csrc/_aot.pyx buffers, in csrc/pool_template.h the loops, compiled for every vector level
(../compiled.py); planes are shared out over Numba's threads. It refuses windows of changing size (adaptive pooling), and
everything where no C compiler was at hand.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numba
import numpy as np

from ...dims import PoolDims
from ..compiled import _aot, level
from ..geometry import floats_only, lift, plain
from ..invoke import pool_of_threads

ALONE = 1 << 14  # cells that are pooled before another thread has woken


def max_pool(x: np.ndarray, dims: PoolDims) -> tuple[np.ndarray, np.ndarray]:
    """Compiled at install: rows of x folded into rows of maxima, tap after tap, by selects and no branch."""
    y, at = np.empty(dims.y_shape, x.dtype), np.empty(dims.y_shape, np.int64)
    _aot.max_pool(plain(x, (-1,)), y.reshape(-1), at.reshape(-1), lift(dims), *_how(x))
    return y, at


def pool_gather(x: np.ndarray, indices: np.ndarray, dims: PoolDims) -> np.ndarray:
    """Compiled at install: plane by plane, y[o] = x[at[o]]; where a level has gathers, a vector of them at a time."""
    y = np.empty(dims.y_shape, x.dtype)
    _aot.pool_gather(plain(x, (-1,)), y.reshape(-1), plain(indices, (-1,)), lift(dims), *_how(x))
    return y


def pool_scatter(y: np.ndarray, indices: np.ndarray, dims: PoolDims) -> np.ndarray:
    """Compiled at install: plane by plane, zeros and then x[at[o]] += y[o] in the order of o; no two threads share a plane."""
    x = np.empty(dims.x_shape, y.dtype)
    _aot.pool_scatter(plain(y, (-1,)), x.reshape(-1), plain(indices, (-1,)), lift(dims), *_how(x))
    return x


def avg_pool(x: np.ndarray, dims: PoolDims, count_include_pad: bool = True, divisor_override: int | None = None) -> np.ndarray:
    """Compiled at install: rows of x added into rows of y, tap after tap, then one division a window."""
    y = np.empty(dims.y_shape, x.dtype)
    _aot.sum_pool(plain(x, (-1,)), y.reshape(-1), lift(dims), *_how(x))
    y /= _divisor(dims, x.dtype, count_include_pad, divisor_override)
    return y


def avg_pool_adjoint(y: np.ndarray, dims: PoolDims, count_include_pad: bool = True,
                     divisor_override: int | None = None) -> np.ndarray:
    """Compiled at install: one division a window, then rows of y added into the rows of x under them."""
    x = np.empty(dims.x_shape, y.dtype)
    shares = y / _divisor(dims, y.dtype, count_include_pad, divisor_override)
    _aot.sum_pool_adjoint(plain(shares, (-1,)), x.reshape(-1), lift(dims), *_how(x))
    return x


def _how(x: np.ndarray) -> tuple[int, int, int]:
    """The vector level, the pool of threads, and how many of them are to work."""
    threads = numba.get_num_threads() if x.size > ALONE else 1  # asking for their number starts them
    return level(), pool_of_threads(), threads


def refuse(dims: Any, dtype: np.dtype) -> str:
    """A missing extension, adaptive windows, other dtypes."""
    if _aot is None:
        return "the compiled extension is missing: install a C compiler and reinstall tinyconv"
    if not isinstance(dims, PoolDims):
        return "it takes windows of one size, not adaptive ones"
    return floats_only(dims, dtype)


def refuse_max(dims: Any, dtype: np.dtype) -> str:
    """As `refuse`; and places in a plane of float32 are counted with 32 bits."""
    return refuse(dims, dtype) or (f"a plane of {prod(dims.input)} cells, 2^31 or more" if prod(dims.input) >= 2**31 else "")


def _divisor(dims: PoolDims, dtype: np.dtype, count_include_pad: bool, divisor_override: int | None) -> np.ndarray:
    """What each window's sum is divided by, (*output): its cells with the padding, or without, or a number of one's own."""
    if divisor_override:
        return np.array(divisor_override, dtype)
    counts = dims.extents if count_include_pad else [count for _, count in dims.windows]
    return np.asarray(prod(np.ix_(*counts)), dtype)

"""Convolution by the C of csrc/conv.c, compiled when tinyconv was installed: nothing is left to compile at the first call.

    y[n, o, p] = b[o] + sum over t  w[t, o] * x[n, base(p) + offs(t)]        t = (channel, tap), and likewise for its gradients

The tiles of simd.py in C, at the best vector level that this CPU has; a plan is made anew in microseconds at every call.
The threads are Numba's own, called through the address of its parallel_for, which needs no compiled caller. The shape
alone decides the order of every sum, so results are the same bit for bit for any number of threads.
Scratch: a padded copy of one operand and the packed other one. Padding is multiplied: an infinite weight makes NaN there.
TINYCONV_AOT_LEVEL names a lower vector level. It refuses all where no C compiler was at hand. Read next: csrc/conv_plan.h.
"""

from __future__ import annotations

import numba
import numpy as np

from ...dims import ConvDims
from ..compiled import _aot, level
from ..geometry import floats_only, lift, plain
from ..invoke import pool_of_threads
from ..scratch import scratch

FORWARD, INPUT_GRAD, WEIGHT_GRAD = range(3)
ALONE = 1 << 16  # multiply-adds that are done before another thread has woken


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims, bias: np.ndarray | None = None, relu: bool = False) -> np.ndarray:
    """Compiled at install: a register tile walks a table of offsets, and adds the bias and clips as it stores.

    im2col writes every patch out before it multiplies. Here the product's tile reads x where it lies, through the table: it
    costs a padded copy of x and the packed w, and no compiler at the first call, as simd does.
    """
    return _run(FORWARD, x, w, dims, dims.y_shape, bias, relu)


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims, bias: np.ndarray | None = None,
                    relu: bool = False) -> np.ndarray:
    """Compiled at install: the same tiles over y, a phase of a strided x at a time, so that no inserted zero is multiplied."""
    return _run(INPUT_GRAD, y, w, dims, dims.x_shape, bias, relu)


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Compiled at install: the same tiles with positions in the role of taps, or rows of x against rows of y."""
    return _run(WEIGHT_GRAD, x, y, dims, dims.w_shape)


def _run(map: int, a: np.ndarray, b: np.ndarray, dims: ConvDims, shape: tuple[int, ...], bias: np.ndarray | None = None,
         relu: bool = False) -> np.ndarray:
    if not dims.N:
        return np.zeros(shape, a.dtype)
    task = _aot.Conv(lift(dims), map, level(), a.itemsize)
    out = np.empty(shape, a.dtype)
    if task.partial:  # there are cells that no tap reaches
        rest = 0 if bias is None else bias.reshape(-1, *(1,) * dims.rank)
        out[...] = np.maximum(rest, 0) if relu else rest
    threads = numba.get_num_threads() if dims.macs > ALONE else 1
    memory = scratch("aot", task.bytes, np.dtype(np.uint8))
    task.run(plain(a, (-1,)), plain(b, (-1,)), None if bias is None else plain(bias, (-1,)), relu, out.reshape(-1), memory,
             pool_of_threads(), threads)
    return out


def scratch_bytes(map: int):
    """What a map borrows: the padded copy of one operand, the packed other one, tables, and the sums of weight gradients."""
    def count(dims: ConvDims, dtype: np.dtype) -> int:
        return _aot.Conv(lift(dims), map, level(), dtype.itemsize).bytes if dims.N else 0
    return count


def refuse(dims: ConvDims, dtype: np.dtype) -> str:
    """A missing extension, other dtypes."""
    if _aot is None:
        return "the compiled extension is missing: install a C compiler and reinstall tinyconv"
    return floats_only(dims, dtype)

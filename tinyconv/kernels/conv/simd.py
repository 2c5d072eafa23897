"""The fast rung."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...dims import ConvDims
from ..scratch import scratch
from ..tile import lanes
from .simd_loops import BASES, SUMS, correlate
from .simd_plan import Plan, forward_plan, input_grad_plan
from .simd_weight_loops import correlate_weights
from .simd_weights import weight_grad_plan

_forward = lru_cache(maxsize=256)(forward_plan)
_input_grad = lru_cache(maxsize=256)(input_grad_plan)
_weight_grad = lru_cache(maxsize=256)(weight_grad_plan)


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims, bias: np.ndarray | None = None, relu: bool = False) -> np.ndarray:
    """Fill y."""
    return _correlate(x, w, _forward(dims, lanes(x.itemsize)), dims.y_shape, bias, relu)


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Fill x."""
    return _correlate(y, w, _input_grad(dims, lanes(y.itemsize)), dims.x_shape, None, False)


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Fill w."""
    dtype = x.dtype
    if not dims.N:
        return np.zeros(dims.w_shape, dtype)
    w = np.empty(dims.w_shape, dtype)
    L = lanes(dtype.itemsize)
    plan = _weight_grad(dims, L)
    x, y = _flat(x), _flat(y)
    packed = scratch("packed", plan.y_size, dtype)
    padded = scratch("padded", plan.src_size, dtype)[:plan.src_size] if plan.src_size else x
    n = len(plan.tasks)
    bases = scratch("bases", n * 2 * BASES, np.dtype(np.int64))[:n * 2 * BASES].reshape(n, 2 * BASES)
    correlate_weights(dims.N, x, padded, plan.pads, y, packed, plan.packs, plan.xo, plan.yo, plan.table, plan.tasks, plan.chunks,
                      plan.gathers, plan.strides, plan.keep, L, bases, scratch("sums", plan.sums_size, dtype), w.reshape(-1))
    return w


def _correlate(src: np.ndarray, w: np.ndarray, plan: Plan, shape: tuple[int, ...], bias: np.ndarray | None,
               relu: bool) -> np.ndarray:
    dtype = src.dtype
    dst = np.zeros(shape, dtype) if plan.partial else np.empty(shape, dtype)
    if not dst.size:
        return dst
    src, w = _flat(src), _flat(w)
    packed = scratch("packed", plan.w_size, dtype)
    padded = scratch("padded", plan.src_size, dtype)[:plan.src_size] if plan.src_size else src
    n, m, L = len(plan.tasks), len(plan.packs), lanes(dtype.itemsize)
    bases = scratch("bases", n * 2 * BASES, np.dtype(np.int64))[:n * 2 * BASES].reshape(n, 2 * BASES)
    sums = scratch("sums", n * SUMS, dtype)[:n * SUMS].reshape(n, SUMS)
    turned = scratch("turned", m * L * L, dtype)[:m * L * L].reshape(m, L * L)
    correlate(src, padded, plan.pads, w, packed[:0] if bias is None else _flat(bias), packed, plan.packs, plan.in_w,
              plan.offs, plan.table, plan.tasks, plan.strides, int(relu), L, bases, sums, turned,
              dst.reshape(-1))
    return dst


def _flat(a: np.ndarray) -> np.ndarray:
    """The numbers in a row, contiguous, aligned and writeable: one type for the compiled drivers, whatever comes."""
    if not a.flags.carray:
        a = np.require(a, None, ["C", "A", "W"])
    return a.reshape(-1)

"""The fast rung: register tiles over tables of offsets, no patch matrix, no inserted zero.

    y[n, o, p] = b[o] + sum over t  w[t, o] * x[n, base(p) + offs(t)]        t = (channel, tap), and likewise for its gradients

The tiles are kernels/tile.py. simd_plan.py turns a geometry into tables, and chooses the tile, for vectors of positions or
channels; simd_images.py for vectors of images; simd_weights.py for the weight gradient. simd_loops.py and
simd_weight_loops.py are the compiled drivers, which know tables and no geometry: a new shape is never a new compilation.
The sums run in an order that the shape alone decides, so results are the same bit for bit for any number of threads.
Scratch: a padded copy of one operand, or a band of it for each thread, and the packed other one.
Padding is multiplied: an infinite weight makes NaN there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np

from ...dims import ConvDims
from ..emit import lanes
from ..geometry import floats_only
from ..invoke import address
from ..scratch import scratch
from .simd_images import forward_images, input_grad_images
from .simd_loops import (
    BASES,
    RUN,
    SOURCE,
    WEIGHTS,
    correlate,
    correlate_units,
    pack_images,
    pack_weights,
    pad_planes,
    run_channels,
    run_images,
    run_rows,
)
from .simd_plan import Plan, forward_plan, input_grad_plan
from .simd_weight_loops import correlate_weights, gather_lanes, gather_taps, run_dots, run_taps
from .simd_weights import WeightPlan, weight_grad_plan

KEPT = 256  # plans remembered, for each map


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims, bias: np.ndarray | None = None, relu: bool = False) -> np.ndarray:
    """Fill y: a register tile walks a table of offsets, and adds the bias and clips as it stores."""
    return _correlate(x, w, forward(dims, lanes(x.itemsize)), dims.y_shape, bias, relu)


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims, bias: np.ndarray | None = None,
                    relu: bool = False) -> np.ndarray:
    """Fill x: the same tiles over y, a phase of a strided x at a time, so that no inserted zero is multiplied."""
    return _correlate(y, w, input_grad(dims, lanes(y.itemsize)), dims.x_shape, bias, relu)


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Fill w: the same tiles with positions in the role of taps, or rows of x against rows of y for few channels."""
    dtype = x.dtype
    if not dims.N:
        return np.zeros(dims.w_shape, dtype)
    L = lanes(dtype.itemsize)
    plan = weight_grad(dims, L)
    rows = weight_rows(plan)
    w, x, y = np.empty(dims.w_shape, dtype), _flat(x), _flat(y)
    packed = _rows("packed", rows if plan.kinds == (0,) else 1, plan.y_size, dtype)
    src = scratch("padded", size, dtype)[:size] if (size := plan.src_size * (rows if plan.slot else 1)) else x
    bases, sums = _rows("bases", rows, 2 * BASES, np.dtype(np.int64)), scratch("sums", plan.sums_size, dtype)
    turned, out = _rows("turned", len(plan.pieces), L * L, dtype), w.reshape(-1)
    pack = _packing(dtype, x, src, plan.pads, L)
    run, last = (run_dots, gather_lanes) if plan.kinds == (1,) else (run_taps, gather_taps)
    run = address(run, dtype, 0, 0, x, src, plan.pads, y, packed[0], plan.xo, plan.yo, plan.table, plan.tasks, plan.chunks,
                  plan.blocks, plan.strides, plan.keep, L, bases[0], sums)
    last = address(last, dtype, sums, plan.strides, 0, 0, plan.table, plan.strides, L, turned.reshape(-1), out)
    correlate_weights(pack, run, last, dims.N, x, src, plan.pads, y, packed, plan.xo, plan.yo, plan.table, plan.tasks,
                      plan.chunks, plan.blocks, plan.pieces, plan.strides, plan.keep, L, bases, sums, turned, out)
    return w


def _correlate(x: np.ndarray, w: np.ndarray, plan: Plan, shape: tuple[int, ...], bias: np.ndarray | None,
               relu: bool) -> np.ndarray:
    dtype, L, n = x.dtype, lanes(x.itemsize), plan_rows(plan)
    dst = np.empty(shape, dtype)
    if not dst.size:
        return dst
    if plan.partial:  # there are cells that no tap reaches
        rest = 0 if bias is None else bias.reshape(-1, *(1,) * (len(shape) - 2))
        dst[...] = np.maximum(rest, 0) if relu else rest
    x, w = _flat(x), _flat(w)
    packed = scratch("packed", plan.w_size, dtype)
    src = scratch("padded", size, dtype)[:size] if (size := plan.src_size * (n if plan.slot else 1)) else x
    bases, sums = _rows("bases", n, 2 * BASES, np.dtype(np.int64)), _rows("sums", n, plan.sums, dtype)
    turned, out = _rows("turned", len(plan.packs), L * L, dtype), dst.reshape(-1)
    b = packed[:0] if bias is None else _flat(bias)
    args = src, packed, plan.offs, plan.order, plan.table, plan.tasks, plan.strides, int(relu), L, bases[0], sums[0], out
    calls = _calls(dtype, plan, x, w, b, turned, args)
    head = calls, x, src, plan.pads, w, b, packed, plan.packs, plan.in_w, plan.offs, plan.order, plan.table, plan.tasks
    tail = plan.strides, int(relu), L, bases, sums, turned, out
    if plan.slot:
        correlate_units(*head, plan.units, *tail)
    else:
        correlate(*head, *tail)
    return dst


def scratch_bytes(plan_of: Callable[[ConvDims, int], Any]) -> Callable[[ConvDims, np.dtype], int]:
    """What a map borrows: the padded copy of one operand, the packed other one, and the sums of the tasks under way."""
    def count(dims: ConvDims, dtype: np.dtype) -> int:
        plan, L = plan_of(dims, lanes(dtype.itemsize)), lanes(dtype.itemsize)
        if isinstance(plan, WeightPlan):
            rows = weight_rows(plan)
            numbers = plan.src_size * (rows if plan.slot else 1) + plan.y_size * (rows if plan.kinds == (0,) else 1)
            numbers += plan.sums_size + len(plan.pieces) * L * L
        else:
            rows = plan_rows(plan)
            numbers = plan.src_size * (rows if plan.slot else 1) + plan.w_size + rows * plan.sums + len(plan.packs) * L * L
        return numbers * dtype.itemsize + rows * 2 * BASES * 8
    return count


def plan_rows(plan: Plan) -> int:
    """How many tables and sums are needed: one for each task, or for each thread where threads pad for themselves."""
    return max(min(numba.get_num_threads(), plan.workers), 1) if plan.slot else max(len(plan.tasks), 1)


def weight_rows(plan: WeightPlan) -> int:
    """How many threads have tasks; where they pad, no more than have images of their own: it never takes more than a copy."""
    slots = [int(plan.chunks[-1, 0] * plan.strides[9] // plan.slot) + 1] if plan.slot else []
    return min(numba.get_num_threads(), len(plan.tasks), *slots)


def refuse(dims: ConvDims, dtype: np.dtype) -> str:
    """Floats of 4 and 8 bytes, where Numba compiles."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return "its tiles exist only as machine code, and NUMBA_DISABLE_JIT is set"
    return floats_only(dims, dtype)


@lru_cache(maxsize=KEPT)
def forward(dims: ConvDims, L: int) -> Plan:
    plan = forward_plan(dims, L)
    return forward_images(dims, L, plan.cost) or plan


@lru_cache(maxsize=KEPT)
def input_grad(dims: ConvDims, L: int) -> Plan:
    plan = input_grad_plan(dims, L)
    return input_grad_images(dims, L, plan.cost) or plan


weight_grad = lru_cache(maxsize=KEPT)(weight_grad_plan)


def _rows(name: str, count: int, width: int, dtype: np.dtype) -> np.ndarray:
    """Working memory in rows, one for each task."""
    return scratch(name, count * width, dtype)[:count * width].reshape(count, width)


def _flat(a: np.ndarray) -> np.ndarray:
    """The numbers in a row, contiguous, aligned and writeable: one type for the compiled drivers, whatever comes."""
    if not a.flags.carray:
        a = np.require(a, None, ["C", "A", "W"])
    return a.reshape(-1)


_tables: dict[tuple[Any, ...], np.ndarray] = {}


def _calls(dtype: np.dtype, plan: Plan, x: np.ndarray, w: np.ndarray, b: np.ndarray, turned: np.ndarray,
           args: tuple) -> np.ndarray:
    """The addresses that a plan needs, of what packs and of what runs its tasks; the others are not compiled, and stay 0."""
    key = dtype, plan.kinds, bool(plan.src_size)
    table = _tables.get(key)
    if table is None:
        table = np.zeros(RUN + 3, np.int64)
        table[WEIGHTS] = address(pack_weights, dtype, w, b, args[1], plan.strides, plan.in_w, args[8], turned.reshape(-1))
        if plan.src_size:
            table[SOURCE] = _packing(dtype, x, args[0], plan.pads, args[8])
        for kind in plan.kinds:
            table[RUN + kind] = address((run_rows, run_channels, run_images)[kind], dtype, 0, *args)
        _tables[key] = table
    return table


def _packing(dtype: np.dtype, x: np.ndarray, src: np.ndarray, pads: np.ndarray, L: int) -> int:
    """The address of what packs a plane of the source."""
    if pads[6] > 0:
        return address(pad_planes, dtype, x, src, pads, L, 0, 0, 0)
    return address(pack_images, dtype, x, 0, 0, 0, 0, src, 0, L)

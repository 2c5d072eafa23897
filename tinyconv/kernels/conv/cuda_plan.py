"""Tables for the CUDA kernels: each of the three maps as a product of matrices that are never written down.

    out[p, j] = sum over k  a[at(p) + off(k)] * w[j*step + w_off(k)]         p a position, j a channel, k = (channel, tap)

The forward convolution is one such product. In the input gradient the taps that reach x[i] are those with k*d = i + p mod s,
so x falls into s phases of cells alike, each a product of its own over its own taps: nothing is multiplied by a zero that
a stride inserted. All phases run in one launch. The weight gradient sums over positions what these sum over k.
A row of `taps` is (off, shifts, t0, w_off): the shift t of the tap in each dimension is for the test against the edges, and
`shifts` holds t1 and t2 + BIAS in 16 bits each, since every number that is fetched costs the GPU as much as a line of x.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...dims import ConvDims
from .. import gpu
from ..geometry import before, lift
from ..gpu import GRID, MOST

TAP, PAIRS = 4, 2  # numbers in a row of `taps`, and pairs of them
BIAS = 1 << 15  # makes a shift of 16 bits a positive number
LOW = (1 << 16) - 1
PHASE = 8  # numbers in a row of `phases`: P0, P1, P2, first row of taps, number of taps, start in out, P, 0
WHERE = 4  # numbers in a row of `where`: the offset of a position in a sample of x, and its i0, i1, i2
LEAST = 16  # channels in a block's tile, at least
SLICE = 16  # taps that are fetched at a time, at most


@dataclass(frozen=True, eq=False)
class Plan:
    """out[n, g, j, p*out_step + start] = sum over k of a[n, g, p*in_step + t(k)] * w[g, j, k], for every phase.

    `geometry` is what the kernels read: N, groups, channels of a and of out in a group, sizes of a, sizes of out, in_step,
    out_step, step of j in w, step of g in w.
    """

    phases: np.ndarray  # (phases, PHASE) int32
    taps: np.ndarray  # (rows, TAP) int32
    geometry: np.ndarray  # int32
    N: int
    groups: int
    channels: int  # of out, in a group
    positions: int  # of the largest phase, over all samples
    terms: int  # of the longest sum
    linear: bool  # position p of a sample is cell p of out
    checked: int  # how many of the last dimensions can reach outside of a: 0, 2 or 3


@dataclass(frozen=True, eq=False)
class Tables:
    """What of a plan lies on the device."""

    phases: Any
    taps: Any
    pairs: Any  # the taps, two numbers at a time: half the fetches
    geometry: Any


def refuse(dims: ConvDims, dtype: np.dtype) -> str:
    """What no kernel on CUDA takes: other dtypes, and arrays that 32-bit indices do not reach."""
    largest = max(prod(dims.x_shape), prod(dims.w_shape), prod(dims.y_shape))
    if largest > MOST:
        return f"an array of {largest:,} elements is beyond the 32-bit indices of the CUDA kernels: split the batch"
    if max((k - 1) * d + max(p) + s for k, d, p, s in zip(dims.kernel, dims.dilation, dims.padding, dims.stride)) >= BIAS:
        return f"kernel, dilation, padding and stride reach {BIAS} cells or further, which the CUDA kernels keep in 16 bits"
    if dims.groups * prod(dims.stride) > GRID:
        return f"{dims.groups} groups and {prod(dims.stride)} phases of the stride are more than a grid's {GRID} layers"
    if max(dims.C, dims.O) // dims.groups > GRID * LEAST:
        return f"{max(dims.C, dims.O) // dims.groups} channels in a group are more than a grid has blocks for, {GRID * LEAST}"
    return gpu.refuse(dims, dtype)


def bytes_of_parts(parts: int, dims: ConvDims, dtype: np.dtype) -> int:
    """Scratch of a weight gradient whose sum is cut into parts; one part is the result itself."""
    return parts * prod(dims.w_shape) * np.dtype(dtype).itemsize if parts > 1 else 0


@lru_cache(maxsize=1024)
def forward(dims: ConvDims) -> Plan:
    """One phase: all positions, all taps. w is read in its own order, k after k."""
    d = lift(dims)
    Cg, Og, K = d.C // d.groups, d.O // d.groups, prod(d.kernel)
    shifts = [[k * dil - p for k in range(size)] for size, dil, p in zip(d.kernel, d.dilation, before(d))]
    taps = _taps(Cg, d.input, shifts, [(c * K + t) for c in range(Cg) for t in range(K)])
    phase = (*d.output, 0, len(taps), 0, prod(d.output), 0)
    geometry = _geometry(d, Cg, Og, d.input, d.output, d.stride, (1, 1, 1), Cg * K)
    return Plan(np.array([phase], np.int32), taps, geometry, d.N, d.groups, Og, d.N * prod(d.output), len(taps), True,
                _checked([phase], taps, d.input, d.stride))


@lru_cache(maxsize=1024)
def input_grad(dims: ConvDims) -> Plan:
    """A phase for every remainder of the stride, with the taps that reach it: x[q*s + a] = sum of y[q + t] * w[tap]."""
    d = lift(dims)
    Cg, Og = d.C // d.groups, d.O // d.groups
    KH, KW = d.kernel[1:]
    K = prod(d.kernel)
    phases: list[tuple[int, ...]] = []
    rows: list[np.ndarray] = []
    axes = [[_phase(a, *sizes) for a in range(min(sizes[0], sizes[1]))] for sizes in
            zip(d.stride, d.input, d.kernel, d.dilation, before(d))]
    for (a0, n0, k0), (a1, n1, k1), (a2, n2, k2) in product(*axes):
        w_off = [(o * Cg * K + (kd * KH + kh) * KW + kw) for o in range(Og) for kd, _ in k0 for kh, _ in k1 for kw, _ in k2]
        taps = _taps(Og, d.output, [[t for _, t in k] for k in (k0, k1, k2)], w_off)
        start = (a0 * d.input[1] + a1) * d.input[2] + a2
        phases.append((n0, n1, n2, sum(len(r) for r in rows), len(taps), start, n0 * n1 * n2, 0))
        rows.append(taps)
    taps = np.concatenate(rows)
    geometry = _geometry(d, Og, Cg, d.output, d.input, (1, 1, 1), d.stride, K)
    return Plan(np.array(phases, np.int32), taps, geometry, d.N, d.groups, Cg, d.N * max(p[6] for p in phases),
                max(p[4] for p in phases), prod(d.stride) == 1,
                max(_checked([p], r, d.output, (1, 1, 1)) for p, r in zip(phases, rows)))


def _phase(a: int, s: int, size: int, k_size: int, d: int, p: int) -> tuple[int, int, list[tuple[int, int]]]:
    """Cells a, a + s, a + 2s, ... of an input of this size: a, how many, and the taps k that reach them, each with its shift.

    i = o*s + k*d - p for i = q*s + a gives o = q + (a + p - k*d)/s, where that divides.
    """
    return a, -(-(size - a) // s), [(k, (a + p - k * d) // s) for k in range(k_size) if (a + p - k * d) % s == 0]


def _taps(channels: int, size: tuple[int, ...], shifts: list[list[int]], w_off: list[int]) -> np.ndarray:
    """Rows (off, shifts, t0, w_off) for every channel and tap."""
    t = np.array(list(product(*shifts)), np.int64).reshape(-1, 3)
    off = (t[:, 0] * size[1] + t[:, 1]) * size[2] + t[:, 2]
    rows = np.empty((channels, len(t), TAP), np.int64)
    rows[:, :, 0] = np.arange(channels)[:, None] * prod(size) + off
    rows[:, :, 1] = t[:, 1] * (LOW + 1) + t[:, 2] + BIAS
    rows[:, :, 2] = t[:, 0]
    rows[:, :, 3] = np.array(w_off, np.int64).reshape(channels, len(t))
    return rows.reshape(-1, TAP).astype(np.int32)


def _geometry(d: ConvDims, a_channels: int, channels: int, a_size: tuple[int, ...], size: tuple[int, ...],
              in_step: tuple[int, ...], out_step: tuple[int, ...], j_step: int) -> np.ndarray:
    g_step = prod(d.w_shape) // d.groups
    return np.array([d.N, d.groups, a_channels, channels, *a_size, *size, *in_step, *out_step, j_step, g_step], np.int32)


def shifts(taps: np.ndarray) -> np.ndarray:
    """The shift of each row of `taps` in three dimensions, (rows, 3)."""
    return np.stack([taps[:, 2], taps[:, 1] >> 16, (taps[:, 1] & LOW) - BIAS], axis=1)


@lru_cache(maxsize=256)
def where(dims: ConvDims) -> Any:
    """Where each position of y lies in x, unshifted by a tap: rows (offset in a plane, i0, i1, i2), on the device."""
    d = lift(dims)
    i = np.indices(d.output).reshape(3, -1) * np.array(d.stride)[:, None]
    return gpu.to_device(np.stack([(i[0] * d.input[1] + i[1]) * d.input[2] + i[2], *i], axis=1).astype(np.int32).ravel())


def _checked(phases: list[tuple[int, ...]], taps: np.ndarray, size: tuple[int, ...], step: tuple[int, ...]) -> int:
    """How many of the last dimensions have a position and a tap that together lie outside: 0, else 2, or 3."""
    last = np.max([p[:3] for p in phases], axis=0) - 1
    t = shifts(taps) if len(taps) else np.zeros((1, 3), np.int32)
    outside = [t[:, i].min() < 0 or last[i] * step[i] + t[:, i].max() >= size[i] for i in range(3)]
    return 3 if outside[0] else 2 if any(outside) else 0


@lru_cache(maxsize=256)
def tables(plan: Plan) -> Tables:
    """The tables of a plan, copied to the device once; behind the last tap are rows that a slice may read and not use."""
    taps = gpu.to_device(np.concatenate([plan.taps, np.zeros((SLICE, TAP), np.int32)]).ravel())
    return Tables(gpu.to_device(plan.phases.ravel()), taps, taps.view(np.int64), gpu.to_device(plan.geometry))

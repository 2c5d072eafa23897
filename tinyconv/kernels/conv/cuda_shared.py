"""Tiles in shared memory: the threads of a block fetch together what each of them needs.

    y[p, o] = sum over k  x[place(p) + term(k)] * w[o, k]            p a position of a sample, k = (channel, tap)

A block of S x S threads fills a tile of S positions by S channels. It walks k in steps of S: each thread fetches one number
of x and one of w into shared memory, waits for the others, and adds S products. cuda_naive.py fetches two numbers from
memory for every product; here one fetch serves S threads, so memory is asked for 1/S of that. What binds now is shared
memory: still two numbers for every product. The weight gradient sums over positions, in parts that are added in order.
Read next: cuda_tiled.py, where a thread fills a tile of its own from registers.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ...dims import ConvDims
from .. import gpu
from ..gpu import cuda, int32
from . import cuda_plan
from .cuda_plan import PHASE, PLACE, TERM, Plan, tables
from .cuda_tiled_weights import sum_parts

SIDE = 16
PARTS = 64  # of a weight gradient, at most
LEAST = 256  # positions in a part, at least


def conv(x: Any, w: Any, dims: ConvDims, *, bias: Any = None) -> Any:
    """Tiles of 16x16 outputs, whose threads share slices of x and w."""
    return _correlate(cuda_plan.forward(dims), x, w, dims.y_shape, bias)


def conv_input_grad(y: Any, w: Any, dims: ConvDims) -> Any:
    """Tiles of each phase of x, whose threads share slices of y and w."""
    return _correlate(cuda_plan.input_grad(dims), y, w, dims.x_shape, None)


def conv_weight_grad(x: Any, y: Any, dims: ConvDims) -> Any:
    """Tiles of w for parts of the positions, and a second launch that adds the parts."""
    plan, side = cuda_plan.forward(dims), gpu.threads(SIDE, 2)
    parts = _parts(plan)
    each = gpu.xp().empty((parts, *dims.w_shape), x.dtype)
    t = tables(plan)
    grid = (gpu.cells(plan.length, side), gpu.cells(plan.channels, side), plan.groups * parts)
    gpu.launch(_kernels(side, x.dtype.name)[1], grid, (side, side), each, gpu.flat(x), gpu.flat(y), t.places, t.terms,
               t.geometry, plan.length, parts, gpu.cells(plan.positions, parts), plan.words)
    return sum_parts(each)


def scratch(dims: ConvDims, dtype: np.dtype) -> int:
    """Bytes of the parts of the weight gradient."""
    return cuda_plan.bytes_of_parts(_parts(cuda_plan.forward(dims)), dims, dtype)


def _parts(plan: Plan) -> int:
    return max(1, min(PARTS, gpu.GRID // plan.groups, plan.positions // gpu.threads(LEAST, 4)))


def _correlate(plan: Plan, a: Any, w: Any, shape: tuple[int, ...], bias: Any) -> Any:
    out, side, t, w = gpu.xp().empty(shape, a.dtype), gpu.threads(SIDE, 2), tables(plan), gpu.flat(w)
    grid = (gpu.cells(plan.positions, side), gpu.cells(plan.channels, side), plan.groups * len(plan.phases))
    gpu.launch(_kernels(side, a.dtype.name)[0], grid, (side, side), out, gpu.flat(a), w, t.phases, t.places, t.terms, t.w_at,
               t.geometry, w if bias is None else gpu.flat(bias), int(bias is not None), plan.words)
    return out


@gpu.helper
def meets(places, place, terms, term, words):
    """Whether a term lies inside of a, seen from a place: they have no bit in common."""
    common = int32(0)
    for b in range(words):
        common |= places[place + PLACE + b] & terms[term + TERM + b]
    return common == 0


@cache
def _kernels(S: int, dtype: str) -> tuple[gpu.Function, gpu.Function]:
    real = gpu.real(dtype)
    WIDE, SIZE, PADDED = S + 1, S * S, S * (S + 1)  # rows that threads read down a column are S + 1 apart: another bank each

    @gpu.jit
    def correlate(out, a, w, phases, places, terms, w_at, g, bias, biased, words):
        """Thread (tx, ty): position m0 + tx, channel j0 + ty."""
        tile_a = cuda.shared.array(SIZE, real)
        tile_w = cuda.shared.array(PADDED, real)
        tx, ty = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
        phase, group = int32(cuda.blockIdx.z // g[1]), int32(cuda.blockIdx.z % g[1])
        row = int32(phase * PHASE)
        P, K, first_place, first = phases[row], phases[row + 1], phases[row + 2], phases[row + 3]
        m, j = int32(cuda.blockIdx.x * S + tx), int32(cuda.blockIdx.y * S + ty)
        channels, inside = g[3], m < g[0] * P
        n, place = m // P, (first_place + m % P) * (PLACE + words)
        total = bias[group * channels + j] if biased != 0 and j < channels else real(0)
        for k0 in range(int32(0), K, int32(S)):
            term = (first + k0 + ty) * (TERM + words)
            tile_a[ty * S + tx] = real(0)
            if inside and k0 + ty < K and meets(places, place, terms, term, words):
                tile_a[ty * S + tx] = a[(n * g[1] + group) * g[2] * g[4] + places[place] + terms[term]]
            # of w, threads side by side fetch taps side by side
            tile_w[ty * WIDE + tx] = real(0)
            if j < channels and k0 + tx < K:
                tile_w[ty * WIDE + tx] = w[group * g[7] + j * g[6] + w_at[first + k0 + tx]]
            cuda.syncthreads()
            for k in range(S):
                total += tile_a[k * S + tx] * tile_w[ty * WIDE + k]
            cuda.syncthreads()
        if inside and j < channels:
            out[((n * g[1] + group) * channels + j) * g[5] + places[place + 1]] = total

    @gpu.jit
    def weights(out, x, y, places, terms, g, K, parts, span, words):
        """Thread (tx, ty): row j0 + tx of (channel, tap), channel o0 + ty, over the positions of one part."""
        tile_x = cuda.shared.array(PADDED, real)
        tile_y = cuda.shared.array(PADDED, real)
        tx, ty = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
        group, part = int32(cuda.blockIdx.z // parts), int32(cuda.blockIdx.z % parts)
        channels, P = g[3], g[5]
        j0, o0 = int32(cuda.blockIdx.x * S), int32(cuda.blockIdx.y * S)
        start = int32(part * span)
        stop = int32(min(start + span, g[0] * P))
        term = (j0 + ty) * (TERM + words)
        total = real(0)
        for m0 in range(start, stop, int32(S)):
            m = int32(m0 + tx)  # threads side by side fetch positions side by side, of channel or row ty
            n, p = m // P, m % P
            place = p * (PLACE + words)
            tile_x[ty * WIDE + tx] = real(0)
            if m < stop and j0 + ty < K and meets(places, place, terms, term, words):
                tile_x[ty * WIDE + tx] = x[(n * g[1] + group) * g[2] * g[4] + places[place] + terms[term]]
            tile_y[ty * WIDE + tx] = real(0)
            if m < stop and o0 + ty < channels:
                tile_y[ty * WIDE + tx] = y[((n * g[1] + group) * channels + o0 + ty) * P + p]
            cuda.syncthreads()
            for k in range(S):
                total += tile_x[tx * WIDE + k] * tile_y[ty * WIDE + k]
            cuda.syncthreads()
        if j0 + tx < K and o0 + ty < channels:
            out[((part * g[1] + group) * channels + o0 + ty) * K + j0 + tx] = total

    return correlate, weights

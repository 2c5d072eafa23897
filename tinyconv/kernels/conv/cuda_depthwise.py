"""Depthwise convolution on a GPU: every output channel has one input channel, so there is no product of matrices to tile.

    y[n, o, oh, ow] = b[o] + sum over kh, kw  x[n, o // Og, ih, iw] * w[o, kh, kw]        Og outputs of each input channel

It moves 8 bytes for K multiply-adds, so memory binds it, as long as a thread takes few instructions a cell. Kernel, stride and
dilation are therefore constants of the compiled code (a new kernel size is a new compilation, a new image is not): all loops
over taps unroll. A thread fills ROWS cells down a column, and fetches each cell of x once for all of them.
The input gradient at stride 1 is the same code with the kernel flipped and padding d*(k-1) - p. The weight gradient keeps the
sums of all taps in registers; blocks add theirs in a fixed order, parts are added by a second launch. At most 49 taps.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...dims import ConvDims
from .. import gpu
from ..geometry import before, lift
from ..gpu import cuda, int32, uint32
from ..gpu_sums import add_up
from . import cuda_plan
from .cuda_tiled_weights import sum_parts

THREADS = 128
BLOCK = 64  # threads of a weight gradient, each with the sums of all taps
TAPS = 49  # more would not stay in registers
FEW = 9  # taps, up to which a thread fills several cells
PARTS = 1056  # blocks that a weight gradient is cut into: 8 for each multiprocessor of an H200


class Window(NamedTuple):
    """What the compiled code knows: the kernel's size, stride and dilation, and the cells down a column for each thread."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    rows: int


def refuse(dims: ConvDims, dtype: np.dtype) -> str:
    """Why not: it is for one input channel a group, and for kernels that fit into registers."""
    if dims.C != dims.groups or dims.groups == 1:
        return f"it is for depthwise convolution, groups = C > 1: here C = {dims.C} and groups = {dims.groups}"
    if prod(dims.kernel) > TAPS:
        return f"it keeps a kernel's taps in registers, at most {TAPS}: here {prod(dims.kernel)}"
    return cuda_plan.refuse(dims, dtype)


def conv(x: Any, w: Any, dims: ConvDims, *, bias: Any = None) -> Any:
    """One pass over x: each thread fills a few cells down a column, all taps unrolled."""
    d, out = lift(dims), gpu.xp().empty(dims.y_shape, x.dtype)
    Og = d.O // d.C
    return _slide(out, x, w, _window(d), False, d.N * d.O, (d.O, Og, 1, *d.input, *d.output, *before(d)), bias)


def conv_input_grad(y: Any, w: Any, dims: ConvDims) -> Any:
    """At stride 1 the forward pass with the flipped kernel; else one thread a cell, over the taps that divide."""
    d, out = lift(dims), gpu.xp().empty(dims.x_shape, y.dtype)
    sizes = (d.C, 1, d.O // d.C, *d.output, *d.input)
    if prod(d.stride) == 1:
        pad = tuple(dil * (k - 1) - p for k, dil, p in zip(d.kernel, d.dilation, before(d)))
        return _slide(out, y, w, _window(d), True, d.N * d.C, (*sizes, *pad), None)
    block = gpu.threads(THREADS)
    gpu.launch(_spread(_window(d), y.dtype.name), gpu.cells(out.size, block), block, out, out.size, gpu.flat(y),
               gpu.flat(w), gpu.table((*sizes, *before(d))))
    return out


def conv_weight_grad(x: Any, y: Any, dims: ConvDims) -> Any:
    """All taps of a channel in registers, for parts of the samples, and a second launch that adds the parts."""
    d, block = lift(dims), gpu.threads(BLOCK)
    window, (strips, parts) = _window(d), _parts(d)
    each = gpu.xp().empty((parts, *dims.w_shape), x.dtype)
    sizes = (d.C, d.O // d.C, strips, *d.input, *d.output, *before(d))
    gpu.launch(_weights(window, block, x.dtype.name), (d.O, parts), block, each, gpu.flat(x), gpu.flat(y), gpu.table(sizes))
    return sum_parts(each)


def scratch(dims: ConvDims, dtype: np.dtype) -> int:
    """Bytes of the parts of the weight gradient."""
    return cuda_plan.bytes_of_parts(_parts(lift(dims))[1], dims, dtype)


def _parts(d: ConvDims) -> tuple[int, int]:
    """The strips of a channel of y, over all samples, and how many parts its sum is cut into."""
    strips = d.N * d.output[0] * gpu.cells(d.output[1], _window(d).rows) * d.output[2]
    return strips, max(1, min(PARTS // d.O, gpu.cells(strips, 8 * gpu.threads(BLOCK))))


def _window(d: ConvDims) -> Window:
    return Window(d.kernel, d.stride, d.dilation, gpu.threads(4, 2) if prod(d.kernel) <= FEW else 1)


def _slide(out: Any, a: Any, w: Any, window: Window, flipped: bool, planes: int, sizes: tuple[int, ...], bias: Any) -> Any:
    block, w = gpu.threads(THREADS), gpu.flat(w)
    strips = planes * sizes[6] * gpu.cells(sizes[7], window.rows) * sizes[8]
    gpu.launch(_forward(window, flipped, out.dtype.name), gpu.cells(strips, block), block, out, strips, gpu.flat(a), w,
               gpu.table(sizes), w if bias is None else gpu.flat(bias), int(bias is not None))
    return out


@cache
def _forward(window: Window, flipped: bool, dtype: str) -> gpu.Function:
    real = gpu.real(dtype)
    (KD, KH, KW), (SD, SH, SW), (DD, DH, DW), ROWS = window
    K, REACH = KD * KH * KW, (ROWS - 1) * SH + (KH - 1) * DH + 1  # lines of x that ROWS lines of y look at

    @gpu.jit
    def kernel(out, strips, a, w, g, bias, biased):
        """out (N, g[0], *size) from a: channel c is the sum over s of channel c // g[1] * g[2] + s of a; one strip a thread."""
        acc = cuda.local.array(ROWS, real)
        i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= uint32(strips):
            return
        channels, A0, A1, A2, S1, S2 = uint32(g[0]), uint32(g[3]), uint32(g[4]), uint32(g[5]), uint32(g[7]), uint32(g[8])
        high = uint32(uint32(S1 + uint32(ROWS - 1)) // uint32(ROWS))
        rest = uint32(i // S2)
        p2 = int32(i % S2)
        p1 = int32(uint32(rest % high) * uint32(ROWS))
        rest = uint32(rest // high)
        p0, plane = int32(rest % uint32(g[6])), uint32(rest // uint32(g[6]))
        n, c = uint32(plane // channels), uint32(plane % channels)
        i1, i2 = int32(p1 * int32(SH) - g[10]), int32(p2 * int32(SW) - g[11])
        for r in range(ROWS):
            acc[r] = bias[c] if biased != 0 else real(0)
        for s in range(g[2]):
            source = uint32((n * uint32(channels // uint32(g[1])) + c // uint32(g[1])) * uint32(g[2]) + uint32(s))
            row = int32((int32(c) * g[2] + int32(s)) * int32(K))
            for kd in range(KD):
                i0 = int32(p0 * int32(SD) - g[9] + int32(kd * DD))
                if uint32(i0) < A0:
                    base = int32((source * A0 + uint32(i0)) * uint32(A1 * A2))
                    for line in range(REACH):
                        for kw in range(KW):
                            h, v = int32(i1 + int32(line)), int32(i2 + int32(kw * DW))
                            cell = real(0)
                            if (uint32(h) < A1) & (uint32(v) < A2):
                                cell = a[int32(base + h * int32(A2) + v)]
                            for r in range(ROWS):
                                k = line - r * SH
                                if k >= 0 and k % DH == 0 and k // DH < KH:
                                    tap = (kd * KH + k // DH) * KW + kw
                                    acc[r] += cell * w[int32(row + (K - 1 - tap if flipped else tap))]
        for r in range(ROWS):
            if p1 + r < int32(S1):
                out[int32(((plane * uint32(g[6]) + uint32(p0)) * S1 + uint32(p1 + r)) * S2 + uint32(p2))] = acc[r]

    return kernel


@cache
def _spread(window: Window, dtype: str) -> gpu.Function:
    real = gpu.real(dtype)
    (KD, KH, KW), (SD, SH, SW), (DD, DH, DW), _ = window
    K = KD * KH * KW

    @gpu.jit
    def kernel(x, size, y, w, g):
        """x (N, g[0], *sizes): the taps k with o*s = i + p - k*d; one cell a thread."""
        i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= uint32(size):
            return
        channels, Og, O0, O1, O2 = uint32(g[0]), g[2], g[3], g[4], g[5]
        I1, I2 = uint32(g[7]), uint32(g[8])
        i2, rest = int32(i % I2), uint32(i // I2)
        i1, rest = int32(rest % I1), uint32(rest // I1)
        i0, plane = int32(rest % uint32(g[6])), uint32(rest // uint32(g[6]))
        c = int32(plane % channels)
        total = real(0)
        for s in range(Og):
            base = int32(int32(plane) * Og + s) * O0
            row = int32((c * Og + s) * int32(K))
            for kd in range(KD):
                for kh in range(KH):
                    for kw in range(KW):
                        d = int32(i0 + g[9] - int32(kd * DD))
                        h = int32(i1 + g[10] - int32(kh * DH))
                        v = int32(i2 + g[11] - int32(kw * DW))
                        if ((d >= 0) & (h >= 0) & (v >= 0) & (d % int32(SD) == 0) & (h % int32(SH) == 0) & (v % int32(SW) == 0)
                                & (d < O0 * int32(SD)) & (h < O1 * int32(SH)) & (v < O2 * int32(SW))):
                            cell = y[int32(((base + d // int32(SD)) * O1 + h // int32(SH)) * O2 + v // int32(SW))]
                            total += cell * w[int32(row + int32((kd * KH + kh) * KW + kw))]
        x[int32(i)] = total

    return kernel


@cache
def _weights(window: Window, T: int, dtype: str) -> gpu.Function:
    real = gpu.real(dtype)
    (KD, KH, KW), (SD, SH, SW), (DD, DH, DW), ROWS = window
    K, REACH = KD * KH * KW, (ROWS - 1) * SH + (KH - 1) * DH + 1
    SHARED = T * K

    @gpu.jit(threads=T)
    def kernel(out, x, y, g):
        """out (parts, O, K): block (o, part) sums over strips of ROWS cells of y, T of them at a time."""
        sums = cuda.shared.array(SHARED, real)
        acc = cuda.local.array(K, real)
        ys = cuda.local.array(ROWS, real)
        t, o = int32(cuda.threadIdx.x), int32(cuda.blockIdx.x)
        parts, part = int32(cuda.gridDim.y), int32(cuda.blockIdx.y)
        C, Og, strips, A0, A1, A2 = g[0], g[1], g[2], uint32(g[3]), uint32(g[4]), uint32(g[5])
        S0, S1, S2 = uint32(g[6]), uint32(g[7]), uint32(g[8])
        high = uint32(uint32(S1 + uint32(ROWS - 1)) // uint32(ROWS))
        for k in range(K):
            acc[k] = real(0)
        for i in range(int32(part * int32(T) + t), strips, int32(parts * int32(T))):
            rest = uint32(uint32(i) // S2)
            p2 = int32(uint32(i) % S2)
            p1 = int32(uint32(rest % high) * uint32(ROWS))
            rest = uint32(rest // high)
            p0, n = int32(rest % S0), int32(rest // S0)
            base_y = int32(((n * C * Og + o) * int32(S0) + p0) * int32(S1 * S2) + p2)
            for r in range(ROWS):
                ys[r] = y[int32(base_y + int32(p1 + r) * int32(S2))] if p1 + r < int32(S1) else real(0)
            i1, i2 = int32(p1 * int32(SH) - g[10]), int32(p2 * int32(SW) - g[11])
            for kd in range(KD):
                i0 = int32(p0 * int32(SD) - g[9] + int32(kd * DD))
                base = int32(((n * C + o // Og) * int32(A0) + i0) * int32(A1 * A2))
                for line in range(REACH):
                    for kw in range(KW):
                        h, v = int32(i1 + int32(line)), int32(i2 + int32(kw * DW))
                        cell = real(0)
                        if (uint32(i0) < A0) & (uint32(h) < A1) & (uint32(v) < A2):
                            cell = x[int32(base + h * int32(A2) + v)]
                        for r in range(ROWS):
                            k = line - r * SH
                            if k >= 0 and k % DH == 0 and k // DH < KH:
                                # beyond the last line of y, 0 times infinity would be no number
                                acc[(kd * KH + k // DH) * KW + kw] += cell * ys[r] if p1 + r < int32(S1) else real(0)
        for k in range(K):
            sums[k * T + t] = acc[k]
        add_up(sums, int32(K), t, int32(T))
        for k in range(t, int32(K), int32(T)):
            out[int32((part * C * Og + o) * int32(K) + k)] = sums[k * int32(T)]

    return kernel

"""The definition on a GPU: one thread for each cell of the result, which walks its sum alone. Written to be read.

    y[n, o, oh, ow] = b[o] + sum over c, kh, kw  x[n, c, ih, iw] * w[o, c, kh, kw]        ih = oh*sh + kh*dh - ph

Threads side by side take cells side by side, so that a warp reads x in whole lines. Every number is fetched anew for every
product it takes part in: two loads for a multiply-add, and caches are all that help. No two threads write one cell, so there
are no atomics, and every run gives the same bits. Numba: a sum of two int32 is an int64, which costs a GPU twice.
Read next: cuda_shared.py, where sixteen threads share what they fetch.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ...dims import ConvDims
from .. import gpu
from ..geometry import before, lift
from ..gpu import cuda, int32


def conv(x: Any, w: Any, dims: ConvDims, *, bias: Any = None) -> Any:
    """One thread for each cell of y: it sums over the channels and taps."""
    y = gpu.xp().empty(dims.y_shape, x.dtype)
    _run(_kernels(x.dtype.name)[0], dims, y, x, w, gpu.flat(w if bias is None else bias), int(bias is not None))
    return y


def conv_input_grad(y: Any, w: Any, dims: ConvDims) -> Any:
    """One thread for each cell of x: it sums over the channels and taps whose window holds it."""
    x = gpu.xp().empty(dims.x_shape, y.dtype)
    _run(_kernels(y.dtype.name)[1], dims, x, y, w)
    return x


def conv_weight_grad(x: Any, y: Any, dims: ConvDims) -> Any:
    """One thread for each weight: it sums over all samples and positions."""
    w = gpu.xp().empty(dims.w_shape, x.dtype)
    _run(_kernels(x.dtype.name)[2], dims, w, x, y)
    return w


def _run(kernel: gpu.Function, dims: ConvDims, out: Any, a: Any, b: Any, *more: Any) -> None:
    gpu.launch_each(kernel, out, gpu.flat(a), gpu.flat(b),
               gpu.table(_geometry(dims)), *more)


def _geometry(dims: ConvDims) -> tuple[int, ...]:
    d = lift(dims)
    return (d.C, d.O, d.C // d.groups, d.O // d.groups, *d.input, *d.output, *d.kernel, *d.stride, *d.dilation, *before(d), d.N)


@cache
def _kernels(dtype: str) -> tuple[gpu.Function, gpu.Function, gpu.Function]:
    real = gpu.real(dtype)

    @gpu.jit
    def forward(y, size, x, w, g, bias, biased):
        """y (N, O, OD, OH, OW), `size` cells; x (N, C, D, H, W); w (O, C/groups, KD, KH, KW)."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        C, O, Cg, Og, D, H, W, OD, OH, OW = g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9]
        ow, oh, od = i % OW, i // OW % OH, i // (OW * OH) % OD
        o, n = i // (OW * OH * OD) % O, i // (OW * OH * OD * O)
        total = bias[o] if biased else real(0)
        for c in range(Cg):
            plane = n * C + o // Og * Cg + c
            for kd in range(g[10]):
                for kh in range(g[11]):
                    for kw in range(g[12]):
                        d = od * g[13] + kd * g[16] - g[19]
                        h = oh * g[14] + kh * g[17] - g[20]
                        v = ow * g[15] + kw * g[18] - g[21]
                        if 0 <= d and d < D and 0 <= h and h < H and 0 <= v and v < W:
                            total += (x[((plane * D + d) * H + h) * W + v]
                                      * w[(((o * Cg + c) * g[10] + kd) * g[11] + kh) * g[12] + kw])
        y[i] = total

    @gpu.jit
    def input_grad(x, size, y, w, g):
        """x, `size` cells, from y and w: o*s = i + p - k*d, where that divides by the stride."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        C, O, Cg, Og, D, H, W, OD, OH, OW = g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9]
        iw, ih, id = i % W, i // W % H, i // (W * H) % D
        c, n = i // (W * H * D) % C, i // (W * H * D * C)
        total = real(0)
        for o in range(c // Cg * Og, (c // Cg + 1) * Og):
            for kd in range(g[10]):
                for kh in range(g[11]):
                    for kw in range(g[12]):
                        d = id + g[19] - kd * g[16]
                        h = ih + g[20] - kh * g[17]
                        v = iw + g[21] - kw * g[18]
                        if (d >= 0 and d % g[13] == 0 and d < OD * g[13] and h >= 0 and h % g[14] == 0 and h < OH * g[14]
                                and v >= 0 and v % g[15] == 0 and v < OW * g[15]):
                            total += (y[(((n * O + o) * OD + d // g[13]) * OH + h // g[14]) * OW + v // g[15]]
                                      * w[(((o * Cg + c % Cg) * g[10] + kd) * g[11] + kh) * g[12] + kw])
        x[i] = total

    @gpu.jit
    def weight_grad(w, size, x, y, g):
        """w, `size` cells, from x and y."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        C, O, Cg, Og, D, H, W, OD, OH, OW = g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9]
        kw, kh, kd = i % g[12], i // g[12] % g[11], i // (g[12] * g[11]) % g[10]
        c, o = i // (g[12] * g[11] * g[10]) % Cg, i // (g[12] * g[11] * g[10] * Cg)
        total = real(0)
        for n in range(g[22]):
            plane = n * C + o // Og * Cg + c
            for od in range(OD):
                for oh in range(OH):
                    for ow in range(OW):
                        d = od * g[13] + kd * g[16] - g[19]
                        h = oh * g[14] + kh * g[17] - g[20]
                        v = ow * g[15] + kw * g[18] - g[21]
                        if 0 <= d and d < D and 0 <= h and h < H and 0 <= v and v < W:
                            total += x[((plane * D + d) * H + h) * W + v] * y[(((n * O + o) * OD + od) * OH + oh) * OW + ow]
        w[i] = total

    return forward, input_grad, weight_grad

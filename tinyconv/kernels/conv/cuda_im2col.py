"""Convolution as a matrix product on a GPU: patches are copied into a matrix, and cuBLAS does the sums. The baseline.

    y[n] = w @ cols[n]        w as (O, C*K), cols[n] as (C*K, P): K = KD*KH*KW taps, P positions; groups apart

The copy is K times x, written once and read once, and the product runs at cuBLAS's rate. `im2col` copies with a thread for
each entry; its adjoint has a thread for each cell of x, which adds the entries copied from it: no atomics. Samples are taken
in blocks, so that the copy fills at most LIMIT bytes. Source: Chellapilla, Puri, Simard, "High performance convolutional
neural networks for document processing" (2006). Read next: cuda_tiled.py, the same product with nothing copied.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from ...dims import ConvDims
from .. import gpu
from ..geometry import before, lift
from ..gpu import cuda, int32, uint32

LIMIT = 1 << 29  # bytes of patches at a time


def conv(x: Any, w: Any, dims: ConvDims, *, bias: Any = None) -> Any:
    """Patches and cuBLAS: a product (O/g, C/g*K) @ (C/g*K, P) for every sample and group."""
    xp, (G, Og, CgK, P) = gpu.xp(), _grouped(dims)
    y, w = xp.empty(dims.y_shape, x.dtype), w.reshape(G, Og, CgK)
    for n in _blocks(dims, x.dtype):
        cols = im2col(x[n], dims).reshape(-1, G, CgK, P)
        y[n] = xp.matmul(w, cols).reshape(-1, *dims.y_shape[1:])
    if bias is not None:
        y += bias.reshape(-1, *(1,) * dims.rank)
    return y


def conv_input_grad(y: Any, w: Any, dims: ConvDims) -> Any:
    """Patches and cuBLAS: a product (C/g*K, O/g) @ (O/g, P) for every sample and group, added back by col2im."""
    xp, (G, Og, CgK, P) = gpu.xp(), _grouped(dims)
    x, w = xp.empty(dims.x_shape, y.dtype), w.reshape(G, Og, CgK).transpose(0, 2, 1)
    for n in _blocks(dims, y.dtype):
        cols = xp.matmul(w, y[n].reshape(-1, G, Og, P))
        x[n] = col2im(cols.reshape(-1, dims.C * prod(dims.kernel), P), dims)
    return x


def conv_weight_grad(x: Any, y: Any, dims: ConvDims) -> Any:
    """Patches and cuBLAS: a product (O/g, P) @ (P, C/g*K) for every sample and group, and their sum."""
    xp, (G, Og, CgK, P) = gpu.xp(), _grouped(dims)
    w = xp.zeros((G, Og, CgK), x.dtype)
    for n in _blocks(dims, x.dtype):
        cols = im2col(x[n], dims).reshape(-1, G, CgK, P)
        w += xp.matmul(y[n].reshape(-1, G, Og, P), cols.transpose(0, 1, 3, 2)).sum(0)
    return w.reshape(dims.w_shape)


def im2col(x: Any, dims: ConvDims) -> Any:
    """The patches of x (n, C, *input) as columns (n, C*K, P), zero where they lie outside."""
    cols = gpu.xp().empty((len(x), dims.C * prod(dims.kernel), prod(dims.output)), x.dtype)
    gpu.launch_each(_kernels(x.dtype.name)[0], cols, gpu.flat(x), _geometry(dims))
    return cols


def col2im(cols: Any, dims: ConvDims) -> Any:
    """The adjoint of im2col: x (n, C, *input), each cell the sum of the entries of cols (n, C*K, P) copied from it."""
    x = gpu.xp().empty((len(cols), *dims.x_shape[1:]), cols.dtype)
    gpu.launch_each(_kernels(cols.dtype.name)[1], x, gpu.flat(cols), _geometry(dims))
    return x


def refuse(dims: ConvDims, dtype: np.dtype) -> str:
    """What it does not take: besides what no kernel on CUDA takes, patches of one sample beyond 32-bit indices."""
    from .cuda_plan import MOST
    from .cuda_plan import refuse as everywhere

    if dims.C * prod(dims.kernel) * prod(dims.output) > MOST:
        return "the patches of one sample are beyond the 32-bit indices of the CUDA kernels"
    return everywhere(dims, dtype)


def scratch(dims: ConvDims, dtype: np.dtype) -> int:
    """Bytes of the patches of a block of samples."""
    return min(dims.N, _samples(dims, dtype)) * _patches(dims, dtype)


def _patches(dims: ConvDims, dtype: np.dtype) -> int:
    return dims.C * prod(dims.kernel) * prod(dims.output) * np.dtype(dtype).itemsize


def _samples(dims: ConvDims, dtype: np.dtype) -> int:
    return max(1, LIMIT // _patches(dims, dtype))


def _blocks(dims: ConvDims, dtype: np.dtype) -> list[slice]:
    step = _samples(dims, dtype)
    return [slice(n, min(n + step, dims.N)) for n in range(0, dims.N, step)]


def _grouped(dims: ConvDims) -> tuple[int, int, int, int]:
    return dims.groups, dims.O // dims.groups, dims.C // dims.groups * prod(dims.kernel), prod(dims.output)


def _geometry(dims: ConvDims) -> Any:
    d = lift(dims)
    return gpu.table((*d.input, *d.output, *d.kernel, *d.stride, *d.dilation, *before(d)))


@cache
def _kernels(dtype: str) -> tuple[gpu.Function, gpu.Function]:
    real = gpu.real(dtype)

    @gpu.jit
    def gather(cols, size, x, g):
        """cols (n*C, KD, KH, KW, OD, OH, OW) from x (n*C, D, H, W)."""
        i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= uint32(size):
            return
        ow, rest = int32(i % uint32(g[5])), uint32(i // uint32(g[5]))
        oh, rest = int32(rest % uint32(g[4])), uint32(rest // uint32(g[4]))
        od, rest = int32(rest % uint32(g[3])), uint32(rest // uint32(g[3]))
        kw, rest = int32(rest % uint32(g[8])), uint32(rest // uint32(g[8]))
        kh, rest = int32(rest % uint32(g[7])), uint32(rest // uint32(g[7]))
        kd, plane = int32(rest % uint32(g[6])), int32(rest // uint32(g[6]))
        d, h, w = od * g[9] + kd * g[12] - g[15], oh * g[10] + kh * g[13] - g[16], ow * g[11] + kw * g[14] - g[17]
        inside = (d >= 0) & (d < g[0]) & (h >= 0) & (h < g[1]) & (w >= 0) & (w < g[2])
        cols[int32(i)] = x[int32(((plane * g[0] + d) * g[1] + h) * g[2] + w)] if inside else real(0)

    @gpu.jit
    def scatter(x, size, cols, g):
        """x (n*C, D, H, W): the sum of the entries of cols with o*s = i + p - k*d."""
        i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= uint32(size):
            return
        iw, rest = int32(i % uint32(g[2])), uint32(i // uint32(g[2]))
        ih, rest = int32(rest % uint32(g[1])), uint32(rest // uint32(g[1]))
        id, plane = int32(rest % uint32(g[0])), int32(rest // uint32(g[0]))
        total = real(0)
        for kd in range(g[6]):
            for kh in range(g[7]):
                for kw in range(g[8]):
                    d = int32(id + g[15] - kd * g[12])
                    h = int32(ih + g[16] - kh * g[13])
                    w = int32(iw + g[17] - kw * g[14])
                    if ((d >= 0) & (h >= 0) & (w >= 0) & (d % g[9] == 0) & (h % g[10] == 0) & (w % g[11] == 0)
                            & (d < g[3] * g[9]) & (h < g[4] * g[10]) & (w < g[5] * g[11])):
                        tap = int32(((plane * g[6] + kd) * g[7] + kh) * g[8] + kw)
                        total += cols[int32(((tap * g[3] + d // g[9]) * g[4] + h // g[10]) * g[5] + w // g[11])]
        x[int32(i)] = total

    return gather, scatter

"""Winograd's minimal filtering on a GPU: 3x3 and 5x5 kernels at stride 1 by fewer multiplications, in three passes.

    y tile (m, m) = A' [ sum over c  (G g G') * (B' d B) ] A         d: (n, n) of x, n = m + k - 1, overlapping; m = 2 or 4
    dg            = G' [ sum over tiles  (A dy A') * (B' d B) ] G    dx: y with g turned, channels exchanged, k-1 - p for p

cuda_tiled.py takes k*k multiply-adds for each output and pair of channels; here they are n*n/(m*m), for 3x3 kernels 2.25 where
m = 4. The price is memory: V = B' d B is n*n/(m*m) times x, and the sums M as many times y, each written once and read once,
so it is for many channels. At each frequency M = U V is a product of matrices, all of them the pointwise convolution of n*n*g
groups that cuda_tiled.py has. Tiles are taken in blocks, so that V and M fill some LIMIT bytes; any padding is zeros by test.
Not exact: see BOUND. What is not finite spoils its tile. Read next: cuda_winograd_loops.py, the transforms.
Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...dims import ConvDims, Ints, conv_dims
from .. import gpu
from ..geometry import before
from ..gpu import GRID, MOST
from . import cuda_plan, cuda_tiled
from .cuda_winograd_loops import kernels
from .winograd import KERNELS, tile_size
from .winograd_tiles import SIZES

# As winograd.BOUND is found, but here one channel and one tile are taken too, where nothing averages out: the worst of 2000
# draws of normal numbers was 51 eps off for 3x3 kernels, 97 for 5x5. From 8 channels on it was 10 to 20 for 3x3 kernels, 39 for
# 5x5, up to 512 channels.
BOUND = 128.0
LIMIT, SIMULATED = 1 << 29, 1 << 12  # bytes of V and M at a time
ALIGN = 32  # tiles: where there are several blocks, rows of V and M begin with a line of memory


class Plan(NamedTuple):
    """One problem: source (N, groups*Ci, H, W), destination (N, groups*Co, OH, OW), in tiles of m by m cells of the latter."""

    m: int
    k: int
    Ci: int
    Co: int
    layers: int  # products of matrices: n*n of each group
    block: int  # tiles at a time, at most
    blocks: tuple[tuple[int, ConvDims], ...]  # the first tile of each, and its products as a pointwise convolution
    source: Ints  # planes, H, W, tiles down and across, where the first tile begins
    destination: Ints
    weights: Ints  # how U is read from w: see `weigh`

    def bytes(self, dtype: np.dtype) -> int:
        """Bytes of V and M, or of V and Z, of a block."""
        return self.layers * (self.Ci + self.Co) * self.block * dtype.itemsize

    def u_bytes(self, dtype: np.dtype) -> int:
        """Bytes of U, or of its gradient."""
        return self.layers * self.Ci * self.Co * dtype.itemsize


def conv(x: Any, w: Any, dims: ConvDims, *, bias: Any = None) -> Any:
    """Tiles of y in three passes: transforms, a product of matrices for each frequency, and back: 2.25 for 9 multiply-adds."""
    return _convolve(forward(dims, x.dtype), x, w, dims.y_shape, bias)


def conv_input_grad(y: Any, w: Any, dims: ConvDims) -> Any:
    """Tiles of x in the same three passes over y, with the kernel turned and its channels exchanged."""
    return _convolve(input_grad(dims, y.dtype), y, w, dims.x_shape, None)


def conv_weight_grad(x: Any, y: Any, dims: ConvDims) -> Any:
    """Tiles of x and of y are transformed, multiplied over all tiles for each frequency, and the sums transformed to w."""
    p, xp = forward(dims, x.dtype), gpu.xp()
    run, x, y = kernels(p.m, p.k, x.dtype.name), gpu.flat(x), gpu.flat(y)
    if not p.blocks:
        return xp.zeros(dims.w_shape, x.dtype)
    for first, product in p.blocks:
        part = cuda_tiled.conv_weight_grad(_tiles(run.spread_x, x, p.source, first, product.x_shape),
                                           _tiles(run.spread_y, y, p.destination, first, product.y_shape), product)
        if first == 0:
            sums = part
        else:
            sums += part  # block after block
        del part  # or the next one would be worked out beside it
    out = xp.empty(dims.w_shape, x.dtype)
    _start(run.finish_weights, out, out.size // p.k**2, sums)
    return out


def _convolve(p: Plan, a: Any, w: Any, shape: Ints, bias: Any) -> Any:
    xp, run, a, w = gpu.xp(), kernels(p.m, p.k, a.dtype.name), gpu.flat(a), gpu.flat(w)
    out, U = xp.empty(shape, a.dtype), xp.empty((p.layers * p.Co, p.Ci, 1), a.dtype)
    _start(run.weigh, U, w.size // p.k**2, w, gpu.table(p.weights))
    b, biased = w if bias is None else gpu.flat(bias), int(bias is not None)
    for first, product in p.blocks:
        tiles = product.input[0]
        _start(run.finish, out, p.destination[0] * tiles,
               cuda_tiled.conv(_tiles(run.spread_x, a, p.source, first, product.x_shape), U, product),
               b, biased, first, tiles, gpu.table(p.destination))
    return out


def _tiles(kernel: gpu.Function, a: Any, geometry: Ints, first: int, shape: Ints) -> Any:
    """The tiles of a from the first on, transformed: (1, n*n * planes, tiles)."""
    out, tiles = gpu.xp().empty(shape, a.dtype), shape[-1]
    _start(kernel, out, geometry[0] * tiles, a, first, tiles, gpu.table(geometry))
    return out


def _start(kernel: gpu.Function, out: Any, size: int, *args: Any) -> None:
    """Start a kernel that fills `out` with so many threads."""
    block = gpu.threads(gpu.EACH)
    gpu.launch(kernel, gpu.cells(size, block), block, out, size, *args)


# the plan

@lru_cache(maxsize=256)
def forward(dims: ConvDims, dtype: np.dtype) -> Plan:
    """The plan of conv(x, w); the weight gradient has the same tiles."""
    Ci, Co, taps = dims.C // dims.groups, dims.O // dims.groups, prod(dims.kernel)
    origin = tuple(-p for p in before(dims))
    return _plan(dims, dtype, (Ci, Co), dims.input, dims.output, origin, (taps, Ci * taps, 0, 1))


@lru_cache(maxsize=256)
def input_grad(dims: ConvDims, dtype: np.dtype) -> Plan:
    """The plan of conv_input_grad(y, w): i = o + t - p backwards is o = i + (k-1 - t) - (k-1 - p)."""
    Ci, Co, taps = dims.O // dims.groups, dims.C // dims.groups, prod(dims.kernel)
    origin = tuple(p - (k - 1) for p, k in zip(before(dims), dims.kernel))
    return _plan(dims, dtype, (Ci, Co), dims.output, dims.input, origin, (Co * taps, taps, taps - 1, -1))


def _plan(dims: ConvDims, dtype: np.dtype, channels: Ints, source: Ints, destination: Ints, origin: Ints, steps: Ints) -> Plan:
    (Ci, Co), G, (m, k) = channels, dims.groups, SIZES[tile_size(destination, dims.kernel[0])]
    down, across = (gpu.cells(size, m) for size in destination)
    layers, tiles, align = (m + k - 1) ** 2 * G, dims.N * down * across, gpu.threads(ALIGN, 2)
    most = max(1, (SIMULATED if gpu.simulated() else LIMIT) // (layers * (Ci + Co) * dtype.itemsize))
    parts = gpu.cells(tiles, most)
    block = tiles if parts <= 1 else gpu.cells(gpu.cells(tiles, parts), align) * align
    blocks = tuple((first, conv_dims((1, layers * Ci, min(block, tiles - first)), (layers * Co, Ci, 1), groups=layers))
                   for first in range(0, tiles, block or 1))
    return Plan(m, k, Ci, Co, layers, block, blocks, (G * Ci, *source, down, across, *origin),
                (G * Co, *destination, down, across, 0, 0), (Ci, Co, *steps))


def scratch(plan_of: Callable[[ConvDims, np.dtype], Plan]) -> Callable[[ConvDims, np.dtype], int]:
    """What a map needs: U, and V and M of a block."""
    def count(dims: ConvDims, dtype: np.dtype) -> int:
        p = plan_of(dims, dtype)
        return p.u_bytes(dtype) + p.bytes(dtype)
    return count


def weight_scratch(dims: ConvDims, dtype: np.dtype) -> int:
    """What the weight gradient needs: V and Z of a block, the sums of one, those of the blocks before, and its parts."""
    p = forward(dims, dtype)
    parts = cuda_tiled.scratch(p.blocks[0][1], dtype) if p.blocks else 0
    return p.bytes(dtype) + p.u_bytes(dtype) * min(2, len(p.blocks)) + parts


def refuse(plan_of: Callable[[ConvDims, np.dtype], Plan]) -> Callable[[ConvDims, np.dtype], str]:
    """The refusal of a map: other kernels and strides than it has tiles for, and what is beyond a grid or an index."""
    def why(dims: ConvDims, dtype: np.dtype) -> str:
        if dims.kernel not in KERNELS or prod(dims.stride) * prod(dims.dilation) > 1:
            sizes = (f"{'x'.join(map(str, v))}" for v in (dims.kernel, dims.stride, dims.dilation))
            return "it takes kernels of 3x3 and 5x5, stride 1, dilation 1: here they are {}, {} and {}".format(*sizes)
        if cannot := cuda_plan.refuse(dims, dtype):
            return cannot
        p = plan_of(dims, dtype)
        if p.layers > GRID:
            return f"{p.layers // dims.groups} products for each of {dims.groups} groups are more than a grid's {GRID} layers"
        largest = p.layers * max(p.Ci * p.Co, p.Ci * p.block, p.Co * p.block)
        if largest > MOST:
            return f"its transforms fill an array of {largest:,} elements, beyond the 32-bit indices of the CUDA kernels"
        return ""
    return why

"""The fast rung on a GPU: an implicit product of matrices, in register tiles, from double-buffered shared memory.

    out[p, j] = sum over k  a[place(p) + term(k)] * w[j, k]          p a position of a sample, j a channel, k = (channel, tap)

    a block   BM positions x BN channels        shared memory holds slices of BK terms, a (BK, BM) and w (BK, BN), twice
    a thread  TM x TN of them, in registers     for each k: TM + TN numbers from shared memory, TM*TN multiply-adds

cuda_shared.py fetches two numbers from shared memory for every multiply-add, and waits for memory in every slice. Here an
8x8 tile fetches 16 for 64, four at a time, while the next slice is on its way. The patch matrix is never written. Of the
instructions in the loop of the largest tile four in five are multiply-adds.
Sums run in an order that the shape alone decides; padding is zeros that are multiplied, so that an infinite weight makes NaN.
Read next: cuda_tiled_loops.py, the kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dims import ConvDims
from .. import gpu
from . import cuda_plan
from .cuda_plan import Plan, tables
from .cuda_tiled_loops import Tile, correlate
from .cuda_tiled_weights import correlate_weights, sum_parts

# tiles, and how many of the instructions in their loop are multiply-adds (compute capability 9.0), against the largest tile's
TILES = {
    Tile(128, 128, 8, 8, 8, 4): 1.0, Tile(128, 64, 8, 8, 8, 4): 0.95, Tile(64, 64, 8, 8, 4, 4): 0.88,
    Tile(128, 32, 8, 8, 4, 4): 0.82, Tile(64, 32, 8, 4, 4, 4): 0.75, Tile(128, 16, 8, 4, 4, 4): 0.66,
}
SIMULATED = {Tile(4, 4, 2, 2, 2, 2): 1.0, Tile(4, 2, 2, 2, 1, 1): 0.7, Tile(2, 4, 2, 1, 2, 1): 0.6}  # of 4 threads each
UNITS = 132  # multiprocessors of an H200; the same number everywhere, so that the order of sums is, too
RESIDENT = 4  # blocks for each of them that a weight gradient is cut into
LEAST = 128  # positions in a part of a weight gradient, at least
SHORT = 128  # sums of fewer terms are bound by their stores: then a thread's positions stand apart, its neighbours' together


def conv(x: Any, w: Any, dims: ConvDims, *, bias: Any = None) -> Any:
    """Register tiles of y over double-buffered slices of x and w: nothing is unfolded."""
    return _correlate(cuda_plan.forward(dims), x, w, dims.y_shape, bias)


def conv_input_grad(y: Any, w: Any, dims: ConvDims) -> Any:
    """Register tiles of each phase of x, over the taps that reach it: no zero that a stride inserted is multiplied."""
    return _correlate(cuda_plan.input_grad(dims), y, w, dims.x_shape, None)


def conv_weight_grad(x: Any, y: Any, dims: ConvDims) -> Any:
    """Register tiles of w for parts of the positions, and a second launch that adds the parts in their order."""
    plan = cuda_plan.forward(dims)
    tile, parts, span = weight_parts(plan)
    each, t = gpu.xp().empty((parts, *dims.w_shape), x.dtype), tables(plan)
    grid = (gpu.cells(plan.length, tile.BM), gpu.cells(plan.channels, tile.BN), plan.groups * parts)
    gpu.launch(correlate_weights(tile, plan.words, x.dtype.name), grid, tile.threads,
               each, gpu.flat(x), gpu.flat(y), t.places, t.terms, t.geometry, plan.length, parts, span)
    return sum_parts(each)


def scratch(dims: ConvDims, dtype: np.dtype) -> int:
    """Bytes of the parts of the weight gradient."""
    return cuda_plan.bytes_of_parts(weight_parts(cuda_plan.forward(dims))[1], dims, dtype)


def _correlate(plan: Plan, a: Any, w: Any, shape: tuple[int, ...], bias: Any) -> Any:
    out = gpu.xp().empty(shape, a.dtype)
    tile, t = choose_tile(plan.positions, plan.channels, plan.groups * len(plan.phases)), tables(plan)
    if plan.length <= SHORT:
        tile = tile._replace(V=1)
    grid = (gpu.cells(plan.positions, tile.BM), gpu.cells(plan.channels, tile.BN), plan.groups * len(plan.phases))
    w = gpu.flat(w)
    gpu.launch(correlate(tile, plan.words, a.dtype.name), grid, tile.threads, out, gpu.flat(a), w, t.phases, t.places, t.terms,
               t.w_at, t.geometry, w if bias is None else gpu.flat(bias), int(bias is not None))
    return out


def choose_tile(rows: int, columns: int, batch: int) -> Tile:
    """The tile that covers `batch` products of rows x columns in the least time, guessed: rounds of blocks times their work."""
    units, tiles = (2, SIMULATED) if gpu.simulated() else (UNITS, TILES)

    def time(tile: Tile) -> float:
        blocks = gpu.cells(rows, tile.BM) * gpu.cells(columns, tile.BN) * batch
        return gpu.cells(blocks, units) * tile.BM * tile.BN / tiles[tile]

    return min(tiles, key=time)


def weight_parts(plan: Plan) -> tuple[Tile, int, int]:
    """The tile of a weight gradient, how many parts its sum is cut into, and the positions of a part."""
    units, least = (2, 4) if gpu.simulated() else (UNITS, LEAST)
    tiles = SIMULATED if gpu.simulated() else TILES
    padded = {t: gpu.cells(plan.length, t.BM) * t.BM * gpu.cells(plan.channels, t.BN) * t.BN / s for t, s in tiles.items()}
    tile = min(padded, key=padded.__getitem__)  # whatever its size, parts make blocks enough
    blocks = gpu.cells(plan.length, tile.BM) * gpu.cells(plan.channels, tile.BN) * plan.groups
    positions = plan.positions
    parts = max(1, min(units * RESIDENT // blocks, positions // least))
    span = max(1, gpu.cells(gpu.cells(positions, parts), tile.BK)) * tile.BK
    return tile, max(1, gpu.cells(positions, span)), span

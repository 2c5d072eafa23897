"""The weight gradient by Winograd's tiles: the form of winograd.py with another slot open, and the same three matrices.

    T(d, g, y) = sum over f of  (B' d B)[f] (G g G')[f] (A y A')[f]
            so  dg = G' [ sum over tiles  (B' d B) * (A y A') ] G

Each frequency is a matrix product (O, tiles) x (tiles, C), 4 or 2.25 multiply-adds where the direct sum takes 9. All tiles
of x and of y are transformed first, then every thread takes frequencies whole, a stretch of tiles at a time, so that what
it reads stays in cache; last, sums become taps. Each sum is made by one thread, in an order that the shape alone decides.
Scratch: x and y transformed, 2.25 to 4 times their size, and a sum for each frequency and pair of channels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

from ...dims import ConvDims, Ints
from ..emit import lanes
from ..invoke import address
from ..scratch import scratch
from ..tile import CHANNEL_GROUPS, CHANNEL_TILES
from .winograd import LEAST, LINE, PAIRS, SIZES, TASKS, WORK, Plan, flat, line_size, odd, takes, tile_size
from .winograd_loops import spread
from .winograd_weight_loops import convolve_weights, gather_taps, multiply_frequency

ROWS = CHANNEL_GROUPS[0]  # channels of y in one product
TILE = [CHANNEL_TILES.index((wide, ROWS, 1)) for wide in (1, 2)]
STRETCH = 256  # tiles that a product walks before it moves on to other channels of y
TILES = 96  # fewer, and the sums, which each pair of channels has for every frequency, cost more than they save


class Sums(NamedTuple):
    """What x and y, cut into tiles, are multiplied to."""

    tiles: int
    rows: int  # channels of y in a group, rounded up to whole products
    apart: int  # from frequency to frequency
    tile: int
    across: int  # channels of y in one product
    stretch: int


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Fill w by tiles of x and y: a quarter to less than a half of the multiplications, for a few more digits of rounding."""
    dtype, L, workers = x.dtype, lanes(x.itemsize), numba.get_num_threads()
    if not dims.N:
        return np.zeros(dims.w_shape, dtype)
    px, py, p = plan = weight_grad(dims, L)
    w, x, y = np.empty(dims.w_shape, dtype), flat(x), flat(y)
    v, u, sums, lines = (scratch(f"winograd {name}", size, dtype)[:size] for name, size in _buffers(*plan, L, workers).items())
    lines, bases = lines.reshape(workers, -1), np.zeros((workers, ROWS + LINE), np.int64)
    offs, out = np.arange(p.tiles) * L, w.reshape(-1)
    calls = np.array([address(spread, dtype, 0, 0, px, x, v, 0, lines[0], L),
                      address(multiply_frequency, dtype, 0, 0, px, py, p, v, u, sums, bases[0], offs, L),
                      address(gather_taps, dtype, 0, px, py, p, sums, lines[0], out, L)])
    convolve_weights(calls, px, py, p, workers, x, y, v, u, sums, lines, bases, offs, L, out)
    return w


@lru_cache(maxsize=256)
def weight_grad(dims: ConvDims, L: int) -> tuple[Plan, Plan, Sums]:
    """How x and y are cut into tiles of vectors of L numbers, and multiplied."""
    size = tile_size(dims.output)
    m = SIZES[size]
    down, across = (-(-o // m) for o in dims.output)
    tiles = dims.N * down * across
    origin = -dims.padding[0][0], -dims.padding[1][0]
    px = _cut(dims, dims.C // dims.groups, dims.input, origin, 2, size, down, across, L, 2)
    py = _cut(dims, dims.O // dims.groups, dims.output, (0, 0), 0, size, down, across, L)
    rows = -(-py.Ci // ROWS) * ROWS
    return px, py, Sums(tiles, rows, odd(dims.groups * px.depth * rows * L, L), TILE[px.wide - 1], ROWS, STRETCH)


def _cut(dims: ConvDims, channels: int, size: Ints, origin: Ints, overlap: int, kind: int, down: int, across: int,
         L: int, wide: int = 1) -> Plan:
    """An array (N, groups*channels, *size) cut into tiles, all of which are transformed at once."""
    m = SIZES[kind]
    every, depth = dims.N * down, -(-channels // L)
    wide = wide if depth % wide == 0 else 1
    rows = -(-every // min(every, 2 * TASKS))
    v_apart = odd(every * across * wide * L, L)
    v_depth = (m + 2) ** 2 * v_apart
    zero = dict.fromkeys(Plan._fields, 0)
    return Plan(**{**zero, "size": kind, "m": m, "N": dims.N, "groups": dims.groups, "Ci": channels, "H": size[0], "W": size[1],
                   "OW": size[1], "origin_h": origin[0], "origin_w": origin[1], "overlap": overlap, "down": down,
                   "across": across, "rows": rows, "blocks": -(-every // rows), "depth": depth, "wide": wide,
                   "line": (across * m + overlap + L) * L, "v_apart": v_apart, "v_depth": v_depth,
                   "v_size": dims.groups * depth // wide * v_depth})


def _buffers(px: Plan, py: Plan, p: Sums, L: int, workers: int) -> dict[str, int]:
    """Numbers in each working array."""
    return {"v": px.v_size, "u": py.v_size, "sums": (px.m + 2) ** 2 * p.apart, "lines": line_size(px, L) * workers}


def scratch_bytes(dims: ConvDims, dtype: np.dtype) -> int:
    """What is borrowed: transformed x and y, and the sums."""
    L = lanes(dtype.itemsize)
    return sum(_buffers(*weight_grad(dims, L), L, numba.get_num_threads()).values()) * dtype.itemsize


def refuse(dims: ConvDims, dtype: np.dtype) -> str:
    """What tiles cannot compute, and where the direct sum was measured to be as fast."""
    cannot = takes(dims, dtype)
    if cannot:
        return cannot
    if dtype != np.float32:
        return "it trades digits for time, and float64 asks for digits"
    px, py, p = weight_grad(dims, lanes(dtype.itemsize))
    C, O = px.Ci, py.Ci
    if min(C, O) < LEAST or C * O < PAIRS:
        return f"its transforms do not pay for {C} to {O} channels: at least {LEAST} each, and {PAIRS} pairs"
    if p.tiles < TILES or dims.macs < WORK:
        return f"its transforms do not pay for {p.tiles} tiles ({dims.macs} multiply-adds): at least {TILES} ({WORK})"
    if 2 * 9 * dims.output[0] * dims.output[1] < 3 * (px.m + 2) ** 2 * px.down * px.across:
        return f"tiles of {px.m}x{px.m} hang too far over a map of {dims.output[0]}x{dims.output[1]}"
    return ""

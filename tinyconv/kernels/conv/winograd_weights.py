"""Winograd's weight gradient: the form of winograd.py with w left open, so its transforms are those of the others, turned over.

    dw = G' [ sum over tiles  (A dy A') * (B' d B) ] G        dy: (m, m) of y, d: (n, n) of x, n = m + k - 1

Where the forward pass sums over channels at every frequency, this sums over tiles: a matrix product (C, tiles) x (tiles, O).
Rows of tiles are taken in blocks, as many as their transforms stay in cache for; the sums of all frequencies lie in memory
between blocks, and are transformed to w at the end. What is multiplied: as much as there.
Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016).
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numba
import numpy as np

from ...dims import ConvDims
from ..emit import lanes
from ..invoke import address, each, invoke
from ..jit import njit
from ..scratch import Shapes, pieces
from . import winograd
from .winograd import Plan, _flat, forward, line_size, odd
from .winograd_loops import spread, store
from .winograd_tiles import add_product_tile, weight_gradient_transform

TILES = 192  # in a block, at most: at one frequency they stay in the first-level cache
CACHE = 256 * 1024  # numbers of V and Z in a block, to stay in the second
SUMS = 1 << 20  # numbers of the sums of all segments
SEGMENTS = (8, 4, 2)  # of the blocks: tasks enough, whatever the number of threads
SEGMENT = 64  # tiles in one, at least
WIDEST = 8  # vectors of input channels in a task
PARTS = 6  # of the frequencies, for tasks enough whatever the number of threads


class Shares(NamedTuple):
    """How the product is shared out: chunks of vectors of input channels, beside R*L output channels."""

    segments: int  # of the blocks, each with sums of its own; 1: threads share a block
    chunks: int
    chunk: int  # vectors in one
    s_chunk: int  # numbers of the sums of a chunk
    s_apart: int
    s_depth: int
    s_size: int


@lru_cache(maxsize=256)
def plan_of(dims: ConvDims, L: int) -> tuple[Plan, Plan, Shares]:
    """The plan of the forward pass in blocks that stay in cache, that of the tiles of y, and the shares of the product."""
    p = forward(dims, L)
    side, every, channels = p.side**2, p.N * p.down, p.groups * p.channel_blocks
    chunks = -(-p.depth // WIDEST)
    chunk = -(-p.depth // chunks)
    s_chunk = chunk * L * p.R * L
    s_apart = odd(chunks * s_chunk, L)
    s_size = channels * side * s_apart
    segments = next((n for n in SEGMENTS if n * s_size <= SUMS and every * p.across >= n * SEGMENT), 1)
    tiles = min(TILES, CACHE // (side * (p.groups * p.depth + channels * p.R) * L)) if segments > 1 else TILES
    blocks = -(-every // max(1, tiles // p.across))
    if segments > 1:
        blocks = -(-blocks // segments) * segments
    rows = max(1, -(-every // max(1, blocks)))
    blocks = -(-every // rows)
    v_apart = odd(rows * p.across * L, L)
    p = p._replace(rows=rows, blocks=blocks, v_apart=v_apart, v_depth=side * v_apart,
                   v_size=p.groups * p.depth * side * v_apart)
    over_y = p._replace(cells=p.m, Ci=p.Co, H=p.OH, W=p.OW, depth=p.R * p.channel_blocks,
                        v_size=p.R * channels * side * v_apart)
    return p, over_y, Shares(max(1, min(segments, blocks)), chunks, chunk, s_chunk, s_apart, side * s_apart, s_size)


def gain(p: Plan, macs: int, L: int) -> float:
    """How many times faster than the direct sum the tiles are, about."""
    return winograd.ratio(p, macs, L, winograd.DATA[p.side], winograd.GRADIENT[p.side], weights=1600, direct=200)


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Fill w by tiles: both operands transformed, summed over tiles at each frequency, and transformed back."""
    dtype, L, workers = x.dtype, lanes(x.itemsize), numba.get_num_threads()
    if not dims.N:
        return np.zeros(dims.w_shape, dtype)
    (p, over_y, q), buffers, offs = _work(dims, L, workers)
    w, x, y = np.empty(dims.w_shape, dtype), _flat(x), _flat(y)
    v, z, sums, lines = pieces("winograd", buffers, dtype)
    out = w.reshape(-1)
    calls = _calls.get(dtype)
    if calls is None:
        calls = np.empty(4, np.int64)
        calls[:] = (address(spread, dtype, 0, 0, p, x, v, 0, lines[0], L),
                    address(combine, dtype, 0, 0, 0, p, q, v, 0, z, 0, offs, sums, 0, L),
                    address(join, dtype, 0, 0, q, sums),
                    address(finish_weights, dtype, 0, p, q, sums, lines[0], out, L))
        _calls[dtype] = calls  # filled, as in winograd.py
    steps = 3 if q.segments > 1 else 2 * p.blocks + 1
    reduce_tiles(calls, p, over_y, q, steps, workers, x, y, v, z, sums, lines, offs, L, out)
    return w


_calls: dict[np.dtype, np.ndarray] = {}


@lru_cache(maxsize=256)
def _work(dims: ConvDims, L: int, workers: int) -> tuple[tuple[Plan, Plan, Shares], Shapes, np.ndarray]:
    """The plans of a problem for so many threads, the working arrays, and from tile to tile in V."""
    p, over_y, q = plans = plan_of(dims, L)
    return plans, _buffers(p, over_y, q, L, workers), np.arange(p.rows * p.across) * L


def _buffers(p: Plan, over_y: Plan, q: Shares, L: int, workers: int) -> Shapes:
    """The working arrays: the tiles of x and y, transformed, the sums, and the lines of each thread."""
    own = workers if q.segments > 1 else 1
    line = max(line_size(p, L), (q.chunk * L * p.k * p.k + L) * L)
    return (p.v_size * own,), (over_y.v_size * own,), (q.s_size * q.segments,), (workers, line)


def scratch_bytes(dims: ConvDims, dtype: np.dtype) -> int:
    """What the map borrows: a block of tiles of either side, transformed, and the sums at every frequency."""
    L, workers = lanes(dtype.itemsize), numba.get_num_threads()
    return sum(map(prod, _buffers(*plan_of(dims, L), L, workers))) * dtype.itemsize


@njit
def reduce_tiles(calls, p, over_y, q, steps, workers, x, y, v, z, sums, lines, offs, L, w):
    """w by so many steps of `share`, each by all threads."""
    for step in range(steps):
        each(workers, share, (step, steps, workers, calls, p, over_y, q, x, y, v, z, sums, lines, offs, L, w))


@njit(inner=True)
def share(t, step, steps, workers, calls, p, over_y, q, x, y, v, z, sums, lines, offs, L, w):
    """What thread t does of w, by `spread`, `combine`, `join`, `finish_weights` (calls[0] to [3]).

    With few channels a thread walks segments of the blocks, whose sums meet in step 1; with many, the threads share a block:
    an even step transforms it, an odd one adds it to the sums. The last step is the transform to w.
    """
    columns, channels, line = p.groups * p.depth, p.groups * p.channel_blocks, lines[t]
    units, tasks, ends = columns + p.R * channels, channels * q.chunks * PARTS, channels * q.chunks * p.R
    if step == steps - 1:
        for j in range(ends * t // workers, ends * (t + 1) // workers):
            invoke(calls[3], (j, p, q, sums, line, w, L))
    elif q.segments > 1 and step == 0:
        for s in range(q.segments * t // workers, q.segments * (t + 1) // workers):
            start = p.blocks * s // q.segments
            for i in range(start, p.blocks * (s + 1) // q.segments):
                for b in range(columns):
                    invoke(calls[0], (i, b, p, x, v, t * p.v_size, line, L))
                for b in range(p.R * channels):
                    invoke(calls[0], (i, b, over_y, y, z, t * over_y.v_size, line, L))
                for j in range(tasks):
                    invoke(calls[1], (i, start, j, p, q, v, t * p.v_size, z, t * over_y.v_size, offs, sums, s * q.s_size, L))
    elif q.segments > 1:
        invoke(calls[2], (q.s_size * t // workers, q.s_size * (t + 1) // workers, q, sums))
    elif step % 2 == 0:
        for b in range(units * t // workers, units * (t + 1) // workers):
            if b < columns:
                invoke(calls[0], (step // 2, b, p, x, v, 0, line, L))
            else:
                invoke(calls[0], (step // 2, b - columns, over_y, y, z, 0, line, L))
    else:
        for j in range(tasks * t // workers, tasks * (t + 1) // workers):
            invoke(calls[1], (step // 2, 0, j, p, q, v, 0, z, 0, offs, sums, 0, L))


@njit(inner=True)
def combine(i, start, j, p, q, v, v0, z, z0, offs, sums, s0, L):
    """Task j adds block i of the tiles to the sums of a chunk of input channels and a block of output channels, (C, R*L).

    Block `start` is the first of these sums.
    """
    o, rest = divmod(j, q.chunks * PARTS)
    chunk, part = divmod(rest, PARTS)
    side = p.side * p.side
    tiles = (min((i + 1) * p.rows, p.N * p.down) - i * p.rows) * p.across
    first = chunk * q.chunk
    for f in range(side * part // PARTS, side * (part + 1) // PARTS):
        to, z_at = s0 + o * q.s_depth + f * q.s_apart + chunk * q.s_chunk, z0 + o * p.R * p.v_depth + f * p.v_apart
        if i == start:
            sums[to:to + q.s_chunk] = 0
        for c in range(first, min(first + q.chunk, p.depth)):
            channels = min(L, p.Ci - c * L)
            parts = (channels + p.most - 1) // p.most
            v_at = v0 + (o // p.channel_blocks * p.depth + c) * p.v_depth + f * p.v_apart
            for k in range(parts):
                c0, c1 = channels * k // parts, channels * (k + 1) // parts
                add_product_tile(p.products + c1 - c0 - 1, v, v_at + c0, offs, tiles, z, z_at, p.v_depth, L, sums,
                                 to + ((c - first) * L + c0) * p.R * L)


@njit(inner=True)
def join(first, last, q, sums):
    """Numbers first to last of the sums of every segment, added to those of segment 0 in the order of segments."""
    for s in range(1, q.segments):
        for i in range(first, last):
            sums[np.uintp(i)] += sums[np.uintp(s * q.s_size + i)]


@njit(inner=True)
def finish_weights(j, p, q, sums, line, w, L):
    """The sums of a chunk of input channels and L output channels to w: their taps, then turned."""
    rest, r = divmod(j, p.R)
    o, chunk = divmod(rest, q.chunks)
    g, block = divmod(o, p.channel_blocks)
    o0, c0, taps = (p.R * block + r) * L, chunk * q.chunk * L, p.k * p.k
    valid, many = min(L, p.Co - o0), min(q.chunk * L, p.Ci - c0)
    if valid <= 0:
        return
    start = o * q.s_depth + chunk * q.s_chunk + r * L
    for c in range(many):
        weight_gradient_transform(p.size, sums, start + c * p.R * L, q.s_apart, line, c * taps * L, L)
    store(line, many * taps, valid, w, ((g * p.Co + o0) * p.Ci + c0) * taps, p.Ci * taps, many * taps * L, L)

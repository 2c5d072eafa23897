"""The compiled drivers of winograd_weights.py.

    V  (block of input channels, frequency, tile, block)      U  (vector of output channels, frequency, tile, L)
    sums  (frequency, block of input channels, output channel, block)

A block is two vectors where their number is even, so that a product reads half as much. V and U are made by
winograd_loops.spread.
"""

from __future__ import annotations

from numba import prange

from ..invoke import invoke
from ..jit import njit
from ..tile import tap_tile
from .winograd_tiles import taps_transform


@njit(parallel=True)
def convolve_weights(calls, px, py, p, workers, x, y, v, u, sums, lines, bases, offs, L, w):
    """dw by `spread` of x and of y, `multiply_frequency` and `gather_taps` (their addresses in `calls`)."""
    of_x, of_y = px.groups * px.depth, py.groups * py.depth
    for k in prange(workers):
        t = int(k)
        tasks = px.blocks * (of_x + of_y)
        for task in range(tasks * t // workers, tasks * (t + 1) // workers):
            i, b = divmod(task, of_x + of_y)
            at = i * px.rows * px.across * L
            if b < of_x:
                invoke(calls[0], (i, b, px, x, v, at * px.wide, lines[t], L))
            else:
                invoke(calls[0], (i, b - of_x, py, y, u, at, lines[t], L))
    for k in prange(workers):
        t = int(k)
        blocks = of_x // px.wide
        tasks = (px.m + 2) * (px.m + 2) * blocks
        for task in range(tasks * t // workers, tasks * (t + 1) // workers):
            f, b = divmod(task, blocks)
            invoke(calls[1], (f, b, px, py, p, v, u, sums, bases[t], offs, L))
    for k in prange(workers):
        t = int(k)
        tasks = px.groups * py.Ci
        for task in range(tasks * t // workers, tasks * (t + 1) // workers):
            invoke(calls[2], (task, px, py, p, sums, lines[t], w, L))


@njit
def multiply_frequency(f, b, px, py, p, v, u, sums, bases, offs, L):
    """Frequency f of block b of the input channels: (O, tiles) x (tiles, block), a stretch of the tiles at a time."""
    g, O, width = b // (px.depth // px.wide), py.Ci, px.wide * L
    at = f * p.apart + b * p.rows * width
    sums[at:at + p.rows * width] = 0
    v0, u0 = b * px.v_depth + f * px.v_apart, g * py.depth * py.v_depth + f * py.v_apart
    for t in range(0, p.tiles, p.stretch):
        for o in range(0, O, p.across):
            for k in range(p.across):
                here = min(o + k, O - 1)  # beyond the last, the last again, whose sums no one reads
                bases[k] = u0 + here // L * py.v_depth + here % L
            tap_tile(p.tile, u, bases, offs, t, min(p.stretch, p.tiles - t), v, v0 + t * width, sums, at + o * width)


@njit
def gather_taps(task, px, py, p, sums, line, w, L):
    """The taps of one output channel, from the sums of every frequency."""
    g, o = divmod(task, py.Ci)
    for c in range(px.depth):
        b = (g * px.depth + c) // px.wide
        taps_transform(px.size, sums, ((b * p.rows + o) * px.wide + c % px.wide) * L, p.apart, line, 0)
        to = (task * px.Ci + c * L) * 9
        for i in range(min(L, px.Ci - c * L)):
            for k in range(9):
                w[to + i * 9 + k] = line[k * L + i]

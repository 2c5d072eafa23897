"""The compiled driver of simd.py for weight gradients: it packs, walks the tasks of a plan, and adds up their slices.

A slice is a part of the positions, cut by the shape alone, so the order of every sum is the same for any number of threads.
"""

from __future__ import annotations

from numba import prange

from ..jit import njit
from ..tile import CHANNEL_TILES, DOT_TILES, dot_tile, tap_tile, turn
from .simd_loops import BASES, CHANNEL_G, CHANNEL_P, CHANNEL_R, pad_plane

DOT = len(CHANNEL_TILES)
DOT_K, DOT_P = (tuple(c) for c in zip(*DOT_TILES))


@njit(parallel=True)
def correlate_weights(N, x, src, pads, y, packed, packs, xo, yo, table, tasks, chunks, gathers, strides, keep, L, bases,
                      sums, w):
    """w = the sum of simd_weights.py: pad x, pack y, run the tasks, add up."""
    blocks = packs.shape[0]
    for i in prange(pads[0] + blocks * N):
        j = int(i)
        if j < blocks * N:
            pack_image(y, packed, packs[j // N], strides, j % N, L)
        else:
            pad_plane(x, src, pads, j - blocks * N)
    for i in prange(tasks.shape[0]):
        j = int(i)
        if tasks[j, 0] < DOT:
            run_taps(src, packed, xo, table, tasks[j], chunks, strides, L, bases[j], sums)
        else:
            run_dots(src, y, xo, yo, table, tasks[j], chunks, strides, keep, L, bases[j], sums)
    for i in prange(gathers.shape[0]):
        j = int(i)
        gather(sums, gathers[j], table, strides, L, w)


@njit
def pack_image(y, packed, pack, strides, n, L):
    """A block of channels of image n as (positions, width), channels innermost; absent channels hold anything."""
    start, valid, width, positions = pack[0] + n * strides[1], pack[1], pack[2], strides[2]
    to = pack[3] + n * positions * width
    for o in range(0, width, L):
        p0, rows = 0, min(L, valid - o)
        while p0 + L <= positions:
            turn(y, start + o * positions + p0, positions, rows, packed, to + p0 * width + o, width)
            p0 += L
        for i in range(rows):
            for p in range(p0, positions):
                packed[to + p * width + o + i] = y[start + (o + i) * positions + p]


@njit
def run_taps(src, packed, xo, table, task, chunks, strides, L, bases, sums):
    """A task by channels; its sums lie in `sums` between the chunks of positions."""
    size, y0, lo, hi, origin, to = task[0], task[1], task[2], task[3], task[4], task[5]
    P, G, width = CHANNEL_P[size], CHANNEL_G[size], CHANNEL_R[size] * L
    sums[to:to + (hi - lo) * G * width] = 0
    for c in range(task[6], task[7]):
        n, o0, T = chunks[c, 0], chunks[c, 1], chunks[c, 2]
        for first in range(lo, hi, P):
            for p in range(P):
                bases[p] = n * strides[0] + origin + table[min(first + p, table.shape[0] - 1), 0]
            tap_tile(size, src, bases, xo, o0, T, packed, y0 + (n * strides[2] + o0) * width, sums, to + (first - lo) * G * width)


@njit
def run_dots(src, y, xo, yo, table, task, chunks, strides, keep, L, bases, sums):
    """A task by rows; its sums, vectors still, lie in `sums` between the chunks of positions."""
    size, y0, lo, hi, origin, to = task[0] - DOT, task[1], task[2], task[3], task[4], task[5]
    K, P = DOT_K[size], DOT_P[size]
    at = bases[BASES:]
    sums[to:to + (hi - lo) * K * L] = 0
    for c in range(task[6], task[7]):
        n = chunks[c, 0]
        for k in range(K):
            at[k] = n * strides[1] + y0 + min(k, task[8] - 1) * strides[2]
        for first in range(lo, hi, P):
            for p in range(P):
                bases[p] = n * strides[0] + origin + table[min(first + p, table.shape[0] - 1), 0]
            dot_tile(size, src, bases, xo, y, at, yo, chunks[c, 1], chunks[c, 2], chunks[c, 3], chunks[c, 4], keep, sums,
                     to + (first - lo) * K * L)


@njit
def gather(sums, block, table, strides, L, w):
    """The sums of a block of channels, slice by slice, to rows of w."""
    start, o0, valid, width, tile = block[0], block[1], block[2], block[3], block[4]
    row, slices, taps = strides[3], strides[4], strides[5]
    for g in range(table.shape[0]):
        if tile < DOT:  # (slices, taps, channels)
            G = CHANNEL_G[tile]
            for j in range(G):
                for o in range(valid):
                    v = sums[start + (g * G + j) * width + o]
                    for i in range(1, slices):
                        v += sums[start + (i * taps * G + g * G + j) * width + o]
                    w[(o0 + o) * row + table[g, 1] + j] = v
        else:  # (slices, tiles, channels, taps of a tile, lanes)
            P = DOT_P[tile - DOT]
            for o in range(valid):
                v = sums[0] * 0
                for i in range(slices):
                    first = start + (((i * taps + g // P * P) * width) + o * P + g % P) * L
                    for j in range(L):
                        v += sums[first + j]
                w[(o0 + o) * row + table[g, 1]] = v

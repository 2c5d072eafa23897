"""The compiled driver of simd.py for weight gradients: it packs, walks the tasks of a plan, and adds up their slices.

A slice is a part of the positions, cut by the shape alone, so the order of every sum is the same for any number of threads.
"""

from __future__ import annotations

from numba import prange

from ..invoke import invoke
from ..jit import njit
from ..tile import CHANNEL_TILES, DOT_TILES, copy, dot_tile, tap_tile, turn
from .simd_loops import BASES, CHANNEL_G, CHANNEL_P, CHANNEL_R, pack_images, pad_plane

DOT = len(CHANNEL_TILES)
DOT_K, DOT_P = (tuple(c) for c in zip(*DOT_TILES))


@njit(parallel=True)
def correlate_weights(pack, runs, gather, N, x, src, pads, y, packed, packs, xo, yo, table, tasks, chunks, gathers, strides,
                      keep, L, bases, sums, turned, w):
    """w = the sum of simd_weights.py: `pack` x and y, `runs`, for each design, the tasks, and `gather` their sums."""
    for i in prange(pads[0] + packs.shape[0] * N):
        invoke(pack, (int(i), N, x, src, pads, y, packed, packs, strides, L))
    for i in prange(tasks.shape[0]):
        j = int(i)
        invoke(runs[int(tasks[j, 0] >= DOT)], (j, src, y, packed, xo, yo, table, tasks, chunks, strides, keep, L, bases, sums))
    for i in prange(gathers.shape[0]):
        invoke(gather, (int(i), sums, gathers, table, strides, L, turned, w))


@njit
def pack_operand(i, N, x, src, pads, y, packed, packs, strides, L):
    """A block of channels of an image of y, or a plane of x; by images, L planes of either side by side."""
    blocks = packs.shape[0]
    if pads[6] == 0:
        C, O, plane, positions = pads[11], strides[7], pads[3], strides[2] // L
        planes = pads[0] // (C + O) * C
        if i < planes:
            n, c = divmod(i, C)
            pack_images(x, (n * L * C + c) * plane, C * plane, min(L, N - n * L), plane, src, i * plane * L, L)
        else:
            n, o = divmod(i - planes, O)
            pack_images(y, (n * L * O + o) * positions, O * positions, min(L, N - n * L), positions, packed,
                        (i - planes) * positions * L, L)
    elif i < blocks * N:
        pack_image(y, packed, packs[i // N], strides, i % N, L)
    else:
        pad_plane(x, src, pads, L, i - blocks * N)


@njit
def pack_image(y, packed, pack, strides, n, L):
    """A block of channels of image n as (positions, width), channels innermost; absent channels hold zeros or copies."""
    start, valid, width, positions = pack[0] + n * strides[1], pack[1], pack[2], strides[2]
    to = pack[3] + n * positions * width
    for o in range(0, width, L):
        p0, rows = 0, min(L, valid - o)
        while p0 + L <= positions:
            turn(y, start + o * positions + p0, positions, rows, packed, to + p0 * width + o, width)
            p0 += L
        for p in range(p0, positions):
            for i in range(min(L, width - o)):
                packed[to + p * width + o + i] = y[start + (o + i) * positions + p] if i < rows else 0


@njit
def run_taps(i, src, y, packed, xo, yo, table, tasks, chunks, strides, keep, L, all_bases, sums):
    """A task by channels; its sums lie in `sums` between the chunks of positions."""
    task, bases = tasks[i], all_bases[i]
    size, y0, lo, hi, origin, to = task[0], task[1], task[2], task[3], task[4], task[5]
    P, G, width = CHANNEL_P[size], CHANNEL_G[size], CHANNEL_R[size] * L
    sums[to:to + (hi - lo) * G * width] = 0
    for c in range(task[6], task[7]):
        n, o0, T = chunks[c, 0], chunks[c, 1], chunks[c, 2]
        for first in range(lo, hi, P):
            for p in range(P):
                bases[p] = n * strides[0] + origin + table[min(first + p, table.shape[0] - 1), 0]
            w0, here = y0 + (n * strides[2] + o0) * width, to + (first - lo) * G * width
            tap_tile(size, src, bases, xo, o0, T, packed, w0, sums, here)


@njit
def run_dots(i, src, y, packed, xo, yo, table, tasks, chunks, strides, keep, L, all_bases, sums):
    """A task by rows or images; its sums, vectors still, lie in `sums` between the chunks of positions."""
    task, bases = tasks[i], all_bases[i]
    size, y0, lo, hi, origin, to = task[0] - DOT, task[1], task[2], task[3], task[4], task[5]
    K, P = DOT_K[size], DOT_P[size]
    at, rows = bases[BASES:], y
    if strides[6] > 1:
        rows = packed
    sums[to:to + (hi - lo) * K * L] = 0
    for c in range(task[6], task[7]):
        n = chunks[c, 0]
        for k in range(K):
            at[k] = n * strides[1] + y0 + min(k, task[8] - 1) * strides[2]
        for first in range(lo, hi, P):
            for p in range(P):
                bases[p] = n * strides[0] + origin + table[min(first + p, table.shape[0] - 1), 0]
            dot_tile(size, src, bases, xo, rows, at, yo, chunks[c, 1], chunks[c, 2], chunks[c, 3], chunks[c, 4], keep, sums,
                     to + (first - lo) * K * L)


@njit
def gather(i, sums, blocks, table, strides, L, all_turned, w):
    """The sums of a block of channels, slice by slice, to rows of w."""
    block, turned = blocks[i], all_turned[i]
    start, o0, valid, width, tile = block[0], block[1], block[2], block[3], block[4]
    row, slices, taps = strides[3], strides[4], strides[5]
    if tile >= DOT:
        gather_lanes(sums, block, table, strides, L, w)
        return
    G, many = CHANNEL_G[tile], table.shape[0]
    if slices == 1 and many * G == row:  # (taps, channels) turned over, L by L
        for t in range(0, row, L):
            for o in range(0, valid, L):
                turn(sums, start + t * width + o, width, min(L, row - t), turned, 0, L)
                for j in range(min(L, valid - o)):
                    copy(turned, j * L, w, (o0 + o + j) * row + t, min(L, row - t))
        return
    for g in range(many):
        for j in range(G):
            for o in range(valid):
                v = sums[start + (g * G + j) * width + o]
                for s in range(1, slices):
                    v += sums[start + (s * taps * G + g * G + j) * width + o]
                w[(o0 + o) * row + table[g, 1] + j] = v


@njit
def gather_lanes(sums, block, table, strides, L, w):
    """The same by rows: (slices, tiles, channels, taps of a tile, lanes)."""
    start, o0, valid, K, P = block[0], block[1], block[2], block[3], DOT_P[block[4] - DOT]
    for g in range(table.shape[0]):
        for o in range(valid):
            v = sums[0] * 0
            for i in range(strides[4]):
                first = start + ((i * strides[5] + g // P * P) * K + o * P + g % P) * L
                for j in range(L):
                    v += sums[first + j]
            w[(o0 + o) * strides[3] + table[g, 1]] = v

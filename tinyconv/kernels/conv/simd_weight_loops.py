"""The compiled driver of simd.py for weight gradients: it walks the tasks of a plan and adds up their slices.

A slice is a part of the positions, cut by the shape alone, so the order of every sum is the same for any number of threads.
A task packs the positions of y that it is about to sum, and pads the images of x that they lie in: both are then in its cache.
"""

from __future__ import annotations

from ..invoke import each, invoke
from ..jit import njit
from ..tile import CHANNEL_TILES, DOT_TILES, copy, dot_tile, tap_tile, turn
from .simd_loops import BASES, CHANNEL_G, CHANNEL_P

DOT = len(CHANNEL_TILES)
DOT_K, DOT_P = (tuple(c) for c in zip(*DOT_TILES))
HELD = 2 * BASES - 1  # of a thread's table of bases: the first of the images that lie padded in its slot


@njit
def correlate_weights(pack, run, gather, N, x, src, pads, y, packed, xo, yo, table, tasks, chunks, blocks, pieces, strides,
                      keep, L, bases, sums, turned, w):
    """w = the sum of simd_weights.py: what tasks share is packed, the tasks run, and their sums are added up.

    pack, run, gather: addresses. pack: pad_planes, or by images pack_images.
    """
    each(pads[0], pack_operand, (pack, N, x, src, pads, y, packed[0], strides, L))
    each(bases.shape[0], run_tasks, (pack, run, x, src, pads, y, packed, xo, yo, table, tasks, chunks, blocks, strides, keep, L,
                                     bases, sums))
    each(pieces.shape[0], gather_piece, (gather, sums, blocks, pieces, table, strides, L, turned, w))


@njit(inner=True)
def run_tasks(k, pack, run, x, src, pads, y, packed, xo, yo, table, tasks, chunks, blocks, strides, keep, L, bases, sums):
    """The tasks of thread k."""
    workers, slot = bases.shape[0], strides[8]
    padded = src[k * slot:k * slot + slot] if slot > 0 else src
    bases[k, HELD] = -1
    for j in range(tasks.shape[0] * k // workers, tasks.shape[0] * (k + 1) // workers):
        invoke(run, (j, pack, x, padded, pads, y, packed[k % packed.shape[0]], xo, yo, table, tasks, chunks, blocks, strides,
                     keep, L, bases[k], sums))


@njit(inner=True)
def gather_piece(i, gather, sums, blocks, pieces, table, strides, L, turned, w):
    block, lo, hi = blocks[pieces[i, 0]], pieces[i, 1], pieces[i, 2]
    invoke(gather, (sums, block, lo, hi, table, strides, L, turned[i], w))


@njit(inner=True)
def pack_operand(i, pack, N, x, src, pads, y, packed, strides, L):
    """A plane of x with zeros around it; by images, L planes of either operand side by side."""
    C, O, plane, positions = pads[11], strides[7], pads[3], strides[2] // L
    planes = pads[0] // (C + O) * C
    if pads[6] > 0:
        invoke(pack, (x, src, pads, L, i, 1, 0))
    elif i < planes:
        n, c = divmod(i, C)
        invoke(pack, (x, (n * L * C + c) * plane, C * plane, min(L, N - n * L), plane, src, i * plane * L, L))
    else:
        n, o = divmod(i - planes, O)
        invoke(pack, (y, (n * L * O + o) * positions, O * positions, min(L, N - n * L), positions, packed,
                      (i - planes) * positions * L, L))


@njit(inner=True)
def pack_positions(y, packed, start, valid, width, strides, first, T, L):
    """T positions of a block of channels as (T, width), from position `first` of the image at `start` on, into the next images
    where T goes beyond; absent channels hold copies or zeros."""
    positions, to = strides[2], 0
    while T > 0:
        many = min(T, positions - first)
        for o in range(0, width, L):
            rows = min(L, valid - o)
            for p in range(0, many, L):
                if many >= L:
                    p = min(p, many - L)
                    turn(y, start + o * positions + first + p, positions, rows, packed, to + p * width + o, width)
                    continue
                for q in range(many):
                    for i in range(min(L, width - o)):
                        packed[to + q * width + o + i] = y[start + (o + i) * positions + first + q] if i < rows else 0
        T, first, start, to = T - many, 0, start + strides[1], to + many * width


@njit(inner=True)
def run_taps(i, pack, x, src, pads, y, packed, xo, yo, table, tasks, chunks, blocks, strides, keep, L, bases, sums):
    """A task by channels; its sums lie in `sums` between the chunks of positions."""
    task = tasks[i]
    b0, b1, lo, hi, part = task[0], task[1], task[2], task[3], task[4]
    for b in range(b0, b1):
        each = blocks[b, 6]
        to = blocks[b, 0] + (part * strides[5] + lo) * each
        sums[to:to + (hi - lo) * each] = 0
    for c in range(task[5], task[6]):
        n, o0, T = chunks[c, 0], chunks[c, 1], chunks[c, 2]
        if strides[8] > 0 and bases[HELD] != n:
            for i in range(max(T // strides[2], 1)):
                for plane in range(pads[11]):
                    invoke(pack, (x, src[i * strides[9]:], pads, L, (n + i) * pads[11] + plane, 1, 0))
            bases[HELD] = n
        for b in range(b0, b1):
            o, valid, width, size = blocks[b, 1], blocks[b, 2], blocks[b, 3], blocks[b, 4]
            origin, each = blocks[b, 5], blocks[b, 6]
            P = CHANNEL_P[size]
            pack_positions(y, packed, n * strides[1] + o * strides[2], valid, width, strides, o0, T, L)
            to = blocks[b, 0] + part * strides[5] * each
            for first in range(lo, hi, P):
                for p in range(P):
                    bases[p] = n * strides[0] + origin + table[min(first + p, table.shape[0] - 1), 0]
                tap_tile(size, src, bases, xo, o0, T, packed, 0, sums, to + first * each)


@njit(inner=True)
def run_dots(i, pack, x, src, pads, y, packed, xo, yo, table, tasks, chunks, blocks, strides, keep, L, bases, sums):
    """A task by rows or images; its sums, vectors still, lie in `sums` between the chunks of positions."""
    task, at, rows = tasks[i], bases[BASES:], y
    if strides[6] > 1:
        rows = packed
    lo, hi = task[2], task[3]
    for b in range(task[0], task[1]):
        o, valid, K, size = blocks[b, 1], blocks[b, 2], blocks[b, 3], blocks[b, 4] - DOT
        origin, each = blocks[b, 5], blocks[b, 6]
        P = DOT_P[size]
        to = blocks[b, 0] + task[4] * strides[5] * each
        sums[to + lo * each:to + hi * each] = 0
        for c in range(task[5], task[6]):
            n = chunks[c, 0]
            for k in range(K):
                at[k] = n * strides[1] + (o + min(k, valid - 1)) * strides[2]
            for first in range(lo, hi, P):
                for p in range(P):
                    bases[p] = n * strides[0] + origin + table[min(first + p, table.shape[0] - 1), 0]
                dot_tile(size, src, bases, xo, rows, at, yo, chunks[c, 1], chunks[c, 2], chunks[c, 3], chunks[c, 4], keep, sums,
                         to + first * each)


@njit(inner=True)
def add_slices(sums, block, lo, hi, strides):
    """Groups of taps lo to hi of a block of channels: the slices are added up in order, where the first one lies."""
    start, each, slices, taps = block[0], block[6], strides[4], strides[5]
    total = sums[start + lo * each:start + hi * each]
    for s in range(1, slices):
        part = sums[start + (s * taps + lo) * each:start + (s * taps + hi) * each]
        for j in range(total.size):
            total[j] += part[j]
    return total


@njit(inner=True)
def gather_taps(sums, block, lo, hi, table, strides, L, turned, w):
    """The sums of some groups of taps of a block of channels to rows of w."""
    o0, valid, width, row, G = block[1], block[2], block[3], strides[3], CHANNEL_G[block[4]]
    total = add_slices(sums, block, lo, hi, strides)
    if table.shape[0] * G == row:  # (taps, channels) turned over, L by L
        for t in range(lo * G, hi * G, L):
            for o in range(0, valid, L):
                many = min(L, hi * G - t)
                turn(total, (t - lo * G) * width + o, width, many, turned, 0, L)
                for j in range(min(L, valid - o)):
                    copy(turned, j * L, w, (o0 + o + j) * row + t, many)
        return
    for g in range(lo, hi):
        for j in range(G):
            for o in range(valid):
                w[(o0 + o) * row + table[g, 1] + j] = total[((g - lo) * G + j) * width + o]


@njit(inner=True)
def gather_lanes(sums, block, lo, hi, table, strides, L, turned, w):
    """The same by rows, (tiles, channels, taps of a tile, lanes): L sums are turned over, and their lanes added up abreast."""
    o0, valid, K, P, row = block[1], block[2], block[3], DOT_P[block[4] - DOT], strides[3]
    total = add_slices(sums, block, lo, lo + (hi - lo + P - 1) // P * P, strides)
    for first in range(lo, hi, P):
        at = (first - lo) * K * L
        for i in range(0, K * P, L):
            many = min(L, K * P - i)
            turn(total, at + i * L, L, many, turned, 0, L)
            for lane in range(1, L):
                for j in range(L):
                    turned[j] += turned[lane * L + j]
            for j in range(many):
                o, g = (i + j) // P, first + (i + j) % P
                if o < valid and g < hi:
                    w[(o0 + o) * row + table[g, 1]] = turned[j]

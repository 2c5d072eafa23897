"""The compiled drivers of winograd.py: what a thread does with a block of weights, of tiles, and of both.

    U  (block of R*L output channels, frequency, input channel, R*L)    `weigh`
    V  (block of tiles, input channel / L, frequency, tile, L)           `spread`
    M  (frequency, tile, R*L), a thread's own                           `multiply`, which turns M to y at once

Frequencies lie an odd number of vectors apart, or all of a tile's would fall into one set of the cache. Every sum is
made whole by one thread, in an order that the shape alone decides.
"""

from __future__ import annotations

import numpy as np

from ..invoke import each, invoke
from ..jit import njit
from ..tile import copy, turn
from .winograd_tiles import add_transform, data_transform, gradient_transform, product_tile, result_transform, weight_transform


@njit
def convolve(calls, p, workers, x, w, u, v, sums, lines, offs, bias, relu, L, y):
    """y by steps of `share`, each by all threads."""
    for step in range(p.own, 2):
        each(workers, share, (step, workers, calls, p, x, w, u, v, sums, lines, offs, bias, relu, L, y))


@njit(inner=True)
def share(t, step, workers, calls, p, x, w, u, v, sums, lines, offs, bias, relu, L, y):
    """What thread t does of y, by `weigh`, `spread` and `multiply` (calls[0] to [2]); p is the Plan of winograd.py.

    With many tiles a thread walks blocks of them, and all weights are transformed before, or few of them by each thread for
    itself; with few tiles it walks blocks of output channels, whose weights it transforms itself, and all tiles are
    transformed before.
    """
    blocks, depth, channels, line = p.blocks, p.groups * p.depth, p.groups * p.channel_blocks, lines[t]
    every = channels * p.Ci  # rows of U, at one frequency
    if p.tiles_first and step == 0:
        for i in range(blocks * depth * t // workers, blocks * depth * (t + 1) // workers):
            invoke(calls[1], (i // depth, i % depth, p, x, v, i // depth * p.v_size, line, L))
    elif p.tiles_first:
        for o in range(channels * t // workers, channels * (t + 1) // workers):
            invoke(calls[0], (o, 0, p.Ci, p, w, u, t * p.u_size, line, L))
            for i in range(blocks):
                invoke(calls[2], (i, o, calls, p, v, i * p.v_size, u, t * p.u_size, sums[t], line, offs, bias, relu, L, y))
    elif step == 0:
        first, last = every * t // workers, every * (t + 1) // workers
        for o in range(first // p.Ci, (last + p.Ci - 1) // p.Ci):
            invoke(calls[0], (o, max(0, first - o * p.Ci), min(p.Ci, last - o * p.Ci), p, w, u, o * p.u_size, line, L))
    elif blocks * t // workers < blocks * (t + 1) // workers:
        u0 = p.own * t * channels * p.u_size
        for o in range(p.own * channels):
            invoke(calls[0], (o, 0, p.Ci, p, w, u, u0 + o * p.u_size, line, L))
        for i in range(blocks * t // workers, blocks * (t + 1) // workers):
            for b in range(depth):
                invoke(calls[1], (i, b, p, x, v, t * p.v_size, line, L))
            for o in range(channels):
                invoke(calls[2], (i, o, calls, p, v, t * p.v_size, u, u0 + o * p.u_size, sums[t], line, offs, bias, relu, L, y))


@njit(inner=True)
def weigh(o, first_in, last_in, p, w, u, to, line, L):
    """Block o of the weights, some input channels of it, to U: taps of L output channels are turned, then transformed."""
    g, block = divmod(o, p.channel_blocks)
    taps = p.k * p.k
    first, step = ((taps - 1) * L, -L) if p.flipped else (0, L)
    base = g * p.Ci * p.Co * taps
    for c in range(first_in, last_in):
        for r in range(p.R):
            o0 = (p.R * block + r) * L
            rows = min(L, p.Co - o0)
            if rows <= 0:  # it is multiplied, never stored; and what lies there by chance may be slow to multiply
                for f in range(p.side * p.side):
                    u_at = to + f * p.u_apart + (p.R * c + r) * L
                    u[u_at:u_at + L] = 0
                continue
            at = base + o0 * p.w_out + c * p.w_in
            for t in range(0, taps, L):
                load(w, at + t, p.w_out, rows, min(L, taps - t), line, t * L, L)
            weight_transform(p.size, line, first, step, u, to + (p.R * c + r) * L, p.u_apart)


@njit(inner=True)
def first_of(tile, m, d):
    """The first output of a tile, whose m outputs lie d apart: d tiles that begin side by side, then the next d."""
    return tile // d * m * d + tile % d


@njit(inner=True)
def spread(i, b, p, x, v, to, line, L):
    """Block i of the tiles, vector b of channels, to V: its lines are turned and padded, then transformed tile by tile.

    A tile has p.cells a side: n, that overlap (V), or m, side by side (Z).
    """
    m, pitch, lap = p.m, p.line, (p.cells - p.m) * p.dw
    up, along = (0, 0) if p.cells == m else (p.origin_h, p.origin_w)
    left, start = max(0, -along), max(0, along)
    right = min(p.W - start, p.across * m + lap - left)  # columns that are read
    g, c = divmod(b, p.depth)
    c0, rows = g * p.Ci + c * L, min(L, p.Ci - c * L)
    first, last = i * p.rows, min((i + 1) * p.rows, p.N * p.down)
    if rows <= 0:  # it is multiplied, never stored; and what lies there by chance may be slow to multiply
        for f in range(p.side * p.side):
            at = to + b * p.v_depth + f * p.v_apart
            v[at:at + (last - first) * p.across * L] = 0
        return
    for row in range(first, last):
        n, ti = divmod(row, p.down)
        for a in range(p.cells):
            h, at, used = first_of(ti, m, p.dh) + a * p.dh + up, a * pitch, 0
            if 0 <= h < p.H and right > 0:
                base = ((n * p.groups * p.Ci + c0) * p.H + h) * p.W + start
                for j in range(0, right, L):
                    load(x, base + j, p.H * p.W, rows, min(L, right - j), line, at + (left + j) * L, L)
                zeros(line, at, at + left * L)
                used = left + right
            zeros(line, at + used * L, at + (p.across * m + lap) * L)
        for j in range(p.across):
            at, f0 = first_of(j, m, p.dw) * L, to + b * p.v_depth + ((row - first) * p.across + j) * L
            if p.cells == m:
                gradient_transform(p.size, line, at, pitch, p.dw * L, v, f0, p.v_apart)
            else:
                data_transform(p.size, line, at, pitch, p.dw * L, v, f0, p.v_apart)


@njit(inner=True)
def zeros(line, first, last):
    """line[first:last] = 0; a slice, empty as it mostly is, would cost as much as a transform."""
    for i in range(first, last):
        line[np.uintp(i)] = 0


@njit(inner=True)
def load(x, at, step, rows, many, line, to, L):
    """`many` columns of `rows` rows of x to line[to + column*L + row]; columns beyond hold anything, absent rows the last."""
    if at + (rows - 1) * step + L <= x.size:
        turn(x, at, step, rows, line, to, L)
        return
    for r in range(L):
        for j in range(many):
            line[to + j * L + r] = x[at + min(r, rows - 1) * step + j]


@njit(inner=True)
def multiply(i, o, calls, p, v, v0, u, u0, sums, line, offs, bias, relu, L, y):
    """Block i of the tiles times block o of the weights: (tiles, Ci) x (Ci, R*L) at every frequency, then y.

    calls[3]: `finish`, or `add_up`.
    """
    first, last = i * p.rows, min((i + 1) * p.rows, p.N * p.down)
    tiles = (last - first) * p.across
    parts = (tiles + p.most - 1) // p.most  # each fills the registers
    start = v0 + o // p.channel_blocks * p.depth * p.v_depth
    for f in range(p.side * p.side):
        for part in range(parts):
            t0, t1 = tiles * part // parts, tiles * (part + 1) // parts
            product_tile(p.products + t1 - t0 - 1, v, start + f * p.v_apart + t0 * L, offs, p.Ci, u, u0 + f * p.u_apart,
                         L, p.R * L, sums, f * p.m_apart + t0 * p.R * L)
    invoke(calls[3], (first, last, o, p, sums, line, bias, relu, L, y))


@njit(inner=True)
def finish(first, last, o, p, sums, line, bias, relu, L, y):
    """The sums of rows first to last of the tiles to y, with bias and relu."""
    g, block = divmod(o, p.channel_blocks)
    for r in range(p.R):
        o0 = (p.R * block + r) * L
        valid = min(L, p.Co - o0)
        if valid <= 0:
            break
        for row in range(first, last):
            n, ti = divmod(row, p.down)
            for j in range(p.across):
                s0 = (((row - first) * p.across + j) * p.R + r) * L
                left = first_of(j, p.m, p.dw)
                result_transform(p.size, sums, s0, p.m_apart, bias, (o * p.R + r) * L, relu, line, left * L,
                                 p.OW * L, p.dw * L, (p.OW - left + p.dw - 1) // p.dw)
            top, plane = first_of(ti, p.m, p.dh), n * p.groups * p.Co + g * p.Co + o0
            together = min(p.m, p.OH - top) if p.dh == 1 else 1  # rows that are neighbours in y
            for a in range(0, p.m, together):
                if top + a * p.dh < p.OH:
                    store(line[a * p.OW * L:], together * p.OW, valid, y, (plane * p.OH + top + a * p.dh) * p.OW, p.OH * p.OW,
                          (p.m - a) * p.OW * L, L)


@njit(inner=True)
def add_up(first, last, o, p, sums, line, bias, relu, L, x):
    """The sums of whole images, rows first to last of the tiles, to x, with bias and relu: their tiles of n cells overlap.

    A row of tiles is added to n lines; the upper m are then done, the others move up and wait for the next row.
    """
    g, block = divmod(o, p.channel_blocks)
    wide, lap, left = p.across * p.m + p.k - 1, p.k - 1, -p.origin_w
    for r in range(p.R):
        o0 = (p.R * block + r) * L
        valid = min(L, p.Co - o0)
        if valid <= 0:
            break
        for row in range(first, last):
            n, ti = divmod(row, p.down)
            fresh = lap if ti else 0  # lines that hold nothing yet
            for j in range(fresh * wide, p.side * wide):
                copy(bias, (o * p.R + r) * L, line, j * L, L)
            for j in range(p.across):
                s0 = (((row - first) * p.across + j) * p.R + r) * L
                add_transform(p.size, sums, s0, p.m_apart, line, j * p.m * L, wide * L, L)
            done, top = p.side if ti == p.down - 1 else p.m, ti * p.m + p.origin_h
            if relu:
                for j in range(done * wide * L):
                    number = line[np.uintp(j)]
                    line[np.uintp(j)] = 0 if number < 0 else number
            start, stop, plane = max(0, -top), min(done, p.OH - top), n * p.groups * p.Co + g * p.Co + o0
            together = stop - start if left == 0 and wide == p.OW else 1  # lines that are neighbours in x, too
            for a in range(start, stop, max(1, together)):
                at = (a * wide + left) * L
                store(line[at:], together * p.OW, valid, x, (plane * p.OH + top + a) * p.OW, p.OH * p.OW,
                      p.side * wide * L - at, L)
            copy(line, p.m * wide * L, line, 0, lap * wide * L)


@njit(inner=True)
def store(line, many, valid, y, to, step, turned, L):
    """`many` neighbours of `valid` channels from line to y[to + channel*step : + many]; line has room for more at `turned`."""
    for j in range(0, many, L):
        if many >= L:
            j = min(j, many - L)
        if valid == L and many >= L:
            turn(line, j * L, L, L, y, to + j, step)
            continue
        turn(line, j * L, L, min(L, many - j), line, turned, L)
        for c in range(valid):
            copy(line, turned + c * L, y, to + c * step + j, min(L, many - j))

"""The compiled drivers of simd.py: they pack, then walk the tasks of a plan and hand each to its tile.

Every thread takes whole tasks, and what a task computes does not depend on who takes it, so results are the same bit for
bit for any number of threads. Neighbouring groups may overlap (simd_plan.py): the same sum is then written twice.
"""

from __future__ import annotations

from numba import prange

from ..jit import njit
from ..tile import CHANNEL_TILES, ROW_TILES, channel_tile, row_tile, tap_tile, turn

BASES = 16  # a task's own table holds twice this: more than the groups of any tile
SUMS = 1024  # a task's own memory: more than the sums of any tile
CHANNEL = len(ROW_TILES)
ROW_R = tuple(r for r, _ in ROW_TILES)
CHANNEL_R, CHANNEL_P, CHANNEL_G = (tuple(c) for c in zip(*CHANNEL_TILES))


@njit(parallel=True)
def correlate(x, src, pads, w, bias, packed, packs, taps, offs, table, tasks, strides, relu, L, bases, sums, turned, dst):
    """dst = the sum of simd_plan.py: copy x into src with padding, pack w and the bias, run the tasks."""
    blocks = packs.shape[0]
    for i in prange(pads[0] + blocks):
        j = int(i)
        if j < blocks:
            pack_weights(w, bias, packed, packs[j], taps, L, turned[j])
        else:
            pad_plane(x, src, pads, j - blocks)
    for i in prange(tasks.shape[0]):
        j = int(i)
        if tasks[j, 0] < CHANNEL:
            run_rows(src, packed, offs, table, tasks[j], strides, relu, L, bases[j], sums[j], dst)
        else:
            run_channels(src, packed, offs, table, tasks[j], strides, relu, L, bases[j], sums[j], dst)


@njit
def pad_plane(x, src, pads, i):
    """Plane i of x into src with its zeros around it; column j of the padded width goes to (j % m, j // m)."""
    D, H, W, Dp, Hp, m, row = pads[1], pads[2], pads[3], pads[4], pads[5], pads[6], pads[7]
    d0, h0, w0 = pads[8], pads[9], pads[10]
    pitch = m * row
    end = (i + 1) * Dp * Hp * pitch
    src[i * Dp * Hp * pitch:end] = 0
    if i + 1 == pads[0]:
        src[end:] = 0  # tiles may read, and drop, a little past the last plane
    for d in range(D):
        for h in range(H):
            a = ((i * D + d) * H + h) * W
            b = ((i * Dp + d + d0) * Hp + h + h0) * pitch
            if m == 1:
                src[b + w0:b + w0 + W] = x[a:a + W]
            else:
                for f in range(m):
                    first = -(-max(w0 - f, 0) // m)  # the first column of phase f that is not padding
                    for j in range(first, (W + w0 - f + m - 1) // m):
                        src[b + f * row + j] = x[a + j * m + f - w0]


@njit
def pack_weights(w, bias, packed, pack, taps, L, block):
    """One block of weights as (T, width), channels innermost, and the bias as row T; absent channels are zeros.

    w is read as `outer` matrices (channels, columns), of which the listed columns are wanted.
    """
    base, step, valid, width, to, T, first = pack[0], pack[1], pack[2], pack[3], pack[4], pack[5], pack[6]
    outer, apart, columns = pack[8], pack[9], pack[10]
    wanted = T // outer
    for o in range(0, width, L):
        whole = width % L == 0 and o + L <= valid
        for c in range(outer):
            t, up = 0, taps[first] <= taps[first + wanted - 1]
            for k in range(0, columns, L):
                at, n = base + o * step + c * apart + k, min(L, columns - k)
                if whole and at + (L - 1) * step + L <= w.size:
                    turn(w, at, step, block, 0, L)
                else:
                    for i in range(min(L, width - o)):
                        for j in range(n):
                            block[j * L + i] = w[at + i * step + j] if o + i < valid else 0
                while t < wanted:
                    tap = t if up else wanted - 1 - t
                    row, j = to + (c * wanted + tap) * width + o, (taps[first + tap] - k) * L
                    if j >= n * L:
                        break
                    for i in range(min(L, width - o)):
                        packed[row + i] = block[j + i]
                    t += 1
    for o in range(width):
        packed[to + T * width + o] = bias[pack[7] + o] if o < valid and bias.size > 0 else 0


@njit
def run_rows(src, packed, offs, table, task, strides, relu, L, bases, sums, dst):
    """A task of row tiles: whole vectors go straight to dst, cut or strided ones through the task's memory."""
    size, T, o0, w0, lo, hi, per, g0 = task[0], task[1], task[2], task[3], task[4], task[5], task[6], task[7]
    to, valid, origin, step, direct = task[8], task[9], task[10], task[11], task[12]
    R = ROW_R[size]
    at = bases[BASES:]
    for first in range(lo, hi, R):
        for r in range(R):
            n, g = divmod(min(first + r, hi - 1), per)
            bases[r] = n * strides[0] + origin + table[g0 + g, 0]
            at[r] = n * strides[1] + to + table[g0 + g, 1] if direct else r * L
        if direct:
            row_tile(size, src, bases, offs, o0, T, packed, w0, dst, at, strides[2], relu)
            continue
        row_tile(size, src, bases, offs, o0, T, packed, w0, sums, at, R * L, relu)
        for r in range(min(R, hi - first)):
            n, g = divmod(first + r, per)
            for k in range(valid):
                y = n * strides[1] + to + table[g0 + g, 1] + k * strides[2]
                for j in range(table[g0 + g, 2]):
                    dst[y + j * step] = sums[(k * R + r) * L + j]


@njit
def run_channels(src, packed, offs, table, task, strides, relu, L, bases, sums, dst):
    """A task of channel tiles: groups of neighbours go straight to dst, strided ones through the task's memory."""
    size, T, o0, w0, lo, hi, per, g0 = task[0], task[1], task[2], task[3], task[4], task[5], task[6], task[7]
    to, valid, origin, step = task[8], task[9], task[10], task[11]
    size -= CHANNEL
    P, G = CHANNEL_P[size], CHANNEL_G[size]
    at = bases[BASES:]
    for first in range(lo, hi, P):
        for p in range(P):
            n, g = divmod(min(first + p, hi - 1), per)
            bases[p] = n * strides[0] + origin + table[g0 + g, 0]
            at[p] = n * strides[1] + to + table[g0 + g, 1] if step == 1 else p * G
        if step == 1:
            channel_tile(size, src, bases, offs, o0, T, packed, w0, dst, at, strides[2], valid, relu)
            continue
        channel_tile(size, src, bases, offs, o0, T, packed, w0, sums, at, P * G, valid, relu)
        for p in range(min(P, hi - first)):
            n, g = divmod(first + p, per)
            for o in range(valid):
                y = n * strides[1] + to + table[g0 + g, 1] + o * strides[2]
                for j in range(G):
                    dst[y + j * step] = sums[(o * P + p) * G + j]


@njit(parallel=True)
def correlate_weights(N, x, src, pads, y, packed, packs, offs, table, tasks, chunks, gathers, slices, strides, L, bases,
                      sums, w):
    """w = the sum of simd_plan.weight_grad_plan: pad x, pack y, run the tasks, add up their slices in order."""
    blocks = packs.shape[0]
    for i in prange(pads[0] + blocks * N):
        j = int(i)
        if j < blocks * N:
            pack_image(y, packed, packs[j // N], strides, j % N, L)
        else:
            pad_plane(x, src, pads, j - blocks * N)
    for i in prange(tasks.shape[0]):
        j = int(i)
        run_taps(src, packed, offs, table, tasks[j], chunks, strides, L, bases[j], sums)
    for i in prange(blocks):
        j = int(i)
        gather_weights(sums, gathers[j], table, slices, strides, w)


@njit
def pack_image(y, packed, pack, strides, n, L):
    """A block of channels of image n as (positions, width), channels innermost; absent channels are zeros."""
    start, valid, width, positions = pack[0] + n * strides[1], pack[1], pack[2], strides[2]
    to = pack[3] + n * positions * width
    for o in range(0, width, L):
        p0 = 0
        if o + L <= valid:
            while p0 + L <= positions:
                turn(y, start + o * positions + p0, positions, packed, to + p0 * width + o, width)
                p0 += L
        for i in range(o, o + L):
            for p in range(p0, positions):
                packed[to + p * width + i] = y[start + i * positions + p] if i < valid else 0


@njit
def run_taps(src, packed, offs, table, task, chunks, strides, L, bases, sums):
    """A task of weight sums, which stay in `sums` between the chunks of positions."""
    size, y0, lo, hi, origin, to = task[0], task[1], task[2], task[3], task[4], task[5]
    P, G, width = CHANNEL_P[size], CHANNEL_G[size], CHANNEL_R[size] * L
    sums[to:to + (hi - lo) * G * width] = 0
    for c in range(task[6], task[7]):
        n, o0, T = chunks[c, 0], chunks[c, 1], chunks[c, 2]
        w0 = y0 + (n * strides[2] + o0) * width
        for first in range(lo, hi, P):
            for p in range(P):
                bases[p] = n * strides[0] + origin + table[min(first + p, table.shape[0] - 1), 0]
            here = to + (first - lo) * G * width
            tap_tile(size, src, bases, offs, o0, T, packed, w0, sums, here)


@njit
def gather_weights(sums, block, table, slices, strides, w):
    """The sums of a block, (slices, taps, channels), to w (channels, taps)."""
    start, o0, valid, width = block[0], block[1], block[2], block[3]
    G = table[0, 2]
    apart = strides[4] * width
    for g in range(table.shape[0]):
        for j in range(G):
            for o in range(valid):
                v = sums[start + (g * G + j) * width + o]
                for i in range(1, slices):
                    v += sums[start + i * apart + (g * G + j) * width + o]
                w[(o0 + o) * strides[3] + table[g, 1] + j] = v

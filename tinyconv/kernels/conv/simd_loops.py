"""The compiled drivers of simd.py: they pack, then walk the tasks of a plan and hand each to its tile.

Every thread takes whole tasks, and what a task computes does not depend on who takes it, so results are the same bit for
bit for any number of threads. Neighbouring groups may overlap (simd_plan.py): the same sum is then written twice.
"""

from __future__ import annotations

from numba import prange

from ..jit import njit
from ..tile import CHANNEL_TILES, ROW_TILES, channel_tile, row_tile, turn

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
            run_channels(src, packed, offs, table, tasks[j], strides, relu, bases[j], sums[j], dst)


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
    """One block of weights as (T, width), channels innermost, and the bias as row T; absent channels hold anything.

    w is read as `outer` matrices (channels, columns), of which the listed columns are wanted.
    """
    base, step, valid, width, to, T, first = pack[0], pack[1], pack[2], pack[3], pack[4], pack[5], pack[6]
    outer, apart, columns = pack[8], pack[9], pack[10]
    wanted = T // outer
    for o in range(0, width, L):
        rows = min(L, valid - o)
        for c in range(outer):
            t, up = 0, taps[first] <= taps[first + wanted - 1]
            for k in range(0, columns, L):
                at, n = base + o * step + c * apart + k, min(L, columns - k)
                if width >= L and at + (rows - 1) * step + L <= w.size:
                    turn(w, at, step, rows, block, 0, L)
                else:
                    for i in range(rows):
                        for j in range(n):
                            block[j * L + i] = w[at + i * step + j]
                while t < wanted:
                    tap = t if up else wanted - 1 - t
                    row, j = to + (c * wanted + tap) * width + o, (taps[first + tap] - k) * L
                    if j >= n * L:
                        break
                    for i in range(min(L, width)):
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
def run_channels(src, packed, offs, table, task, strides, relu, bases, sums, dst):
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

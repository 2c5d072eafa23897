"""The compiled drivers of simd.py: they pack, then walk the tasks of a plan and hand each to its tile.

Every thread takes whole tasks, and what a task computes does not depend on who takes it, so results are the same bit for
bit for any number of threads. Neighbouring groups may overlap (simd_plan.py): the same sum is then written twice.
"""

from __future__ import annotations

from ..invoke import each, invoke
from ..jit import njit
from ..tile import CHANNEL_TILES, ROW_TILES, channel_tile, copy, row_tile, split, turn

ABREAST = 8  # planes padded together, row by row
WEIGHTS, SOURCE, RUN = 0, 1, 2  # places in a table of addresses
FEW = 2048  # weights, which are packed sooner than threads have begun
BASES = 16  # a task's own table holds twice this: more than the groups of any tile
CHANNEL = len(ROW_TILES)
IMAGES = CHANNEL + len(CHANNEL_TILES)
ROW_R, ROW_K = (tuple(c) for c in zip(*ROW_TILES))
CHANNEL_R, CHANNEL_P, CHANNEL_G = (tuple(c) for c in zip(*CHANNEL_TILES))


@njit
def correlate(calls, x, src, pads, w, bias, packed, packs, taps, offs, order, table, tasks, strides, relu, L, bases, sums,
              turned, dst):
    """dst = the sum of simd_plan.py: the weights and the source are packed, then the tasks run.

    calls: the addresses of pack_weights, of what packs the source, and for each kind of tile of what runs a task.
    """
    pack_all(packs.shape[0] + pads[0], calls, x, src, pads, w, bias, packed, packs, taps, strides, L, turned)
    each(tasks.shape[0], run_task, (calls, src, packed, offs, order, table, tasks, strides, relu, L, bases, sums, dst))


@njit
def correlate_units(calls, x, src, pads, w, bias, packed, packs, taps, offs, order, table, tasks, units, strides, relu, L,
                    bases, sums, turned, dst):
    """The same where the thread that reads a plane, or a band of rows, pads it, in a slot of its own: it is in its cache."""
    pack_all(packs.shape[0], calls, x, src, pads, w, bias, packed, packs, taps, strides, L, turned)
    each(bases.shape[0], run_units, (calls, x, src, pads, packed, offs, order, table, tasks, units, strides, relu, L, bases,
                                     sums, dst))


@njit(inner=True)
def run_task(j, calls, src, packed, offs, order, table, tasks, strides, relu, L, bases, sums, dst):
    kind = (tasks[j, 0] >= CHANNEL) + (tasks[j, 0] >= IMAGES)
    invoke(calls[RUN + kind], (j, src, packed, offs, order, table, tasks, strides, relu, L, bases[j], sums[j], dst))


@njit(inner=True)
def run_units(k, calls, x, src, pads, packed, offs, order, table, tasks, units, strides, relu, L, bases, sums, dst):
    slot, workers = strides[5], bases.shape[0]
    mine = src[k * slot:(k + 1) * slot]
    mine[strides[6]:] = 0  # tiles may read, and drop, a little past the last plane
    for u in range(units.shape[0] * k // workers, units.shape[0] * (k + 1) // workers):
        first, end = units[u, 0], units[u, 0] + units[u, 1]
        for plane in range(first, end, ABREAST):
            invoke(calls[SOURCE], (x, mine, pads, L, plane, min(ABREAST, end - plane), units[u, 2]))
        for j in range(units[u, 3], units[u, 4]):
            kind = (tasks[j, 0] >= CHANNEL) + (tasks[j, 0] >= IMAGES)
            invoke(calls[RUN + kind], (j, mine, packed, offs, order, table, tasks, strides, relu, L, bases[k], sums[k], dst))


@njit(inner=True)
def pack_all(count, calls, x, src, pads, w, bias, packed, packs, taps, strides, L, turned):
    """All threads pack; a few weights alone, one."""
    if count == packs.shape[0] and w.size <= FEW:
        for i in range(count):
            pack_item(i, calls, x, src, pads, w, bias, packed, packs, taps, strides, L, turned)
    else:
        each(count, pack_item, (calls, x, src, pads, w, bias, packed, packs, taps, strides, L, turned))


@njit(inner=True)
def pack_item(i, calls, x, src, pads, w, bias, packed, packs, taps, strides, L, turned):
    """A block of weights, or of the source a plane with zeros around it or a plane of L images side by side."""
    plane = i - packs.shape[0]
    if plane < 0:
        invoke(calls[WEIGHTS], (w, bias, packed, packs[i], taps, L, turned[i]))
    elif pads[6] > 0:
        invoke(calls[SOURCE], (x, src, pads, L, plane, 1, 0))
    else:
        block, c = divmod(plane, strides[4])
        invoke(calls[SOURCE], (x, (block * L * strides[4] + c) * pads[3], strides[4] * pads[3], min(L, strides[3] - block * L),
                               pads[3], src, plane * pads[7] * L, L))


@njit(inner=True)
def pack_images(x, start, apart, rows, positions, dst, to, L):
    """A plane of `rows` images as (positions, L images); absent images hold anything."""
    for p in range(0, positions, L):
        if positions >= L:
            p = min(p, positions - L)
            turn(x, start + p, apart, rows, dst, to + p * L, L)
        else:
            for n in range(L):
                for j in range(positions):
                    dst[to + j * L + n] = x[start + min(n, rows - 1) * apart + j]


@njit(inner=True)
def pad_planes(x, src, pads, L, i, some, row):
    """Planes i, i + 1, ... of x into src with zeros around them, from padded row `row` on; column j of the padded width goes to
    (j % m, j // m). Row by row, so that the rows of several channels, where they lie side by side, fill whole lines."""
    D, H, W, Dp, Hp, m, width = pads[1], pads[2], pads[3], pads[4], pads[5], pads[6], pads[7]
    d0, h0, w0 = pads[8], pads[9], pads[10]
    n, c = divmod(i, pads[11])
    start, plane, depth, step, pitch = n * pads[12] + c * pads[13], pads[13], pads[14], pads[15], m * width
    if i + some == pads[0] and pads[12] > 0:
        src[pads[0] // pads[11] * pads[12]:] = 0  # tiles may read, and drop, a little past the last plane
    for d in range(Dp):
        for q in range(Hp):
            h = row + q
            for f in range(some):
                b = start + f * plane + d * depth + q * step
                a = (((i + f) * D + d - d0) * H + h - h0) * W
                if d < d0 or d >= d0 + D or h < h0 or h >= h0 + H:
                    src[b:b + pitch] = 0
                    continue
                if m == 1:
                    for j in range(b, b + w0):
                        src[j] = 0
                    for j in range(b + w0 + W, b + width):
                        src[j] = 0
                    copy(x, a, src, b + w0, W)
                    continue
                src[b:b + pitch] = 0
                if m == 2 or m == 4:
                    for j in range(0, W, m * L):
                        split(m, x, a + j, min(W - j, m * L), src, b + j // m, width, w0)
                else:
                    split_row(x, a, W, src, b, m, width, w0)


@njit(inner=True)
def split_row(x, a, W, src, b, m, row, w0):
    """A row of x by columns (j + w0) % m, for any m."""
    for f in range(m):
        first = (f - w0) % m
        to = b + f * row + (first + w0) // m
        for j in range(a + first, a + W, m):
            src[to] = x[j]
            to += 1


@njit(inner=True)
def pack_weights(w, bias, packed, pack, taps, L, block):
    """One block of weights as (T, width), channels innermost, and the bias as row T. Absent channels hold zeros or
    copies: leftovers would do as well, were not some of them denormal numbers, which cost a hundred times a number.

    w is read as `outer` matrices (channels, columns), of which the listed columns are wanted, turned L by L.
    """
    base, step, valid, width, to, T, first = pack[0], pack[1], pack[2], pack[3], pack[4], pack[5], pack[6]
    outer, apart, columns = pack[8], pack[9], pack[10]
    wanted = T // outer
    up = taps[first] <= taps[first + wanted - 1]
    for o in range(0, width, L):
        rows = min(L, valid - o)
        for c in range(outer):
            t = 0
            for k in range(0, columns, L):
                at, n = base + o * step + c * apart + k, min(L, columns - k)
                room = o + L <= width and at + (rows - 1) * step + L <= w.size
                if room and n == L and wanted == columns and up:
                    turn(w, at, step, rows, packed, to + (c * wanted + k) * width + o, width)
                    t += L
                    continue
                if room:
                    turn(w, at, step, rows, block, 0, L)
                else:
                    for j in range(n):
                        for i in range(L):
                            block[j * L + i] = w[at + i * step + j] if i < rows else 0
                while t < wanted:
                    tap = t if up else wanted - 1 - t
                    j = taps[first + tap] - k
                    if j >= n:
                        break
                    copy(block, j * L, packed, to + (c * wanted + tap) * width + o, min(L, width - o))
                    t += 1
    for o in range(width):
        packed[to + T * width + o] = bias[pack[7] + o] if o < valid and bias.size > 0 else 0


@njit(inner=True)
def run_rows(i, src, packed, offs, order, table, tasks, strides, relu, L, bases, sums, dst):
    """A task of row tiles: whole vectors go straight to dst, cut or strided ones through the task's memory."""
    task = tasks[i]
    size, T, o0, w0, lo, hi, per, g0 = task[0], task[1], task[2], task[3], task[4], task[5], task[6], task[7]
    to, valid, origin, step, direct = task[8], task[9], task[10], task[11], task[12]
    R = ROW_R[size]
    at = bases[BASES:]
    for first in range(lo, hi, R):
        n, g = divmod(first, per)
        for r in range(R):
            bases[r] = n * strides[0] + origin + table[g0 + g, 0]
            at[r] = n * strides[1] + to + table[g0 + g, 1] if direct else r * L
            if first + r + 1 < hi:  # the next, or what is left over does the last again
                n, g = (n, g + 1) if g + 1 < per else (n + 1, 0)
        if direct:
            row_tile(size, src, bases, offs, order, o0, T, packed, w0, w0 + T * ROW_K[size], dst, at, strides[2], relu)
            continue
        row_tile(size, src, bases, offs, order, o0, T, packed, w0, w0 + T * ROW_K[size], sums, at, R * L, relu)
        for r in range(min(R, hi - first)):
            n, g = divmod(first + r, per)
            for k in range(valid):
                y = n * strides[1] + to + table[g0 + g, 1] + k * strides[2]
                for j in range(table[g0 + g, 2]):
                    dst[y + j * step] = sums[(k * R + r) * L + j]


@njit(inner=True)
def run_channels(i, src, packed, offs, order, table, tasks, strides, relu, L, bases, sums, dst):
    """A task of channel tiles: groups of neighbours go straight to dst, strided ones through the task's memory."""
    task = tasks[i]
    size, T, o0, w0, lo, hi, per, g0 = task[0], task[1], task[2], task[3], task[4], task[5], task[6], task[7]
    to, valid, origin, step = task[8], task[9], task[10], task[11]
    size -= CHANNEL
    P, G = CHANNEL_P[size], CHANNEL_G[size]
    at = bases[BASES:]
    for first in range(lo, hi, P):
        n, g = divmod(first, per)
        for p in range(P):
            bases[p] = n * strides[0] + origin + table[g0 + g, 0]
            at[p] = n * strides[1] + to + table[g0 + g, 1] if step == 1 else p * G
            if first + p + 1 < hi:
                n, g = (n, g + 1) if g + 1 < per else (n + 1, 0)
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


@njit(inner=True)
def run_images(i, src, packed, offs, order, table, tasks, strides, relu, L, bases, sums, dst):
    """A task of row tiles with images in their lanes: L positions at a time are summed, then turned over to dst."""
    task = tasks[i]
    size, T, w0, block, to, valid, origin = task[0] - IMAGES, task[1], task[3], task[4], task[8], task[9], task[10]
    R, K = ROW_R[size], ROW_K[size]
    at, turned, last = bases[BASES:], sums[R * K * L * L:], (strides[3] - 1) // L
    for p0 in range(task[2], task[5], L):
        many = min(L, task[5] - p0)
        for j in range(many):
            for r in range(R):
                bases[r] = min(block + r, last) * strides[0] + origin + table[p0 + j, 0]
                at[r] = (r * K * L + j) * L
            o0, many_taps = table[p0 + j, 1], table[p0 + j, 2]
            row_tile(size, src, bases, offs, order, o0, many_taps, packed, w0, w0 + T * K, sums, at, L * L, relu)
        for r in range(min(R, last + 1 - block)):
            n0 = (block + r) * L
            for k in range(valid):
                turn(sums, (r * K + k) * L * L, L, many, turned, 0, L)
                for n in range(min(L, strides[3] - n0)):
                    copy(turned, n * L, dst, (n0 + n) * strides[1] + to + k * strides[2] + p0, many)

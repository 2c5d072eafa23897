"""The kernel under cuda_tiled.py's weight gradient: the product that sums over samples and positions.

    w[o, j] = sum over m  x[m, j] * y[m, o]          m = (sample, position), j = (channel, tap), o an output channel

It is as long as the batch has positions and often small, so the sum is cut into parts, for as many blocks as a GPU holds.
Every part is written down, and a second launch adds the parts in their order: no atomics, the same bits in every run.
The loop is that of cuda_tiled_loops.py. Along m lies what is next to each other in memory, so a thread fetches one position
of several channels, and walks the positions by a table of where each lies in x.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from .. import gpu
from ..gpu import cuda, int32, uint32
from .cuda_plan import BIAS, LOW, TAP, WHERE
from .cuda_tiled_loops import PAD, Tile, lanes, multiply


@cache
def correlate_weights(tile: Tile, checked: int, dtype: str) -> gpu.Function:
    """The kernel for this tile, BM of j by BN of o; `checked` of the last dimensions are tested against the edges of x."""
    real = gpu.real(dtype)
    BM, BN, BK, TM, TN, V = tile
    TX, TY, VN = BM // TM, BN // TN, min(4, TN)
    THREADS = TX * TY
    COLS = THREADS // BK  # channels that all threads fetch at once
    FETCH_X, FETCH_Y = BM // COLS, BN // COLS
    WIDE_X, WIDE_Y, CELLS = BM + PAD, BN + PAD, TM * TN
    SLICE_X, SLICE_Y = BK * WIDE_X, BK * WIDE_Y
    SHARED_X, SHARED_Y = 2 * SLICE_X, 2 * SLICE_Y
    LX, LY = lanes(tile)
    add_products = multiply(tile, WIDE_X, WIDE_Y)
    fits = dtype == "float32" and (THREADS, checked) in {(256, 0), (256, 2), (128, 0), (128, 2), (128, 3)}
    BLOCKS = {256: 2, 128: 3}[THREADS] if fits else 1  # fewer registers a thread, more threads to wait in turns

    @gpu.jit(threads=THREADS, blocks=BLOCKS)
    def kernel(out, x, y, where, taps, g, parts, span):
        slices_x = cuda.shared.array(SHARED_X, real, alignment=16)
        slices_y = cuda.shared.array(SHARED_Y, real, alignment=16)
        acc = cuda.local.array(CELLS, real)
        next_x = cuda.local.array(FETCH_X, real)
        next_y = cuda.local.array(FETCH_Y, real)
        at_x = cuda.local.array(TM, real)
        at_y = cuda.local.array(TN, real)
        offs = cuda.local.array(FETCH_X, int32)
        shifts = cuda.local.array(FETCH_X, int32)
        t0 = cuda.local.array(FETCH_X, int32)
        rows_y = cuda.local.array(FETCH_Y, int32)
        t = uint32(cuda.threadIdx.x)
        tx = uint32(t % uint32(LX) + t // uint32(LX * LY) % uint32(TX // LX) * uint32(LX))
        ty = uint32(t // uint32(LX) % uint32(LY) + t // uint32(TX * LY) * uint32(LY))
        group, part = int32(int32(cuda.blockIdx.z) // parts), int32(int32(cuda.blockIdx.z) % parts)
        K, channels, P = int32(g[16]), int32(g[3]), int32(g[7] * g[8] * g[9])
        A0, A1, A2 = uint32(g[4]), uint32(g[5]), uint32(g[6])
        start = int32(part * span)
        M = int32(g[0] * P)
        stop = int32(M if part == parts - 1 else start + span)
        j0, o0 = int32(int32(cuda.blockIdx.x) * int32(BM)), int32(int32(cuda.blockIdx.y) * int32(BN))

        # what this thread fetches: position `start + km` of every slice, of x's rows jx, jx + COLS, ... and y's oy, oy + COLS
        # behind the last row it fetches that one again, for sums that nobody stores
        km, own = int32(t % uint32(BK)), int32(t // uint32(BK))
        jx, oy = int32(j0 + own), int32(o0 + own)
        for i in range(uint32(FETCH_X)):
            r = int32(min(jx + int32(i) * int32(COLS), K - 1) * int32(TAP))
            offs[i], shifts[i], t0[i] = taps[r], taps[r + 1], taps[r + 2]
        n = int32((start + km) // P)
        p = int32(start + km - n * P)
        sample_x, sample_y = int32(g[1] * g[2] * g[4] * g[5] * g[6]), int32(g[1] * channels * P)
        base_x = int32(n * sample_x + group * g[2] * g[4] * g[5] * g[6])
        base_y = int32(n * sample_y)
        for i in range(uint32(FETCH_Y)):
            rows_y[i] = int32((group * channels + min(int32(oy + int32(i) * int32(COLS)), int32(channels - 1))) * P)

        for e in range(uint32(CELLS)):
            acc[e] = real(0)
        for m0 in range(int32(start - int32(BK)), stop, int32(BK)):  # the first round only fetches
            ahead = int32(m0 + int32(BK))
            half = uint32(uint32((ahead - start) // int32(BK)) % uint32(2))  # of shared memory, that the slice ahead goes to
            if ahead < stop:
                live = int32(ahead + km) < stop
                while p >= P:
                    p = int32(p - P)
                    base_x, base_y = int32(base_x + sample_x), int32(base_y + sample_y)
                r = int32(p * int32(WHERE))
                at, i0, i1, i2 = int32(base_x + where[r]), where[r + 1], where[r + 2], int32(where[r + 3] - BIAS)
                for i in range(uint32(FETCH_X)):
                    ok = live
                    if checked:
                        ok = live & (uint32(i1 + (shifts[i] >> int32(16))) < A1) & (uint32(i2 + (shifts[i] & int32(LOW))) < A2)
                    if checked == 3:
                        ok = ok & (uint32(i0 + t0[i]) < A0)
                    next_x[i] = x[int32(at + offs[i])] if ok else real(0)
                for i in range(uint32(FETCH_Y)):
                    next_y[i] = y[int32(base_y + p + rows_y[i])] if live else real(0)
                p = int32(p + int32(BK))
            if m0 >= start:
                other = uint32(1) - half
                add_products(acc, at_x, at_y, slices_x, slices_y, other * uint32(SLICE_X), other * uint32(SLICE_Y), tx, ty)
            if ahead < stop:
                column = t // uint32(BK)
                for i in range(uint32(FETCH_X)):
                    slices_x[half * uint32(SLICE_X) + t % uint32(BK) * uint32(WIDE_X) + column + i * uint32(COLS)] = next_x[i]
                for i in range(uint32(FETCH_Y)):
                    slices_y[half * uint32(SLICE_Y) + t % uint32(BK) * uint32(WIDE_Y) + column + i * uint32(COLS)] = next_y[i]
            cuda.syncthreads()

        size = int32(channels * K)
        base = int32((part * g[1] + group) * size)
        for e in range(uint32(CELLS)):
            i, j = e // uint32(TN), e % uint32(TN)
            jj = int32(j0 + int32(i // uint32(V) * uint32(TX * V) + tx * uint32(V) + i % uint32(V)))
            o = int32(o0 + int32(j // uint32(VN) * uint32(TY * VN) + ty * uint32(VN) + j % uint32(VN)))
            if (jj < K) & (o < channels):
                out[int32(base + o * K + jj)] = acc[e]

    return kernel


def sum_parts(each: Any) -> Any:
    """each (parts, ...) added up, first part to last."""
    if len(each) == 1:
        return each[0]
    out, block = gpu.xp().empty(each.shape[1:], each.dtype), gpu.threads(256)
    gpu.launch(_add(each.dtype.name), gpu.cells(out.size, block), block, out, each, out.size, len(each))
    return out


@cache
def _add(dtype: str) -> gpu.Function:
    """out[i] = the sum of `parts` numbers, `size` apart, first to last."""
    real = gpu.real(dtype)

    @gpu.jit
    def kernel(out, each, size, parts):
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i < size:
            total = real(0)
            for part in range(parts):
                total += each[int32(int32(part) * size + i)]
            out[i] = total

    return kernel

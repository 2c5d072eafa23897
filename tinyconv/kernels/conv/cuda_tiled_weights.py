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
from .cuda_plan import PLACE, TERM
from .cuda_tiled_loops import PAD, Tile, blocks, gather, lanes, multiplications, store


@cache
def correlate_weights(tile: Tile, words: int, dtype: str) -> gpu.Function:
    """The kernel for this tile, BM of j by BN of o, and for so many words of bits in its tables."""
    real = gpu.real(dtype)
    BM, BN, BK, TM, TN, V = tile
    TX, TY, VN = BM // TM, BN // TN, min(4, TN)
    THREADS = TX * TY
    COLS = THREADS // BK  # channels that all threads fetch at once
    FETCH_X, FETCH_Y = BM // COLS, BN // COLS
    WIDE_X, WIDE_Y, CELLS = BM + PAD, BN + PAD, TM * TN
    SLICE_X = BK * WIDE_X
    SLICE = SLICE_X + BK * WIDE_Y  # x's, then y's
    SHARED, BITS = 2 * SLICE, FETCH_X * words
    WIDE_PLACE, WIDE_TERM = PLACE + words, TERM + words
    LX, LY = lanes(tile)
    first_term, other_terms = multiplications(tile, WIDE_X, WIDE_Y)
    fetch_x, put = gather(FETCH_X, words, dtype), store(FETCH_X, COLS, FETCH_Y, COLS)
    BLOCKS = blocks(tile, words, dtype)

    @gpu.helper
    def fetch_y(next_y, y, base, rows_y, live):
        for i in range(uint32(FETCH_Y)):
            next_y[i] = y[int32(base + rows_y[i])] if live else real(0)

    @gpu.jit(threads=THREADS, blocks=BLOCKS)
    def kernel(out, x, y, places, terms, g, K, parts, span):
        shared = cuda.shared.array(SHARED, real, alignment=16)
        acc = cuda.local.array(CELLS, real)
        next_x = cuda.local.array(FETCH_X, real)
        next_y = cuda.local.array(FETCH_Y, real)
        at_x = cuda.local.array(TM, real)
        at_y = cuda.local.array(TN, real)
        offs = cuda.local.array(FETCH_X, int32)
        bits = cuda.local.array(BITS, int32)
        beyond = cuda.local.array(words, int32)
        rows_y = cuda.local.array(FETCH_Y, int32)
        t = uint32(cuda.threadIdx.x)
        tx = uint32(t % uint32(LX) + t // uint32(LX * LY) % uint32(TX // LX) * uint32(LX))
        ty = uint32(t // uint32(LX) % uint32(LY) + t // uint32(TX * LY) * uint32(LY))
        group, part = int32(int32(cuda.blockIdx.z) // parts), int32(int32(cuda.blockIdx.z) % parts)
        channels, P = int32(g[3]), int32(g[5])
        start = int32(part * span)
        M = int32(g[0] * P)
        stop = int32(M if part == parts - 1 else start + span)
        j0, o0 = int32(int32(cuda.blockIdx.x) * int32(BM)), int32(int32(cuda.blockIdx.y) * int32(BN))

        # what this thread fetches: position `start + km` of every slice, of x's rows jx, jx + COLS, ... and y's oy, oy + COLS
        # behind the last row it fetches that one again, for sums that nobody stores
        km, own = int32(t % uint32(BK)), int32(t // uint32(BK))
        jx, oy = int32(j0 + own), int32(o0 + own)
        for i in range(uint32(FETCH_X)):
            row = int32(min(int32(jx + int32(i) * int32(COLS)), int32(K - 1)) * int32(WIDE_TERM))
            offs[i] = int32(group * g[2] * g[4] + terms[row])
            for b in range(uint32(words)):
                bits[i * uint32(words) + b] = terms[int32(row + int32(TERM)) + b]
        for i in range(uint32(FETCH_Y)):
            rows_y[i] = int32((group * channels + min(int32(oy + int32(i) * int32(COLS)), int32(channels - 1))) * P)
        n = int32((start + km) // P)
        p = int32(start + km - n * P)
        sample_x, sample_y = int32(g[1] * g[2] * g[4]), int32(g[1] * channels * P)
        samples = int32(int32(BK) // P)  # from a slice to the next, and so many positions more
        further = int32(int32(BK) - samples * P)

        for e in range(uint32(CELLS)):
            acc[e] = real(0)
        row = int32(p * int32(WIDE_PLACE))
        live = int32(start + km) < stop
        for b in range(uint32(words)):
            beyond[b] = places[int32(row + int32(PLACE)) + b] if live else int32(-1)
        store_x = t % uint32(BK) * uint32(WIDE_X) + t // uint32(BK)
        store_y = uint32(SLICE_X) + t % uint32(BK) * uint32(WIDE_Y) + t // uint32(BK)
        fetch_y(next_y, y, int32(n * sample_y + p), rows_y, live)
        fetch_x(next_x, x, int32(n * sample_x + places[row]), offs, bits, beyond)
        put(shared, next_x, next_y, store_x, store_y)
        cuda.syncthreads()
        at = uint32(0)  # where the slice stands that is multiplied
        for ahead in range(int32(start + int32(BK)), int32(stop + int32(BK)), int32(BK)):
            live = int32(ahead + km) < stop
            p = int32(p + further)
            wraps = p >= P
            n = int32(n + samples + int32(wraps))
            p = int32(p - P) if wraps else p
            row = int32(p * int32(WIDE_PLACE))
            off = places[row]
            for b in range(uint32(words)):
                beyond[b] = places[int32(row + int32(PLACE)) + b]
                beyond[b] = beyond[b] if live else int32(-1)
            row_x, row_y = at + tx * uint32(V), at + uint32(SLICE_X) + ty * uint32(VN)
            first_term(acc, at_x, at_y, shared, row_x, row_y)
            fetch_y(next_y, y, int32(n * sample_y + p), rows_y, live)
            fetch_x(next_x, x, int32(n * sample_x + off), offs, bits, beyond)
            other_terms(acc, at_x, at_y, shared, row_x, row_y)
            at = uint32(uint32(SLICE) - at)
            put(shared, next_x, next_y, at + store_x, at + store_y)
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

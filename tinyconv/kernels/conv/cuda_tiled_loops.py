"""The kernel under cuda_tiled.py's forward convolution and input gradient: a block's tile of one product.

    out[p, j] = sum over k  a[at(p) + off(k)] * w[j, k]          p a position of a sample, j a channel, k = (channel, tap)

A round fetches the next slice of BK terms into registers, multiplies the slice in shared memory, and stores the fetched one
into the other buffer: loads from memory are in flight under the multiply-adds, and a slice costs one barrier. `off` and the
tests against the edges come from the tables of cuda_plan.py. int32(...) is all over, since Numba's sum of two int32 is an
int64; the indices into shared memory are left 64 bits wide, since only a sum that cannot wrap is known to be a run of
neighbours, which the compiler fetches four at a time.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from .. import gpu
from ..gpu import cuda, int32, uint32
from .cuda_plan import BIAS, LOW, PAIRS, PHASE

PAD = 4  # numbers at the end of a row in shared memory: threads that store down a column meet different banks


class Tile(NamedTuple):
    """BM x BN cells a block, BK terms a slice, TM x TN cells a thread, V neighbours along BM in one fetch."""

    BM: int
    BN: int
    BK: int
    TM: int
    TN: int
    V: int

    @property
    def threads(self) -> int:
        return self.BM // self.TM * (self.BN // self.TN)


def lanes(tile: Tile) -> tuple[int, int]:
    """How many of a warp's threads stand side by side along BM, and how many along BN.

    8 by 4 fetch 12 runs from shared memory for each of their outer products, where 16 by 2 fetch 18 and 32 by 1 fetch 33.
    """
    across = min(tile.BM // tile.TM, gpu.threads(8, 1) if tile.V > 1 else 32)  # one alone: it stores whole lines
    return across, min(tile.BN // tile.TN, gpu.threads(32, 2) // across)


@cache
def multiply(tile: Tile, wide_a: int, wide_b: int) -> gpu.Function:
    """acc (TM, TN) += the product of two slices in shared memory, a (BK, wide_a) and b (BK, wide_b).

    A thread's TM rows are runs of V, TX*V apart, so that threads side by side fetch runs side by side; its columns likewise.
    """
    BM, BN, BK, TM, TN, V = tile
    TX, TY, VN = BM // TM, BN // TN, min(4, TN)

    def terms(K: int) -> gpu.Function:
        """The first K terms: a helper that calls that of K - 1. So they are unrolled, which a loop this long is not."""
        earlier = terms(K - 1) if K > 1 else None

        @gpu.helper
        def add(acc, at_a, at_b, a, b, start_a, start_b, tx, ty):
            if earlier is not None:
                earlier(acc, at_a, at_b, a, b, start_a, start_b, tx, ty)
            row_a = start_a + uint32((K - 1) * wide_a) + tx * uint32(V)
            row_b = start_b + uint32((K - 1) * wide_b) + ty * uint32(VN)
            for i in range(uint32(TM)):
                at_a[i] = a[row_a + i // uint32(V) * uint32(TX * V) + i % uint32(V)]
            for j in range(uint32(TN)):
                at_b[j] = b[row_b + j // uint32(VN) * uint32(TY * VN) + j % uint32(VN)]
            for i in range(uint32(TM)):
                for j in range(uint32(TN)):
                    acc[i * uint32(TN) + j] += at_a[i] * at_b[j]

        return add

    return terms(BK)


@cache
def correlate(tile: Tile, checked: int, linear: bool, dtype: str) -> gpu.Function:
    """The kernel for this tile.

    checked: how many of the last dimensions are tested against the edges of a, 0, 2 or 3.
    linear: position p of a sample is cell p of out; else, between the phases of a stride, it must be worked out.
    """
    real = gpu.real(dtype)
    BM, BN, BK, TM, TN, V = tile
    TX, TY, VN = BM // TM, BN // TN, min(4, TN)  # threads along positions and along channels
    THREADS = TX * TY
    ROWS, COLS = THREADS // BM, THREADS // BK  # rows of a's slice, and columns of w's, that all threads fetch at once
    FETCH_A, FETCH_W = BK // ROWS, BN // COLS  # how many each thread fetches of a slice
    WIDE = BN + PAD
    SLICE_A, SLICE_W, CELLS = BK * BM, BK * WIDE, TM * TN
    SHARED_A, SHARED_W = 2 * SLICE_A, 2 * SLICE_W
    # 128 registers a thread, or 168: one block multiplies as others fetch. 128 for the smaller ones spilled (7.5)
    BLOCKS = {256: 2, 128: 3}[THREADS] if dtype == "float32" and TM * TN == 64 else 1
    LX, LY = lanes(tile)
    add_products = multiply(tile, BM, WIDE)

    @gpu.jit(threads=THREADS, blocks=BLOCKS)
    def kernel(out, a, w, phases, pairs, g, bias, biased):
        slices_a = cuda.shared.array(SHARED_A, real, alignment=16)
        slices_w = cuda.shared.array(SHARED_W, real, alignment=16)
        acc = cuda.local.array(CELLS, real)
        next_a = cuda.local.array(FETCH_A, real)
        next_w = cuda.local.array(FETCH_W, real)
        at_a = cuda.local.array(TM, real)
        at_w = cuda.local.array(TN, real)
        cells = cuda.local.array(TM, int32)
        offs = cuda.local.array(FETCH_A, int32)
        shifts = cuda.local.array(FETCH_A, int32)
        t0 = cuda.local.array(FETCH_A, int32)
        rows_w = cuda.local.array(FETCH_W, int32)
        t = uint32(cuda.threadIdx.x)
        tx = uint32(t % uint32(LX) + t // uint32(LX * LY) % uint32(TX // LX) * uint32(LX))
        ty = uint32(t // uint32(LX) % uint32(LY) + t // uint32(TX * LY) * uint32(LY))
        groups, channels = uint32(g[1]), int32(g[3])
        phase, group = uint32(uint32(cuda.blockIdx.z) // groups), int32(uint32(cuda.blockIdx.z) % groups)
        row = int32(phase * uint32(PHASE))
        P1, P2, P = uint32(phases[row + 1]), uint32(phases[row + 2]), uint32(phases[row + 6])
        first, K = int32(phases[row + 3]), int32(phases[row + 4])
        M = uint32(uint32(g[0]) * P)
        m0, j0 = uint32(uint32(cuda.blockIdx.x) * uint32(BM)), int32(int32(cuda.blockIdx.y) * int32(BN))
        if m0 >= M:
            return

        # what this thread fetches: of a, taps ka, ka + ROWS, ... of one position; of w, one tap of channels jw, jw + COLS, ...
        # behind the last position or channel it fetches that one again, for sums that nobody stores
        m, ka = uint32(min(m0 + t % uint32(BM), M - uint32(1))), int32(t // uint32(BM))
        n = uint32(m // P)
        p = uint32(m - n * P)
        i0 = int32(int32(p // uint32(P1 * P2)) * g[10])
        i1 = int32(int32(uint32(p // P2) % P1) * g[11])
        i2 = int32(int32(p % P2) * g[12] - int32(BIAS))
        A0, A1, A2 = uint32(g[4]), uint32(g[5]), uint32(g[6])
        base = int32((((int32(n) * g[1] + group) * g[2] * g[4] + i0) * g[5] + i1) * g[6] + i2 + int32(BIAS))
        kw, jw = int32(t % uint32(BK)), int32(j0 + int32(t // uint32(BK)))
        for i in range(uint32(FETCH_W)):
            rows_w[i] = int32(group * g[17] + min(int32(jw + int32(i) * int32(COLS)), int32(channels - 1)) * g[16])

        for j in range(uint32(TN)):
            c = int32(j0 + int32(j // uint32(VN) * uint32(TY * VN) + ty * uint32(VN) + j % uint32(VN)))
            at_w[j] = bias[int32(group * channels + c)] if (biased != 0) & (c < channels) else real(0)
        for e in range(uint32(CELLS)):
            acc[e] = at_w[e % uint32(TN)]
        for k0 in range(int32(-BK), K, int32(BK)):  # the first round only fetches
            ahead = int32(k0 + int32(BK))
            half = uint32(uint32(ahead // int32(BK)) % uint32(2))  # of shared memory, that the slice ahead goes to
            if ahead < K:
                left = int32(K - ahead)
                tap = int32(int32(first + ahead + ka) * int32(PAIRS))
                for i in range(uint32(FETCH_A)):  # of taps first, whatever they are, so that no fetch of a waits for another
                    pair = pairs[tap + i * uint32(ROWS * PAIRS)]
                    offs[i], shifts[i] = int32(pair), int32(pair >> 32)
                    if checked == 3:
                        t0[i] = int32(pairs[tap + i * uint32(ROWS * PAIRS) + uint32(1)])
                for i in range(uint32(FETCH_A)):
                    ok = int32(ka + int32(i) * int32(ROWS)) < left
                    if checked:
                        ok = ok & (uint32(i1 + (shifts[i] >> int32(16))) < A1) & (uint32(i2 + (shifts[i] & int32(LOW))) < A2)
                    if checked == 3:
                        ok = ok & (uint32(i0 + t0[i]) < A0)
                    next_a[i] = a[int32(base + offs[i])] if ok else real(0)
                off = int32(pairs[int32(int32(first + ahead + kw) * int32(PAIRS) + int32(1))] >> 32)
                for i in range(uint32(FETCH_W)):
                    next_w[i] = w[int32(off + rows_w[i])] if kw < left else real(0)
            if k0 >= 0:
                other = uint32(1) - half
                add_products(acc, at_a, at_w, slices_a, slices_w, other * uint32(SLICE_A), other * uint32(SLICE_W), tx, ty)
            if ahead < K:
                for i in range(uint32(FETCH_A)):
                    slices_a[half * uint32(SLICE_A) + t + i * uint32(THREADS)] = next_a[i]
                for i in range(uint32(FETCH_W)):
                    slices_w[half * uint32(SLICE_W) + t % uint32(BK) * uint32(WIDE) + t // uint32(BK)
                             + i * uint32(COLS)] = next_w[i]
            cuda.syncthreads()

        S1, S2, size = int32(g[8]), int32(g[9]), int32(g[7] * g[8] * g[9])
        for i in range(uint32(TM)):
            m = uint32(m0 + i // uint32(V) * uint32(TX * V) + tx * uint32(V) + i % uint32(V))
            n = uint32(m // P)
            p = uint32(m - n * P)
            cell = int32(p)
            if not linear:
                o0 = int32(int32(p // uint32(P1 * P2)) * g[13])
                o1 = int32(int32(uint32(p // P2) % P1) * g[14])
                o2 = int32(int32(p % P2) * g[15])
                cell = int32((o0 * S1 + o1) * S2 + o2 + phases[row + 5])
            cells[i] = int32((int32(n) * g[1] + group) * channels * size + cell) if m < M else int32(-1)
        for e in range(uint32(CELLS)):
            i, j = e // uint32(TN), e % uint32(TN)
            c = int32(j0 + int32(j // uint32(VN) * uint32(TY * VN) + ty * uint32(VN) + j % uint32(VN)))
            if (cells[i] >= 0) & (c < channels):
                out[int32(cells[i] + c * size)] = acc[e]

    return kernel

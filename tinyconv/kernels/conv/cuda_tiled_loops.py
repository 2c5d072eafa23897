"""The kernel under cuda_tiled.py's forward convolution and input gradient: a block's tile of one product.

    out[p, j] = sum over k  a[place(p) + term(k)] * w[j, k]          p a position of a sample, j a channel, k = (channel, tap)

A round multiplies the slice of BK terms in shared memory while the next one is fetched into registers, and stores that into
the other buffer: a slice costs one barrier. There is no branch in a round, so that the compiler mixes all of it: it reads the
tables of cuda_plan.py at the start, fetches a and w once these have come, under the first term, and stores at the end; what
the last round fetches is never met. int32(...) is all over, since Numba's sum of two int32 is an int64; the indices into
shared memory are left 64 bits wide, since only a sum that cannot wrap is known to be a run of neighbours, which the compiler
fetches four at a time.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from .. import gpu
from ..gpu import cuda, int32, uint32
from .cuda_plan import PHASE, PLACE, TERM

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


def blocks(tile: Tile, words: int, dtype: str) -> int:
    """How many blocks a multiprocessor should hold: where there are others, they multiply as one waits.

    8x8 sums fit 168 registers a thread, or 128, but for more than one word of bits; 128 with the smaller blocks spilled (7.5).
    """
    if dtype != "float32" or tile.TM * tile.TN < 64:
        return 1
    return 3 if tile.threads == 128 else 2 if words == 1 else 1


def multiplications(tile: Tile, wide_a: int, wide_b: int) -> tuple[gpu.Function, gpu.Function]:
    """The product of a slice's first term, under which a kernel's tables come, and of the others, under which a and w come."""
    return multiply(tile, wide_a, wide_b, 0, 1), multiply(tile, wide_a, wide_b, 1, tile.BK)


def multiply(tile: Tile, wide_a: int, wide_b: int, first: int, stop: int) -> gpu.Function:
    """acc (TM, TN) += the product of terms first to stop - 1 of two slices in shared memory, (BK, wide_a) and (BK, wide_b).

    A thread's TM rows are runs of V, TX*V apart, so that threads side by side fetch runs side by side; its columns likewise.
    row_a and row_b are where its first number of each slice stands. Every term is a helper that calls that of the term before:
    so they are unrolled, which a loop this long is not.
    """
    BM, BN, _, TM, TN, V = tile
    TX, TY, VN, k = BM // TM, BN // TN, min(4, TN), stop - 1
    earlier = multiply(tile, wide_a, wide_b, first, k) if k > first else None

    @gpu.helper
    def add(acc, at_a, at_b, shared, row_a, row_b):
        if earlier is not None:
            earlier(acc, at_a, at_b, shared, row_a, row_b)
        for i in range(uint32(TM)):
            at_a[i] = shared[row_a + uint32(k * wide_a) + i // uint32(V) * uint32(TX * V) + i % uint32(V)]
        for j in range(uint32(TN)):
            at_b[j] = shared[row_b + uint32(k * wide_b) + j // uint32(VN) * uint32(TY * VN) + j % uint32(VN)]
        for i in range(uint32(TM)):
            for j in range(uint32(TN)):
                acc[i * uint32(TN) + j] += at_a[i] * at_b[j]

    return add


def gather(fetch: int, words: int, dtype: str) -> gpu.Function:
    """Cells of a, `fetch` terms seen from one place; padding, with a bit in common, is 0."""
    real = gpu.real(dtype)

    @gpu.helper
    def cells(next_a, a, base, offs, bits, beyond):
        for i in range(uint32(fetch)):
            outside = int32(0)
            for b in range(uint32(words)):
                outside = int32(outside | int32(bits[i * uint32(words) + b] & beyond[b]))
            next_a[i] = a[int32(base + offs[i])] if outside == 0 else real(0)

    return cells


def store(fetch_a: int, step_a: int, fetch_b: int, step_b: int) -> gpu.Function:
    """What a thread fetched, to its cells of a slice: every step_a-th from at_a on, every step_b-th from at_b on."""
    @gpu.helper
    def put(shared, next_a, next_b, at_a, at_b):
        for i in range(uint32(fetch_a)):
            shared[at_a + i * uint32(step_a)] = next_a[i]
        for i in range(uint32(fetch_b)):
            shared[at_b + i * uint32(step_b)] = next_b[i]

    return put


@cache
def correlate(tile: Tile, words: int, dtype: str) -> gpu.Function:
    """The kernel for this tile, and for so many words of bits in its tables."""
    real = gpu.real(dtype)
    BM, BN, BK, TM, TN, V = tile
    TX, TY, VN = BM // TM, BN // TN, min(4, TN)  # threads along positions and along channels
    THREADS = TX * TY
    ROWS, COLS = THREADS // BM, THREADS // BK  # rows of a's slice, and columns of w's, that all threads fetch at once
    FETCH_A, FETCH_W = BK // ROWS, BN // COLS  # how many each thread fetches of a slice
    WIDE = BN + PAD
    SLICE_A, CELLS = BK * BM, TM * TN
    SLICE = SLICE_A + BK * WIDE  # a's, then w's
    SHARED, BITS = 2 * SLICE, FETCH_A * words
    WIDE_PLACE, WIDE_TERM = PLACE + words, TERM + words
    BLOCKS = blocks(tile, words, dtype)
    LX, LY = lanes(tile)
    first_term, other_terms = multiplications(tile, BM, WIDE)
    fetch_a, put = gather(FETCH_A, words, dtype), store(FETCH_A, THREADS, FETCH_W, COLS)

    @gpu.helper
    def look_up(offs, bits, terms, first):
        """Where the terms of this thread's next cells of a lie: `first` and every ROWS-th after it."""
        for i in range(uint32(FETCH_A)):
            offs[i] = terms[int32(first * int32(WIDE_TERM)) + i * uint32(ROWS * WIDE_TERM)]
        for i in range(uint32(FETCH_A)):
            for b in range(uint32(words)):
                bits[i * uint32(words) + b] = terms[int32(first * int32(WIDE_TERM)) + i * uint32(ROWS * WIDE_TERM)
                                                    + uint32(TERM) + b]

    @gpu.helper
    def fetch_w(next_w, w, off, rows_w):
        for i in range(uint32(FETCH_W)):
            next_w[i] = real(0)
        if off >= 0:  # -1 behind the last term
            for i in range(uint32(FETCH_W)):
                next_w[i] = w[int32(off + rows_w[i])]

    @gpu.jit(threads=THREADS, blocks=BLOCKS)
    def kernel(out, a, w, phases, places, terms, w_at, g, bias, biased):
        shared = cuda.shared.array(SHARED, real, alignment=16)
        acc = cuda.local.array(CELLS, real)
        next_a = cuda.local.array(FETCH_A, real)
        next_w = cuda.local.array(FETCH_W, real)
        at_a = cuda.local.array(TM, real)
        at_w = cuda.local.array(TN, real)
        cells = cuda.local.array(TM, int32)
        offs = cuda.local.array(FETCH_A, int32)
        bits = cuda.local.array(BITS, int32)
        beyond = cuda.local.array(words, int32)
        rows_w = cuda.local.array(FETCH_W, int32)
        t = uint32(cuda.threadIdx.x)
        tx = uint32(t % uint32(LX) + t // uint32(LX * LY) % uint32(TX // LX) * uint32(LX))
        ty = uint32(t // uint32(LX) % uint32(LY) + t // uint32(TX * LY) * uint32(LY))
        groups, channels = uint32(g[1]), int32(g[3])
        phase, group = uint32(uint32(cuda.blockIdx.z) // groups), int32(uint32(cuda.blockIdx.z) % groups)
        row = int32(phase * uint32(PHASE))
        P, K, first_place, first = uint32(phases[row]), phases[row + 1], phases[row + 2], phases[row + 3]
        M = uint32(uint32(g[0]) * P)
        m0, j0 = uint32(uint32(cuda.blockIdx.x) * uint32(BM)), int32(int32(cuda.blockIdx.y) * int32(BN))
        if m0 >= M:
            return

        # what this thread fetches: terms ka, ka + ROWS, ... of one position of a; one term of channels jw, jw + COLS, ... of w
        # behind the last position or channel it fetches that one again, for sums that nobody stores
        m, ka = uint32(min(m0 + t % uint32(BM), M - uint32(1))), int32(first + int32(t // uint32(BM)))
        n = uint32(m // P)
        row = int32(int32(first_place + int32(m - n * P)) * int32(WIDE_PLACE))
        base = int32((int32(n) * g[1] + group) * g[2] * g[4] + places[row])
        for b in range(uint32(words)):
            beyond[b] = places[int32(row + int32(PLACE)) + b]
        kw, jw = int32(first + int32(t % uint32(BK))), int32(j0 + int32(t // uint32(BK)))
        for i in range(uint32(FETCH_W)):
            rows_w[i] = int32(group * g[7] + min(int32(jw + int32(i) * int32(COLS)), int32(channels - 1)) * g[6])

        for j in range(uint32(TN)):
            c = int32(j0 + int32(j // uint32(VN) * uint32(TY * VN) + ty * uint32(VN) + j % uint32(VN)))
            at_w[j] = bias[int32(group * channels + c)] if (biased != 0) & (c < channels) else real(0)
        for e in range(uint32(CELLS)):
            acc[e] = at_w[e % uint32(TN)]
        store_w = uint32(SLICE_A) + t % uint32(BK) * uint32(WIDE) + t // uint32(BK)
        look_up(offs, bits, terms, ka)
        fetch_w(next_w, w, w_at[kw], rows_w)
        fetch_a(next_a, a, base, offs, bits, beyond)
        put(shared, next_a, next_w, t, store_w)
        cuda.syncthreads()
        at = uint32(0)  # where the slice stands that is multiplied
        for k in range(int32(BK), int32(K + int32(BK)), int32(BK)):
            look_up(offs, bits, terms, int32(ka + k))
            off = w_at[int32(kw + k)]
            row_a, row_w = at + tx * uint32(V), at + uint32(SLICE_A) + ty * uint32(VN)
            first_term(acc, at_a, at_w, shared, row_a, row_w)
            fetch_w(next_w, w, off, rows_w)
            fetch_a(next_a, a, base, offs, bits, beyond)
            other_terms(acc, at_a, at_w, shared, row_a, row_w)
            at = uint32(uint32(SLICE) - at)
            put(shared, next_a, next_w, at + t, at + store_w)
            cuda.syncthreads()

        for i in range(uint32(TM)):
            m = uint32(m0 + i // uint32(V) * uint32(TX * V) + tx * uint32(V) + i % uint32(V))
            n = uint32(m // P)
            cells[i] = int32(-1)
            if m < M:
                cell = places[int32(int32(first_place + int32(m - n * P)) * int32(WIDE_PLACE) + int32(1))]
                cells[i] = int32((int32(n) * g[1] + group) * channels * g[5] + cell)
        for e in range(uint32(CELLS)):
            i, j = e // uint32(TN), e % uint32(TN)
            c = int32(j0 + int32(j // uint32(VN) * uint32(TY * VN) + ty * uint32(VN) + j % uint32(VN)))
            if (cells[i] >= 0) & (c < channels):
                out[int32(cells[i] + c * g[5])] = acc[e]

    return kernel

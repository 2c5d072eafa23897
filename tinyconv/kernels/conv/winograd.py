"""Winograd's minimal filtering: 3x3 and 5x5 kernels at stride 1 by fewer multiplications, from tiles of x to tiles of y.

    y tile (m, m) = A' [ sum over c  (G g G') * (B' d B) ] A      d: (n, n) of x, n = m + k - 1, overlapping by k-1; m = 2 or 4

With a dilation the cells of a tile lie so far apart, in x and in y.

The direct sum takes k*k multiply-adds for each output and pair of channels; here they are n*n/(m*m), for 3x3 kernels 4 (m = 2)
or 2.25 (m = 4), for 5x5 ones 9 or 4, each frequency a matrix product (tiles, C) x (C, O). Blocks of tiles and of output
channels are chosen to stay in the cache, where winograd_loops.py transforms, multiplies and transforms back;
winograd_tiles.py holds the vectors it is made of.
The input gradient is the same with the kernel turned, channels exchanged, and k-1 - p for padding. Where that pads a small
map to twice its cells, it is the adjoint instead: dx tile (n, n) = B [(G g G') * (A dy A')] B', overlapping tiles added up.
The weight gradient is in winograd_weights.py.
Not exact: the transforms scale what they sum, and take it back; see BOUND. What is not finite spoils its tile.
Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numba
import numpy as np

from ...dims import ConvDims, Ints
from ..emit import lanes
from ..geometry import floats_only
from ..invoke import address
from ..scratch import Shapes, pieces
from .winograd_loops import add_up, convolve, finish, multiply, spread, weigh
from .winograd_tiles import PRODUCTS, ROWS, SIZES

# The rounding of a sum is some eps times what its parts grow to on the way. By the matrices a part may grow 11-fold along an
# axis for 3x3 kernels (m = 4), 14-fold for 5x5: a hostile tile may be off by 200 times what the direct sum is. Parts of mixed
# signs grow far less: normal numbers came out 5 to 20 eps off, relative to the largest sum of magnitudes, for 5 to 512
# channels.
BOUND = 64.0
KERNELS = tuple({(k, k) for _, k in SIZES})
# What it costs, in multiply-adds of a vector: the transforms of one tile by its side, those of a vector of weights, a call;
# and 100 multiply-adds of a product or a direct sum, memory included. Fitted to what two cores with AVX-512 took on maps of
# 7 to 56 cells and 3 to 512 channels.
DATA, RESULT, WEIGHTS, CALL = {4: 500, 6: 1100, 8: 2000}, {4: 500, 6: 800, 8: 800}, 400, 100_000
GRADIENT, ADD = {4: 400, 6: 800, 8: 1400}, {4: 600, 6: 1300, 8: 2400}  # where tiles do not overlap in the source, but add up
PRODUCT, DIRECT = 200, 170
GAIN = 1.1  # times faster than the direct sum, or the tiles are refused
CACHE = 192 * 1024  # numbers of V in a block of tiles, to stay in the second-level cache beside a block of weights
LONGEST = 96  # tiles in a block
FEW = 64 * 1024  # numbers of U, up to which a thread has its own: transformed sooner than brought from another core's cache
TASKS = 8  # blocks wanted, whatever the number of threads


class Plan(NamedTuple):
    """One problem, all in integers: source (N, groups*Ci, H, W), destination (N, groups*Co, OH, OW). Sizes count numbers."""

    size: int  # of the tile, in SIZES
    m: int
    k: int
    side: int  # n = m + k - 1
    cells: int  # of the source in a tile, a side: n, or m where tiles do not overlap in the source
    adds: int  # n cells of the destination, which overlap
    N: int
    groups: int
    Ci: int
    Co: int
    H: int
    W: int
    OH: int
    OW: int
    dh: int  # dilation: the outputs of a tile lie so far apart
    dw: int
    origin_h: int  # where the first tile of n cells starts, in the source or (adds) in the destination
    origin_w: int
    down: int  # tiles in an image
    across: int
    rows: int  # of tiles, in a block
    blocks: int
    depth: int  # vectors of input channels in a group
    channel_blocks: int  # of R*L output channels, in a group
    R: int
    products: int  # the first of R in PRODUCTS
    most: int  # rows of a product
    w_in: int  # from channel to channel of w
    w_out: int
    flipped: int
    tiles_first: int
    own: int  # every thread transforms the weights for itself
    line: int  # one line of a row of tiles
    u_apart: int  # from frequency to frequency
    u_size: int  # a block of weights
    v_apart: int
    v_depth: int  # from vector to vector of input channels
    v_size: int
    m_apart: int
    m_size: int


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims, bias: np.ndarray | None = None, relu: bool = False) -> np.ndarray:
    """Fill y by tiles: a sixth to less than a half of the multiplications, for a few more digits of rounding."""
    return _convolve(x, w, work_of(forward, dims, lanes(x.itemsize), numba.get_num_threads()), dims.y_shape, bias, relu)


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims, bias: np.ndarray | None = None,
                    relu: bool = False) -> np.ndarray:
    """Fill x: the same over y, with the kernel turned and its channels exchanged; or by overlapping tiles of x."""
    return _convolve(y, w, work_of(input_grad, dims, lanes(y.itemsize), numba.get_num_threads()), dims.x_shape, bias, relu)


@lru_cache(maxsize=256)
def forward(dims: ConvDims, L: int) -> Plan:
    """The plan of conv(x, w) for vectors of L numbers."""
    Ci, Co, taps = dims.C // dims.groups, dims.O // dims.groups, prod(dims.kernel)
    origin = -dims.padding[0][0], -dims.padding[1][0]
    return _plan(dims, (Ci, Co), dims.input, dims.output, dims.output, origin, (taps, Ci * taps), L)


@lru_cache(maxsize=256)
def input_grad(dims: ConvDims, L: int) -> Plan:
    """The plan of conv_input_grad(y, w): tiles of x, or tiles of y where those are fewer and whole images fit a block.

    i = o + k*d - p backwards is o = i + (K-1 - k)*d + p - (K-1)*d.
    """
    Ci, Co, taps = dims.O // dims.groups, dims.C // dims.groups, prod(dims.kernel)
    origin = tuple(p - (k - 1) * d for (p, _), k, d in zip(dims.padding, dims.kernel, dims.dilation))
    over_x = _plan(dims, (Ci, Co), dims.output, dims.input, dims.input, origin, (Co * taps, taps), L, flipped=True)
    if dims.dilation != (1, 1):
        return over_x
    origin = -dims.padding[0][0], -dims.padding[1][0]
    over_y = _plan(dims, (Ci, Co), dims.output, dims.input, dims.output, origin, (Co * taps, taps), L, adds=True)
    tiles, reach = over_y.down * over_y.across, over_y.k - 1
    covered = (over_y.down * over_y.m + reach + origin[0] >= dims.input[0]
               and over_y.across * over_y.m + reach + origin[1] >= dims.input[1])
    fewer = 4 * tiles <= 3 * over_x.down * over_x.across
    return over_y if covered and fewer and tiles <= LONGEST and over_y.blocks > 1 else over_x


def _plan(dims: ConvDims, channels: Ints, src: Ints, dst: Ints, tiled: Ints, origin: Ints, w_steps: Ints, L: int,
          flipped: bool = False, adds: bool = False) -> Plan:
    (Ci, Co), (H, W), (OH, OW), (origin_h, origin_w), (w_in, w_out) = channels, src, dst, origin, w_steps
    dh, dw = dims.dilation
    size = tile_size((-(-tiled[0] // dh), -(-tiled[1] // dw)), dims.kernel[0])
    m, k = SIZES[size]
    side = m + k - 1
    down, across = dh * -(-tiled[0] // (dh * m)), dw * -(-tiled[1] // (dw * m))
    depth, vectors = -(-Ci // L), -(-Co // L)
    R = min((3, 2), key=lambda R: -(-vectors // R) * R) if vectors > 1 else 1
    wide = R * L
    every = dims.N * down
    # measured from 98 to 392 tiles, and 128 to 384 channels; fewer blocks of these could not be shared out
    tiles_first = not adds and 2 * every * across < 3 * Co and dims.groups * -(-vectors // R) >= TASKS // 2
    cached = CACHE // (side**2 * dims.groups * depth * L)
    most = LONGEST if tiles_first else min(LONGEST, cached, max(every * across // TASKS, 20))
    rows = _shared(every, most // across) if not adds else _shared(dims.N, most // (down * across)) * down
    v_apart, u_apart, m_apart = odd(rows * across * L, L), odd(Ci * wide, L), odd(rows * across * wide, L)
    line = (across * m + (k - 1) * dw + L) * L
    v_depth, u_size, channel_blocks = side**2 * v_apart, side**2 * u_apart, -(-vectors // R)
    own = not tiles_first and u_size * dims.groups * channel_blocks <= FEW
    return Plan(size, m, k, side, m if adds else side, int(adds), dims.N, dims.groups, Ci, Co, H, W, OH, OW, dh, dw, origin_h,
                origin_w, down, across, rows, -(-every // rows), depth, channel_blocks, R, PRODUCTS.index((R, 1)), ROWS[R],
                w_in, w_out, int(flipped), int(tiles_first), int(own), line, u_apart, u_size, v_apart, v_depth,
                dims.groups * depth * v_depth, m_apart, side**2 * m_apart)


def _shared(every: int, most: int) -> int:
    """How many of `every` there are in each of the fewest equal blocks of at most `most`; at least one."""
    return max(1, -(-every // max(1, -(-every // max(1, most)))))


def tile_size(output: Ints, kernel: int) -> int:
    """The place in SIZES of the tile that multiplies less; of the small one, which rounds less, where they are even."""
    counts = {i: (m + k - 1) ** 2 * -(-output[0] // m) * -(-output[1] // m) for i, (m, k) in enumerate(SIZES) if k == kernel}
    return min(counts, key=lambda i: counts[i])


def odd(numbers: int, L: int) -> int:
    """At least so many numbers, in an odd count of vectors."""
    return (-(-numbers // L) | 1) * L


def _buffers(plan: Plan, L: int, workers: int) -> Shapes:
    """The working arrays: U, V, the sums and the lines of each thread, the bias."""
    channels = plan.groups * plan.channel_blocks
    blocks_of_u = workers if plan.tiles_first else channels * (workers if plan.own else 1)
    return ((plan.u_size * blocks_of_u,),
            (plan.v_size * (plan.blocks if plan.tiles_first else workers),),
            (workers, plan.m_size), (workers, line_size(plan, L)), (channels * plan.R * L,))


class Work(NamedTuple):
    """What is known of a problem before its numbers."""

    plan: Plan
    buffers: Shapes
    workers: int
    offs: np.ndarray  # from the first input channel to each in V


@lru_cache(maxsize=256)
def work_of(plan_of: Callable[[ConvDims, int], Plan], dims: ConvDims, L: int, workers: int) -> Work:
    """The work of a map for so many threads."""
    plan = plan_of(dims, L)
    channels = np.arange(plan.Ci)
    return Work(plan, _buffers(plan, L, workers), workers, channels // L * plan.v_depth + channels % L)


def line_size(plan: Plan, L: int) -> int:
    """Numbers of one thread for the lines it turns: of x, of y, or the taps of w."""
    return max((plan.side * plan.line // L + L) * L, (plan.m * (plan.OW + plan.m) + L) * L, (plan.k**2 + L) * L)


def _convolve(x: np.ndarray, w: np.ndarray, work: Work, shape: tuple[int, ...], bias: np.ndarray | None,
              relu: bool) -> np.ndarray:
    plan, buffers, workers, offs = work
    dtype, L = x.dtype, lanes(x.itemsize)
    dst = np.empty(shape, dtype)
    if not dst.size:
        return dst
    x, w, y = _flat(x), _flat(w), dst.reshape(-1)
    u, v, sums, lines, b = pieces("winograd", buffers, dtype)
    b[:] = 0
    if bias is not None:
        padded = b.reshape(plan.groups, -1)
        padded[:, :plan.Co] = bias.reshape(plan.groups, plan.Co)
    calls = _calls.get((dtype, plan.adds))
    if calls is None:
        own, rest = (sums[0], lines[0]), (offs, b, int(relu), L, y)
        calls = np.empty(4, np.int64)
        calls[:] = (address(weigh, dtype, 0, 0, 0, plan, w, u, 0, lines[0], L),
                    address(spread, dtype, 0, 0, plan, x, v, 0, lines[0], L),
                    address(multiply, dtype, 0, 0, calls, plan, v, 0, u, 0, *own, *rest),
                    address(add_up if plan.adds else finish, dtype, 0, 0, 0, plan, *own, *rest[1:]))
        _calls[dtype, plan.adds] = calls  # not before it is filled: other threads of Python jump there
    convolve(calls, plan, workers, x, w, u, v, sums, lines, offs, b, int(relu), L, y)
    return dst


_calls: dict[tuple[np.dtype, int], np.ndarray] = {}


def scratch_bytes(plan_of: Callable[[ConvDims, int], Plan]) -> Callable[[ConvDims, np.dtype], int]:
    """What a map borrows: the transformed weights and tiles (of one of them only a block a thread), and the sums."""
    def count(dims: ConvDims, dtype: np.dtype) -> int:
        L, workers = lanes(dtype.itemsize), numba.get_num_threads()
        return sum(map(prod, _buffers(plan_of(dims, L), L, workers))) * dtype.itemsize
    return count


def _flat(a: np.ndarray) -> np.ndarray:
    """The numbers in a row, contiguous, aligned and writeable: one type for the compiled drivers, whatever comes."""
    if not a.flags.carray:
        a = np.require(a, None, ["C", "A", "W"])
    return a.reshape(-1)


def takes(dims: ConvDims, dtype: np.dtype) -> str:
    """"" where tiles can compute the problem, else why not."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return "its tiles exist only as machine code, and NUMBA_DISABLE_JIT is set"
    if dims.kernel not in KERNELS or dims.stride != (1, 1):
        return "it takes kernels of two dimensions, 3x3 or 5x5, with stride 1"
    return floats_only(dims, dtype)


def gain(p: Plan, macs: int, L: int) -> float:
    """How many times faster than the direct sum a map is, about."""
    data, result = (GRADIENT, ADD) if p.adds else (DATA, RESULT)
    return ratio(p, macs, L, data[p.side], result[p.side], WEIGHTS, DIRECT)


def ratio(p: Plan, macs: int, L: int, data: int, other: int, weights: int, direct: int) -> float:
    """The direct sum's cost over that of transforms and product."""
    tiles, vectors = p.N * p.down * p.across, -(-p.Co // L)
    product = tiles * p.side**2 * p.Ci * p.channel_blocks * p.R * PRODUCT / 100
    transforms = tiles * (p.depth * data + vectors * other) + p.Ci * vectors * weights
    return macs / L * direct / 100 / (p.groups * (product + transforms) + CALL)


def refuse(plan_of: Callable[[ConvDims, int], Plan],
           gain: Callable[[Plan, int, int], float] = gain) -> Callable[[ConvDims, np.dtype], str]:
    """The refusal of a map: what tiles cannot compute, and where the direct sum is as fast."""
    def why(dims: ConvDims, dtype: np.dtype) -> str:
        cannot = takes(dims, dtype)
        if cannot:
            return cannot
        if dtype != np.float32:
            return "it trades digits for time, and float64 asks for digits"
        p, L = plan_of(dims, lanes(dtype.itemsize)), lanes(dtype.itemsize)
        times = gain(p, dims.macs, L)
        if times < GAIN:
            return (f"its transforms do not pay for {p.Ci} to {p.Co} channels and {p.N * p.down * p.across} tiles of "
                    f"{p.m}x{p.m}: about {times:.2f} times as fast as the direct sum, and {GAIN} are wanted")
        return ""
    return why

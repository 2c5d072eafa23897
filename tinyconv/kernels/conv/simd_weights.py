"""Plans of simd.py for the weight gradient, in three designs; the cheapest by a count of issue slots is taken.

    dw[o, tap] = sum over n, position  y[n, o, position] * x[n, base(tap) + offs(position)]

By channels: y is packed with its channels innermost, some hundred positions at a time by the task that sums them, and the
channel tile runs with output positions in the role of taps and taps in that of positions. Nothing is wasted where O is a
multiple of the vector.
By rows: vectors of positions of x against vectors of y, both read where they lie; the lanes of a sum are added up at the
end. For first layers, whose few channels would leave most of a vector empty, and for depthwise ones.
By images: the same with images in the lanes, both operands turned over first, so that no row is cut. Without padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod

import numpy as np

from ...dims import ConvDims
from ..tile import CHANNEL_GROUPS, CHANNEL_TILES, DOT_TILES
from .simd_plan import TASKS, Layout, Phase, neighbours, three_axes

DOT = len(CHANNEL_TILES)  # tiles are numbered: first the channel tiles, then the dot tiles
DEPTH, ROW_DEPTH = 224, 64  # positions summed, or vectors of them, before a task moves on to other taps: they stay in cache

SMALL = 160 * 1024  # sums that stay in the second-level cache beside what they are summed from, and are cheap to add up
SMALL_DOTS = 16384  # the same where every sum is a vector
PIECE = 16384  # sums, of all slices, that are added up and brought to w at a time


@dataclass(frozen=True, slots=True, eq=False)
class WeightPlan:
    """Tables of one weight-gradient problem; offsets count numbers, not bytes."""

    pads: np.ndarray  # as in Plan; no planes where a thread pads images for itself
    src_size: int  # numbers in the padded copy of x (of some images where there is a slot), 0 where it is read in place
    y_size: int  # numbers of y packed at a time: by channels, by every thread
    xo: np.ndarray  # for every position (by rows: vector) of a few images: offset in the padded x
    yo: np.ndarray  # by rows: and in y
    table: np.ndarray  # for every group of neighbouring taps: offset in the padded x, in a row of w, length
    tasks: np.ndarray  # blocks of channels from, to, groups of taps from, to, slice, chunks from, to
    chunks: np.ndarray  # image, first in xo, how many; by rows, the same of the vectors that end a row
    blocks: np.ndarray  # for every block of channels: sums from, first channel, valid, width, tile, origin in x, sums a group
    pieces: np.ndarray  # block, groups from, to: what is brought to w at a time
    sums_size: int
    strides: np.ndarray  # image to image of x, y, channel to channel of y; a row of w, slices, groups of one, images, O, slot,
    # numbers of a padded image
    kinds: tuple[int, ...]  # 0 by channels, 1 by rows
    keep: int  # by rows: lanes of a vector that ends a row

    @property
    def slot(self) -> int:
        """Numbers that a thread keeps for images that it pads itself; 0 where all images are padded first."""
        return int(self.strides[8])


class _Source:
    """The padded x, its columns split by their remainder of m."""

    def __init__(self, dims: ConvDims, m: int) -> None:
        size, self.kernel, self.out, self.s, pad, self.d = three_axes(dims)
        padded = tuple(i + lo + hi for i, (lo, hi) in zip(size, pad))
        layout = Layout(dims.C, padded, m, mixed=False)
        self.m, self.row, self.Ci = m, layout.row, dims.C // dims.groups
        self.image, self.plane, *self.pitch = layout.steps
        copied = m > 1 or padded != size
        self.pads = np.array(layout.pads(dims.N * dims.C if copied else 0, size, tuple(lo for lo, _ in pad)))
        self.size = dims.N * self.image if copied else 0

    def column(self, j: int) -> int:
        return j % self.m * self.row + j // self.m

    def rows(self) -> np.ndarray:
        """Where each row of output positions starts."""
        return np.array([a * self.s[0] * self.pitch[0] + b * self.s[1] * self.pitch[1]
                         for a, b in product(range(self.out[0]), range(self.out[1]))], np.int64)

    def kernel_rows(self) -> np.ndarray:
        """(offset here, offset in a row of w) of every row of taps: channel, depth, height."""
        k, d = self.kernel, self.d
        rows = product(range(self.Ci), range(k[0]), range(k[1]))
        return np.array([(c * self.plane + a * d[0] * self.pitch[0] + b * d[1] * self.pitch[1],
                          ((c * k[0] + a) * k[1] + b) * k[2]) for c, a, b in rows], np.int64)


def weight_grad_plan(dims: ConvDims, L: int) -> WeightPlan:
    """Tables of conv_weight_grad(x, y) for vectors of L numbers."""
    _, kernel, out, *_ = three_axes(dims)
    rows, Co, positions = dims.C // dims.groups * kernel[0] * kernel[1], dims.O // dims.groups, prod(out)
    R, taps = (Co + L - 1) // L, rows * kernel[2]
    G, cost = min(((g, -(-(-(-kernel[2] // g) * rows) // p) * max(p * g / 2, 4 / min(R, 2)) * (1.1 if g == 1 else 1))
                   for g, p in enumerate(CHANNEL_GROUPS[:kernel[2]], 1)), key=lambda c: c[1])
    by_channels = dims.N * dims.groups * positions * R * (cost + L / 2)
    lanes = 3 * L * prod(dims.w_shape)  # to add up the lanes of every sum
    row_tile, cost = _dots(Co, taps, lambda k, p: max(0.75 * k * p, 1.1 * k + 1.5 * p))  # most loads straddle a line
    by_rows = dims.N * dims.groups * positions // out[2] * -(-out[2] // L) * cost + lanes
    image_tile, cost = _dots(Co, taps, lambda k, p: max(0.6 * k * p, 0.6 * (k + p)))
    turned = dims.C * prod(dims.input) + dims.O * positions
    by_images = -(-dims.N // L) * (dims.groups * positions * cost + 9 * turned) + lanes
    if any(map(any, dims.padding)) or by_images > min(by_rows, by_channels):
        return _by_rows(dims, row_tile, L) if by_rows < by_channels else _by_channels(dims, G, L)
    return _by_images(dims, image_tile, L)


def _dots(Co: int, taps: int, slots: Callable[[int, int], float]) -> tuple[int, float]:
    """The dot tile that covers Co channels and so many taps in the fewest issue slots, and their count for each vector."""
    return min(((i, -(-Co // k) * -(-taps // p) * slots(k, p)) for i, (k, p) in enumerate(DOT_TILES)), key=lambda c: c[1])


def _by_channels(dims: ConvDims, G: int, L: int) -> WeightPlan:
    """Blocks of 2L channels, and of L for what is left; groups of G taps of a kernel row."""
    kernel = three_axes(dims)[1]
    src = _Source(dims, dims.dilation[-1] if kernel[2] > 1 else 1)  # neighbouring taps must be neighbours in memory
    Co, positions, P = dims.O // dims.groups, prod(src.out), CHANNEL_GROUPS[G - 1]
    table = neighbours(Phase([], src.kernel_rows(), kernel[2], 1), G)
    columns = np.array([src.column(j * src.s[2]) for j in range(src.out[2])])
    images = max(1, min(dims.N, DEPTH // positions))
    xo = (np.arange(images)[:, None, None] * src.image + src.rows()[:, None] + columns).ravel()
    deep = positions * images if images > 1 else -(-positions // max(1, round(positions / DEPTH)))
    chunks = [(n, p, min(deep, (dims.N - n if images > 1 else 1) * positions - p), 0, 0)
              for n in range(0, dims.N, images) for p in range(0, positions, deep)]
    full, rest = divmod(Co, 2 * L)
    widths = [2 * L] * (full + (rest > L)) + [L] * (0 < rest <= L)
    blocks = []
    for g in range(dims.groups):
        o = g * Co
        for width in widths:
            valid, tile = min(width, (g + 1) * Co - o), CHANNEL_TILES.index((width // L, P, G))
            blocks.append((o, valid, width, tile, g * src.Ci * src.plane, G * width))
            o += width
    y_size = max((chunk[2] for chunk in chunks), default=0) * widths[0]
    return _weight_plan(dims, src, P, table, chunks, blocks, y_size, xo, xo[:0], 0)


def _by_rows(dims: ConvDims, tile: int, L: int) -> WeightPlan:
    """Blocks of K channels; every tap for itself; every row of positions in whole vectors and one cut."""
    src = _Source(dims, dims.stride[-1])  # neighbouring positions must be neighbours in memory
    Co, out, positions, (K, P) = dims.O // dims.groups, src.out, prod(src.out), DOT_TILES[tile]
    taps = src.kernel_rows()[:, None, :] + [(src.column(j * src.d[2]), j) for j in range(src.kernel[2])]
    table = np.insert(taps.reshape(-1, 2), 2, 1, axis=1)
    rows, whole, cut = positions // out[2], out[2] // L, int(out[2] % L > 0)
    images = max(1, min(dims.N, ROW_DEPTH // (rows * (whole + cut))))
    within, image = np.arange(whole) * L, np.arange(images)[:, None, None]
    x_rows = image * src.image + src.rows()[:, None]
    y_rows = image * dims.O * positions + (np.arange(rows) * out[2])[:, None]
    xo, yo = (np.concatenate([(r + within).ravel(), (r + whole * L).ravel()[:images * rows * cut]]) for r in (x_rows, y_rows))
    deep = rows * images if images > 1 else -(-rows // max(1, round(rows * (whole + cut) / ROW_DEPTH)))
    chunks = []
    for n in range(0, dims.N, images):
        for r in range(0, rows, deep):
            many = min(deep, (dims.N - n if images > 1 else 1) * rows - r)
            chunks.append((n, r * whole, many * whole, images * rows * whole + r * cut, many * cut))
    blocks = [(o, min(K, (g + 1) * Co - o), K, DOT + tile, g * src.Ci * src.plane, K * L)
              for g in range(dims.groups) for o in range(g * Co, (g + 1) * Co, K)]
    return _weight_plan(dims, src, P, table, chunks, blocks, 0, xo, yo, out[2] % L)


def _by_images(dims: ConvDims, tile: int, L: int) -> WeightPlan:
    """Blocks of K channels; every tap for itself; a vector is one position of L images, the last block of them cut."""
    src = _Source(dims, 1)
    Co, positions, (K, P), whole = dims.O // dims.groups, prod(src.out), DOT_TILES[tile], dims.N // L
    taps = src.kernel_rows()[:, None, :] + [(j * src.d[2], j) for j in range(src.kernel[2])]
    table = np.insert(taps.reshape(-1, 2), 2, 1, axis=1) * (L, 1, 1)
    xo = ((src.rows()[:, None] + np.arange(src.out[2]) * src.s[2]) * L).ravel()
    deep = -(-positions // max(1, round(positions / ROW_DEPTH)))
    chunks = []
    for n in range(-(-dims.N // L)):
        for p in range(0, positions, deep):
            many = min(deep, positions - p)
            chunks.append((n, p, many, 0, 0) if n < whole else (n, 0, 0, p, many))
    blocks = [(o, min(K, (g + 1) * Co - o), K, DOT + tile, g * src.Ci * src.plane * L, K * L)
              for g in range(dims.groups) for o in range(g * Co, (g + 1) * Co, K)]
    src.pads[0], src.pads[3], src.pads[6] = -(-dims.N // L) * (dims.C + dims.O), src.plane, 0
    src.size, y_size = -(-dims.N // L) * src.image * L, -(-dims.N // L) * dims.O * positions * L
    return _weight_plan(dims, src, P, table, chunks, blocks, y_size, xo, np.arange(positions) * L, dims.N % L, L)


def _weight_plan(dims: ConvDims, src: _Source, P: int, table: np.ndarray, chunks: list, blocks: list, y_size: int,
                 xo: np.ndarray, yo: np.ndarray, keep: int, side_by_side: int = 1) -> WeightPlan:
    """Tasks: slices of the positions, whose sums are added up in order; where there are too many sums, blocks of channels x
    parts of the taps x fewer slices. A slice reads its positions once, a part all of them."""
    tiles, positions, kind = -(-len(table) // P), prod(src.out), int(blocks[0][3] >= DOT)
    wanted = -(-TASKS // len(blocks))
    small = tiles * P * sum(block[-1] for block in blocks) <= (SMALL_DOTS if kind else SMALL)
    operands = dims.N * (dims.C * prod(dims.input) + dims.O * positions)
    # a slice is a task, all channels of it, where the sums of all slices take no more than the operands
    whole = small and not kind and len(chunks) >= TASKS and TASKS * tiles * P * sum(block[-1] for block in blocks) <= operands
    slices = TASKS if whole else max(1, min(len(chunks), wanted)) if small else 1
    parts = 1 if whole else min(tiles, -(-wanted // slices))
    if not small:
        slices = max(1, min(len(chunks), wanted // parts))
    rows, pieces, tasks, sums_size = [], [], [], 0
    for b, (o, valid, width, tile, origin, each) in enumerate(blocks):
        rows.append((sums_size, o, valid, width, tile, origin, each))
        sums_size += slices * tiles * P * each
        many = min(tiles, -(-slices * tiles * P * each // PIECE))
        pieces += [(b, tiles * i // many * P, min(tiles * (i + 1) // many * P, len(table))) for i in range(many)]
    spans = [(len(chunks) * i // slices, len(chunks) * (i + 1) // slices) for i in range(slices)]
    cuts = [tiles * j // parts * P for j in range(parts + 1)]
    together = [(0, len(blocks))] if whole else [(b, b + 1) for b in range(len(blocks))]
    tasks = [(*some, *part, i, *span) for part in pairwise(cuts) for i, span in enumerate(spans) for some in together]
    slot = src.image * max(1, chunks[0][2] // positions) if whole and src.size and 2 * dims.N >= TASKS else 0
    if slot:  # images are padded where they are used
        src.pads[0] = src.pads[12] = 0
    strides = (src.image * side_by_side * (not slot), dims.O * positions * side_by_side, positions * side_by_side,
               src.Ci * prod(src.kernel), slices, tiles * P, side_by_side, dims.O, slot, src.image)
    return WeightPlan(src.pads, slot or src.size, y_size, xo, yo, table, np.array(tasks),
                      np.array(chunks, np.int64).reshape(-1, 5), np.array(rows), np.array(pieces), sums_size,
                      np.array(strides), (kind,), keep)

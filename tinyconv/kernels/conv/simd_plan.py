"""Plans of simd.py: the geometry of a convolution turned into tables, once a shape.

Forward and input gradient are the same sum at stride 1 over a padded source:

    dst[n, o, row, j] = sum over t  w[t, o] * src[n, base(row) + offs(t) + j]

Forward: src is x, and its width is split into `stride` phase planes, so that each tap reads neighbours; dst is one phase.
Input gradient: src is y and dst is x, split into phases r = (i + p) mod stride, each with only the taps that reach it:
i + p = m*s + r and k*d = e*s + r read y at m - e. No zero that a stride inserts is ever multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from ...dims import ConvDims, Ints
from ..tile import CHANNEL_TILES, ROW_TILES

CHANNEL = len(ROW_TILES)  # tiles are numbered: row tiles, channel tiles, and row tiles with images in their lanes
IMAGES = CHANNEL + len(CHANNEL_TILES)
TASK_COLUMNS = 13  # tile, T, first tap, first weight, groups from, to, an image, first of table, dst, valid, src, step, direct
CHUNK = 96 * 1024  # numbers of the source that a task should read: they stay in the second-level cache
SUMS = 1024  # numbers that the sums of a tile fit in
MIX = 8  # channels of a group from which on a copy puts the channels of a row side by side
FIRST_LEVEL = 8192  # numbers that stay in the first-level cache
TASKS = 16  # tasks wanted, whatever the number of threads


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Tables of one forward or input-gradient problem; offsets count numbers, not bytes."""

    pads: np.ndarray  # planes, D, H, W, padded D, H, modulus, padded W / modulus, padding before D, H, W, channels, steps
    src_size: int  # numbers in the padded copy of the source (of a plane where there is a slot), 0 where it is read in place
    packs: np.ndarray  # for every block of packed weights: first in w, step a channel, valid, width, to, T, first tap, bias
    w_size: int
    offs: np.ndarray  # for every step t: offset in the source
    in_w: np.ndarray  # and in w
    order: np.ndarray  # and its row of the packed weights
    table: np.ndarray  # for every group of neighbours: offset in the source, in the destination, length
    tasks: np.ndarray  # rows of TASK_COLUMNS
    units: np.ndarray  # where threads pad for themselves: planes from, how many, padded row from, tasks from, to
    strides: np.ndarray  # image to image of source, of destination, channel to channel of it; images, channels; slot, its use
    sums: int  # numbers that a task needs for itself
    cost: float  # cycles by a count of issue slots
    kinds: tuple[int, ...]  # of the tiles of the tasks
    workers: int  # threads that may pad for themselves: their slots together take no more than a padded copy
    partial: bool  # a phase without taps leaves zeros

    @property
    def slot(self) -> int:
        """Numbers that a thread keeps for what it pads itself; 0 where all planes are padded first."""
        return int(self.strides[5])


@dataclass(frozen=True, slots=True)
class Phase:
    taps: list[tuple[int, int]]  # (index in the kernel, offset in the source)
    rows: np.ndarray  # (offset in the source, offset in the destination) of every row
    length: int
    step: int  # from neighbour to neighbour in the destination
    first: int = 0  # number of its first row, among those that Bands cuts


@dataclass(frozen=True, slots=True)
class Bands:
    """Rows cut into bands of `each`, from number `first` on: the band from row b on reads `height` padded rows of the source,
    from b*step + shift on. A thread pads a band, and does all that reads it while it is in the second-level cache."""

    first: int
    many: int
    each: int
    height: int
    step: int
    shift: int
    whole: int  # padded rows that all bands read

    def start(self, band: int) -> int:
        """The first padded row that a band reads."""
        return (self.first + band * self.each) * self.step + self.shift


@dataclass(frozen=True, slots=True)
class Layout:
    """How the source lies in memory. A copy puts the channels of a row side by side: a tile, which walks all channels of a
    few rows, then reads one short stretch, where in x as it comes it would touch a page for every channel."""

    channels: int
    padded: tuple[int, ...]
    m: int
    mixed: bool

    @property
    def row(self) -> int:
        return -(-self.padded[2] // self.m)

    @property
    def steps(self) -> tuple[int, int, int, int]:
        """From image to image, channel to channel, depth to depth, row to row."""
        depth, height, width = self.padded[0], self.padded[1], self.m * self.row
        if self.mixed:
            return depth * height * self.channels * width, width, height * self.channels * width, self.channels * width
        return depth * height * self.channels * width, depth * height * width, height * width, width

    def pads(self, planes: int, size: Ints, before: Ints) -> list[int]:
        return [planes, *size, *self.padded[:2], self.m, self.row, *before, self.channels, *self.steps]


def _bands(dims: ConvDims, channels: int, width: int, span: tuple[int, int], step: int, shift: int, reach: int) -> Bands | None:
    """Bands of rows span[0] ... span[1] - 1, each of which reads `reach` + 1 padded rows: as few as fill the threads and stay
    in cache. None where that would pad many rows twice."""
    rows = span[1] - span[0]
    for many in range(-(-TASKS // max(dims.N, 1)), rows + 1):
        each = -(-rows // many)
        height = (each - 1) * step + reach + 1
        if channels * height * width <= 2 * CHUNK:
            many = -(-rows // each)
            whole = (rows - 1) * step + reach + 1
            return Bands(span[0], many, each, height, step, shift, whole) if many * height <= 1.3 * whole else None
    return None


def forward_plan(dims: ConvDims, L: int) -> Plan:
    """Tables of conv(x, w) for vectors of L numbers."""
    size, kernel, out, s, pad, d = three_axes(dims)
    m, padded = s[2], tuple(i + lo + hi for i, (lo, hi) in zip(size, pad))
    copied = m > 1 or padded != size
    bands = None
    if copied and out[0] == padded[0] == 1 and dims.C > dims.groups:
        bands = _bands(dims, dims.C, padded[2] + m, (0, out[1]), s[1], 0, (kernel[1] - 1) * d[1])
    if bands:
        padded = 1, bands.height, padded[2]
    layout = Layout(dims.C, padded, m, copied and dims.C >= MIX * dims.groups)
    row, pitch = layout.row, layout.steps[2:]
    taps = [(index, a * d[0] * pitch[0] + b * d[1] * pitch[1] + c * d[2] % m * row + c * d[2] // m)
            for index, (a, b, c) in enumerate(product(*map(range, kernel)))]
    rows = np.array([(a * s[0] * pitch[0] + b * s[1] * pitch[1], (a * out[1] + b) * out[2])
                     for a, b in product(range(out[0]), range(out[1]))]).reshape(-1, 2)
    pads = layout.pads(dims.N * dims.C, size, tuple(lo for lo, _ in pad))
    channels = (dims.C // dims.groups, dims.O // dims.groups)
    w_steps = (prod(kernel), channels[0] * prod(kernel))
    return _plan(dims, channels, w_steps, layout, pads, [Phase(taps, rows, out[2], 1)], prod(out), L, bands=bands)


def input_grad_plan(dims: ConvDims, L: int) -> Plan:
    """Tables of conv_input_grad(y, w) for vectors of L numbers."""
    size, kernel, out, s, pad, d = three_axes(dims)
    axes = [_axis_phases(*sizes) for sizes in zip(size, kernel, s, (lo for lo, _ in pad), d)]
    lo = [max([0, *(max(e) - m0 for _, e, _, m0, _ in axis if e)]) for axis in axes]
    hi = [max([0, *(m0 + n - 1 - min(e) - (o - 1) for _, e, _, m0, n in axis if e)]) for axis, o in zip(axes, out)]
    padded = tuple(o + a + b for o, a, b in zip(out, lo, hi))
    copied, bands = padded != out, None
    ends = [(max(e), min(e), m0, m0 + n) for _, e, _, m0, n in axes[1] if e]
    if copied and size[0] == padded[0] == 1 and dims.O > dims.groups and ends:
        high, low = max(e for e, *_ in ends), min(e for _, e, *_ in ends)
        span = min(m for *_, m, _ in ends), max(m for *_, m in ends)
        bands = _bands(dims, dims.O, padded[2], span, 1, lo[1] - high, high - low)
    if bands:
        padded = 1, bands.height, padded[2]
    layout = Layout(dims.O, padded, 1, copied and dims.O >= MIX * dims.groups)
    pitch = layout.steps[2:]
    phases, partial = [], False
    for at in product(*axes):
        (kd, ed, i_d, md, nd), (kh, eh, ih, mh, nh), (kw, ew, iw, mw, nw) = at
        if not (kd and kh and kw):
            partial = True
            continue
        taps = [((kd[a] * kernel[1] + kh[b]) * kernel[2] + kw[c], -(ed[a] * pitch[0] + eh[b] * pitch[1] + ew[c]))
                for a, b, c in product(range(len(kd)), range(len(kh)), range(len(kw)))][::-1]  # memory is walked upwards
        rows = [((md + a + lo[0]) * pitch[0] + (mh + b + lo[1]) * pitch[1] + mw + lo[2],
                 ((i_d + a * s[0]) * size[1] + ih + b * s[1]) * size[2] + iw) for a in range(nd) for b in range(nh)]
        phases.append(Phase(taps, np.array(rows).reshape(-1, 2), nw, s[2], mh))
    pads = layout.pads(dims.N * dims.O, out, tuple(lo))
    channels = (dims.O // dims.groups, dims.C // dims.groups)
    w_steps = (channels[1] * prod(kernel), prod(kernel))
    return _plan(dims, channels, w_steps, layout, pads, phases, prod(size), L, partial, bands)


def _axis_phases(size: int, kernel: int, s: int, p: int, d: int) -> list[tuple[list[int], list[int], int, int, int]]:
    """For each phase that holds a cell: taps k, their e = k*d // s, first cell i, its m, and how many cells."""
    phases = []
    for r in range(s):
        first = (r - p) % s
        if first < size:
            k = [k for k in range(kernel) if k * d % s == r]
            phases.append((k, [j * d // s for j in k], first, (first + p - r) // s, -(-(size - first) // s)))
    return phases


def pointwise(dims: ConvDims) -> bool:
    """Whether every output position reads one input position, its own."""
    return dims.input == dims.output and max(dims.kernel) == max(dims.stride) == 1 and not any(map(any, dims.padding))


def three_axes(dims: ConvDims) -> tuple:
    """(input, kernel, output, stride, padding, dilation) with three axes; a pointwise convolution has one long row."""
    one = (1,) * (3 - dims.rank)
    if pointwise(dims):
        flat = (1, 1, prod(dims.input))
        return flat, (1, 1, 1), flat, (1, 1, 1), ((0, 0),) * 3, (1, 1, 1)
    return (one + dims.input, one + dims.kernel, one + dims.output, one + dims.stride,
            ((0, 0),) * len(one) + dims.padding, one + dims.dilation)


def _plan(dims: ConvDims, channels: Ints, w_steps: Ints, layout: Layout, pads: list[int], phases: list[Phase], dst_plane: int,
          L: int, partial: bool = False, bands: Bands | None = None) -> Plan:
    """Tasks and tables: phases x groups x blocks of output channels x chunks of positions, or bands of rows."""
    (Ci, Co), (w_in, w_out) = channels, w_steps
    image, channel, _, pitch = layout.steps
    plane, used = image // layout.channels, image
    chunks = max(-(-dims.N * Ci * plane // CHUNK), -(-TASKS // (max(len(phases), 1) * dims.groups * -(-Co // (2 * L)))))
    # where a task reads one channel only, its thread pads the plane: 1.4 ms of a depthwise layer became 1.15
    alone = Ci == len(phases) == 1 and pads[0] >= TASKS and (layout.m > 1 or layout.padded != tuple(pads[1:4]))
    if alone:
        image, channel, bands, used = 0, 0, None, plane
        pads[12:14] = 0, 0
    elif bands:  # 1.1 ms of padding beside 5 of multiplying became 0.5
        image = pads[12] = 0
    parts = dims.N * bands.many if bands else pads[0] if alone else 0
    taps, table = [np.empty((0, 3), int)], [np.empty((0, 3), int)]
    packs: list[tuple[int, ...]] = []
    tasks: list[tuple[int, ...]] = []
    w_size, reads_past, cost = 0, False, 0.0
    for phase in phases:
        T, first_tap, first_row = Ci * len(phase.taps), sum(map(len, taps)), sum(map(len, table))
        each, blocks = _blocks(phase, T, Co, L)
        cost += each * len(phase.rows) * dims.N * dims.groups
        across, wide = _reach(blocks[0][0], L)
        reads_past |= phase.length < across
        k, off = np.array(phase.taps).T
        c = np.arange(Ci)[:, None]
        taps.append(np.stack([(c * channel + off).ravel(), (c * w_in + k).ravel(), np.arange(T)], 1))
        table.append(neighbours(phase, across))
        per = len(table[-1])
        if bands:
            spans = _band_spans(bands, phase, per, dims.N, pitch)
        else:
            each = per if alone else -(-max(dims.N * per, 1) // (chunks * wide)) * wide
            spans = [(n, at, min(at + each, dims.N * per), 0) for n, at in enumerate(range(0, dims.N * per, each))]
        for g in range(dims.groups):
            o = 0
            for tile, width in blocks:
                valid = min(width, Co - o)
                packs.append((g * Co * Ci * min(w_steps) + o * w_out, w_out, valid, width, w_size, T,
                              first_tap, g * Co + o, *((1, 0, T) if w_in < w_out else (Ci, w_in, w_out))))
                direct = tile < CHANNEL and phase.length >= L and phase.step == 1 and valid == width
                tasks += [(n * dims.groups + g if alone else n, tile, T, first_tap, w_size, at, end, per, first_row,
                           (g * Co + o) * dst_plane, valid, g * Ci * channel - below, phase.step, direct)
                          for n, at, end, below in spans]
                w_size += (T + 1) * width
                o += width
    tasks.sort(key=lambda task: task[0])  # chunks outermost: threads get equal shares, and a chunk stays in cache
    copied = reads_past or layout.mixed or layout.m > 1 or layout.padded != tuple(pads[1:4])
    rows = pads[0] * pads[1] * pads[2] * copied
    cost += rows * (25 + pads[3] * (0.3 if layout.m == 1 else 0.5 if layout.m in (2, 4) and pads[3] >= layout.m * L else 2.5))
    slot = -(-(used + 2 * L) // L) * L if parts else 0
    workers = dims.N * bands.whole // bands.height if bands else parts
    cuts = np.searchsorted([task[0] for task in tasks], np.arange(parts + 1))
    if bands:
        units = [(i // bands.many * layout.channels, layout.channels, bands.start(i % bands.many), *cuts[i:i + 2])
                 for i in range(parts)]
    else:
        units = [(i, 1, 0, *cuts[i:i + 2]) for i in range(parts)]
    offs, in_w, order = (np.ascontiguousarray(column) for column in np.concatenate(taps).T)
    return Plan(np.array([pads[0] if copied else 0, *pads[1:]]), slot or (pads[0] * plane + 2 * L if copied else 0),
                np.array(packs).reshape(-1, 11), w_size, offs, in_w, order, np.concatenate(table),
                np.array([task[1:] for task in tasks], np.int64).reshape(-1, TASK_COLUMNS),
                np.array(units, np.int64).reshape(-1, 5),
                np.array((image, dims.groups * Co * dst_plane, dst_plane, dims.N, dims.groups * Ci, slot, used)), SUMS, cost,
                tuple(sorted({int(task[1] >= CHANNEL) for task in tasks})), workers, partial)


def _band_spans(bands: Bands, phase: Phase, per: int, images: int, pitch: int) -> list[tuple[int, int, int, int]]:
    """(number of the band, groups of neighbours from, to, offset of the band) for every band that the phase has rows in."""
    a_row, spans = per // len(phase.rows), []
    for n, b in product(range(images), range(bands.many)):
        start = bands.first + b * bands.each - phase.first
        lo, hi = (min(max(row, 0), len(phase.rows)) * a_row for row in (start, start + bands.each))
        if lo < hi:
            spans.append((n * bands.many + b, n * per + lo, n * per + hi, bands.start(b) * pitch))
    return spans


def neighbours(phase: Phase, across: int) -> np.ndarray:
    """Every row cut into groups of `across` neighbours; the last overlaps the one before, so that none is cut short."""
    starts = [min(j, max(phase.length - across, 0)) for j in range(0, phase.length, across)]
    j = np.array(starts)[None, :]
    src, dst = phase.rows[:, :1] + j, phase.rows[:, 1:] + j * phase.step
    return np.stack([src.ravel(), dst.ravel(), np.full(src.size, min(across, phase.length))], 1)


def _blocks(phase: Phase, T: int, Co: int, L: int) -> tuple[float, list[tuple[int, int]]]:
    """The tiles that cover Co channels, (number, channels) each: those that a count of issue slots finds cheapest.

    Two multiply-adds or two loads a cycle, and measured on tiles in cache, a load holds up half a multiply-add even so; a load
    of x that straddles a line counts twice; weights beyond the first-level cache cost half a cycle a line; storing costs
    what it does.
    """
    costs = []
    direct = phase.length >= L and phase.step == 1
    for tile, (R, K) in enumerate(ROW_TILES):
        lines = (R + 1) / len(phase.taps) if T * R * L > FIRST_LEVEL else 0  # of x, from the second-level cache
        each = T * max(R * K / 2 + (2 * R + K + 2) / 4, 4, 2.5 * lines) + 30 + R * K * (1 if direct else 60)
        costs.append((-(-phase.length // L) * each / R * -(-Co // K), [(tile, K)] * -(-Co // K)))
    full, rest = divmod(Co, 2 * L)
    pair, single = full + (rest > L), int(0 < rest <= L)
    for P, G in ((P, G) for R, P, G in CHANNEL_TILES if R == 1 and G <= phase.length):
        each = 0.0
        for R, n in ((2, pair), (1, single)):
            slots = max(R * P * G / 2 + (R + P * G + 2) / 4 + R * (T * R * L > FIRST_LEVEL) / 2, 4) * (1.1 if G == 1 else 1)
            each += n * (T * slots + 30 + R * P * (48 if phase.step == 1 else 160 + 48 * G))
        tiles = [(CHANNEL + CHANNEL_TILES.index((R, P, G)), R * L) for R, n in ((2, pair), (1, single)) for _ in range(n)]
        costs.append((-(-phase.length // G) * each / P, tiles))
    return min(costs, key=lambda c: c[0])


def _reach(tile: int, L: int) -> tuple[int, int]:
    """Neighbours in a group of this tile, and groups in the tile."""
    return (L, ROW_TILES[tile][0]) if tile < CHANNEL else CHANNEL_TILES[tile - CHANNEL][:0:-1]

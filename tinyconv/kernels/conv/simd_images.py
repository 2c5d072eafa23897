"""Plans of simd.py with images in the lanes of a vector: for batches of small maps.

The source is packed as (blocks of L images, channels, positions, L images). Then one position of one output channel is
one vector, and every position walks exactly the taps that lie inside the source: no padding is stored or multiplied, no
column is dropped, and stride and dilation are only other tables.

    dst[n, o, p] = sum over t  w[t, o] * src[n, base(p) + offs(t)]        t in the class of p: which taps reach it

What it wastes: lanes, where the batch is no multiple of L; what it costs: turning the source and the result over.
"""

from __future__ import annotations

from itertools import pairwise, product
from math import prod

import numpy as np

from ...dims import ConvDims, Ints
from ..tile import ROW_TILES
from .simd_plan import IMAGES, TASK_COLUMNS, TASKS, Plan, three_axes

FAR = 0.75  # cycles for a line of the source, which comes from the second-level cache
ELSEWHERE = 60  # cycles for one that another core has turned over: 195 us of a layer became 480
SLOWER = 1.1  # than the count says
LARGEST = 1 << 20  # steps that the tables of one plan may hold

Reach = list[list[tuple[int, int]]]  # for every position of an axis: (tap, position in the source) of what reaches it


def forward_reach(dims: ConvDims) -> list[Reach]:
    """For every axis and output position, the taps that lie inside the input."""
    return [[[(k, i) for k in range(kernel) if 0 <= (i := o * s + k * d - lo) < size] for o in range(out)]
            for size, kernel, out, s, (lo, _), d in zip(*three_axes(dims))]


def input_grad_reach(dims: ConvDims) -> list[Reach]:
    """For every axis and input position, the taps whose output position exists."""
    return [[[(k, o // s) for k in range(kernel)[::-1] if (o := i + lo - k * d) % s == 0 and 0 <= o // s < out]
             for i in range(size)]
            for size, kernel, out, s, (lo, _), d in zip(*three_axes(dims))]


def forward_images(dims: ConvDims, L: int, below: float) -> Plan | None:
    """Tables of conv(x, w), or None where they would cost `below` or more."""
    size, kernel, *_ = three_axes(dims)
    channels = (dims.C // dims.groups, dims.O // dims.groups)
    return _images(dims, channels, (prod(kernel), channels[0] * prod(kernel)), size, forward_reach(dims), L, below)


def input_grad_images(dims: ConvDims, L: int, below: float) -> Plan | None:
    """Tables of conv_input_grad(y, w), or None where they would cost `below` or more."""
    _, kernel, out, *_ = three_axes(dims)
    channels = (dims.O // dims.groups, dims.C // dims.groups)
    return _images(dims, channels, (channels[1] * prod(kernel), prod(kernel)), out, input_grad_reach(dims), L, below)


def _images(dims: ConvDims, channels: Ints, w_steps: Ints, src_plane: Ints, axes: list[Reach], L: int,
            below: float) -> Plan | None:
    cost, tile = image_cost(dims, channels, prod(src_plane), axes, L)
    return image_plan(dims, channels, w_steps, src_plane, axes, tile, cost, L) if cost < below else None


def image_cost(dims: ConvDims, channels: Ints, src_plane: int, axes: list[Reach], L: int) -> tuple[float, int]:
    """Cycles by a count of issue slots, and the row tile that needs fewest."""
    Ci, Co = channels
    blocks = -(-dims.N // L)
    positions = prod(map(len, axes))
    steps = Ci * prod(sum(map(len, axis)) for axis in axes)
    classes = prod(len({_shape(reach) for reach in axis}) for axis in axes)
    if not steps or classes * Ci * prod(max(map(len, axis)) for axis in axes) > LARGEST:
        return float("inf"), 0
    lines = blocks * Ci * src_plane
    costs = []
    for i, (R, K) in enumerate(ROW_TILES):
        step = R * K / 2 + (R + K + 2) / 4 + FAR * R  # as in simd_plan.py
        each = steps * step + positions * (60 + 14 * R * K)
        shared = blocks > 1 and R > blocks // 2  # tiles so high that two threads need the same images
        costs.append((each * -(-blocks // R) * -(-Co // K) + ELSEWHERE * lines * shared, i))
    cost, tile = min(costs)
    return SLOWER * dims.groups * (cost + 9 * lines), tile


def image_plan(dims: ConvDims, channels: Ints, w_steps: Ints, src_plane: Ints, axes: list[Reach], tile: int, cost: float,
               L: int) -> Plan:
    """Tables for src (N, groups*Ci, *src_plane) and dst (N, groups*Co, positions)."""
    (Ci, Co), (w_in, w_out), (R, K) = channels, w_steps, ROW_TILES[tile]
    plane, taps, positions = prod(src_plane), min(w_steps), prod(map(len, axes))
    pitch = plane | 1  # lines from channel to channel: were they even, the channels of a position would share cache sets
    kernel = three_axes(dims)[1]
    c = np.arange(Ci)[:, None]
    starts: dict[tuple, tuple[int, int]] = {}
    offs, order, table, total = [], [], [], 0
    for at in product(*axes):
        key = tuple(map(_shape, at))
        if key not in starts:
            steps = [(((a * kernel[1]) + b) * kernel[2] + e, (i * src_plane[1] + j) * src_plane[2] + m)
                     for (a, i), (b, j), (e, m) in product(*key)]
            k, off = np.array(steps, np.int64).reshape(-1, 2).T
            offs.append(((c * pitch + off) * L).ravel())
            order.append((c * taps + k).ravel())
            starts[key] = total, Ci * len(steps)
            total += Ci * len(steps)
        first = [reach[0][1] if reach else 0 for reach in at]
        table.append((((first[0] * src_plane[1] + first[1]) * src_plane[2] + first[2]) * L, *starts[key]))
    blocks, T = -(-dims.N // L), Ci * taps
    across, channel_blocks = -(-blocks // R), -(-Co // K) * dims.groups
    parts = min(-(-positions // L), -(-TASKS // (across * channel_blocks)))
    cuts = [positions * i // parts // L * L for i in range(parts)] + [positions]
    packs: list[tuple[int, ...]] = []
    tasks: list[tuple[int, ...]] = []
    for g in range(dims.groups):
        for o in range(0, Co, K):
            w0, valid = len(packs) * (T + 1) * K, min(K, Co - o)
            packs.append((g * Co * T + o * w_out, w_out, valid, K, w0, T, 0, g * Co + o,
                          *((1, 0, T) if w_in < w_out else (Ci, w_in, w_out))))
            for n in range(0, blocks, R):
                tasks += [(n, IMAGES + tile, T, a, w0, n, b, 0, 0, (g * Co + o) * positions, valid, g * Ci * pitch * L, 1, 0)
                          for a, b in pairwise(cuts)]
    tasks.sort(key=lambda task: task[0])
    pads = np.array([blocks * dims.groups * Ci, 1, 1, plane, 1, 1, 0, pitch, 0, 0, 0])
    every = np.arange(T)  # packed weights hold every tap
    return Plan(pads, blocks * dims.groups * Ci * pitch * L, np.array(packs), channel_blocks * (T + 1) * K,
                np.concatenate(offs), every // taps * w_in + every % taps if w_in >= w_out else every, np.concatenate(order),
                np.array(table), np.array([task[1:] for task in tasks]).reshape(-1, TASK_COLUMNS), np.empty((0, 5), np.int64),
                np.array((dims.groups * Ci * pitch * L, dims.groups * Co * positions, positions, dims.N, dims.groups * Ci,
                          0, 0)),
                (R * K + 1) * L * L, cost, (2,), 0, False)


def _shape(reach: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The taps, and where they read counted from the first: what positions of one class share."""
    return tuple((k, i - reach[0][1]) for k, i in reach)

"""The windows of a pooling as the tables that compiled loops walk, worked out once for each geometry.

Every rank becomes three axes (depth, height, width). Along an axis, window o holds the cells
first[o], first[o] + step, ... (count[o] of them): a plain pooling clipped at its borders, a dilated one and an adaptive
one differ only in these numbers. Seen from x the same holds: the windows that contain cell i are again first, count and
step, so that the adjoint of summing windows is summing windows too (`dual`). Read next: direct.py and sums.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd, prod

import numpy as np

from ...dims import AnyPool, Ints, PoolDims
from ..geometry import plain

SLACK = 32  # zeros at the end of each table, for loops that run on to a whole number of vectors


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows over planes of shape `source`, one for every position of a plane of shape `target`.

    cells: (6, longest axis and slack) int64, rows (first, count) of depth, height and width; steps: their three steps.
    run: (begin, end, period, advance): along the width, from begin to end, window o + period is window o moved on by
        `advance` cells, which is what loops can take without looking anything up.
    """

    source: Ints
    target: Ints
    cells: np.ndarray
    steps: Ints
    run: Ints


@lru_cache(maxsize=1024)
def forward(dims: AnyPool) -> Windows:
    """The windows of y over x."""
    lead = 3 - dims.rank
    axes = [(np.zeros(1, np.int64), np.ones(1, np.int64))] * lead
    axes += [(np.array(first), np.array(count)) for first, count in dims.windows]
    ones = (1,) * lead
    steps, source, target = ones + dims.dilation, ones + dims.input, ones + dims.output
    period, advance = (1, dims.stride[-1]) if isinstance(dims, PoolDims) else (1, 1)
    return Windows(source, target, _table(axes), steps, _longest_run(*axes[-1], period, advance))


@lru_cache(maxsize=1024)
def dual(dims: AnyPool) -> Windows:
    """The windows of x over y: for every cell of x, the positions of y whose window holds it."""
    there = forward(dims)
    axes, steps = [], []
    for axis in range(3):
        stride = dims.stride[axis - 3 + dims.rank] if isinstance(dims, PoolDims) and axis >= 3 - dims.rank else 1
        first, count = there.cells[2 * axis:2 * axis + 2, :there.target[axis]]
        axes.append(_holders(first, count, there.steps[axis], there.source[axis]))
        # o*stride + k*dilation = i + padding: the next o that solves it is dilation / gcd further on
        steps.append(there.steps[axis] // gcd(stride, there.steps[axis]))
    run = _longest_run(*axes[-1], dims.stride[-1], 1) if isinstance(dims, PoolDims) else (0, 0, 1, 1)
    return Windows(there.target, there.source, _table(axes), tuple(steps), run)


@lru_cache(maxsize=1024)
def divisors(dims: AnyPool, count_include_pad: bool, divisor_override: int | None, dtype: np.dtype) -> np.ndarray:
    """What window (od, oh, ow) is divided by, as three factors: rows of depth, height and width, shape (3, longest)."""
    there = forward(dims)
    table = np.ones((3, there.cells.shape[1]), dtype)
    if divisor_override:
        table[0] = divisor_override
    else:
        table[:] = there.cells[1::2]
        if count_include_pad:
            for row, extent in zip(table[3 - dims.rank:], dims.extents):
                row[:len(extent)] = extent
    table[table == 0] = 1  # beyond the end of the shorter axes: never read, but never a division by zero either
    return table


def flat(a: np.ndarray) -> np.ndarray:
    """`a` as the one line that a kernel takes."""
    return plain(a, (a.size,))


def planes(a: np.ndarray) -> np.ndarray:
    """`a` (N, C, *spatial) as the planes that a kernel takes: (N*C, cells)."""
    return plain(a, (a.shape[0] * a.shape[1], prod(a.shape[2:])))


def _table(axes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    table = np.zeros((6, max(len(first) for first, _ in axes) + SLACK), np.int64)
    for axis, (first, count) in enumerate(axes):
        table[2 * axis, :len(first)] = first
        table[2 * axis + 1, :len(first)] = count
    return table


def _holders(first: np.ndarray, count: np.ndarray, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of `size` cells, the first window that holds it (0 where none does) and how many do."""
    o, k = np.nonzero(np.arange(count.max(initial=0)) < count[:, None])
    cell = first[o] + k * step
    lowest = np.full(size, len(first), np.int64)
    np.minimum.at(lowest, cell, o)
    held = np.bincount(cell, minlength=size)
    return np.where(held > 0, lowest, 0), held


def _longest_run(first: np.ndarray, count: np.ndarray, period: int, advance: int) -> Ints:
    """(begin, end, period, advance) of the longest stretch of windows that repeat, a multiple of period long."""
    moved = (first[period:] == first[:-period] + advance) | (count[period:] == 0)
    same = moved & (count[period:] == count[:-period])
    breaks = np.flatnonzero(np.concatenate(([True], ~same, [True])))  # same[b:e] is all true between two of them
    k = int(np.argmax(np.diff(breaks)))
    begin, end = int(breaks[k]), int(breaks[k + 1]) - 1 + period
    end -= (end - begin) % period
    return (begin, end, period, advance) if end - begin > period else (0, 0, period, advance)

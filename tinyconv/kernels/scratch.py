"""Working memory of kernels, kept between calls: fresh large arrays cost a page fault every 4 KiB.

Only what never leaves a kernel may live here. Each thread has its own buffers, one for each name, and a kernel is not
called inside another, so no two calls ever share one.
"""

from __future__ import annotations

import threading
from itertools import accumulate
from math import prod

import numpy as np

Shapes = tuple[tuple[int, ...], ...]

ALIGN = 64  # a vector load that straddles a cache line costs two
PROBLEMS = 256  # whose arrays are remembered, as many as their plans
KEEP = 1 << 28  # bytes: larger buffers are given back to the system after the call


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.held: dict[tuple[str, np.dtype], np.ndarray] = {}
        self.cut: dict[tuple[str, np.dtype], tuple[np.ndarray, dict[Shapes, list[np.ndarray]]]] = {}


_buffers = _Buffers()


def scratch(name: str, size: int, dtype: np.dtype) -> np.ndarray:
    """At least `size` numbers on a 64-byte boundary, values undefined; the same name gives the same memory again."""
    held = _buffers.held.get((name, dtype))
    if held is not None and held.size >= size:
        return held
    raw = np.empty(size * dtype.itemsize + ALIGN, np.uint8)
    shift = -raw.ctypes.data % ALIGN
    fresh = raw[shift:shift + size * dtype.itemsize].view(dtype)
    if fresh.nbytes <= KEEP:
        _buffers.held[name, dtype] = fresh
    return fresh


def pieces(name: str, shapes: Shapes, dtype: np.dtype) -> list[np.ndarray]:
    """Arrays of these shapes in one buffer, each on a 64-byte boundary; the same shapes give the same arrays again."""
    buffer, known = _buffers.cut.get((name, dtype), (None, {}))
    found = known.get(shapes)
    if found is not None:
        return found
    line = ALIGN // dtype.itemsize
    starts = [0, *accumulate(-(-prod(shape) // line) * line for shape in shapes)]
    whole = scratch(name, starts[-1], dtype)
    if whole is not buffer or len(known) >= PROBLEMS:  # it has grown, or images of ever new sizes come
        known = {}
    known[shapes] = [whole[at:at + prod(shape)].reshape(shape) for at, shape in zip(starts, shapes)]
    if whole.nbytes <= KEEP:
        _buffers.cut[name, dtype] = whole, known
    return known[shapes]


def release() -> None:
    """Let go of this thread's buffers."""
    _buffers.held.clear()
    _buffers.cut.clear()

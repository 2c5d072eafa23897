"""Working memory of kernels, kept between calls: fresh large arrays cost a page fault every 4 KiB.

Only what never leaves a kernel may live here. Each thread has its own buffers, one for each name, and a kernel is not
called inside another, so no two calls ever share one.
"""

from __future__ import annotations

import threading

import numpy as np

ALIGN = 64  # a vector load that straddles a cache line costs two
KEEP = 1 << 28  # bytes: larger buffers are given back to the system after the call


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.held: dict[tuple[str, np.dtype], np.ndarray] = {}


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


def release() -> None:
    """Let go of this thread's buffers."""
    _buffers.held.clear()

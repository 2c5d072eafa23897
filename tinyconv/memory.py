"""Freed memory is kept for the next array instead of going back to the system.

A training step makes and drops the same large arrays again and again. glibc maps arrays above a threshold afresh each
time and unmaps them when freed, and every first touch of a 4 KiB page is then a fault: a fifth of a small network's step,
measured. Arrays up to KEPT bytes now come from the heap, which is trimmed only beyond HEAP free bytes. An array that
anyone holds is never reused: this is the allocator's own free list. Other C libraries are left as they are, and so are the
thresholds of one who set them (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_).
"""

from __future__ import annotations

import ctypes
import os
import sys

KEPT = 32 << 20  # the most that glibc allows
HEAP = 512 << 20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> bool:
    """Have the C library keep freed arrays; says whether it does."""
    if not sys.platform.startswith("linux") or {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & {*os.environ}:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, KEPT) and mallopt(M_TRIM_THRESHOLD, HEAP))

"""Arrays between two pages that may not be touched: a read or a write beside one of them ends the process.

Run in a process of its own by the tests of simd and of aot, whose modules see `Guarded` in the place of NumPy.
"""

import ctypes
import mmap

import numpy as np

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
kept = []


def guarded(size, dtype=np.float64, at_end=True):
    """An array of zeros that ends where the page behind it begins, or begins where the one before it ends."""
    shape, dtype = (size if isinstance(size, tuple) else (size,)), np.dtype(dtype)
    count = int(np.prod(shape))
    room = -(-max(count * dtype.itemsize, 1) // PAGE) * PAGE
    raw = mmap.mmap(-1, room + 2 * PAGE)
    kept.append(raw)
    start = ctypes.addressof(ctypes.c_char.from_buffer(raw))
    for edge in (start, start + PAGE + room):
        assert libc.mprotect(edge, PAGE, 0) == 0
    offset = PAGE + (room - count * dtype.itemsize if at_end else 0)
    return np.frombuffer(raw, dtype, count, offset).reshape(shape)


class Guarded:
    """NumPy, whose new arrays are guarded."""

    empty = zeros = staticmethod(guarded)

    def __getattr__(self, name):
        return getattr(np, name)

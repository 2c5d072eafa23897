"""NumPy's new arrays where a test wants them: a handler of its memory (NEP 49) that lays one array right beside another.

Compilers guard loops by tests of how far apart arrays lie, and run another loop where they are near. What that one rounds must
be the same.
"""

import ctypes
import mmap
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy._core import multiarray

SIZE, APART = 1 << 33, 1 << 22  # the stretch, of which only what is touched becomes memory; and from array to array in it
NO_RESERVE = 0x4000  # Linux's MAP_NORESERVE
NEAR = 1024  # bytes that a loop does in one go, at most: an array as long as that keeps its neighbours apart
SET_HANDLER = 304  # where PyDataMem_SetHandler stands in NumPy's table of functions, since version 1.22
PTR, LEN = ctypes.c_void_p, ctypes.c_size_t
KINDS = {"malloc": ctypes.CFUNCTYPE(PTR, PTR, LEN), "calloc": ctypes.CFUNCTYPE(PTR, PTR, LEN, LEN),
         "realloc": ctypes.CFUNCTYPE(PTR, PTR, PTR, LEN), "free": ctypes.CFUNCTYPE(None, PTR, PTR, LEN)}


class Allocator(ctypes.Structure):
    _fields_ = [("ctx", PTR), *KINDS.items()]


class Handler(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("allocator", Allocator)]


class Arena:
    """One array behind the other, from the beginning again when none of them is left."""

    def __init__(self):
        self.raw = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE)
        self.base = self.at = ctypes.addressof(ctypes.c_char.from_buffer(self.raw)) + APART
        self.live, self.made, self.pair = {}, [], None
        self.functions = [kind(getattr(self, name)) for name, kind in KINDS.items()]
        self.handler = Handler(b"placed", 1, Allocator(None, *self.functions))

    def start(self, pair):
        """New arrays are counted from 0. Of a pair (i, j, above), j > i, array j lies right above i, or right below."""
        self.made, self.pair = [], pair or (-1, -1, True)
        if not self.live:
            self.at = self.base

    def malloc(self, _, size):
        at, (i, j, above) = self.at, self.pair
        if len(self.made) == j:
            first, length = self.made[i]
            at = first + -(-length // 16) * 16 if above else (first - size) // 16 * 16
        self.at += -(-size // APART) * APART + APART
        if self.at + APART > self.base + SIZE:
            return None  # NumPy raises MemoryError
        self.made.append((at, size))
        self.live[at] = size
        return at

    def calloc(self, _, count, size):
        at = self.malloc(None, count * size)
        return at and ctypes.memset(at, 0, count * size)

    def realloc(self, _, old, size):
        at = self.malloc(None, size)
        if at and old:
            ctypes.memmove(at, old, min(size, self.live[old]))
            self.free(None, old, 0)
        return at

    def free(self, _, at, size):
        self.live.pop(at, None)


the_arena = cache(Arena)


@contextmanager
def placed(pair=None):
    """New arrays lie far apart, or one of them right beside another, until the end of the block."""
    arena = the_arena()
    api = ctypes.pythonapi
    api.PyCapsule_New.restype, api.PyCapsule_New.argtypes = ctypes.py_object, (PTR, ctypes.c_char_p, PTR)
    api.PyCapsule_GetPointer.restype, api.PyCapsule_GetPointer.argtypes = PTR, (ctypes.py_object, ctypes.c_char_p)
    table = ctypes.cast(api.PyCapsule_GetPointer(multiarray._ARRAY_API, None), ctypes.POINTER(PTR))
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[SET_HANDLER])
    arena.start(pair)
    before = set_handler(api.PyCapsule_New(ctypes.addressof(arena.handler), b"mem_handler", None))
    try:
        yield arena
    finally:
        set_handler(before)


def differing(function, *operands):
    """How many pairs of arrays, copies of the operands and what `function` makes, there are to bring together, and those that
    beside each other change bits of its result.

    A pair counts if the lower one is too short to keep the other at a distance. What the function keeps, as tables of a
    geometry, it keeps from a first call.
    """
    function(*operands)

    def result(pair):
        with placed(pair) as arena:
            bits = [np.asarray(a).tobytes() for a in function(*(a.copy() for a in operands))]
            return bits, [size for _, size in arena.made]

    want, sizes = result(None)
    pairs = [(i, j, above) for j in range(len(sizes)) for i in range(j) for above in (True, False)
             if 0 < (sizes[i] if above else sizes[j]) < NEAR and 0 < sizes[j] < APART // 2]
    return len(pairs), [pair for pair in pairs if result(pair)[0] != want]

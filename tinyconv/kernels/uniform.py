"""Random numbers for masks: number i of a draw follows from i and a key alone.

    z = mix(key + (i + 1) * golden)        u = the upper bits of z, as a fraction

So no state lives on a GPU, any thread can make any of them, and both devices draw the same. The key comes from the seeded
generator: a run that goes on from a checkpoint draws what it would have drawn.
Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014), SplitMix64.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numba
import numpy as np

from ..registry import Kernel, register
from . import gpu
from .geometry import floats_only
from .gpu_graph import refuse_recording
from .invoke import each
from .jit import njit

u = np.uintp  # an unsigned index spares the test for Python's negative ones, which keeps a loop out of vectors
u64 = np.uint64
GOLDEN, FIRST, SECOND = u64(0x9E3779B97F4A7C15), u64(0xBF58476D1CE4E5B9), u64(0x94D049BB133111EB)
BITS = {2: 11, 4: 24}  # of a fraction, by the bytes of a number: as many as it holds exactly
BLOCK = 1 << 15  # numbers a task: fewer are made before a second thread has begun


def reference(key: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Numbers from [0, 1), 11 bits of float16, 24 of float32, 53 of float64: a pass over memory for each step."""
    return _numbers(np, key, shape, dtype)


def direct(key: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The same in one pass, in vectors."""
    out = np.empty(shape, dtype)
    bits = _bits(dtype)
    _uniform(u64(key), u64(64 - bits), dtype.type(2.0**-bits), out.reshape(-1))
    return out


def uniform(key: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """The same by CuPy's arithmetic."""
    refuse_recording("random numbers")
    return _numbers(gpu.xp(), key, shape, dtype)


def _numbers(xp: Any, key: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    z = xp.arange(1, prod(shape) + 1, dtype=u64) * GOLDEN + u64(key)
    z = (z ^ (z >> u64(30))) * FIRST
    z = (z ^ (z >> u64(27))) * SECOND
    bits = _bits(dtype)
    return ((z ^ (z >> u64(31))) >> u64(64 - bits)).astype(dtype).reshape(shape) * np.dtype(dtype).type(2.0**-bits)


def refuse(shape: tuple[int, ...], dtype: np.dtype) -> str:
    """float32 and float64, where Numba compiles."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return "number by number in Python it would take milliseconds, and NUMBA_DISABLE_JIT is set"
    return floats_only(shape, dtype)


def _bits(dtype: np.dtype) -> int:
    return BITS.get(dtype.itemsize, 53)


@njit
def _uniform(key, drop, unit, out):
    each((out.size + BLOCK - 1) // BLOCK, _uniform_block, (key, drop, unit, out))


@njit(inner=True)
def _uniform_block(block, key, drop, unit, out):
    for i in range(block * BLOCK, min(block * BLOCK + BLOCK, out.size)):
        z = u64(i + 1) * GOLDEN + key
        z = (z ^ (z >> u64(30))) * FIRST
        z = (z ^ (z >> u64(27))) * SECOND
        out[u(i)] = out.dtype.type((z ^ (z >> u64(31))) >> drop) * unit


register(
    Kernel("uniform", "reference", reference),
    Kernel("uniform", "direct", direct, refuse=refuse),
    Kernel("uniform", "cuda", uniform, "cuda", gpu.refuse),
)

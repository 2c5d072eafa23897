"""Random numbers for a GPU: number i of a draw follows from i and a key alone, so that no state lives on the device.

    z = mix(key + (i + 1) * golden)        u = the upper bits of z, as a fraction

The key comes from the host's seeded generator: a run that goes on from a checkpoint draws the same numbers.
Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014), SplitMix64.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..registry import Kernel, register
from . import gpu
from .gpu_graph import refuse_recording

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def reference(key: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Numbers from [0, 1), on the host."""
    return _numbers(np, key, shape, dtype)


def uniform(key: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """Numbers from [0, 1), 24 bits of float32 and 53 of float64: CuPy's arithmetic, a pass for each step."""
    refuse_recording("random numbers")
    return _numbers(gpu.xp(), key, shape, dtype)


def _numbers(xp: Any, key: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    u64 = np.uint64
    z = xp.arange(1, prod(shape) + 1, dtype=u64) * u64(GOLDEN) + u64(key)
    z = (z ^ (z >> u64(30))) * u64(FIRST)
    z = (z ^ (z >> u64(27))) * u64(SECOND)
    bits = 24 if dtype == np.float32 else 53
    return ((z ^ (z >> u64(31))) >> u64(64 - bits)).astype(dtype).reshape(shape) * np.dtype(dtype).type(2.0**-bits)


register(Kernel("uniform", "reference", reference), Kernel("uniform", "cuda", uniform, "cuda", gpu.refuse))

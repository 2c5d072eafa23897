"""Adding at places: the adjoints of picking elements. On a GPU without atomics, so that every run gives the same bits.

    put         x[key] += y, where a place may be named any number of times
    sum_runs    y[o] summed over runs of neighbours along an axis (np.add.reduceat)

Places that are named twice are brought side by side by a stable sort; the thread that stands first among equals adds them all
up in the order of y. On a CPU both are NumPy's.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np
from numba import int32, int64

from ..registry import Kernel, register
from . import gpu
from .gpu import cuda

THREADS = 256


def put_reference(y: np.ndarray, key: Any, shape: tuple[int, ...]) -> np.ndarray:
    """x[key] += y from zeros, one element after the other."""
    x = np.zeros_like(y, shape=shape)
    np.add.at(x, key, y)
    return x


def sum_runs_reference(y: np.ndarray, starts: np.ndarray, axis: int) -> np.ndarray:
    """The sum of each run of neighbours along the axis."""
    return np.add.reduceat(y, starts, axis)


def put(y: Any, key: Any, shape: tuple[int, ...]) -> Any:
    """Sorted by place, a thread for each run of equals."""
    xp = gpu.xp()
    x = xp.zeros(shape, y.dtype)
    places = xp.arange(x.size).reshape(shape)[key].ravel()
    order = xp.argsort(places, kind="stable")
    _run(_kernels(y.dtype.name)[0], places.size, gpu.flat(places[order]), gpu.flat(order), gpu.flat(y), x)
    return x


def sum_runs(y: Any, starts: np.ndarray, axis: int) -> Any:
    """A thread for each sum. starts: where along the axis each run begins, on the host; the last ends with the axis."""
    lead, n, rest = prod(y.shape[:axis]), y.shape[axis], prod(y.shape[axis + 1:])
    x = gpu.xp().empty((*y.shape[:axis], len(starts), *y.shape[axis + 1:]), y.dtype)
    _run(_kernels(y.dtype.name)[1], lead * len(starts) * rest, gpu.table((*map(int, starts), n)), gpu.flat(y), x, len(starts),
         n, rest)
    return x


def refuse(shape: tuple[int, ...], dtype: np.dtype) -> str:
    """What they do not take on a GPU: more elements than 32 bits count."""
    return gpu.refuse(shape, dtype) or ("it counts elements with 32 bits" if prod(shape) >= 2**31 else "")


def _run(kernel: gpu.Function, size: int, *args: Any) -> None:
    block = gpu.threads(THREADS)
    gpu.launch(kernel, gpu.cells(size, block), block, size, *args)


@cache
def _kernels(dtype: str) -> tuple[gpu.Function, gpu.Function]:
    real = gpu.real(dtype)

    @gpu.jit
    def add_runs(size, places, order, y, x):
        """places, sorted, and where in y each comes from."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i < size and (i == 0 or places[i - 1] != places[i]):
            total, j, more = real(0), i, True
            while more:
                total += y[order[j]]
                j = int32(j + 1)
                more = j < size
                if more:
                    more = places[j] == places[i]
            x[places[i]] = total

    @gpu.jit
    def sums(size, starts, y, x, runs, n, rest):
        """x (lead, runs, rest) from y (lead, n, rest)."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i < size:
            r, lead, run, total = i % rest, int64(i // rest // runs), i // rest % runs, real(0)
            for o in range(starts[run], starts[run + 1]):
                total += y[(lead * n + o) * rest + r]
            x[i] = total

    return add_runs, sums


LADDER = (
    Kernel("put", "reference", put_reference),
    Kernel("put", "cuda", put, "cuda", refuse),
    Kernel("sum_runs", "reference", sum_runs_reference),
    Kernel("sum_runs", "cuda", sum_runs, "cuda", refuse),
)
register(*LADDER)

"""Matrix products: NumPy's BLAS, on one thread where the product is small.

BLAS keeps a thread pool of its own, whose idle threads spin for a while, and so do those of the compiled kernels. Where
the two take turns on the same cores, each switch was measured at 4 to 8 ms: a hundred times the product of a small
network's layer. One thread needs no pool and does those just as fast. It also settles the order of the sums: the bits do
not depend on the number of threads, as they do for a product above LARGE.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import numpy as np

TINY = 1 << 18  # multiply-adds, up to which OpenBLAS takes one thread unasked
LARGE = 100_000_000  # multiply-adds, about 1 ms of one core, from which BLAS may use its own threads

_turn = threading.Lock()  # the number of BLAS threads belongs to the process


@cache
def _libraries() -> list:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas").lib_controllers


def matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """a @ b, as np.matmul: (..., M, K) by (..., K, N)."""
    if type(a) is not np.ndarray:  # on the GPU it is cuBLAS's
        return np.matmul(a, b) if out is None else np.matmul(a, b, out)
    work = a.size * b.shape[-1]
    if work <= TINY or work >= LARGE:
        return np.matmul(a, b, out)
    with _turn:
        before: list[tuple[Any, int]] = [(blas, blas.get_num_threads()) for blas in _libraries()]
        for blas, threads in before:
            if threads > 1:
                blas.set_num_threads(1)
        try:
            return np.matmul(a, b, out)
        finally:
            for blas, threads in before:
                if threads > 1:
                    blas.set_num_threads(threads)

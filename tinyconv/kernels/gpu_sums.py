"""What the threads of a block add up together, in an order that the block's size alone decides."""

from __future__ import annotations

from . import gpu
from .gpu import cuda, int32


@gpu.helper
def add_up(sums, rows, t, T):
    """sums (rows, T) in shared memory, column t written by thread t: each row's sum comes to stand at its start.

    A tree: T/2 threads add the numbers of the others to theirs, then T/4, and so on; T is a power of two.
    """
    half = int32(T // 2)
    while half > 0:
        cuda.syncthreads()
        if t < half:
            for k in range(rows):
                sums[k * T + t] += sums[k * T + t + half]
        half = int32(half // 2)
    cuda.syncthreads()

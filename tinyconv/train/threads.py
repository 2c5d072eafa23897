"""How many cores a run may use: those of the compiled kernels and those of the BLAS together."""

from __future__ import annotations

from .config import TrainError


def use_threads(count: int) -> None:
    """Let kernels and BLAS use `count` threads, for the rest of the process; 0 leaves both as they are.

    Raises: TrainError for more threads than the process has cores.
    """
    if count == 0:
        return
    import numba
    from threadpoolctl import threadpool_limits

    cores = numba.get_num_threads()
    if count > cores:
        raise TrainError(f"threads={count}: this process has {cores} core{'s' * (cores > 1)} to use; 0 takes all")
    numba.set_num_threads(count)
    threadpool_limits(count)

"""The registry under pytest-benchmark: every fast algorithm x named layers x the three maps x dtypes x threads.

    pytest bench -o addopts= --benchmark-only -k "vgg.128 and conv_input_grad"
    pytest bench -o addopts= --benchmark-compare

For one's own kernels against each other, with that plugin's own storage and comparisons; `tinyconv bench` is the bench that
takes turns with other libraries. Every kernel is checked before it is timed.
"""

import numba
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from tinyconv import cases
from tinyconv.bench.check import check_kernel, yardstick
from tinyconv.bench.task import SLOTS, Task, operands
from tinyconv.registry import kernels

pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed (extra bench)")

THREADS = sorted({1, numba.config.NUMBA_NUM_THREADS})


@pytest.mark.parametrize("threads", THREADS, ids="{}t".format)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", cases.layers)
@pytest.mark.parametrize("kernel", [k for op in SLOTS for k in kernels(op) if k.automatic and k.algorithm != "reference"],
                         ids=lambda k: f"{k.op}-{k.algorithm}")
def test_kernel(kernel, case, dtype, threads, benchmark):
    task, dims = Task("pytest", kernel.op, case, dtype), cases.layers[case]
    if why := kernel.refuse(dims, np.dtype(dtype)):
        pytest.skip(why)
    wrong = check_kernel(kernel, case, dims, np.dtype(dtype), task.rng, yardstick(kernel.op, dims, kernel.algorithm))
    assert wrong is None, wrong
    benchmark.group = f"{task.name} {threads}t"
    benchmark.extra_info.update(flops=dims.flops, scratch=int(kernel.scratch(dims, np.dtype(dtype))), threads=threads)
    numba.set_num_threads(threads)
    try:
        with threadpool_limits(threads, "blas"):
            benchmark(kernel.fn, *operands(task), dims)
    finally:
        numba.set_num_threads(max(THREADS))

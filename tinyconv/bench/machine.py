"""The machine that the figures belong to: its name, its measured peak of multiply-adds and its measured bandwidth.

The peak comes from multiply-adds that never leave the registers, as many chains as hide their latency, on every thread.
The bandwidth is that of a triad a[i] = b[i] + s*c[i] over arrays larger than a core's own cache. Together they are the
roofline: no algorithm that moves B bytes for F operations runs faster than min(peak, bandwidth * F/B).
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from time import perf_counter
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..kernels.host import VECTOR_BYTES
from ..kernels.jit import njit

CHAINS = 12  # independent sums: two units of latency 4 need 8, and 12 and two constants still fit 16 registers
TRIAD = 1 << 23  # elements of each array of the triad: 32 MiB


def cpu_name() -> str:
    """The CPU's own name for itself, or the platform's."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return " ".join(line.split(":", 1)[1].split())
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@intrinsic(prefer_literal=True)
def _chains(typingctx: Any, size: Any, steps: Any) -> Any:
    """steps rounds of CHAINS vector multiply-adds of float32 or float64 (size 4 or 8), all in registers; one number out."""
    real, lanes = (ir.FloatType(), VECTOR_BYTES // 4) if size.literal_value == 4 else (ir.DoubleType(), VECTOR_BYTES // 8)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vec, i64 = ir.VectorType(real, lanes), ir.IntType(64)
        fma = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(vec, [vec] * 3), f"llvm.fma.v{lanes}f{8 * size.literal_value}")
        before, loop, done = b.block, b.function.append_basic_block(), b.function.append_basic_block()
        b.branch(loop)
        b.position_at_end(loop)
        count = b.phi(i64)
        count.add_incoming(ir.Constant(i64, 0), before)
        sums = [b.phi(vec) for _ in range(CHAINS)]
        for n, acc in enumerate(sums):
            acc.add_incoming(ir.Constant(vec, [float(n)] * lanes), before)
        scale, shift = ir.Constant(vec, [0.5] * lanes), ir.Constant(vec, [1.0] * lanes)
        news = [b.call(fma, [acc, scale, shift]) for acc in sums]
        following = b.add(count, ir.Constant(i64, 1))
        count.add_incoming(following, loop)
        for acc, new in zip(sums, news):
            acc.add_incoming(new, loop)
        b.cbranch(b.icmp_signed("<", following, args[1]), loop, done)
        b.position_at_end(done)
        total = news[0]
        for new in news[1:]:
            total = b.fadd(total, new)
        return b.fpext(b.extract_element(total, ir.Constant(ir.IntType(32), 0)), ir.DoubleType()) \
            if size.literal_value == 4 else b.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.float64(size, types.int64), codegen


@njit(parallel=True)
def _spin4(threads: int, steps: int, out: np.ndarray) -> None:
    for t in prange(threads):
        out[t] = _chains(4, steps)  # type: ignore[call-arg]  # an intrinsic is called without its context


@njit(parallel=True)
def _spin8(threads: int, steps: int, out: np.ndarray) -> None:
    for t in prange(threads):
        out[t] = _chains(8, steps)  # type: ignore[call-arg]


@njit(parallel=True)
def _triad(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    for i in prange(a.size):
        a[i] = b[i] + np.float32(0.5) * c[i]


def peak(dtype: str = "float32", seconds: float = 0.3) -> float:
    """Multiply-add peak in FLOP/s (two for each multiply-add) over all of Numba's threads: the best of several runs."""
    size = np.dtype(dtype).itemsize
    spin, threads, steps = (_spin4 if size == 4 else _spin8), numba.get_num_threads(), 400_000
    out = np.zeros(threads)
    best = _best(lambda: spin(threads, steps, out), seconds)
    return 2.0 * CHAINS * (VECTOR_BYTES // size) * steps * threads / best


def bandwidth(seconds: float = 0.3) -> float:
    """Bytes a second of a triad over all threads: two arrays read and one written."""
    a, b, c = (np.ones(TRIAD, np.float32) for _ in range(3))
    return 3.0 * a.nbytes / _best(lambda: _triad(a, b, c), seconds)


def _best(fn: Any, seconds: float) -> float:
    fn()
    best, until = float("inf"), perf_counter() + seconds
    while perf_counter() < until:
        start = perf_counter()
        fn()
        best = min(best, perf_counter() - start)
    return best


def describe() -> dict:
    """What a record says about the machine it was measured on."""
    return {"cpu": cpu_name(), "target": binding.get_host_cpu_name(), "cores": cores(), "vector_bits": 8 * VECTOR_BYTES,
            "system": platform.system(), "python": platform.python_version(), "numpy": np.__version__,
            "numba": numba.__version__}

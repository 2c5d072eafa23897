"""Choosing convolution kernels by the clock instead of by rules: each shape is measured once, and the winner kept on disk.

    tinyconv.autotune(True)            from here on; autotune(False) goes back to the rules, which are the default
    with tinyconv.autotune(True): ...  for a block

The table is one small JSON file a CPU, beside the compiled kernels, and counts for their very source only. Its keys hold
the operation, the geometry, the dtype, the number of threads and the algorithms that were in question; the batch only as the
next power of two, so that batches that vary do not start a search each.
Rules choose alike on every machine; with autotune another machine, or another day, may take another algorithm, whose sums
round differently. What one algorithm computes is the same either way.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from . import registry
from .dims import ConvDims
from .registry import Kernel

SLOTS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}  # the operands of what is tuned
BUDGET = 0.003  # seconds that a kernel is measured for, once it has run
CALLS = 5
FAR = 2.0  # times slower than the best: the rungs below are slower still, and are not tried
MOST = 1024  # choices kept

clock = perf_counter  # tests put their own here


class autotune:
    """Whether kernels are chosen by measuring; undone at the end of a `with` block, if it is one.

    >>> with autotune(False):
    ...     pass  # by rules, whatever holds outside
    """

    def __init__(self, mode: bool = True) -> None:
        self.before = registry.set_tuner(Tuner() if mode else None)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        registry.set_tuner(self.before)


class Tuner:
    """A table of choices, read from disk when first needed; what no folder can keep lasts as long as the process."""

    def __init__(self) -> None:
        self.choices: dict[str, str] | None = None

    def threads(self) -> int:
        """How many threads kernels run on."""
        import numba

        return numba.get_num_threads()

    def choose(self, candidates: list[Kernel], dims: Any, dtype: np.dtype) -> Kernel:
        """One of these kernels, the highest rung first, none of which refuses."""
        op = candidates[0].op
        if len(candidates) < 2 or op not in SLOTS or not isinstance(dims, ConvDims) or not dims.macs:
            return candidates[0]
        if self.choices is None:
            self.choices = load()
        name = key(candidates, dims, dtype, self.threads())
        found = self.choices.get(name)
        best = next((k for k in candidates if k.algorithm == found), None)
        if best is None:
            best = fastest(candidates, dims, dtype)
            self.choices = save({**load(), **self.choices, name: best.algorithm})
        return best


def key(candidates: list[Kernel], dims: ConvDims, dtype: np.dtype, count: int) -> str:
    """What a choice depends on: 5 to 8 samples are one key."""
    batch = 1 << (dims.N - 1).bit_length()
    algorithms = ", ".join(k.algorithm for k in candidates)
    return f"{candidates[0].op} {replace(dims, N=batch)} {np.dtype(dtype)} {count} threads: {algorithms}"


def fastest(candidates: list[Kernel], dims: ConvDims, dtype: np.dtype) -> Kernel:
    """The kernel whose best call is the shortest, going down the ladder until one is FAR behind."""
    rng = np.random.default_rng(0)
    args = [rng.standard_normal(getattr(dims, f"{slot}_shape")).astype(dtype) for slot in SLOTS[candidates[0].op]]
    best, least = candidates[0], float("inf")
    for kernel in candidates:
        took = seconds(kernel, args, dims)
        if took < least:
            best, least = kernel, took
        elif took > FAR * least:
            break
    return best


def seconds(kernel: Kernel, args: list[np.ndarray], dims: ConvDims) -> float:
    """The shortest of a few calls, after one that may have to compile."""
    kernel.fn(*args, dims)
    least, start = float("inf"), clock()
    for _ in range(CALLS):
        before = clock()
        kernel.fn(*args, dims)
        now = clock()
        least = min(least, now - before)
        if now - start > BUDGET:
            break
    return least


def table() -> Path | None:
    """The file of choices for this CPU; None where no folder can be written."""
    import llvmlite.binding as llvm

    from .kernels import jit

    if jit.FOLDER is None:
        return None
    cpu = f"{llvm.get_host_cpu_name()} {os.cpu_count()} {cpu_model()}"
    return jit.FOLDER.parent / f"autotune-{hashlib.sha256(cpu.encode()).hexdigest()[:12]}.json"


def cpu_model() -> str:
    """The name that Linux gives the CPU; elsewhere LLVM's name for its kind must do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def load() -> dict[str, str]:
    """The choices on disk that were made between the very kernels of this source. One that cannot be read is started anew."""
    from .kernels import jit

    path = table()
    if path is None or not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text())
        choices = kept["choices"] if kept["kernels"] == jit.fingerprint() else {}
        if not all(isinstance(text, str) for pair in choices.items() for text in pair):
            raise ValueError("its choices are no names")
        return dict(choices)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(f"{path} cannot be read as a table of autotune and is started anew: {error!r}", RuntimeWarning,
                      stacklevel=2)
        path.unlink(missing_ok=True)
        return {}


def save(choices: dict[str, str]) -> dict[str, str]:
    """Write the newest MOST choices, whole or not at all, and return them; a folder that cannot be written is no error."""
    from .kernels import jit

    kept = dict(list(choices.items())[-MOST:])
    path = table()
    if path is not None:
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            part.write_text(json.dumps({"kernels": jit.fingerprint(), "choices": kept}, indent=1) + "\n")
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
    return kept

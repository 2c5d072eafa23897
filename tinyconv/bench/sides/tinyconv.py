"""tinyconv's side of the bench: its kernels and training steps, and the judge of every library's answers."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ... import registry
from ...dims import ConvDims
from ...kernels.compiled import levels
from ..check import FOREIGN_BOUND, check_kernel, check_small, magnitude, problem_with, yardstick
from ..nets import TOLERANCE, build_step, first_losses
from ..task import SLOTS, Task, dims_of, one_array, operands
from . import Refused

AUTO = "auto"  # the algorithm that the registry chooses
BETWEEN = "between"  # what a step does outside of kernels: Python, and the update
STEPS = 30  # steps that are taken to pieces


def version() -> str:
    return sys.modules[__name__.partition(".")[0]].__version__  # the package's own, without importing upwards


def threads() -> int:
    import numba

    return numba.get_num_threads()


def prepare(task: Task, algorithm: str) -> tuple[Callable[[], Any], dict]:
    """A call of the task by this algorithm, and facts about it. Raises: Refused."""
    if task.op == "step":
        return _step(task), {"algorithm": AUTO}
    kernel, dims, dtype = _kernel(task, algorithm), dims_of(task), np.dtype(task.dtype)
    args = operands(task)
    return lambda: kernel.fn(*args, dims), {"algorithm": kernel.algorithm, "scratch": int(kernel.scratch(dims, dtype))}


def result(task: Task, call: Callable[[], Any]) -> np.ndarray:
    """The answer to be judged."""
    return _losses(task) if task.op == "step" else one_array(call())


def _kernel(task: Task, algorithm: str) -> registry.Kernel:
    dims, dtype = dims_of(task), np.dtype(task.dtype)
    if algorithm == AUTO:
        return registry.choose(task.op, dims, dtype)
    found = [k for k in registry.kernels(task.op) if k.algorithm == algorithm and k.device == "cpu"]
    if not found:
        raise Refused(f"{task.op} has no algorithm {algorithm!r}")
    if why := found[0].refuse(dims, dtype):
        raise Refused(why)
    return found[0]


def _step(task: Task) -> Callable[[], Any]:
    from ... import nn, optim
    from ...tensor import from_numpy

    return build_step(task, nn, optim, from_numpy)


def _losses(task: Task, dtype: str = "") -> np.ndarray:
    from ... import nn, optim
    from ...tensor import from_numpy

    return first_losses(task, nn, optim, from_numpy, dtype or task.dtype)


def _true_losses(task: Task) -> np.ndarray:
    """The losses in float64, by kernels that are not the timed ones (and are compiled already, where there is C)."""
    with registry.use("aot" if levels() else "im2col", "reference"):
        return _losses(task, "float64")


# -- the judge -----------------------------------------------------------------------------------------------------


def verify(task: dict, algorithm: str) -> dict:
    """Check one of our kernels on the case itself; {} or {"wrong": what is}."""
    t = Task(**task)
    kernel, dims, dtype = _kernel(t, algorithm), dims_of(t), np.dtype(t.dtype)
    if isinstance(dims, ConvDims):
        found = check_kernel(kernel, t.case, dims, dtype, t.rng, yardstick(t.op, dims, kernel.algorithm))
        return {"wrong": str(found)} if found else {}
    want, unit = _truth(t)
    problem = problem_with(one_array(kernel.fn(*operands(t), dims)), want, (kernel.bound or FOREIGN_BOUND) * unit, dtype)
    return {"wrong": f"{t.name} by {kernel.algorithm!r}: {problem}"} if problem else {}


def judge(task: dict, path: str) -> dict:
    """Compare the answer in a file: {"wrong": what is} or {"error": how far off, in eps of the largest sum of magnitudes}."""
    t, answer = Task(**task), np.load(path)
    if t.op == "step":
        want = _true_losses(t)
        if not np.allclose(answer, want, rtol=TOLERANCE, atol=0):
            return {"wrong": f"{t.name}: losses {answer.tolist()} where float64 gives {want.tolist()}"}
        return {"error": float(np.abs(answer / want - 1).max() / np.finfo(t.dtype).eps)}
    want, unit = _truth(t)
    if problem := problem_with(answer, want, FOREIGN_BOUND * unit, np.dtype(t.dtype)):
        return {"wrong": f"{t.name}: {problem}"}
    return {"error": float(np.abs(answer - want).max(initial=0.0) / unit) if unit else 0.0}


def _truth(task: Task) -> tuple[np.ndarray, float]:
    """The right answer, and eps of the largest sum of magnitudes in it."""
    dims, dtype = dims_of(task), np.dtype(task.dtype)
    args = [a.astype(np.float64) if a.dtype == dtype else a for a in operands(task)]
    if isinstance(dims, ConvDims):
        truth = yardstick(task.op, dims)
        return truth.fn(*args, dims), np.finfo(dtype).eps * magnitude(truth, args, dims)
    define = next(k.fn for k in registry.kernels(task.op) if k.algorithm == "reference")
    sums = define(*[np.abs(a) for a in args], dims)
    want = one_array(define(*(operands(task) if task.op == "max_pool" else args), dims))
    return want, np.finfo(dtype).eps * float((sums[0] if isinstance(sums, tuple) else sums).max(initial=0.0))


def check(op: str, algorithm: str) -> dict:
    """Check a kernel on every small case: {"mismatches": [...], "left_out": why, for each refused, "right": how many}."""
    kernel = next(k for k in registry.kernels(op) if k.algorithm == algorithm)
    wrong, refused, right = check_small(kernel)
    return {"mismatches": [str(w) for w in wrong], "left_out": refused, "right": right}


# -- what the contest asks for -------------------------------------------------------------------------------------


def ladder() -> dict:
    """The algorithms of each operation on the CPU, slowest first."""
    return {op: [k.algorithm for k in registry.kernels(op) if k.device == "cpu"] for op in registry.ops()}


def load(path: str) -> dict:
    """Run a user's file, and name the kernels that it registered. Raises: ValueError for one that hides another."""
    before = _records()
    spec = spec_from_file_location("users_kernel", path)
    if spec is None or spec.loader is None:
        raise ValueError("it is not a Python file")
    sys.path.insert(0, str(Path(path).parent))  # it may import its neighbours
    sys.modules["users_kernel"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    new = [(op, a) for (op, a), kernel in _records().items() if before.get((op, a)) is not kernel]
    for op, a in new:
        if (op, a) in before:
            raise ValueError(f"{op} has an algorithm {a!r} already: give yours another name")
        if op not in SLOTS:
            raise ValueError(f"a kernel of {op} has no bench here: those of {', '.join(SLOTS)} are checked and timed")
    return {"kernels": new}


def _records() -> dict[tuple[str, str], registry.Kernel]:
    return {(op, k.algorithm): k for op in registry.ops() for k in registry.kernels(op) if k.device == "cpu"}


def parts(task: dict) -> dict:
    """Where the seconds of a training step go: by operation, and between its kernels; medians of STEPS steps."""
    step, found = _step(Task(**task)), []
    watch = Stopwatch()
    before = registry.set_tuner(watch)
    try:
        for _ in range(STEPS):
            watch.spent.clear()
            start = perf_counter()
            step()
            whole = perf_counter() - start
            found.append({**watch.spent, BETWEEN: whole - sum(watch.spent.values())})
    finally:
        registry.set_tuner(before)
    return {op: float(np.median([spent[op] for spent in found])) for op in found[-1]}


class Stopwatch:
    """Stands where a tuner would: it takes the kernel that `choose` takes without one, and times its calls."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    def threads(self) -> int:
        return 0

    def choose(self, candidates: list[registry.Kernel], dims: Any, dtype: np.dtype) -> registry.Kernel:
        kernel = candidates[0]

        def timed(*args: Any, **options: Any) -> Any:
            start = perf_counter()
            result = kernel.fn(*args, **options)
            self.spent[kernel.op] += perf_counter() - start
            return result

        return replace(kernel, fn=timed)


def measure(dtypes: list[str]) -> dict:
    """The peaks and the bandwidth of this machine with this process's threads."""
    from .. import machine

    return {"peaks": {dtype: machine.peak(dtype) for dtype in dtypes}, "bandwidth": machine.bandwidth()}

"""tinyconv's side of the bench: its kernels and training steps, and the judge of every library's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import __version__, registry
from .check import FOREIGN_BOUND, check_kernel, magnitude, problem_with, yardstick
from .task import Task, conv_case, conv_operands
from .worker import Refused

AUTO = "auto"  # the algorithm that the registry chooses


def version() -> str:
    return __version__


def threads() -> int:
    import numba

    return numba.get_num_threads()


def measure(dtypes: list[str]) -> dict:
    """The peaks and the bandwidth of this machine with this process's threads."""
    from . import machine

    return {"peaks": {dtype: machine.peak(dtype) for dtype in dtypes}, "bandwidth": machine.bandwidth()}


def prepare(task: Task, algorithm: str) -> tuple[Callable[[], Any], dict]:
    """A call of the task by this algorithm, verified, and facts about it. Raises: Refused, or AssertionError if wrong."""
    if task.suite == "steps":
        return _prepare_step(task)
    dims, dtype = conv_case(task.case), np.dtype(task.dtype)
    kernel = _kernel(task.op, dims, dtype, algorithm)
    found = check_kernel(kernel, task.case, dims, dtype, task.rng, yardstick(task.op, dims, kernel.algorithm))
    if found:
        raise AssertionError(str(found))
    a, b = conv_operands(task)
    facts = {"algorithm": kernel.algorithm, "scratch": int(kernel.scratch(dims, dtype)), "flops": dims.flops,
             "bytes": dims.bytes(dtype.itemsize)}
    return lambda: kernel.fn(a, b, dims), facts


def _kernel(op: str, dims: Any, dtype: np.dtype, algorithm: str) -> registry.Kernel:
    if algorithm == AUTO:
        return registry.choose(op, dims, dtype)
    found = [k for k in registry.kernels(op) if k.algorithm == algorithm and k.device == "cpu"]
    if not found:
        raise Refused(f"{op} has no algorithm {algorithm!r}")
    if why := found[0].refuse(dims, dtype):
        raise Refused(why)
    return found[0]


def judge(task: Task, answer: np.ndarray) -> dict:
    """Compare another library's answer; {"wrong": ...} or {"error": eps of the largest sum of magnitudes}."""
    if task.suite == "steps":
        return _judge_step(task, answer)
    dims, dtype = conv_case(task.case), np.dtype(task.dtype)
    truth = yardstick(task.op, dims)
    args = [a.astype(np.float64) for a in conv_operands(task)]
    want, size = truth.fn(*args, dims), magnitude(truth, args, dims)
    unit = np.finfo(dtype).eps * size
    if problem := problem_with(answer, want, FOREIGN_BOUND * unit, dtype):
        return {"wrong": f"{task.name}: {problem}"}
    return {"error": float(np.abs(answer - want).max() / unit)}


def _prepare_step(task: Task) -> tuple[Callable[[], Any], dict]:
    from .. import nn, optim
    from ..tensor import from_numpy
    from .nets import build_step

    step = build_step(task, nn, optim, from_numpy)
    return step, {"algorithm": AUTO}


def _judge_step(task: Task, losses: np.ndarray) -> dict:
    from .nets import TOLERANCE

    want = first_losses(task, "float64")
    if not np.allclose(losses, want, rtol=TOLERANCE, atol=0):
        return {"wrong": f"{task.name}: losses {losses.tolist()} where float64 gives {want.tolist()}"}
    return {"error": float(np.abs(losses / want - 1).max())}


def first_losses(task: Task, dtype: str = "float32") -> np.ndarray:
    """The losses of the first steps of training."""
    from .. import nn, optim
    from ..tensor import from_numpy
    from .nets import losses

    return losses(task, nn, optim, from_numpy, dtype)


def result(task: Task, fn: Callable[[], Any]) -> np.ndarray:
    """The answer to be judged."""
    return first_losses(task) if task.suite == "steps" else fn()

"""Is a kernel right? Against the definition on every small case, against a yardstick on the large ones.

The definition (kernels/conv/reference.py) is too slow for a layer of VGG. There the yardstick is another algorithm in
float64, one that has just been seen to equal the definition on every small case. An exact kernel must equal it bit for bit
on whole numbers; the others stay within their stated bound, in units of eps of the largest sum of magnitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .. import cases
from ..dims import ConvDims
from ..registry import Kernel, kernels
from .task import SLOTS

FOREIGN_BOUND = 16.0  # eps of the largest sum of magnitudes that sums of fractions may be off by, in whatever order
YARDSTICKS = ("kn2row", "im2col", "reference")


@dataclass(frozen=True)
class Mismatch:
    """The first wrong element of a kernel's answer."""

    op: str
    algorithm: str
    case: str
    dtype: str
    problem: str

    def __str__(self) -> str:
        return f"{self.op} by {self.algorithm!r} on {self.case} ({self.dtype}): {self.problem}"


def problem_with(answer: np.ndarray, want: np.ndarray, tolerance: float, dtype: np.dtype) -> str:
    """"" if the answer has this dtype, the shape of `want` and every element within `tolerance` of it; else what is wrong."""
    if not isinstance(answer, np.ndarray):
        return f"it returned {type(answer).__name__}, not an array"
    if answer.shape != want.shape or answer.dtype != dtype:
        return f"it returned shape {answer.shape} of {answer.dtype}, not {want.shape} of {np.dtype(dtype)}"
    bad = ~(np.abs(answer - want) <= tolerance)  # written so that NaN is bad
    if not bad.any():
        return ""
    at = tuple(int(i) for i in np.unravel_index(np.argmax(bad), bad.shape))
    return (f"first mismatch at {list(at)}: {answer[at]!s} instead of {want[at]!s}"
            f" ({np.count_nonzero(bad)} of {bad.size} elements off by more than {tolerance:.3g})")


def operands(op: str, dims: ConvDims, rng: np.random.Generator, whole: bool) -> list[np.ndarray]:
    """The operands of a map, in float64: small whole numbers or normal ones."""
    shapes = [getattr(dims, f"{slot}_shape") for slot in SLOTS[op]]
    return [rng.integers(-3, 4, s).astype(float) if whole else rng.standard_normal(s) for s in shapes]


def check_kernel(kernel: Kernel, case: str, dims: ConvDims, dtype: np.dtype, rng: np.random.Generator,
                 yardstick: Kernel | None = None) -> Mismatch | None:
    """Run a kernel on one case and compare; None if it is right. The yardstick is the definition unless one is given.

    An exact kernel meets whole numbers first, where it must be exact, then fractions; the others fractions only.
    """
    truth = yardstick or next(k for k in kernels(kernel.op) if k.algorithm == "reference")
    for whole in (True, False) if kernel.exact else (False,):
        args = [a.astype(dtype) for a in operands(kernel.op, dims, rng, whole)]
        wide = [a.astype(np.float64) for a in args]
        bound = 0.0 if whole else kernel.bound or FOREIGN_BOUND
        problem = _run(kernel, args, truth.fn(*wide, dims), bound * np.finfo(dtype).eps * magnitude(truth, wide, dims), dims)
        if problem:
            return Mismatch(kernel.op, kernel.algorithm, case, str(dtype), problem)
    return None


def _run(kernel: Kernel, args: list[np.ndarray], want: np.ndarray, tolerance: float, dims: ConvDims) -> str:
    before = [a.copy() for a in args]
    try:
        answer = kernel.fn(*args, dims)
    except Exception as error:  # a user's kernel may do anything
        inside = error.__traceback__ and error.__traceback__.tb_next
        return f"it raised {type(error).__name__}" + (f" at line {inside.tb_lineno}" if inside else "") + f": {error}"
    problem = problem_with(answer, want, tolerance, args[0].dtype)
    if not problem and any((a != b).any() for a, b in zip(args, before)):
        return "it wrote to its operands"
    return problem


def magnitude(truth: Kernel, args: list[np.ndarray], dims: ConvDims) -> float:
    """The largest sum of magnitudes behind any element of the result."""
    sums = truth.fn(*[np.abs(a) for a in args], dims)
    return float(sums.max()) if sums.size else 0.0


def check_small(kernel: Kernel, dtypes: tuple[str, ...] = ("float32", "float64")) -> tuple[list[Mismatch], list[str], int]:
    """A convolution kernel over every small case: its mismatches, why it refused each that it did, how many it got right.

    Raises: TypeError where its `refuse` returns anything but a string.
    """
    wrong, refused, right = [], [], 0
    for name, dims in cases.small.items():
        for dtype in map(np.dtype, dtypes):
            why = kernel.refuse(dims, dtype)
            if not isinstance(why, str):
                raise TypeError(f'it returned {why!r} on {name}, not "" or a sentence that says why not')
            if why:
                refused.append(why)
            elif found := check_kernel(kernel, name, dims, dtype, np.random.default_rng(7)):
                wrong.append(found)
            else:
                right += 1
    return wrong, refused, right


@lru_cache(maxsize=64)
def yardstick(op: str, dims: ConvDims, other_than: str = "") -> Kernel:
    """The algorithm that judges large cases in float64, another than the one that is judged."""
    ladder = {k.algorithm: k for k in kernels(op)}
    for name in YARDSTICKS:
        if name != other_than and name in ladder and not ladder[name].refuse(dims, np.dtype("float64")):
            _trust(ladder[name])
            return ladder[name]
    raise ValueError(f"nothing to judge {op} of {dims} by")


@lru_cache(maxsize=8)
def _trust(kernel: Kernel) -> None:
    wrong, _, _ = check_small(kernel, ("float64",))
    if wrong:
        raise AssertionError(f"the yardstick itself is wrong: {wrong[0]}")

"""What is timed: one operation on one named case, and the arrays that every library computes it from.

The arrays are drawn from a generator seeded by the task's own name, so processes agree on them without passing them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any
from zlib import crc32

import numpy as np

from .. import cases
from ..dims import ConvDims, PoolDims, conv_dims, pool_dims
from ..names import unknown

SLOTS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}  # the operands of each map, in order
POOLING = ("max_pool", "pool_scatter", "avg_pool", "avg_pool_adjoint")  # forward and backward of either
POOLS = {  # the poolings of the bench: the sizes of VGG's first layers and of a small network's
    "56.2s2": pool_dims((8, 64, 56, 56), 2),
    "56.3s2": pool_dims((8, 64, 56, 56), 3, 2, 1),
    "56.3s1": pool_dims((8, 64, 56, 56), 3, 1, 1),
    "24.2s2": pool_dims((64, 20, 24, 24), 2),
    "24.3s2": pool_dims((64, 20, 24, 24), 3, 2, 1),
    "24.3s1": pool_dims((64, 20, 24, 24), 3, 1, 1),
}
LAYERS = {**cases.layers, **{f"small.{name}": dims for name, dims in cases.small.items()}}  # convolutions, by name


@dataclass(frozen=True)
class Task:
    """One line of a suite. case: a name of cases.py, perhaps resized ("vgg.64:N=1,H=14"), or a network and its batch."""

    suite: str
    op: str
    case: str
    dtype: str = "float32"

    @property
    def name(self) -> str:
        return f"{self.op} {self.case} {self.dtype}"

    @property
    def rng(self) -> np.random.Generator:
        """A generator that starts at the same place in every process."""
        return np.random.default_rng(crc32(self.name.encode()))

    def bare(self) -> Task:
        """The same task on the smallest problem of its kind, which compiles what the task needs."""
        if self.op == "step":
            return replace(self, case=self.case.partition("@")[0] + "@2")
        return replace(self, case=f"{self.case.partition(':')[0]}:N=1,H={max(conv_case(self.case).kernel) + 3}")


def conv_case(name: str) -> ConvDims:
    """The dims of a named convolution: a layer, or "small." and a small case, resized by what follows a colon.

    N, C, O: numbers of samples and channels; H: the size along every spatial axis; k: the kernel's, likewise.
    Raises: ValueError with the names there are.

    >>> conv_case("vgg.64:N=1,H=14").x_shape
    (1, 64, 14, 14)
    """
    base, _, sizes = name.partition(":")
    if base not in LAYERS:
        raise ValueError(unknown("case", base, LAYERS))
    return _resized(LAYERS[base], _sizes(sizes)) if sizes else LAYERS[base]


def _sizes(text: str) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in tuple("NCOHk") or not value.isdecimal():
            raise ValueError(f"a case is resized by N, C, O, H and k, each with a whole number, not by {part!r}")
        sizes[key] = int(value)
    return sizes


def _resized(dims: ConvDims, sizes: dict[str, int]) -> ConvDims:
    N, C, O = (sizes.get(key, getattr(dims, key)) for key in "NCO")
    size = (sizes["H"],) * dims.rank if "H" in sizes else dims.input
    kernel = (sizes["k"],) * dims.rank if "k" in sizes else dims.kernel
    groups = C if dims.groups == dims.C > 1 else dims.groups  # depthwise stays depthwise
    if groups == C and "O" not in sizes:
        O = dims.O // dims.C * C
    padding = tuple((lo and k // 2, hi and k // 2) for k, (lo, hi) in zip(kernel, dims.padding)) if "k" in sizes \
        else dims.padding
    return conv_dims((N, C, *size), (O, C // groups, *kernel), dims.stride, padding, dims.dilation, groups)


def dims_of(task: Task) -> ConvDims | PoolDims:
    """The dims of a task on kernels. Raises: ValueError with the names there are."""
    if task.op in SLOTS:
        return conv_case(task.case)
    if task.case not in POOLS:
        raise ValueError(unknown("case", task.case, POOLS))
    return POOLS[task.case]


def work(task: Task) -> dict[str, int]:
    """The flops that a task on kernels must do and the bytes that it must move, by any algorithm."""
    dims, itemsize = dims_of(task), np.dtype(task.dtype).itemsize
    if isinstance(dims, ConvDims):
        return {"flops": dims.flops, "bytes": dims.bytes(itemsize)}
    positions = prod(dims.y_shape) * np.dtype(np.int64).itemsize if task.op in ("max_pool", "pool_scatter") else 0
    return {"bytes": dims.bytes(itemsize) + positions}


def operands(task: Task) -> list[np.ndarray]:
    """The operands of a task on kernels: normal numbers, and for pool_scatter a position in each window as well."""
    dims, rng = dims_of(task), task.rng
    if isinstance(dims, ConvDims):
        shapes = [getattr(dims, f"{slot}_shape") for slot in SLOTS[task.op]]
        return [rng.standard_normal(shape, np.float32).astype(task.dtype) for shape in shapes]
    shape = dims.x_shape if task.op in ("max_pool", "avg_pool") else dims.y_shape
    values = rng.standard_normal(shape, np.float32).astype(task.dtype)
    return [values, _positions(dims, rng)] if task.op == "pool_scatter" else [values]


def _positions(dims: PoolDims, rng: np.random.Generator) -> np.ndarray:
    """For every output position some cell of its window, as a flat position in its plane: (N, C, *output)."""
    flat = np.zeros(dims.y_shape, np.int64)
    for axis, (size, k, outs, s, (lo, _), d) in enumerate(
            zip(dims.input, dims.kernel, dims.output, dims.stride, dims.padding, dims.dilation)):
        o = np.arange(outs).reshape(-1, *(1,) * (dims.rank - 1 - axis))
        flat = flat * size + np.clip(o * s + rng.integers(0, k, dims.y_shape) * d - lo, 0, size - 1)
    return flat


def one_array(answer: Any) -> np.ndarray:
    """An answer as one array: that of values with positions has them stacked, (2, ...), positions as numbers of its dtype."""
    if isinstance(answer, tuple):
        values, positions = (np.asarray(part) for part in answer)
        return np.stack([values, positions.astype(values.dtype)])
    return np.asarray(answer)

"""What is timed: one operation on one named case, and the arrays that every library computes it from.

The arrays are drawn from a generator seeded by the task's own name, so processes agree on them without passing them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from .. import cases
from ..dims import ConvDims, conv_dims

SLOTS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}  # the operands of each map, in order


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
        if self.suite == "steps":
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
    found = cases.small.get(base[6:]) if base.startswith("small.") else cases.layers.get(base)
    if found is None:
        raise ValueError(f"no case {base!r}; there are: {', '.join(cases.layers)}, and small.NAME for each of "
                         f"{', '.join(cases.small)}")
    return _resized(found, dict(part.split("=", 1) for part in sizes.split(","))) if sizes else found


def _resized(dims: ConvDims, sizes: dict[str, str]) -> ConvDims:
    if unknown := set(sizes) - set("NCOHk"):
        raise ValueError(f"a case is resized by N, C, O, H and k, not by {', '.join(sorted(unknown))}")
    N, C, O = (int(sizes.get(key, getattr(dims, key))) for key in "NCO")
    size = (int(sizes["H"]),) * dims.rank if "H" in sizes else dims.input
    kernel = (int(sizes["k"]),) * dims.rank if "k" in sizes else dims.kernel
    groups = C if dims.groups == dims.C > 1 else dims.groups  # depthwise stays depthwise
    if groups == C and "O" not in sizes:
        O = dims.O // dims.C * C
    padding = tuple((lo and k // 2, hi and k // 2) for k, (lo, hi) in zip(kernel, dims.padding)) if "k" in sizes \
        else dims.padding
    return conv_dims((N, C, *size), (O, C // groups, *kernel), dims.stride, padding, dims.dilation, groups)


def conv_operands(task: Task) -> list[np.ndarray]:
    """The two operands of one of the three maps: normal numbers."""
    dims, rng = conv_case(task.case), task.rng
    shapes = [getattr(dims, f"{slot}_shape") for slot in SLOTS[task.op]]
    return [rng.standard_normal(shape, np.float32).astype(task.dtype) for shape in shapes]

"""What is timed: one operation on one named case, and the arrays that every library computes it from.

The arrays are drawn from a generator seeded by the task's own name, so processes agree on them without passing them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from .. import cases
from ..dims import ConvDims, PoolDims

SLOTS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}  # the operands of each map, in order


@dataclass(frozen=True)
class Task:
    """One line of a suite. case: a name of cases.py, or of a network with its batch ("mnist@64")."""

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
        return np.random.default_rng(crc32(f"{self.suite} {self.name}".encode()))


def conv_case(name: str) -> ConvDims:
    """The dims of a named convolution: a layer, or "small." and a small case. Raises: ValueError with the names there are."""
    found = cases.small.get(name.removeprefix("small.")) if name.startswith("small.") else cases.layers.get(name)
    if found is None:
        raise ValueError(f"no case {name!r}; there are: {', '.join(cases.layers)}, and small.NAME for each of "
                         f"{', '.join(cases.small)}")
    return found


def pool_case(name: str) -> PoolDims:
    """The dims of a named pooling. Raises: ValueError with the names there are."""
    if name not in cases.pools:
        raise ValueError(f"no case {name!r}; there are: {', '.join(cases.pools)}")
    return cases.pools[name]


def conv_operands(task: Task, whole: bool = False) -> Iterator[np.ndarray]:
    """The two operands of one of the three maps: normal numbers, or small whole ones, whose sums are exact."""
    dims, rng = conv_case(task.case), task.rng
    for slot in SLOTS[task.op]:
        shape = getattr(dims, f"{slot}_shape")
        yield (rng.integers(-3, 4, shape) if whole else rng.standard_normal(shape, np.float32)).astype(task.dtype)

"""Which dtype a result has, and operands as users write them: tensors, arrays, lists, bare numbers.

The rule is PyTorch's: floats win over integers, integers over booleans; among operands of the winning kind those that
have dimensions win over those that have none, and a bare number never widens a tensor of its kind.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..forms import adjoint_pair
from ..tensor import Tensor

Scalar = int | float | bool | np.generic
Operand = Tensor | Scalar | np.ndarray

KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}

cast_op, _ = adjoint_pair("cast", lambda x, to, was: x.astype(to), "cast_back", lambda y, to, was: y.astype(was))


def cast(x: Tensor, dtype: Any) -> Tensor:
    """x with another dtype; the gradient is cast back. Off the tape for integers."""
    to = np.dtype(dtype)
    if x.dtype == to:
        return x
    if to.kind not in KINDS:
        raise TypeError(f"a tensor holds numbers, not {to}")
    return Tensor.wrap(x.data.astype(to)) if to.kind != "f" else cast_op(x, to=to, was=x.dtype)


def common_dtype(*tensors: Tensor) -> np.dtype:
    """The dtype of a result made of these tensors."""
    kinds = [KINDS[t.data.dtype.kind] for t in tensors]
    first = [t.data for t, kind in zip(tensors, kinds) if kind == max(kinds)]
    return np.result_type(*([a.dtype for a in first if a.ndim] or [a.dtype for a in first]))


def align_dtypes(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in their common dtype."""
    to = common_dtype(*tensors)
    return tuple(cast(t, to) for t in tensors)


def is_scalar(value: Any) -> bool:
    """Whether `value` is a bare number, of Python or of NumPy."""
    return isinstance(value, (int, float, np.generic))


def number(value: Any) -> Any:
    """A bare number as Python's: NumPy's float64 scalars would widen float32."""
    return value.item() if isinstance(value, np.generic) else value


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """`value` as a Tensor: itself if it is one, else a copy (a bare number takes the dtype of `like` if that can hold it)."""
    if isinstance(value, Tensor):
        return value
    if not is_scalar(value):
        return Tensor(value)
    alone = Tensor(number(value))  # bool, int64 or float32
    if like is None or KINDS[alone.dtype.kind] > KINDS[like.dtype.kind]:
        return alone
    return Tensor.wrap(np.asarray(number(value), like.dtype))


def floating(x: Tensor) -> Tensor:
    """x, or float32 where it holds integers."""
    return x if x.data.dtype.kind == "f" else cast(x, np.float32)

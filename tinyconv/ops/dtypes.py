"""Which dtype a result has, and operands as users write them: tensors, arrays, lists, bare numbers.

The rule is PyTorch's: floats win over integers, integers over booleans; among operands of the winning kind those that
have dimensions win over those that have none, and a bare number never widens a tensor of its kind.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..device import is_named, kind, kind_named, put
from ..forms import adjoint_pair
from ..tensor import Tensor

Scalar = int | float | bool | np.generic
Operand = Tensor | Scalar | np.ndarray

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))  # what most kernels take
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


def to(x: Tensor, *args: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """x on another device, in another dtype, or both; x itself where it is there already.

    to("cuda"), to("float64"), to("cuda", "float64"), to(other): as `other` is. The gradient takes the same way back.
    Raises: RuntimeError that says what is missing where a GPU cannot be used.

    >>> import tinyconv as tc
    >>> tc.tensor([1, 2]).to("cpu", "float64")
    tensor([1., 2.], dtype=float64)
    """
    for a in args:
        if isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif is_named(a):
            device = a
        elif a is not None:
            dtype = a
    where = kind(x.data) if device is None else kind_named(device)
    if where != kind(x.data):
        x = move_op(x, to=where, back=kind(x.data))
    return x if dtype is None else cast(x, dtype)


move_op, _ = adjoint_pair("to", lambda x, to, back: put(x, to), "to", lambda y, to, back: put(y, back))


def common_dtype(*tensors: Tensor) -> np.dtype:
    """The dtype of a result made of these tensors."""
    kinds = [KINDS[t.data.dtype.kind] for t in tensors]
    first = [t.data for t, kind in zip(tensors, kinds) if kind == max(kinds)]
    return np.result_type(*([a.dtype for a in first if a.ndim] or [a.dtype for a in first]))


def align_dtypes(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in their common dtype. Raises TypeError for what is no tensor."""
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(f"every operand must be a Tensor, got {type(t).__name__}: tinyconv.tensor(...) makes one")
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
    if like is None:
        return alone
    if KINDS[alone.dtype.kind] > KINDS[like.dtype.kind]:
        return alone.to(like.device)
    if type(like.data) is np.ndarray:
        return Tensor.wrap(np.asarray(number(value), like.dtype))
    return Tensor.wrap(np.full_like(like.data, number(value), shape=()))


def floating(x: Tensor) -> Tensor:
    """x, or float32 where it holds integers."""
    return x if x.data.dtype.kind == "f" else cast(x, np.float32)

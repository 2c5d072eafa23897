"""Tensors from nothing: zeros, ones, a filled shape, a range, the identity. Names and defaults are PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..device import kind_named, namespace
from ..random import default_generator
from ..tensor import Tensor
from .shape import sizes_of


def zeros(*size: Any, dtype: Any = np.float32, device: Any = "cpu", requires_grad: bool = False) -> Tensor:
    """A tensor of zeros; sizes one by one, or as one sequence.

    >>> zeros(2, 3).shape == zeros((2, 3)).shape == (2, 3)
    True
    """
    return _leaf(_xp(device).zeros(sizes_of(size), dtype), requires_grad)


def ones(*size: Any, dtype: Any = np.float32, device: Any = "cpu", requires_grad: bool = False) -> Tensor:
    """A tensor of ones; sizes one by one, or as one sequence."""
    return _leaf(_xp(device).ones(sizes_of(size), dtype), requires_grad)


def full(size: Any, value: float, dtype: Any = None, device: Any = "cpu", requires_grad: bool = False) -> Tensor:
    """A tensor of shape `size` that holds `value` everywhere; the dtype is that of tensor(value)."""
    return _leaf(_xp(device).full(sizes_of((size,)), value, dtype or Tensor(value).dtype), requires_grad)


def arange(start: float, end: float | None = None, step: float = 1, dtype: Any = None, device: Any = "cpu",
           requires_grad: bool = False) -> Tensor:
    """start, start + step, ... below end (0, 1, ... below start, if only that is given): int64 of ints, else float32.

    >>> arange(2, 8, 3)
    tensor([2, 5])
    """
    if step == 0:
        raise ValueError("arange wants a step that is not 0")
    first, last = (0, start) if end is None else (start, end)
    given = _xp(device).arange(first, last, step)
    return _leaf(given.astype(dtype or (np.float32 if given.dtype.kind == "f" else np.int64)), requires_grad)


def rand(*size: Any, dtype: Any = np.float32, device: Any = "cpu", requires_grad: bool = False,
         generator: np.random.Generator | None = None) -> Tensor:
    """Draws from [0, 1), by `generator` or the default one, which give the same numbers on every device."""
    drawn, to = (generator or default_generator()).random(sizes_of(size)), np.dtype(dtype)
    if to.kind == "f":
        drawn = np.minimum(drawn, np.nextafter(to.type(1), to.type(0)))  # rounding must not make a 1 of it
    return Tensor(drawn, requires_grad, dtype, device)


def randn(*size: Any, dtype: Any = np.float32, device: Any = "cpu", requires_grad: bool = False,
          generator: np.random.Generator | None = None) -> Tensor:
    """Draws of mean 0 and standard deviation 1, by `generator` or the default one, the same on every device."""
    return Tensor((generator or default_generator()).standard_normal(sizes_of(size)), requires_grad, dtype, device)


def eye(n: int, m: int | None = None, dtype: Any = np.float32, device: Any = "cpu", requires_grad: bool = False) -> Tensor:
    """The n by n (or n by m) identity matrix."""
    return _leaf(_xp(device).eye(n, m, dtype=dtype), requires_grad)


def zeros_like(x: Tensor) -> Tensor:
    """A tensor of zeros of x's shape and dtype."""
    return Tensor.wrap(np.zeros_like(x.data))


def ones_like(x: Tensor) -> Tensor:
    """A tensor of ones of x's shape and dtype."""
    return Tensor.wrap(np.ones_like(x.data))


def _xp(device: Any) -> Any:
    return namespace(kind_named(device))


def _leaf(array: np.ndarray, requires_grad: bool) -> Tensor:
    return Tensor.wrap(array).requires_grad_(requires_grad)

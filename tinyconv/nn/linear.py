"""Layers that are one matrix product, or only change the shape: Linear, Flatten, Identity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ops import flatten, linear
from ..tensor import Tensor
from . import init
from .module import Module, Parameter

__all__ = ["Flatten", "Identity", "Linear"]


class Linear(Module):
    """y = x weight^T + bias: x (..., in_features) -> (..., out_features); weight (out_features, in_features).

    Both start uniform on [-b, b] with b = 1/sqrt(in_features), as in PyTorch.
    """

    fuses_relu = True

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = None):
        if in_features < 1 or out_features < 1:
            raise ValueError(f"Linear wants at least one feature on each side, got {in_features} and {out_features}")
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter.empty(out_features, in_features, dtype=dtype)
        self.bias: Any = Parameter.empty(out_features, dtype=dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self, generator: np.random.Generator | None = None) -> None:
        """Draw the weight, then the bias, anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound, generator)

    def forward(self, x: Tensor, *, relu: bool = False) -> Tensor:
        return linear(x, self.weight, self.bias, relu=relu)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """Dimensions start_dim to end_dim as one; by default all but the batch."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        return flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """x itself; takes and forgets any arguments, so that it can stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def forward(self, x: Tensor) -> Tensor:
        return x

"""Activations as modules: functions of each element, and softmax along a dimension."""

from __future__ import annotations

from ..ops import log_softmax, pointwise, softmax
from ..tensor import Tensor
from .module import Module

__all__ = ["LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh"]


class ReLU(Module):
    """max(x, 0); the gradient at 0 is 0."""

    never_falls = True

    def forward(self, x: Tensor) -> Tensor:
        return pointwise.relu(x)


class LeakyReLU(Module):
    """x where x > 0, negative_slope * x elsewhere."""

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope
        self.never_falls = negative_slope >= 0

    def forward(self, x: Tensor) -> Tensor:
        return pointwise.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    never_falls = True

    def forward(self, x: Tensor) -> Tensor:
        return pointwise.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    never_falls = True

    def forward(self, x: Tensor) -> Tensor:
        return pointwise.tanh(x)


class SiLU(Module):
    """x * sigmoid(x), also called swish."""

    def forward(self, x: Tensor) -> Tensor:
        return pointwise.silu(x)


class Softplus(Module):
    """log(1 + exp(x)), a smooth ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return pointwise.softplus(x)


class Softmax(Module):
    """exp(x/temperature), divided by its sum along dim: a distribution, the flatter the higher the temperature."""

    def __init__(self, dim: int = -1, temperature: float = 1.0):
        self.dim, self.temperature = dim, temperature

    def forward(self, x: Tensor) -> Tensor:
        return softmax(x, self.dim, self.temperature)

    def extra_repr(self) -> str:
        return f"dim={self.dim}" + ("" if self.temperature == 1.0 else f", temperature={self.temperature}")


class LogSoftmax(Module):
    """The logarithm of Softmax, exact where the softmax itself would be 0."""

    def __init__(self, dim: int = -1, temperature: float = 1.0):
        self.dim, self.temperature = dim, temperature

    def forward(self, x: Tensor) -> Tensor:
        return log_softmax(x, self.dim, self.temperature)

    def extra_repr(self) -> str:
        return f"dim={self.dim}" + ("" if self.temperature == 1.0 else f", temperature={self.temperature}")

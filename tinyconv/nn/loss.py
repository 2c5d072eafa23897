"""Losses as modules: each holds the options of a function of ops.loss and calls it."""

from __future__ import annotations

from typing import Any

from ..ops import loss
from ..tensor import Tensor
from .module import Module

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "L1Loss", "MSELoss", "NLLLoss", "SmoothL1Loss"]


class CrossEntropyLoss(Module):
    """Softmax and negative log-likelihood of logits (N, C, ...), with class indices or probabilities as the target.

    weight: a factor for each class. ignore_index: the class of positions that do not count. label_smoothing: the share of
    the target that is spread over all classes.
    """

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0):
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return loss.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(Module):
    """Negative log-likelihood of log-probabilities (N, C, ...) with class indices as the target."""

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"):
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return loss.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(Module):
    """(input - target)^2."""

    def __init__(self, reduction: str = "mean"):
        self.reduction = reduction

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return loss.mse_loss(input, target, self.reduction)


class L1Loss(Module):
    """|input - target|."""

    def __init__(self, reduction: str = "mean"):
        self.reduction = reduction

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return loss.l1_loss(input, target, self.reduction)


class HuberLoss(Module):
    """Square near the target, linear beyond delta."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        self.reduction, self.delta = reduction, delta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return loss.huber_loss(input, target, self.reduction, self.delta)


class SmoothL1Loss(Module):
    """HuberLoss divided by its delta, here called beta."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        self.reduction, self.beta = reduction, beta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return loss.smooth_l1_loss(input, target, self.reduction, self.beta)


class BCEWithLogitsLoss(Module):
    """Binary cross entropy of sigmoid(input) with a target of probabilities; pos_weight scales the loss of the ones."""

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None):
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return loss.bce_with_logits(input, target, self.weight, self.reduction, self.pos_weight)

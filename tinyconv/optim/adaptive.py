"""Optimisers that divide each step by the size of past gradients: Adagrad, RMSprop, Adam, AdamW.

All four keep, for each weight, a sum or a running average v of squared gradients, and step by g / (sqrt(v) + eps).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tensor import Tensor
from .optimizer import NOTHING, Optimizer, Params, slot

__all__ = ["Adagrad", "Adam", "AdamW", "RMSprop"]


class Adagrad(Optimizer):
    """p -= lr / (1 + (step - 1) * lr_decay) * g / (sqrt(sum of g^2) + eps). Source: Duchi, Hazan and Singer (2011)."""

    kernel = "adagrad"

    def __init__(self, params: Params, lr: float = 1e-2, lr_decay: float = 0.0, weight_decay: float = 0.0,
                 initial_accumulator_value: float = 0.0, eps: float = 1e-10):
        super().__init__(params, {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
                                  "initial_accumulator_value": initial_accumulator_value, "eps": eps})

    def _update(self, p: Tensor, flat: np.ndarray, g: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        before = state.get("step", 0)
        total = slot(state, "sum", p, group["initial_accumulator_value"])
        self._kernel(flat, g, total, group["lr"] / (1 + before * group["lr_decay"]), group["weight_decay"], group["eps"])
        state["step"] = before + 1


class RMSprop(Optimizer):
    """p -= lr * g / (sqrt(v) + eps), with v = alpha * v + (1 - alpha) * g^2, less the squared average of g if centered.

    With momentum, these steps gather in a buffer. Source: Tieleman and Hinton, lecture 6e (2012); centred, Graves (2013).
    """

    kernel = "rmsprop"

    def __init__(self, params: Params, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0,
                 momentum: float = 0.0, centered: bool = False):
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
                                  "centered": centered})

    def _update(self, p: Tensor, flat: np.ndarray, g: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        none = NOTHING[p.data.dtype]
        self._kernel(flat, g, slot(state, "square_avg", p), slot(state, "grad_avg", p) if group["centered"] else none,
                     slot(state, "momentum_buffer", p) if group["momentum"] else none, group["lr"], group["alpha"],
                     group["eps"], group["weight_decay"], group["momentum"])
        state["step"] = state.get("step", 0) + 1


class Adam(Optimizer):
    """p -= lr * m' / (sqrt(v') + eps): m and v are running averages of g and g^2, m' and v' freed of their start at 0.

    weight_decay is added to the gradient. amsgrad divides by the largest v so far.
    Sources: Kingma and Ba (2015), algorithm 1; Reddi, Kale and Kumar (2018).
    """

    kernel = "adam"

    def __init__(self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, amsgrad: bool = False):
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay,
                                  "amsgrad": amsgrad})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if len(group["betas"]) != 2 or not all(0.0 <= b < 1.0 for b in group["betas"]):
            raise ValueError(f"betas must be two numbers from 0 to below 1, got {group['betas']}")

    def _update(self, p: Tensor, flat: np.ndarray, g: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        step = state["step"] = state.get("step", 0) + 1
        beta1, beta2 = group["betas"]
        top = slot(state, "max_exp_avg_sq", p) if group["amsgrad"] else NOTHING[p.data.dtype]
        decay, shrink = self._decay(group)
        # m' = m / (1 - beta1^step) and v' = v / (1 - beta2^step), as factors of the step and of the root
        self._kernel(flat, g, slot(state, "exp_avg", p), slot(state, "exp_avg_sq", p), top, beta1, beta2,
                     group["lr"] / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step), group["eps"], decay, shrink)

    def _decay(self, group: dict[str, Any]) -> tuple[float, float]:
        """What is added to the gradient, times p; what p is multiplied by."""
        return group["weight_decay"], 1.0


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves, by 1 - lr * weight_decay a step, apart from the gradient.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), algorithm 2.
    """

    def __init__(self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)

    def _decay(self, group: dict[str, Any]) -> tuple[float, float]:
        return 0.0, 1.0 - group["lr"] * group["weight_decay"]

"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from .optimizer import NOTHING, Optimizer, Params, slot

__all__ = ["SGD"]


class SGD(Optimizer):
    """p -= lr * buf, with buf = momentum * buf + (1 - dampening) * (g + weight_decay * p).

    nesterov looks ahead: p -= lr * (d + momentum * buf) for d = g + weight_decay * p. At the first step buf is d.
    Sources: Polyak (1964); Nesterov (1983), in the form of Sutskever et al. (2013), with lr outside of the buffer.

    >>> import tinyconv as tc
    >>> p = tc.tensor([1.0], requires_grad=True)
    >>> (p * p).sum().backward()
    >>> SGD([p], lr=0.25).step()
    >>> p.tolist()
    [0.5]
    """

    kernel = "sgd"

    def __init__(self, params: Params, lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
                 weight_decay: float = 0.0, nesterov: bool = False):
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": nesterov})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(f"nesterov wants momentum above 0 and no dampening, got momentum={group['momentum']} and "
                             f"dampening={group['dampening']}")

    def _update(self, p: Tensor, flat: np.ndarray, g: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        momentum, keep, buf = group["momentum"], 1.0, NOTHING[p.data.dtype]
        if momentum:
            if "momentum_buffer" in state:  # the first step does not dampen
                keep -= group["dampening"]
            buf = slot(state, "momentum_buffer", p)
        self._kernel(flat, g, buf, group["lr"], momentum, keep, group["weight_decay"], group["nesterov"])

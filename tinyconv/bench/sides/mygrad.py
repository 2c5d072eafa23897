"""MyGrad's side of the bench: autograd in pure NumPy, its convolution and pooling, and the training steps they allow."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...dims import ConvDims, output_size
from ..nets import LOSSES, MOMENTUM, MOVING, STILL, batch, weights
from ..task import Task, dims_of, operands
from . import Refused

Call = Callable[[], Any]


@cache
def library() -> Any:
    import mygrad
    import mygrad.nnet

    return mygrad


def version() -> str:
    return library().__version__


def threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", "1"))  # NumPy's BLAS has been told


def prepare(task: Task, algorithm: str) -> tuple[Call, dict]:
    """A call of the task. The gradients are those of one operand, asked of the operation after one forward pass."""
    if task.op == "step":
        return _trained(task, STILL), {}
    mg, dims = library(), dims_of(task)
    if not isinstance(dims, ConvDims):
        raise Refused("its pooling takes no padding and keeps no positions")
    if dims.groups > 1:
        raise Refused("it has no groups")
    if any(lo != hi for lo, hi in dims.padding):
        raise Refused("it has no padding that differs from side to side")
    axes = list(zip(dims.input, dims.kernel, dims.stride, dims.padding, dims.dilation, dims.output))
    if any((i + lo + hi - d * (k - 1) - 1) % s or output_size(i, k, s, lo, hi, d) != o for i, k, s, (lo, hi), d, o in axes):
        raise Refused("it wants windows that end where the input does")
    meta = {"stride": dims.stride, "padding": tuple(lo for lo, _ in dims.padding), "dilation": dims.dilation}
    a, b = operands(task)
    if task.op == "conv":
        return lambda: mg.nnet.layers.conv_nd(a, b, **meta, constant=True).data, {}
    x, w = (np.zeros(dims.x_shape, a.dtype), b) if task.op == "conv_input_grad" else (a, np.zeros(dims.w_shape, a.dtype))
    g, operand = (a, 0) if task.op == "conv_input_grad" else (b, 1)
    made = mg.nnet.layers.conv_nd(mg.tensor(x), mg.tensor(w), **meta).creator
    return lambda: made.backward_var(g, operand), {}


def _trained(task: Task, lr: float) -> Call:
    """A step of mnist: 20C5-P2-40C5-P2-100-10."""
    mg = library()
    if not task.case.startswith("mnist@"):
        raise Refused("written here for mnist only")
    x, labels = batch(task, task.dtype)
    shapes = {"0.weight": (20, 1, 5, 5), "0.bias": (20,), "3.weight": (40, 20, 5, 5), "3.bias": (40,),
              "7.weight": (100, 640), "7.bias": (100,), "9.weight": (10, 100), "9.bias": (10,)}
    p = {key: mg.tensor(value) for key, value in weights(task, shapes, task.dtype).items()}
    v = {key: np.zeros_like(value.data) for key, value in p.items()}

    def step() -> Any:
        h = mg.tensor(x, constant=True)
        for n in ("0", "3"):
            h = mg.nnet.layers.conv_nd(h, p[f"{n}.weight"], stride=1) + p[f"{n}.bias"].reshape(1, -1, 1, 1)
            h = mg.nnet.layers.max_pool(mg.nnet.activations.relu(h), (2, 2), 2)
        h = mg.nnet.activations.relu(h.reshape(len(x), -1) @ p["7.weight"].T + p["7.bias"])
        loss = mg.nnet.losses.softmax_crossentropy(h @ p["9.weight"].T + p["9.bias"], labels)
        loss.backward()
        for key, value in p.items():
            v[key] = MOMENTUM * v[key] + value.grad
            value.data -= lr * v[key]
            value.null_grad()
        return loss

    return step


def result(task: Task, call: Call) -> np.ndarray:
    """The answer to be judged."""
    if task.op != "step":
        return np.asarray(call())
    step = _trained(task, MOVING)
    return np.array([float(step()) for _ in range(LOSSES)])

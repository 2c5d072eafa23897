"""PyTorch's side of the bench: the same three maps and the same training steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..nets import build_step, first_losses
from ..task import Task, conv_case, conv_operands
from . import Refused

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def version() -> str:
    return torch.__version__


def threads() -> int:
    return torch.get_num_threads()


def prepare(task: Task, algorithm: str) -> tuple[Callable[[], Any], dict]:
    """A call of the task. The gradients are the ATen operation that PyTorch's own backward calls, asked for one of them."""
    if task.suite == "steps":
        return build_step(task, torch.nn, torch.optim, torch.from_numpy), {}
    dims = conv_case(task.case)
    if any(lo != hi for lo, hi in dims.padding):
        raise Refused("its convolution has no padding that differs from side to side")
    a, b = (torch.from_numpy(t) for t in conv_operands(task))
    meta: Any = (dims.stride, tuple(lo for lo, _ in dims.padding), dims.dilation)
    if task.op == "conv":
        forward: Any = (F.conv1d, F.conv2d, F.conv3d)[dims.rank - 1]
        return torch.no_grad()(lambda: forward(a, b, None, *meta, dims.groups)), {}
    backward = torch.ops.aten.convolution_backward
    rest = (None, *meta, False, (0,) * dims.rank, dims.groups)
    if task.op == "conv_input_grad":
        x = torch.empty(dims.x_shape, dtype=a.dtype)
        return lambda: backward(a, x, b, *rest, [True, False, False])[0], {}
    w = torch.empty(dims.w_shape, dtype=a.dtype)
    return lambda: backward(b, a, w, *rest, [False, True, False])[1], {}


def result(task: Task, call: Callable[[], Any]) -> np.ndarray:
    """The answer to be judged."""
    if task.suite == "steps":
        return first_losses(task, torch.nn, torch.optim, torch.from_numpy, task.dtype)
    return call().numpy()

"""PyTorch's side of the bench: the same three maps and the same training steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...dims import ConvDims, PoolDims, conv_dims
from ..nets import build_step, first_losses
from ..task import Task, dims_of, one_array, operands
from . import Refused

Call = Callable[[], Any]


@cache
def library() -> Any:
    """PyTorch, with the number of threads that the environment asks for; imported only in a process of its own."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return torch


def version() -> str:
    return library().__version__


def threads() -> int:
    return library().get_num_threads()


def prepare(task: Task, algorithm: str) -> tuple[Call, dict]:
    """A call of the task. The gradients are the ATen operations that PyTorch's own backward calls, asked for one of them."""
    torch = library()
    if task.op == "step":
        return build_step(task, torch.nn, torch.optim, torch.from_numpy), {}
    dims = dims_of(task)
    if any(lo != hi for lo, hi in dims.padding):
        raise Refused("it has no padding that differs from side to side")
    if isinstance(dims, ConvDims):
        rule = conv_dims(dims.x_shape, dims.w_shape, dims.stride, dims.padding, dims.dilation, dims.groups)
        if rule.output != dims.output:
            raise Refused(f"it works the output size out as {rule.output}, where {dims.output} is wanted")
    args = [torch.from_numpy(a) for a in operands(task)]
    call = _conv(task.op, dims, *args) if isinstance(dims, ConvDims) else _pool(task.op, dims, *args)
    return torch.no_grad()(call), {}


def _conv(op: str, dims: ConvDims, a: Any, b: Any) -> Call:
    torch, F = library(), library().nn.functional
    meta: Any = (dims.stride, tuple(lo for lo, _ in dims.padding), dims.dilation)
    if op == "conv":
        forward: Any = (F.conv1d, F.conv2d, F.conv3d)[dims.rank - 1]
        return lambda: forward(a, b, None, *meta, dims.groups)
    backward = torch.ops.aten.convolution_backward
    rest = (None, *meta, False, (0,) * dims.rank, dims.groups)
    if op == "conv_input_grad":
        x = torch.empty(dims.x_shape, dtype=a.dtype)
        return lambda: backward(a, x, b, *rest, [True, False, False])[0]
    w = torch.empty(dims.w_shape, dtype=a.dtype)
    return lambda: backward(b, a, w, *rest, [False, True, False])[1]


def _pool(op: str, dims: PoolDims, a: Any, at: Any = None) -> Call:
    torch, F = library(), library().nn.functional
    where: Any = (dims.kernel, dims.stride, tuple(lo for lo, _ in dims.padding))
    x = torch.empty(dims.x_shape, dtype=a.dtype)
    calls: dict[str, Call] = {
        "max_pool": lambda: F.max_pool2d(a, *where, return_indices=True),
        "pool_scatter": lambda: torch.ops.aten.max_pool2d_with_indices_backward(a, x, *where, dims.dilation, False, at),
        "avg_pool": lambda: F.avg_pool2d(a, *where),
        "avg_pool_adjoint": lambda: torch.ops.aten.avg_pool2d_backward(a, x, *where, False, True, None),
    }
    return calls[op]


def result(task: Task, call: Call) -> np.ndarray:
    """The answer to be judged."""
    torch = library()
    if task.op == "step":
        return first_losses(task, torch.nn, torch.optim, torch.from_numpy, task.dtype)
    return one_array(call())

"""JAX's side of the bench: the three maps and training steps, compiled by XLA before they are timed."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from ...dims import ConvDims, PoolDims, output_size
from ..nets import LOSSES, MOMENTUM, MOVING, STILL, batch, weights
from ..task import Task, dims_of, operands
from . import Refused

Call = Callable[[], Any]
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


@cache
def library() -> Any:
    """JAX, on as many cores as it may use: XLA takes its number of threads from them."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    import jax

    jax.config.update("jax_enable_x64", True)  # or float64 would be cut to float32
    return jax


def version() -> str:
    return library().__version__


def threads() -> int:
    library()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(task: Task, algorithm: str) -> tuple[Call, dict]:
    """A call of the task. The gradients are the transposes that JAX makes of its convolution."""
    jax = library()
    if task.op == "step":
        step, state = _trained(task, STILL)
        return lambda: jax.block_until_ready(step(*state)), {}
    dims = dims_of(task)
    fn = _conv(task.op, dims) if isinstance(dims, ConvDims) else _pool(task.op, dims)
    args = [jax.device_put(a) for a in operands(task)]
    compiled = jax.jit(fn)
    return lambda: compiled(*args).block_until_ready(), {}


def _conv(op: str, dims: ConvDims) -> Callable:
    jax = library()
    axes = zip(dims.input, dims.kernel, dims.stride, dims.padding, dims.dilation)
    if tuple(output_size(i, k, s, lo, hi, d) for i, k, s, (lo, hi), d in axes) != dims.output:
        raise Refused("it works the output size out itself")

    def conv(x: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(x, w, dims.stride, dims.padding, rhs_dilation=dims.dilation,
                                            feature_group_count=dims.groups)

    def empty(shape: tuple[int, ...], like: Any) -> Any:
        return jax.ShapeDtypeStruct(shape, like.dtype)

    return {
        "conv": conv,
        "conv_input_grad": lambda y, w: jax.linear_transpose(lambda x: conv(x, w), empty(dims.x_shape, y))(y)[0],
        "conv_weight_grad": lambda x, y: jax.linear_transpose(lambda w: conv(x, w), empty(dims.w_shape, y))(y)[0],
    }[op]


def _pool(op: str, dims: PoolDims) -> Callable:
    jax = library()
    if op not in ("avg_pool", "avg_pool_adjoint"):
        raise Refused("its maximum keeps no positions")

    def pool(x: Any) -> Any:
        sums = jax.lax.reduce_window(x, np.zeros((), x.dtype), jax.lax.add, (1, 1, *dims.kernel), (1, 1, *dims.stride),
                                     ((0, 0), (0, 0), *dims.padding))
        return sums / float(np.prod(dims.kernel))

    if op == "avg_pool":
        return pool
    return lambda y: jax.linear_transpose(pool, jax.ShapeDtypeStruct(dims.x_shape, y.dtype))(y)[0]


# -- training steps ------------------------------------------------------------------------------------------------

NETS = {  # channels of the convolutions, 5x5 and pooled by 2, and widths of the layers after them
    "mnist": ((1, 20, 40), (640, 100, 10)),
    "lenet5": ((1, 6, 16), (400, 120, 84, 10)),
}


def _trained(task: Task, lr: float) -> tuple[Callable, list]:
    """(step, [parameters, velocities]): one compiled step gives the new ones and the loss."""
    jax = library()
    name = task.case.partition("@")[0]
    if name not in NETS:
        raise Refused(f"written here for {' and '.join(NETS)} only")
    channels, widths = NETS[name]
    x, labels = batch(task, task.dtype)
    shapes: dict[str, tuple[int, ...]] = {}
    for n, (i, o) in enumerate(pairwise(channels)):
        shapes |= {f"{3 * n}.weight": (o, i, 5, 5), f"{3 * n}.bias": (o,)}
    for n, (i, o) in enumerate(pairwise(widths)):
        shapes |= {f"{7 + 2 * n}.weight": (o, i), f"{7 + 2 * n}.bias": (o,)}

    def loss_of(p: dict[str, Any]) -> Any:
        h = x
        for n in range(len(channels) - 1):
            h = jax.lax.conv_general_dilated(h, p[f"{3 * n}.weight"], (1, 1), "VALID") + p[f"{3 * n}.bias"][:, None, None]
            h = jax.lax.reduce_window(jax.nn.relu(h), -np.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        h = h.reshape(len(x), -1)
        for n in range(len(widths) - 1):
            h = h @ p[f"{7 + 2 * n}.weight"].T + p[f"{7 + 2 * n}.bias"]
            h = jax.nn.relu(h) if n < len(widths) - 2 else h
        return -jax.numpy.mean(jax.nn.log_softmax(h)[np.arange(len(x)), labels])

    def step(p: dict[str, Any], v: dict[str, Any]) -> tuple[dict, dict, Any]:
        loss, grads = jax.value_and_grad(loss_of)(p)
        v = {key: MOMENTUM * v[key] + grads[key] for key in p}
        return {key: p[key] - lr * v[key] for key in p}, v, loss

    state = weights(task, shapes, task.dtype)
    return jax.jit(step), [state, {key: np.zeros_like(value) for key, value in state.items()}]


def result(task: Task, call: Call) -> np.ndarray:
    """The answer to be judged."""
    if task.op != "step":
        return np.asarray(call())
    step, state = _trained(task, MOVING)
    losses = []
    for _ in range(LOSSES):
        *state, loss = step(*state)
        losses.append(float(loss))
    return np.array(losses)

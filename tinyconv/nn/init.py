"""Initial weights, written in place. Each draws from the generator it is given, else from the default one.

With fan_in inputs to a unit and fan_out uses of it, a weight of variance gain^2 / fan keeps the size of what flows through:

    LeCun: 1/fan_in    Xavier: 2/(fan_in + fan_out), times gain^2    Kaiming: gain^2/fan, gain sqrt(2) for ReLU

A uniform draw on [-b, b] has variance b^2/3. Sources: LeCun et al. (1998), Glorot and Bengio (2010), He et al. (2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from ..random import default_generator
from ..tensor import Tensor, no_grad

__all__ = [
    "bilinear_", "calculate_gain", "constant_", "dirac_", "kaiming_normal_", "kaiming_uniform_", "lecun_normal_",
    "lecun_uniform_", "normal_", "ones_", "skipped", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]

Generator = np.random.Generator | None
_skipping: ContextVar[bool] = ContextVar("tinyconv.nn.init.skipping", default=False)


@contextmanager
def skipped() -> Iterator[None]:
    """Nothing is written in the block: layers made in it have weights of the right shape, which take no time to draw and,
    until they are written or loaded, no memory. Their values are whatever stood there.

    >>> from . import Linear
    >>> with skipped():
    ...     layer = Linear(25088, 4096)  # 392 MiB
    >>> layer.weight.shape
    (4096, 25088)
    """
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator = None) -> Tensor:
    """Fill with draws from [a, b)."""
    return _fill(tensor, lambda: (generator or default_generator()).uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator = None) -> Tensor:
    """Fill with draws of this mean and standard deviation."""
    return _fill(tensor, lambda: (generator or default_generator()).normal(mean, std, tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    return _fill(tensor, lambda: val)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return _fill(tensor, lambda: 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return _fill(tensor, lambda: 1.0)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """Uniform, of variance gain^2 * 2/(fan_in + fan_out)."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """Normal, of variance gain^2 * 2/(fan_in + fan_out)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor))), generator)


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                     generator: Generator = None) -> Tensor:
    """Uniform, of variance gain^2/fan for the gain of `nonlinearity`; `a` is the slope of a leaky ReLU."""
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                    generator: Generator = None) -> Tensor:
    """Normal, of variance gain^2/fan for the gain of `nonlinearity`; `a` is the slope of a leaky ReLU."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)), generator)


def lecun_uniform_(tensor: Tensor, generator: Generator = None) -> Tensor:
    """Uniform, of variance 1/fan_in."""
    bound = math.sqrt(3.0 / _fan(tensor, "fan_in"))
    return uniform_(tensor, -bound, bound, generator)


def lecun_normal_(tensor: Tensor, generator: Generator = None) -> Tensor:
    """Normal, of variance 1/fan_in."""
    return normal_(tensor, 0.0, 1.0 / math.sqrt(_fan(tensor, "fan_in")), generator)


def dirac_(tensor: Tensor) -> Tensor:
    """Make the weight (O, C, *kernel) of a convolution pass on its first min(O, C) channels: 1 in the middle, else 0."""
    if tensor.ndim < 3:
        raise ValueError(f"dirac_ wants the weight of a convolution, (O, C, *kernel), got shape {tensor.shape}")
    value = np.zeros(tensor.shape)
    for i in range(min(tensor.shape[:2])):
        value[(i, i, *(k // 2 for k in tensor.shape[2:]))] = 1
    return _fill(tensor, lambda: value)


def bilinear_(tensor: Tensor) -> Tensor:
    """Make the weight of a transposed convolution interpolate: linearly along each axis, channel by channel.

    tensor: (C, C, *kernel), or (C, 1, *kernel) for groups=C. With kernel 2s - s%2, stride s and padding (k - s)/2
    rounded up, conv_transpose enlarges an image by s. Raises ValueError for other shapes.
    Source: Long, Shelhamer and Darrell, "Fully convolutional networks" (2015), section 3.3.
    """
    C, per_group, *kernel = tensor.shape if tensor.ndim > 2 else (0, -1)
    if per_group not in (1, C):
        raise ValueError(f"bilinear_ wants a weight (C, C, *kernel), or (C, 1, *kernel) for groups=C; got {tensor.shape}")
    tent = np.ones(())
    for k in kernel:
        half = (k + 1) // 2  # cells from the top of the tent to its foot
        top = half - 1 if k % 2 else half - 0.5
        tent = tent[..., None] * (1 - np.abs(np.arange(k) - top) / half)
    value = np.zeros(tensor.shape)
    value[np.arange(C), np.arange(C) % per_group] = tent
    return _fill(tensor, lambda: value)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights make up for what an activation takes away.

    >>> round(calculate_gain("relu") ** 2, 6)
    2.0
    """
    gains = {"linear": 1.0, "conv": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in gains:
        raise ValueError(f"no gain is known for {nonlinearity!r}; there are: {', '.join(sorted([*gains, 'leaky_relu']))}")
    return gains[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """Inputs of a unit and uses of an input, for a weight (out, in, *kernel). Raises ValueError below two dimensions."""
    if tensor.ndim < 2:
        raise ValueError(f"fan_in and fan_out need a weight of at least two dimensions, (out, in, *kernel); got {tensor.shape}")
    area = math.prod(tensor.shape[2:])
    return tensor.shape[1] * area, tensor.shape[0] * area


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'mode must be "fan_in" or "fan_out", got {mode!r}')
    return fans(tensor)[mode == "fan_out"]


def _fill(tensor: Tensor, value: Callable[[], np.ndarray | float]) -> Tensor:
    if _skipping.get():
        return tensor
    with no_grad():
        return tensor.copy_(value())

"""A classifier slid over an image gives a class at every place; as one convolutional network it gives the same for less.

    x (N, C, h, w)    convolutions, poolings -> (N, K, kh, kw) -> flatten -> linear (O, K*kh*kw) -> (N, O)
    x (N, C, H, W)    the same               -> (N, K, ...)    -> conv (O, K, kh, kw)            -> (N, O, OH, OW)

Windows step by the product S of all strides, OH = floor((H - h)/S) + 1; where strides leave the last cells of a window unread,
windows follow that hang over the edge by those. What pads is refused: a window on its own sees zeros around it, the same
window in an image its neighbours.
Sources: P. Sermanet et al., "OverFeat" (2014), section 3.5; J. Long et al., "Fully convolutional networks" (2015), section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np

from ..dims import per_axis, resolve_padding
from ..nn import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    LPPool2d,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    init,
)
from ..ops import cat
from ..registry import hollow
from ..tensor import Tensor, no_grad
from .architecture import ModelError, Shape

POINTWISE = ReLU | LeakyReLU | Sigmoid | SiLU | Softplus | Tanh | Dropout | BatchNorm2d | LocalResponseNorm


def fully_convolutional(model: Sequential, image: Shape) -> Sequential:
    """The network that gives on a larger image what `model`, which takes images (C, h, w), gives for each window of it.

    model: layers in turn, Sequentials among them; convolutions and poolings without padding, one Flatten or global average,
    then linear layers. Batch normalisation is taken as in evaluation. The weights are copies.
    Returns a Sequential in evaluation, x (N, C, H, W) -> (N, classes, OH, OW).
    Raises: ModelError for a layer that pads, or that has no meaning in a window.

    >>> from . import build
    >>> net = fully_convolutional(build("cnn", (1, 28, 28), 10), (1, 28, 28))
    >>> net.summary((1, 64, 64)).rows[-1].output  # (64 - 28)/4 + 1
    ((10, 10, 10),)
    """
    layers: dict[str, Module] = {}
    x = Tensor.wrap(np.zeros((1, *image), np.float32))
    window: tuple[int, ...] = ()  # (K, kh, kw) of what was flattened and no linear layer has read yet
    with no_grad(), hollow():
        for name, layer in _layers(deepcopy(model).eval()):
            made = _spatial(name, layer, x.shape) if x.ndim == 4 else _dense(name, layer, window)
            if made is not None:
                layers[name.replace(".", "_")] = made
            window = x.shape[1:] if isinstance(layer, Flatten) else () if isinstance(layer, Linear) else window
            x = layer(x)
    net = Sequential(layers)
    net.eval()
    return net


def slide(model: Module, x: Tensor, image: Shape, step: int | tuple[int, int], batch: int = 256) -> Tensor:
    """What a classifier of images (C, h, w) gives for every window of x (N, C, H, W): (N, classes, OH, OW), one at a time.

    step: cells from one window to the next. batch: windows at a time.
    """
    N, C, *_ = x.shape
    sh, sw = per_axis("step", step, 2)
    seen = np.lib.stride_tricks.sliding_window_view(x.data, image[1:], (2, 3))[:, :, ::sh, ::sw]
    OH, OW = seen.shape[2:4]
    windows = seen.transpose(0, 2, 3, 1, 4, 5).reshape(N * OH * OW, C, *image[1:])
    with no_grad():
        y = cat([model(Tensor.wrap(windows[i:i + batch])) for i in range(0, len(windows), batch)], 0)
    return y.reshape(N, OH, OW, y.shape[1]).permute(0, 3, 1, 2)


def _layers(model: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    """The layers of Sequentials within Sequentials, in turn."""
    for name, child in model.named_children():
        if isinstance(child, Sequential):
            yield from _layers(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _spatial(name: str, layer: Module, shape: tuple[int, ...]) -> Module | None:
    """What stands for a layer before the flattening, whose input in a window has this shape."""
    if isinstance(layer, Flatten):
        return None
    if isinstance(layer, AdaptiveAvgPool2d | GlobalAvgPool):
        wanted = per_axis("output_size", getattr(layer, "output_size", 1), 2)
        if wanted == shape[2:]:
            return None  # one cell each: nothing to average
        if wanted != (1, 1):
            raise ModelError(f"{name} averages {shape[2]}x{shape[3]} cells to {wanted[0]}x{wanted[1]}: only to one, or as many "
                             "as there are, has it a meaning in a larger image")
        return AvgPool2d(shape[2:], 1)
    if isinstance(layer, Conv2d | MaxPool2d | AvgPool2d) and any(map(any, _padding(layer, shape))):
        raise ModelError(f"{name} pads by {layer.padding}: a window on its own sees zeros there, in an image its neighbours")
    if getattr(layer, "ceil_mode", False):
        raise ModelError(f"{name} pools with ceil_mode: a window on its own ends there, in an image it goes on")
    if isinstance(layer, Conv2d | MaxPool2d | AvgPool2d | LPPool2d | POINTWISE):
        return layer
    raise ModelError(f"{name}, a {type(layer).__name__}, is no layer that slides: convolution, pooling, activation")


def _padding(layer: Any, shape: tuple[int, ...]) -> Any:
    kernel, stride = per_axis("kernel_size", layer.kernel_size, 2), per_axis("stride", layer.stride, 2)
    return resolve_padding(layer.padding, shape[2:], kernel, stride, per_axis("dilation", getattr(layer, "dilation", 1), 2))


def _dense(name: str, layer: Module, window: tuple[int, ...]) -> Module:
    """What stands for a layer behind the flattening; `window` is what was flattened, for the first linear layer."""
    if isinstance(layer, Linear):
        C, *kernel = window or (layer.in_features, 1, 1)
        with init.skipped():
            conv = Conv2d(C, layer.out_features, kernel, bias=layer.bias is not None)
        conv.weight.data = layer.weight.data.reshape(layer.out_features, C, *kernel)
        conv.bias = layer.bias
        return conv
    if isinstance(layer, BatchNorm1d) and not window:
        norm = BatchNorm2d(layer.num_features, layer.eps, affine=layer.affine, track_running_stats=layer.track_running_stats)
        norm.load_state_dict(layer.state_dict())
        return norm
    if isinstance(layer, POINTWISE):
        return layer
    raise ModelError(f"{name}, a {type(layer).__name__}, is no layer that slides behind a Flatten: linear, activation, dropout")

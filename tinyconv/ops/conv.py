"""Convolution on the tape. One form, linear in its three slots (see kernels/conv/reference.py for the definition):

    T(x, w, y) = sum  x[n, c, ih, iw] * w[o, c, kh, kw] * y[n, o, oh, ow]      over  ih = oh*sh + kh*dh - ph,  iw likewise

    y = conv(x, w)              dx = conv_input_grad(g, w)      dw = conv_weight_grad(x, g)       for a cotangent g of y

and so on: every derivative of each of the three maps is another of the three. A transposed convolution is
conv_input_grad itself, with a ConvDims whose x size the caller chose. Kernels are picked by the registry.
"""

from __future__ import annotations

from typing import Any

from ..device import kind, same_device
from ..dims import ConvDims, Padding, conv_dims, conv_transpose_dims, freeze
from ..forms import trilinear
from ..op import Op
from ..registry import choose
from ..tensor import Tensor
from . import pointwise
from .dtypes import FLOATS, align_dtypes
from .rectify import bias_rule, finish, rectified


def _fill(name: str) -> Any:
    """The map of this name on arrays, by the kernel that the registry picks for the problem at hand."""

    def fill(a: Any, b: Any, dims: ConvDims, algorithm: str | None) -> Any:
        return choose(name, dims, a.dtype, kind(a), prefer=algorithm).fn(a, b, dims)

    return fill


conv_op, conv_input_grad_op, conv_weight_grad_op = trilinear(
    "conv", y=_fill("conv"), x=_fill("conv_input_grad"), w=_fill("conv_weight_grad"))


def _store(name: str, relu: bool = False) -> Any:
    """The map of this name plus a bias b, and relu of it: in the kernel's own store, where it has that."""

    def fill(p: Any, q: Any, b: Any, dims: ConvDims, algorithm: str | None) -> Any:
        kernel = choose(name, dims, p.dtype, kind(p), prefer=algorithm)
        if relu and "relu" in kernel.fuses:
            return kernel.fn(p, q, dims, bias=b, relu=True)
        if "bias" in kernel.fuses:
            return finish(kernel.fn(p, q, dims, bias=b), None, relu)
        return finish(kernel.fn(p, q, dims), b, relu)

    return fill


# a map, its bias, and relu in one pass of the kernel: the rules are those of its parts
conv_bias_op = Op("conv", _store("conv"), [*conv_op.rules, bias_rule], keeps="x")
conv_relu_op = Op("conv_relu", _store("conv", relu=True), rectified(conv_op.rules), keeps="xy")
conv_transpose_bias_op = Op("conv_input_grad", _store("conv_input_grad"), [*conv_input_grad_op.rules, bias_rule], keeps="x")
conv_transpose_relu_op = Op("conv_transpose_relu", _store("conv_input_grad", relu=True), rectified(conv_input_grad_op.rules),
                            keeps="xy")


def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Padding = 0, dilation: Any = 1,
         groups: int = 1, *, relu: bool = False, algorithm: str | None = None) -> Tensor:
    """Cross-correlation of x (N, C, *spatial) with weight (O, C/groups, *kernel), plus bias (O,): y (N, O, *output).

    1 to 3 spatial dimensions. stride, dilation: an int or one a dimension. padding: an int, one a dimension, a
    (before, after) pair a dimension, or "valid", "same", "half", "full". relu: the larger of y and 0, in the same pass.
    algorithm: a name of `tinyconv.table("conv")`; the gradients use it too where it has their map.
    Raises: ValueError or TypeError with the sizes and the rule for what cannot be.
    """
    x, weight, bias = _operands(x, weight, bias)
    dims = conv_dims(x.data.shape, weight.data.shape, freeze(stride), freeze(padding), freeze(dilation), groups)
    if algorithm is not None:
        choose("conv", dims, x.dtype, kind(x.data), algorithm)  # raises for what is unknown or refuses
    if bias is None:
        y = conv_op(x, weight, dims=dims, algorithm=algorithm)
        return pointwise.relu(y) if relu else y
    _check_bias(bias, dims.O)
    return (conv_relu_op if relu else conv_bias_op)(x, weight, bias, dims=dims, algorithm=algorithm)


def conv_transpose(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Padding = 0,
                   output_padding: Any = 0, groups: int = 1, dilation: Any = 1, *, output_size: Any = None,
                   relu: bool = False, algorithm: str | None = None) -> Tensor:
    """The input gradient of a convolution, used forwards: x (N, C, *spatial), weight (C, O/groups, *kernel) -> (N, O, ...).

    Every argument is that of the convolution it transposes. A stride s maps s sizes to one, so the size of the result is
    the least of them plus `output_padding`, or `output_size` (spatial) says it. relu: as for conv.
    Raises: ValueError with the possible sizes.
    """
    x, weight, bias = _operands(x, weight, bias)
    dims = conv_transpose_dims(x.data.shape, weight.data.shape, freeze(stride), freeze(padding), freeze(output_padding),
                               freeze(dilation), groups, freeze(output_size))
    if algorithm is not None:
        choose("conv_input_grad", dims, x.dtype, kind(x.data), algorithm)
    if bias is None:
        y = conv_input_grad_op(x, weight, dims=dims, algorithm=algorithm)
        return pointwise.relu(y) if relu else y
    _check_bias(bias, dims.C)
    return (conv_transpose_relu_op if relu else conv_transpose_bias_op)(x, weight, bias, dims=dims, algorithm=algorithm)


def _operands(x: Any, weight: Any, bias: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    for name, t in (("input", x), ("weight", weight), ("bias", bias)):
        if t is not None and not isinstance(t, Tensor):
            raise TypeError(f"conv wants {name} as a tinyconv Tensor, got {type(t).__name__}: tinyconv.tensor(...) makes one")
        if t is not None and t.data.dtype not in FLOATS:
            raise TypeError(f"conv wants float32 or float64, {name} is {t.dtype}: use .float()")
    same_device("conv", x.data, weight.data, *(() if bias is None else (bias.data,)))
    if x.data.dtype != weight.data.dtype or (bias is not None and bias.data.dtype != x.data.dtype):
        x, weight, *rest = align_dtypes(x, weight, *(() if bias is None else (bias,)))
        bias = rest[0] if rest else None
    return x, weight, bias


def _check_bias(bias: Tensor, O: int) -> None:
    if bias.data.shape != (O,):
        raise ValueError(f"the bias has shape {bias.shape}, the convolution has {O} output channels: it must be ({O},)")

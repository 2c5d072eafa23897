"""Differentiable operations by family, and the methods they lend to Tensor (a table, at the end)."""

from __future__ import annotations

from typing import Any

from ..tensor import Op, Tensor
from . import pointwise, reduce, shape
from .conv import conv, conv_transpose
from .linalg import einsum, linear, matmul
from .pointwise import clip, cos, exp, log, log1p, maximum, minimum, relu, rsqrt, sigmoid, sin, softplus, sqrt, tanh, where
from .reduce import amax, amin, argmax, argmin, log_softmax, logsumexp, mean, softmax, std, sum, var
from .shape import cat, chunk, expand, flatten, flip, gather, pad, permute, reshape, split, squeeze, stack, transpose, unsqueeze

__all__ = [
    "amax", "amin", "argmax", "argmin", "cat", "chunk", "clip", "conv", "conv_transpose", "cos", "einsum", "exp", "expand",
    "flatten", "flip", "gather", "linear", "log", "log1p", "log_softmax", "logsumexp", "matmul", "maximum", "mean", "minimum",
    "pad", "permute", "relu", "reshape", "rsqrt", "sigmoid", "sin", "softmax", "softplus", "split", "sqrt", "squeeze", "stack",
    "std", "sum", "tanh", "transpose", "unsqueeze", "var", "where",
]


def _swapped(fn: Any) -> Any:
    return lambda a, b: fn(b, a)


def _method(op: Op) -> Any:
    return lambda x: op(x)


def _in_place(fn: Any) -> Any:
    """t += u: writes into a tensor off the tape (or a leaf under no_grad); a result on the tape is replaced by a new one."""

    def update(t: Tensor, other: Any) -> Tensor:
        if not t.is_leaf:
            return fn(t, other)
        return t._write(..., fn(t.detach(), other))

    return update


METHODS: dict[str, Any] = {
    "__add__": pointwise.add, "__radd__": pointwise.add, "__iadd__": _in_place(pointwise.add),
    "__sub__": pointwise.sub, "__rsub__": _swapped(pointwise.sub), "__isub__": _in_place(pointwise.sub),
    "__mul__": pointwise.mul, "__rmul__": pointwise.mul, "__imul__": _in_place(pointwise.mul),
    "__truediv__": pointwise.div, "__rtruediv__": _swapped(pointwise.div), "__itruediv__": _in_place(pointwise.div),
    "__pow__": pointwise.pow, "__rpow__": _swapped(pointwise.pow), "__neg__": lambda x: pointwise.neg(x),
    "__matmul__": matmul, "__abs__": pointwise.abs, "__getitem__": shape.getitem,
    "__eq__": pointwise.eq, "__ne__": pointwise.ne, "__lt__": pointwise.lt, "__le__": pointwise.le,
    "__gt__": pointwise.gt, "__ge__": pointwise.ge,
    "T": property(lambda x: permute(x, range(x.ndim - 1, -1, -1))),
    "add_": lambda x, other, alpha=1: x._write(..., x.detach() + other * alpha),
    "sub_": lambda x, other, alpha=1: x._write(..., x.detach() - other * alpha),
    "mul_": lambda x, other: x._write(..., x.detach() * other),
    "float": lambda x: pointwise.cast(x, "float32"), "double": lambda x: pointwise.cast(x, "float64"),
    "long": lambda x: pointwise.cast(x, "int64"), "to": pointwise.cast, "astype": pointwise.cast,
    "view": reshape, "clone": pointwise.clone, "abs": pointwise.abs, "pow": pointwise.pow, "neg": lambda x: pointwise.neg(x),
    "isnan": pointwise.isnan, "isfinite": pointwise.isfinite, "max": reduce.max, "min": reduce.min,
    **{op.name: _method(op) for op in (exp, log, sqrt, rsqrt, tanh, sigmoid, relu, sin, cos)},
    "clip": clip, "clamp": clip, "sum": sum, "mean": mean, "var": var, "std": std, "amax": amax, "amin": amin,
    "argmax": argmax, "argmin": argmin, "softmax": softmax, "log_softmax": log_softmax, "logsumexp": logsumexp,
    "reshape": reshape, "flatten": flatten, "permute": permute, "transpose": transpose, "squeeze": squeeze,
    "unsqueeze": unsqueeze, "expand": expand, "flip": flip, "split": split, "chunk": chunk, "gather": gather,
    "matmul": matmul,
}
for _name, _method in METHODS.items():
    setattr(Tensor, _name, _method)

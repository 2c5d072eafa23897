"""Differentiable operations by family, and the methods they lend to Tensor (a table, at the end)."""

from __future__ import annotations

from typing import Any

from ..mode import current
from ..op import Op
from ..tensor import Tensor
from . import dtypes, pointwise, reduce, shape
from .conv import conv, conv_transpose
from .create import arange, eye, full, ones, ones_like, rand, randn, zeros, zeros_like
from .linalg import einsum, linear, matmul
from .pointwise import abs, clip, cos, exp, log, log1p, maximum, minimum, pow, relu, rsqrt, sigmoid, sin, softplus, sqrt, tanh
from .pointwise import where as where
from .reduce import amax, amin, argmax, argmin, log_softmax, logsumexp, max, mean, min, softmax, std, sum, var
from .shape import cat, chunk, expand, flatten, flip, gather, pad, permute, reshape, split, squeeze, stack, transpose, unsqueeze

__all__ = [
    "abs", "amax", "amin", "arange", "argmax", "argmin", "cat", "chunk", "clip", "conv", "conv_transpose", "cos", "einsum",
    "exp", "expand", "eye", "flatten", "flip", "full", "gather", "linear", "log", "log1p", "log_softmax", "logsumexp",
    "matmul", "max", "maximum", "mean", "min", "minimum", "ones", "ones_like", "pad", "permute", "pow", "rand", "randn", "relu",
    "reshape", "rsqrt", "sigmoid", "sin", "softmax", "softplus", "split", "sqrt", "squeeze", "stack", "std", "sum", "tanh",
    "transpose", "unsqueeze", "var", "where", "zeros", "zeros_like",
]


def _swapped(fn: Any) -> Any:
    return lambda a, b: fn(b, a)


def _method(op: Op) -> Any:
    return lambda x: op(x)


def _in_place(fn: Any) -> Any:
    """t += u writes into t where neither is on the tape (or under no_grad); where the tape records, it is t = t + u, a new
    tensor, and views of the old one keep their values.

    Raises: RuntimeError for a leaf that requires a gradient, ValueError or TypeError where t cannot hold the result.
    """

    def update(t: Tensor, other: Any) -> Tensor:
        if not current() or t.is_leaf:
            t._refuse_write()
        result = _fitting(t, fn(t, other))
        return result if result.requires_grad else t._write(..., result)

    return update


def _write_in_place(fn: Any) -> Any:
    """t.add_(u): writes into t itself, or raises as a write does; ValueError or TypeError where t cannot hold the result."""
    return lambda t, *args, **options: t._write(..., _fitting(t, fn(t.detach(), *args, **options)))


def _fitting(t: Tensor, result: Tensor) -> Tensor:
    if result.shape != t.shape or dtypes.KINDS[result.dtype.kind] > dtypes.KINDS[t.dtype.kind]:
        raise (ValueError if result.shape != t.shape else TypeError)(
            f"{t.dtype} of shape {t.shape} cannot hold the result, {result.dtype} of shape {result.shape}, in place")
    return result


METHODS: dict[str, Any] = {
    "__add__": pointwise.add, "__radd__": pointwise.add, "__iadd__": _in_place(pointwise.add),
    "__sub__": pointwise.sub, "__rsub__": _swapped(pointwise.sub), "__isub__": _in_place(pointwise.sub),
    "__mul__": pointwise.mul, "__rmul__": pointwise.mul, "__imul__": _in_place(pointwise.mul),
    "__truediv__": pointwise.div, "__rtruediv__": _swapped(pointwise.div), "__itruediv__": _in_place(pointwise.div),
    "__pow__": pointwise.pow, "__rpow__": _swapped(pointwise.pow), "__ipow__": _in_place(pointwise.pow),
    "__neg__": lambda x: pointwise.neg(x), "__pos__": lambda x: x, "__matmul__": matmul, "__rmatmul__": _swapped(matmul),
    "__and__": pointwise.both, "__rand__": pointwise.both, "__or__": pointwise.either, "__ror__": pointwise.either,
    "__xor__": pointwise.differ, "__rxor__": pointwise.differ, "__invert__": pointwise.invert,
    "__abs__": pointwise.abs, "__getitem__": shape.getitem,
    "__eq__": pointwise.eq, "__ne__": pointwise.ne, "__lt__": pointwise.lt, "__le__": pointwise.le,
    "__gt__": pointwise.gt, "__ge__": pointwise.ge,
    "T": property(lambda x: permute(x, range(x.ndim - 1, -1, -1))),
    "add_": _write_in_place(lambda x, other, alpha=1: x + (other if alpha == 1 else other * alpha)),
    "sub_": _write_in_place(lambda x, other, alpha=1: x - (other if alpha == 1 else other * alpha)),
    "mul_": _write_in_place(pointwise.mul), "div_": _write_in_place(pointwise.div),
    "float": lambda x: dtypes.cast(x, "float32"), "double": lambda x: dtypes.cast(x, "float64"),
    "long": lambda x: dtypes.cast(x, "int64"), "int": lambda x: dtypes.cast(x, "int32"),
    "bool": lambda x: dtypes.cast(x, "bool"), "astype": dtypes.cast, "to": dtypes.to,
    "cpu": lambda x: dtypes.to(x, "cpu"), "cuda": lambda x: dtypes.to(x, "cuda"),
    "view": reshape, "clone": pointwise.clone, "abs": pointwise.abs, "pow": pointwise.pow, "neg": lambda x: pointwise.neg(x),
    "isnan": pointwise.isnan, "isfinite": pointwise.isfinite, "max": reduce.max, "min": reduce.min,
    "any": reduce.any, "all": reduce.all,
    **{op.name: _method(op) for op in (exp, log, log1p, sqrt, rsqrt, tanh, sigmoid, relu, sin, cos)},
    "clip": clip, "clamp": clip, "sum": sum, "mean": mean, "var": var, "std": std, "amax": amax, "amin": amin,
    "argmax": argmax, "argmin": argmin, "softmax": softmax, "log_softmax": log_softmax, "logsumexp": logsumexp,
    "reshape": reshape, "flatten": flatten, "permute": permute, "transpose": transpose, "squeeze": squeeze,
    "unsqueeze": unsqueeze, "expand": expand, "flip": flip, "split": split, "chunk": chunk, "gather": gather,
    "matmul": matmul,
}
for _name, _function in METHODS.items():
    setattr(Tensor, _name, _function)

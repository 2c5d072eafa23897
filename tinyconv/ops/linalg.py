"""Matrix products. Each is a trilinear form, so its two gradients are two more matrix products.

    matmul:  sum  x[i, k] * w[k, j] * y[i, j]        linear:  sum  x[n, i] * w[o, i] * y[n, o]

Read next: conv.py, the same rule with a sliding window.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np

from .. import blas
from ..device import kind, same_device
from ..forms import trilinear
from ..op import Op
from ..registry import choose
from ..tensor import Tensor
from .dtypes import align_dtypes, as_tensor
from .pointwise import expand_to
from .pointwise import relu as relu_of
from .rectify import bias_rule, finish, rectified
from .reduce import sum as sum_over
from .shape import permute, reshape, unsqueeze


def _t(a: Any) -> Any:
    return a.swapaxes(-1, -2)


matmul_op, _, _ = trilinear(
    "matmul",
    y=lambda x, w: blas.matmul(x, w),  # (M, K) (K, N)
    x=lambda y, w: blas.matmul(y, _t(w)),  # (M, N) (N, K)
    w=lambda x, y: blas.matmul(_t(x), y),  # (K, M) (M, N)
)


def _fill(name: str, a: Any, b: Any, dims: tuple[int, int, int]) -> Any:
    """The slot of a linear layer of sizes (N, I, O) that this map fills, by the kernel that the registry picks."""
    return choose(name, dims, a.dtype, kind(a)).fn(a, b, dims)


def _store(x: Any, w: Any, b: Any = None, relu: bool = False) -> Any:
    """x w^T plus a bias, and relu of it: in the kernel's own store, where it has that."""
    dims = (*x.shape, len(w))
    kernel = choose("linear", dims, x.dtype, kind(x))
    if "relu" in kernel.fuses:
        return kernel.fn(x, w, dims, bias=b, relu=relu)
    return finish(kernel.fn(x, w, dims), b, relu)


linear_op, _, _ = trilinear(
    "linear", y=_store, x=lambda y, w: _fill("linear_input_grad", y, w, (len(y), *w.shape[::-1])),
    w=lambda x, y: _fill("linear_weight_grad", x, y, (*x.shape, y.shape[1])))
linear_bias_op = Op("linear", _store, [*linear_op.rules, bias_rule], keeps="x")
linear_relu_op = Op("linear_relu", partial(_store, relu=True), rectified(linear_op.rules), keeps="xy")


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b: (..., M, K) by (..., K, N), leading dimensions broadcast; a vector stands for a row on the left, a column
    on the right. Raises ValueError with both shapes where K differs.
    """
    a, b = as_tensor(a), as_tensor(b)
    x, w = a.data, b.data
    if x.ndim == w.ndim == 2 and x.dtype == w.dtype and x.shape[1] == w.shape[0]:
        return matmul_op(a, b)
    if x.ndim == 0 or w.ndim == 0:
        raise ValueError(f"matmul wants at least one dimension on each side, got {a.shape} and {b.shape}")
    if x.dtype != w.dtype:
        a, b = align_dtypes(a, b)
    if x.shape[-1] != w.shape[-2 if w.ndim > 1 else -1]:
        raise ValueError(f"matmul of {a.shape} and {b.shape}: the last size of the first, {x.shape[-1]}, must be the last "
                         + (f"but one of the second, {w.shape[-2]}" if w.ndim > 1 else f"of the second, {w.shape[-1]}"))
    if a.ndim == 1:
        return matmul(unsqueeze(a, 0), b).squeeze(-2 if b.ndim > 1 else 0)
    if b.ndim == 1:
        return matmul(a, unsqueeze(b, 1)).squeeze(-1)
    if b.ndim == 2 and a.ndim > 2:  # one product of M times the leading sizes
        return reshape(matmul_op(reshape(a, prod(a.shape[:-1]), a.shape[-1]), b), *a.shape[:-1], b.shape[-1])
    if a.shape[:-2] != b.shape[:-2]:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = expand_to(a, (*lead, *a.shape[-2:])), expand_to(b, (*lead, *b.shape[-2:]))
    return matmul_op(a, b)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """x weight^T + bias: x (..., in), weight (out, in), bias (out,). relu: the larger of that and 0, in the same pass.

    Raises: ValueError with the shapes.
    """
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear wants x (..., in_features) and weight (out_features, in_features), got {x.shape} "
                         f"and {weight.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear wants a bias of shape {weight.shape[:1]}, got {bias.shape}")
    if x.dtype != weight.dtype or (bias is not None and bias.dtype != x.dtype):
        x, weight, *rest = align_dtypes(x, weight, *(() if bias is None else (bias,)))
        bias = rest[0] if rest else None
    if x.ndim != 2:
        flat = reshape(x, prod(x.shape[:-1]), x.shape[-1])
        return reshape(linear(flat, weight, bias, relu=relu), *x.shape[:-1], weight.shape[0])
    if bias is None:
        y = linear_op(x, weight)
        return relu_of(y) if relu else y
    return (linear_relu_op if relu else linear_bias_op)(x, weight, bias)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Sum over labelled indices, "ij,jk->ik": each product of two operands is a trilinear form of its own.

    Labels are letters, none twice in one operand; operands are multiplied from left to right.
    Raises: ValueError where labels and shapes do not match.
    """
    left, arrow, target = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands) or any(len(set(t)) < len(t) or len(t) != x.ndim for t, x in zip(terms, operands)):
        raise ValueError(f"einsum {equation!r}: operands of shapes {[x.shape for x in operands]} need a label for each "
                         "dimension, none twice in one operand")
    if not arrow:
        target = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    sizes: dict[str, set[int]] = {}
    for c, n in zip("".join(terms), sum((x.shape for x in operands), ())):
        sizes.setdefault(c, set()).add(n)
    if any(len(n) > 1 for n in sizes.values()):
        raise ValueError(f"einsum {equation!r}: the sizes of a label must agree, got {sizes} from shapes "
                         f"{[x.shape for x in operands]}")
    if set(target) - set(left) or len(set(target)) < len(target):
        raise ValueError(f"einsum {equation!r}: the result's labels must be labels of the operands, once each")
    same_device("einsum", *(x.data for x in operands))  # CuPy's own would bring along what lies on the host
    term, x = terms[0], operands[0]
    for i in range(1, len(terms)):
        after = set(target).union(*terms[i + 1:])
        term, x = _contract(term, x, terms[i], operands[i], after)
    term, x = _sum_labels(term, x, set(target))
    return permute(x, [term.index(c) for c in target])


def _contract(a: str, x: Tensor, b: str, w: Tensor, after: set[str]) -> tuple[str, Tensor]:
    """One product: labels that nothing later names are summed, those of one side alone before it."""
    a, x = _sum_labels(a, x, after | set(b))
    b, w = _sum_labels(b, w, after | set(a))
    out = "".join(c for c in a + "".join(c for c in b if c not in a) if c in after)
    if x.dtype != w.dtype:
        x, w = align_dtypes(x, w)
    return out, einsum_op(x, w, x_labels=a, w_labels=b, y_labels=out)


def _sum_labels(term: str, x: Tensor, keep: set[str]) -> tuple[str, Tensor]:
    drop = [i for i, c in enumerate(term) if c not in keep]
    return "".join(c for c in term if c in keep), sum_over(x, drop) if drop else x


def _product(a: str, b: str, out: str) -> Any:
    """The map that fills one slot of the form sum x w y, given the labels of each slot."""

    def fill(p: Any, q: Any, **labels: str) -> Any:
        return np.einsum(f"{labels[a]},{labels[b]}->{labels[out]}", p, q, optimize=True)

    return fill


einsum_op, _, _ = trilinear("einsum", y=_product("x_labels", "w_labels", "y_labels"),
                            x=_product("y_labels", "w_labels", "x_labels"), w=_product("x_labels", "y_labels", "w_labels"))

"""Functions of each element: arithmetic, comparison, exponentials, activations.

    d(x*w) = w dx + x dw (a trilinear form: sum x*w*y),  d f(x) = f'(x) dx

Operands of unequal shape are first expanded, a linear map whose adjoint sums (NumPy's broadcasting, seen by the tape);
of unequal dtype, first cast. A Python or NumPy scalar is no operand: it is a constant of the operation.
Read next: reduce.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..forms import adjoint_pair, self_adjoint, trilinear
from ..tensor import Op, Tensor
from .shape import expand_op

Scalar = int | float | bool | np.generic
Operand = Tensor | Scalar | np.ndarray

# -- linear maps -----------------------------------------------------------------------------------------------------

mul_op, _, _ = trilinear("mul", y=np.multiply, x=np.multiply, w=np.multiply)
add_op = Op("add", np.add, [lambda g, y, a, b: g, lambda g, y, a, b: g])
sub_op = Op("sub", np.subtract, [lambda g, y, a, b: g, lambda g, y, a, b: neg(g)])
scale_op = self_adjoint("scale", lambda x, by: x * by)
shift_op = Op("shift", lambda x, by: x + by, [lambda g, y, x, by: g])
neg: Op = self_adjoint("neg", np.negative)
cast_op, _ = adjoint_pair("cast", lambda x, to, was: x.astype(to), "cast_back", lambda y, to, was: y.astype(was))
mask_op = self_adjoint("mask", lambda x, keep: np.where(keep, x, x.dtype.type(0)))  # 0 where not kept, even for NaN

# -- what is not linear: y = f(x), with f' beside it ----------------------------------------------------------------

div_op = Op("div", np.divide, [lambda g, y, a, b: g / b, lambda g, y, a, b: neg(g * y) / b], keeps="xy")
rdiv_op = Op("rdiv", lambda x, by: by / x, [lambda g, y, x, by: neg(g * y) / x], keeps="xy")
pow_op = Op("pow", lambda x, to: x**to, [lambda g, y, x, to: g * (x ** (to - 1) * to) if to else zeros_like(g)], keeps="x")
pow_tensor_op = Op("pow", np.power, [lambda g, y, a, b: g * (b * a ** (b - 1.0)), lambda g, y, a, b: g * (y * _log_or_zero(a))],
                   keeps="xy")
exp = Op("exp", np.exp, [lambda g, y, x: g * y], keeps="y")
log = Op("log", np.log, [lambda g, y, x: g / x], keeps="x")
log1p = Op("log1p", np.log1p, [lambda g, y, x: g / (x + 1.0)], keeps="x")
sqrt = Op("sqrt", np.sqrt, [lambda g, y, x: g / (y * 2.0)], keeps="y")
rsqrt = Op("rsqrt", lambda x: 1 / np.sqrt(x), [lambda g, y, x: g * (y * y * y) * -0.5], keeps="y")
sin = Op("sin", np.sin, [lambda g, y, x: g * cos(x)], keeps="x")
cos: Op = Op("cos", np.cos, [lambda g, y, x: neg(g * sin(x))], keeps="x")
tanh = Op("tanh", np.tanh, [lambda g, y, x: g * (1.0 - y * y)], keeps="y")
abs_op = Op("abs", np.abs, [lambda g, y, x: g * Tensor.wrap(np.sign(x.data))], keeps="x")


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))  # never overflows; 1/(1+e) for x >= 0, e/(1+e) below
    return np.where(x >= 0, 1, e).astype(x.dtype) / (1 + e)


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


sigmoid = Op("sigmoid", _sigmoid, [lambda g, y, x: g * (y * (1.0 - y))], keeps="y")
softplus = Op("softplus", _softplus, [lambda g, y, x: g * sigmoid(x)], keeps="x")
relu = Op("relu", lambda x: np.maximum(x, 0), [lambda g, y, x: mask_op(g, keep=y.data > 0)], keeps="y")
clip_op = Op("clip", lambda x, min, max: np.clip(x, min, max),
             [lambda g, y, x, min, max: mask_op(g, keep=_inside(x.data, min, max))], keeps="x")


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, negative_slope * x elsewhere."""
    return where(x.data > 0, x, x * negative_slope)


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return x * sigmoid(x)


def _inside(x: Any, low: float | None, high: float | None) -> Any:
    keep = np.ones(x.shape, bool)
    if low is not None:
        keep &= x >= low
    if high is not None:
        keep &= x <= high
    return keep


def _log_or_zero(a: Tensor) -> Tensor:
    """log(a), and 0 where a is 0: 0**b has gradient 0 in b."""
    return log(where(a.data > 0, a, 1.0))


# -- operands as users write them ----------------------------------------------------------------------------------


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """`value` as a Tensor: itself if it is one, else a copy (a bare number takes the dtype of `like`)."""
    if isinstance(value, Tensor):
        return value
    if like is not None and is_scalar(value):
        return Tensor.wrap(np.asarray(value, like.dtype if like.dtype.kind == "f" else None))
    return Tensor(value)


def is_scalar(value: Any) -> bool:
    """Whether `value` is a bare number, which never changes the dtype of a tensor."""
    return isinstance(value, (int, float, np.generic))


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value  # NumPy's float64 scalars would widen float32


def _floating(a: Tensor, by: Any) -> Tensor:
    """An integer tensor as float32 where it meets a fraction."""
    return a.float() if isinstance(by, float) and a.dtype.kind != "f" else a


def align(a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """Two operands with one shape and one dtype, by expand and cast. Raises ValueError with both shapes where none fits."""
    a = as_tensor(a, b if isinstance(b, Tensor) else None)
    b = as_tensor(b, a)
    if a.dtype != b.dtype:
        to = np.result_type(a.dtype, b.dtype)
        if to == np.float64 and np.float64 not in (a.dtype, b.dtype):  # int64 with float32 stays float32, as in PyTorch
            to = np.dtype(np.float32)
        a, b = cast(a, to), cast(b, to)
    if a.shape != b.shape:
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise ValueError(f"shapes {a.shape} and {b.shape} do not broadcast: from the right, each pair of sizes "
                             "must be equal or hold a 1") from None
        a, b = expand_to(a, shape), expand_to(b, shape)
    return a, b


def cast(x: Tensor, dtype: Any) -> Tensor:
    """x with another dtype; the gradient is cast back. Off the tape for integers."""
    to = np.dtype(dtype)
    if x.dtype == to:
        return x
    return Tensor.wrap(x.data.astype(to)) if to.kind != "f" else cast_op(x, to=to, was=x.dtype)


def expand_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x broadcast to `shape`, without a copy."""
    return x if x.data.shape == shape else expand_op(x, small=x.data.shape, big=shape)


def _binary(op: Op, a: Tensor, b: Tensor) -> Tensor:
    if a.data.shape == b.data.shape and a.data.dtype == b.data.dtype:
        return op(a, b)
    return op(*align(a, b))


def add(a: Operand, b: Operand) -> Tensor:
    """a + b, broadcast."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _binary(add_op, a, b)
    if isinstance(a, Tensor) and is_scalar(b):
        by = _number(b)
        return shift_op(_floating(a, by), by=by)
    return _binary(add_op, *align(a, b))


def sub(a: Operand, b: Operand) -> Tensor:
    """a - b, broadcast."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _binary(sub_op, a, b)
    if isinstance(a, Tensor) and is_scalar(b):
        return add(a, -_number(b))
    return _binary(sub_op, *align(a, b))


def mul(a: Operand, b: Operand) -> Tensor:
    """a * b, broadcast."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _binary(mul_op, a, b)
    if isinstance(a, Tensor) and is_scalar(b):
        by = _number(b)
        return scale_op(_floating(a, by), by=by)
    return _binary(mul_op, *align(a, b))


def div(a: Operand, b: Operand) -> Tensor:
    """a / b, broadcast; integers become float32."""
    if isinstance(a, Tensor) and is_scalar(b):
        by = _number(b)
        return scale_op(_floating(a, 0.5), by=1 / by) if by and _is_power_of_two(by) else div_op(*_floats(*align(a, b)))
    if isinstance(b, Tensor) and is_scalar(a):
        return rdiv_op(_floating(b, 0.5), by=_number(a))
    return div_op(*_floats(*align(a, b)))


def _is_power_of_two(by: float) -> bool:
    return math.isfinite(by) and math.frexp(by)[0] in (0.5, -0.5)  # then x/by and x*(1/by) round alike


def _floats(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return _floating(a, 0.5), _floating(b, 0.5)


def pow(a: Operand, b: Operand) -> Tensor:
    """a ** b, broadcast. A fixed exponent is differentiated at any base; a tensor of exponents wants bases >= 0."""
    if isinstance(a, Tensor) and is_scalar(b):
        to = _number(b)
        return pow_op(_floating(a, to), to=to)
    return pow_tensor_op(*_floats(*align(a, b)))


def abs(x: Tensor) -> Tensor:
    """|x|; the gradient at 0 is 0."""
    return abs_op(x)


def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of each pair, NaN if either is; at a tie each gets half of the gradient."""
    a, b = align(a, b)
    return _pick(np.maximum, a, b, a.data > b.data)


def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of each pair, NaN if either is; at a tie each gets half of the gradient."""
    a, b = align(a, b)
    return _pick(np.minimum, a, b, a.data < b.data)


def _pick(fn: Any, a: Tensor, b: Tensor, first: Any) -> Tensor:
    share = np.where(a.data == b.data, 0.5, first).astype(a.dtype)
    return pick_op.record(fn(a.data, b.data), (a, b), {"share": Tensor.wrap(share)})


# given which operand won (nonlinear, no derivative), the rest is linear
pick_op = Op("pick", np.maximum, [lambda g, y, a, b, share: g * share, lambda g, y, a, b, share: g * (1.0 - share)])


def where(condition: Any, a: Operand, b: Operand) -> Tensor:
    """a where the condition holds, b elsewhere, all three broadcast; what is not chosen has gradient 0, even at NaN."""
    keep = condition.data if isinstance(condition, Tensor) else np.asarray(condition)
    a, b = align(a, b)
    shape = np.broadcast_shapes(keep.shape, a.shape)
    a, b, keep = expand_to(a, shape), expand_to(b, shape), np.broadcast_to(keep, shape)
    return where_op(a, b, keep=keep)


where_op = Op("where", lambda a, b, keep: np.where(keep, a, b),
              [lambda g, y, a, b, keep: mask_op(g, keep=keep), lambda g, y, a, b, keep: mask_op(g, keep=~keep)])


def clip(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """x held between min and max; the gradient passes where it already lay there, bounds included."""
    if min is None and max is None:
        raise ValueError("clip wants min, max or both")
    return clip_op(x, min=min, max=max)


def zeros_like(x: Tensor) -> Tensor:
    """A tensor of zeros of x's shape and dtype."""
    return Tensor.wrap(np.zeros_like(x.data))


def ones_like(x: Tensor) -> Tensor:
    """A tensor of ones of x's shape and dtype."""
    return Tensor.wrap(np.ones_like(x.data))


def clone(x: Tensor) -> Tensor:
    """A copy of x, on the tape."""
    return clone_op(x)


clone_op = self_adjoint("clone", lambda x: x.copy())


def compare(fn: Any) -> Any:
    """A comparison: a boolean tensor, never on the tape."""

    def comparison(a: Tensor, b: Any) -> Tensor:
        return Tensor.wrap(np.asarray(fn(a.data, b.data if isinstance(b, Tensor) else _number(b))))

    comparison.__doc__ = f"Elementwise {fn.__name__}: a boolean tensor, never on the tape."
    return comparison


eq, ne, lt, le, gt, ge = (compare(f) for f in (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal))


def isnan(x: Tensor) -> Tensor:
    """Where x is not a number."""
    return Tensor.wrap(np.isnan(x.data))


def isfinite(x: Tensor) -> Tensor:
    """Where x is neither NaN nor infinite."""
    return Tensor.wrap(np.isfinite(x.data))

"""Functions of each element: arithmetic, comparison, exponentials, activations.

    d(x*w) = w dx + x dw (a trilinear form: sum x*w*y),  d f(x) = f'(x) dx

Operands of unequal shape are first expanded, a linear map whose adjoint sums (NumPy's broadcasting, seen by the tape);
of unequal dtype, first cast (dtypes.py). A bare number is no operand but a constant of the operation.
Read next: reduce.py.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np

from ..device import kind, like, same_device
from ..forms import self_adjoint, trilinear
from ..op import Op
from ..registry import choose
from ..tensor import Tensor
from .create import zeros_like
from .dtypes import Operand, align_dtypes, as_tensor, floating, is_scalar, number
from .shape import expand_op

# -- linear maps -----------------------------------------------------------------------------------------------------

mul_op, _, _ = trilinear("mul", y=np.multiply, x=np.multiply, w=np.multiply)
add_op = Op("add", np.add, [lambda g, y, a, b: g, lambda g, y, a, b: g])
sub_op = Op("sub", np.subtract, [lambda g, y, a, b: g, lambda g, y, a, b: neg(g)])
scale_op = self_adjoint("scale", lambda x, by: x * by)
unscale_op = self_adjoint("unscale", lambda x, by: x / by)
shift_op = Op("shift", lambda x, by: x + by, [lambda g, y, x, by: g])
rsub_op = Op("rsub", lambda x, by: by - x, [lambda g, y, x, by: neg(g)])
neg: Op = self_adjoint("neg", np.negative)
mask_op = self_adjoint("mask", lambda x, keep: np.where(keep, x, x.dtype.type(0)))  # 0 where not kept, even for NaN

# -- what is not linear: y = f(x), with f' beside it ----------------------------------------------------------------


def real(fn: Any) -> Any:
    """A function of floats: integers come in as float32."""
    return lambda x, **meta: fn(x if x.dtype.kind == "f" else x.astype(np.float32), **meta)


div_op = Op("div", np.divide, [lambda g, y, a, b: g / b, lambda g, y, a, b: neg(g * y) / b], keeps="xy")
rdiv_op = Op("rdiv", lambda x, by: by / x, [lambda g, y, x, by: neg(g * y) / x], keeps="xy")
pow_op = Op("pow", lambda x, to: x**to, [lambda g, y, x, to: g * (x ** (to - 1) * to) if to else zeros_like(g)], keeps="x")
pow_tensor_op = Op("pow", np.power, [lambda g, y, a, b: g * (b * a ** where((a.data == 0) & (b.data == 0), 1.0, b - 1.0)),
                                     lambda g, y, a, b: g * (y * log(where((a.data == 0) & (b.data >= 0), 1.0, a)))],
                   keeps="xy")  # at 0**0 and at 0**b the gradients are 0, not 0 * infinity
exp = Op("exp", real(np.exp), [lambda g, y, x: g * y], keeps="y")
log: Op = Op("log", real(np.log), [lambda g, y, x: g / x], keeps="x")
log1p = Op("log1p", real(np.log1p), [lambda g, y, x: g / (x + 1.0)], keeps="x")
sqrt = Op("sqrt", real(np.sqrt), [lambda g, y, x: g / (y * 2.0)], keeps="y")
rsqrt = Op("rsqrt", real(lambda x: 1 / np.sqrt(x)), [lambda g, y, x: g * (y * y * y) * -0.5], keeps="y")
sin = Op("sin", real(np.sin), [lambda g, y, x: g * cos(x)], keeps="x")
cos: Op = Op("cos", real(np.cos), [lambda g, y, x: neg(g * sin(x))], keeps="x")
tanh = Op("tanh", real(np.tanh), [lambda g, y, x: g * (1.0 - y * y)], keeps="y")
abs_op = Op("abs", np.abs, [lambda g, y, x: g * Tensor.wrap(np.sign(x.data))], keeps="x")


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _sigmoid(x: Any) -> Any:
    return choose("sigmoid", x.shape, x.dtype, kind(x)).fn(x, x.shape)


sigmoid = Op("sigmoid", real(_sigmoid), [lambda g, y, x: sigmoid_grad(g, y)], keeps="y")
sigmoid_grad: Op = Op("sigmoid_grad", lambda g, y: choose("sigmoid_grad", g.shape, g.dtype, kind(g)).fn(g, y, g.shape),
                      [lambda gg, out, g, y: sigmoid_grad(gg, y), lambda gg, out, g, y: gg * g * (1.0 - y * 2.0)], keeps="x")
softplus = Op("softplus", real(_softplus), [lambda g, y, x: g * sigmoid(x)], keeps="x")
relu = Op("relu", lambda x: np.maximum(x, 0), [lambda g, y, x: relu_grad(g, y)], keeps="y")
# linear in g; what y lets through has no derivative in y
relu_grad: Op = Op("relu_grad", lambda g, y: choose("relu_grad", g.shape, g.dtype, kind(g)).fn(g, y, g.shape),
                   [lambda gg, out, g, y: relu_grad(gg, y), None], keeps="x")
clip_op = Op("clip", lambda x, min, max: np.clip(x, min, max),
             [lambda g, y, x, min, max: mask_op(g, keep=_inside(x.data, min, max))], keeps="x")


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, negative_slope * x elsewhere."""
    return where(x.data > 0, x, x * negative_slope)


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return x * sigmoid(x)


def _inside(x: Any, low: float | None, high: float | None) -> Any:
    keep = np.ones_like(x, bool)
    if low is not None:
        keep &= x >= low
    if high is not None:
        keep &= x <= high
    return keep


# -- operands as users write them ----------------------------------------------------------------------------------


def align(a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """Two operands with one shape and one dtype, by expand and cast. Raises ValueError with both shapes where none fits."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        a = as_tensor(a, b if isinstance(b, Tensor) else None)
        b = as_tensor(b, a)
    x, y = a.data, b.data
    if x.shape == y.shape and x.dtype == y.dtype:
        return a, b
    if x.dtype != y.dtype:
        a, b = align_dtypes(a, b)
    if x.shape != y.shape:
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise ValueError(f"shapes {a.shape} and {b.shape} do not broadcast: from the right, each pair of sizes "
                             "must be equal or hold a 1") from None
        a, b = expand_to(a, shape), expand_to(b, shape)
    return a, b


def expand_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x broadcast to `shape`, without a copy."""
    return x if x.data.shape == shape else expand_op(x, small=x.data.shape, big=shape)


def _by_number(a: Operand, b: Operand) -> TypeGuard[Tensor]:
    """Whether the first is a tensor of floats and the second a bare number."""
    return not isinstance(b, Tensor) and is_scalar(b) and isinstance(a, Tensor) and a.data.dtype.kind == "f"


def add(a: Operand, b: Operand) -> Tensor:
    """a + b, broadcast."""
    return shift_op(a, by=number(b)) if _by_number(a, b) else add_op(*align(a, b))


def sub(a: Operand, b: Operand) -> Tensor:
    """a - b, broadcast."""
    if _by_number(a, b):
        return shift_op(a, by=-number(b))
    return rsub_op(b, by=number(a)) if _by_number(b, a) else sub_op(*align(a, b))


def mul(a: Operand, b: Operand) -> Tensor:
    """a * b, broadcast."""
    return scale_op(a, by=number(b)) if _by_number(a, b) else mul_op(*align(a, b))


def div(a: Operand, b: Operand) -> Tensor:
    """a / b, broadcast; integers become float32, before they meet: uint8 holds no -1."""
    if is_scalar(b):
        return unscale_op(floating(as_tensor(a)), by=number(b))
    if is_scalar(a):
        return rdiv_op(floating(as_tensor(b)), by=number(a))
    a, b = as_tensor(a), as_tensor(b)
    return div_op(*(align(a, b) if "f" in (a.data.dtype.kind, b.data.dtype.kind) else align(floating(a), floating(b))))


def pow(a: Operand, b: Operand) -> Tensor:
    """a ** b, broadcast. A fixed exponent is differentiated at any base; a tensor of exponents wants bases >= 0."""
    return pow_op(a, to=number(b)) if _by_number(a, b) else pow_tensor_op(*align(a, b))


def abs(x: Tensor) -> Tensor:
    """|x|; the gradient at 0 is 0."""
    return abs_op(x)


def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of each pair, NaN if either is; at a tie each gets half of the gradient."""
    return maximum_op(*align(a, b))


def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of each pair, NaN if either is; at a tie each gets half of the gradient."""
    return minimum_op(*align(a, b))


def _share(winner: Any, other: Any) -> Tensor:
    """Of each pair the part that the first gets: 1 if it won, 1/2 at a tie. It carries no derivative of its own.

    Where there is a NaN both get all of it: a NaN that had no gradient would go unseen.
    """
    return Tensor.wrap(np.where(winner == other, 0.5, ~(winner < other)).astype(winner.dtype))


maximum_op = Op("maximum", np.maximum, [lambda g, y, a, b: g * _share(a.data, b.data),
                                        lambda g, y, a, b: g * _share(b.data, a.data)], keeps="x")
minimum_op = Op("minimum", np.minimum, [lambda g, y, a, b: g * _share(b.data, a.data),
                                        lambda g, y, a, b: g * _share(a.data, b.data)], keeps="x")


def where(condition: Any, a: Operand, b: Operand) -> Tensor:
    """a where the condition holds, b elsewhere, all three broadcast; what is not chosen has gradient 0, even at NaN."""
    a, b = align(a, b)
    if isinstance(condition, Tensor) and condition.is_cuda:
        same_device("where", condition.data, a.data)
    keep = condition.data if isinstance(condition, Tensor) else condition
    keep = keep.astype(bool) if isinstance(keep, type(a.data)) else like(a.data, np.array(keep, bool))
    shape = np.broadcast_shapes(keep.shape, a.shape)
    return where_op(expand_to(a, shape), expand_to(b, shape), keep=np.broadcast_to(keep, shape))


where_op = Op("where", lambda a, b, keep: np.where(keep, a, b),
              [lambda g, y, a, b, keep: mask_op(g, keep=keep), lambda g, y, a, b, keep: mask_op(g, keep=~keep)])


def clip(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """x held between min and max; the gradient passes where it already lay there, bounds included."""
    if min is None and max is None:
        raise ValueError("clip wants min, max or both")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        raise TypeError("clip wants numbers as min and max, got a Tensor: maximum and minimum take one")
    low, high = number(min), number(max)
    if isinstance(low, float) or isinstance(high, float):
        x = floating(x)
    return clip_op(x, min=low, max=high)


def clone(x: Tensor) -> Tensor:
    """A copy of x, on the tape."""
    return clone_op(x)


clone_op = self_adjoint("clone", lambda x: x.copy())


def _on_arrays(fn: Any, doc: str) -> Any:
    """A function of two operands whose result is never on the tape."""

    def compared(a: Tensor, b: Any) -> Tensor:
        if not isinstance(b, (Tensor, np.ndarray, type(a.data), list, tuple)) and not is_scalar(b):
            return NotImplemented
        try:
            return Tensor.wrap(fn(a.data, b.data if isinstance(b, Tensor) else number(b)))
        except TypeError:
            if isinstance(b, Tensor):
                same_device(fn.__name__, a.data, b.data)
            raise

    compared.__name__, compared.__doc__ = fn.__name__, doc
    return compared


eq, ne, lt, le, gt, ge = (_on_arrays(f, f"Elementwise {f.__name__}: a boolean tensor, never on the tape.") for f in (
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal))
both, either, differ = (_on_arrays(f, f"Elementwise {f.__name__} of booleans or integers, never on the tape.") for f in (
    np.bitwise_and, np.bitwise_or, np.bitwise_xor))


def invert(x: Tensor) -> Tensor:
    """Elementwise not, of booleans or integers, never on the tape."""
    return Tensor.wrap(np.invert(x.data))


def isnan(x: Tensor) -> Tensor:
    """Where x is not a number."""
    return Tensor.wrap(np.isnan(x.data))


def isfinite(x: Tensor) -> Tensor:
    """Where x is neither NaN nor infinite."""
    return Tensor.wrap(np.isfinite(x.data))

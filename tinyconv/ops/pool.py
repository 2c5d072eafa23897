"""Pooling on the tape. A maximum chooses one cell of each window; given the choice `at`, all that is left is linear:

    gather  y[o] = x[at[o]]      <->      scatter  x[at[o]] += y[o]           an adjoint pair, so every derivative exists
    average y[o] = sum of window o / divisor[o]      <->      its adjoint

A median and a draw choose in the same way. Padding holds no cells: it never wins, and a window is clipped to what it
holds, so padding above half a window, which PyTorch refuses, is fine as long as each window keeps a cell.
Kernels are picked by the registry: kernels/pool/reference.py. Read next: lp_pool.py, unpool.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..device import kind
from ..dims import AnyPool, Padding, adaptive_dims, freeze, pool_dims
from ..forms import adjoint_pair
from ..op import Op
from ..random import default_generator
from ..registry import choose
from ..tape import is_grad_enabled
from ..tensor import Tensor
from .dtypes import FLOATS
from .pointwise import relu, relu_grad, where
from .rectify import finish
from .shape import reshape


def _gather(x: Any, indices: Any, dims: AnyPool, algorithm: str | None) -> Any:
    return choose("pool_gather", dims, x.dtype, kind(x), prefer=algorithm).fn(x, indices, dims)


def _scatter(y: Any, indices: Any, dims: AnyPool, algorithm: str | None) -> Any:
    return choose("pool_scatter", dims, y.dtype, kind(y), prefer=algorithm).fn(y, indices, dims)


def _average(x: Any, dims: AnyPool, algorithm: str | None, **divisor: Any) -> Any:
    return choose("avg_pool", dims, x.dtype, kind(x), prefer=algorithm).fn(x, dims, **divisor)


def _spread(y: Any, dims: AnyPool, algorithm: str | None, **divisor: Any) -> Any:
    return choose("avg_pool_adjoint", dims, y.dtype, kind(y), prefer=algorithm).fn(y, dims, **divisor)


def _largest(x: Any, dims: AnyPool, algorithm: str | None, relu: bool = False) -> Any:
    kernel = choose("max_pool", dims, x.dtype, kind(x), prefer=algorithm)
    if relu and "relu" in kernel.fuses:
        return kernel.fn(x, dims, relu=True)
    y, at = kernel.fn(x, dims)
    return finish(y, None, relu), at


def _even_gather(u: Any, x: Any, y: Any, dims: AnyPool, algorithm: str | None) -> Any:
    return choose("pool_even_gather", dims, u.dtype, kind(u), prefer=algorithm).fn(u, x, y, dims)


def _even_scatter(g: Any, x: Any, y: Any, dims: AnyPool, algorithm: str | None) -> Any:
    return choose("pool_even_scatter", dims, g.dtype, kind(g), prefer=algorithm).fn(g, x, y, dims)


gather_op, scatter_op = adjoint_pair("pool_gather", _gather, "pool_scatter", _scatter)
max_pool_op, median_pool_op, stochastic_pool_op = (
    Op(name, _gather, gather_op.rules) for name in ("max_pool", "median_pool", "stochastic_pool"))
avg_pool_op, avg_pool_adjoint_op = adjoint_pair("avg_pool", _average, "avg_pool_adjoint", _spread)



def _scatter_through(g: Tensor, y: Tensor, x: Any, **meta: Any) -> Tensor:
    """The cotangent of a maximum followed by relu: what relu lets through, scattered."""
    if not is_grad_enabled():
        kernel = choose("pool_scatter", meta["dims"], g.dtype, kind(g.data), prefer=meta["algorithm"])
        if "relu" in kernel.fuses:
            return Tensor.wrap(kernel.fn(g.data, meta["indices"], meta["dims"], where=y.data))
    return scatter_op(relu_grad(g, y), **meta)


max_pool_relu_op = Op("max_pool_relu", _gather, [_scatter_through], keeps="y")

# the even pair is linear in its first operand; x and y = max(x) only say which cells are tied
even_gather_op: Op = Op("pool_even_gather", _even_gather,
                        [lambda g, out, u, x, y, **meta: even_scatter_op(g, x, y, **meta), None, None], keeps="x")
even_scatter_op: Op = Op("pool_even_scatter", _even_scatter,
                         [lambda u, out, g, x, y, **meta: even_gather_op(u, x, y, **meta), None, None], keeps="x")
max_pool_even_op = Op("max_pool", lambda x, dims, algorithm: _largest(x, dims, algorithm)[0], [
    lambda g, y, x, dims, algorithm: even_scatter_op(g, x.detach(), y.detach(), dims=dims, algorithm=algorithm)], keeps="xy")


def max_pool(x: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, dilation: Any = 1, ceil_mode: bool = False,
             return_indices: bool = False, *, ties: str = "first", relu: bool = False, algorithm: str | None = None) -> Any:
    """Largest cell of each window: x (N, C, *spatial) -> y (N, C, *output), with indices a pair of y and int64 positions.

    stride defaults to kernel_size. A position counts the cells of one plane in row-major order, padding left out. NaN wins.
    ties: of equal cells "first" (in row-major order, as PyTorch) gets the gradient, or all of them "even" parts of it.
    relu: the larger of y and 0, in the same pass.
    Raises: ValueError with the sizes where a window would hold no cell, TypeError for other dtypes than floats.
    """
    return _max_pool(x, _dims(x, kernel_size, stride, padding, dilation, ceil_mode), return_indices, ties, algorithm, relu)


def adaptive_max_pool(x: Tensor, output_size: Any, return_indices: bool = False, *, ties: str = "first",
                      algorithm: str | None = None) -> Any:
    """Largest cell of each of `output_size` windows that divide the input evenly; see max_pool."""
    return _max_pool(x, adaptive_dims(_shape(x), freeze(output_size)), return_indices, ties, algorithm)


def global_max_pool(x: Tensor, return_indices: bool = False, *, ties: str = "first", algorithm: str | None = None) -> Any:
    """Largest cell of each plane: x (N, C, *spatial) -> y (N, C, 1, ...); see max_pool."""
    return adaptive_max_pool(x, 1, return_indices, ties=ties, algorithm=algorithm)


def _max_pool(x: Tensor, dims: AnyPool, return_indices: bool, ties: str, algorithm: str | None, rectify: bool = False) -> Any:
    if ties not in ("first", "even"):
        raise ValueError(f'ties must be "first" (of equal cells the first gets the gradient) or "even" (each gets a part), got '
                         f"{ties!r}")
    fused = rectify and ties == "first"
    y, at = _largest(x.data, dims, algorithm, fused)
    if ties == "even":
        out = max_pool_even_op.record(y, (x,), {"dims": dims, "algorithm": algorithm})
        out = relu(out) if rectify else out
    else:
        op = max_pool_relu_op if fused else max_pool_op
        out = op.record(y, (x,), {"indices": at, "dims": dims, "algorithm": algorithm})
    return (out, _indices(at)) if return_indices else out


def avg_pool(x: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divisor_override: int | None = None, *, algorithm: str | None = None) -> Tensor:
    """Mean of each window: x (N, C, *spatial) -> y (N, C, *output).

    The divisor is the number of cells of the window, padding included unless count_include_pad=False, or divisor_override.
    Raises: ValueError with the sizes where a window would hold no cell, or for a divisor of 0.
    """
    if divisor_override == 0:
        raise ValueError("divisor_override must not be 0")
    return avg_pool_op(x, dims=_dims(x, kernel_size, stride, padding, 1, ceil_mode), algorithm=algorithm,
                       count_include_pad=count_include_pad, divisor_override=divisor_override)


def adaptive_avg_pool(x: Tensor, output_size: Any, *, algorithm: str | None = None) -> Tensor:
    """Mean of each of `output_size` windows that divide the input evenly."""
    return avg_pool_op(x, dims=adaptive_dims(_shape(x), freeze(output_size)), algorithm=algorithm, count_include_pad=True,
                       divisor_override=None)


def global_avg_pool(x: Tensor, *, algorithm: str | None = None) -> Tensor:
    """Mean of each plane: x (N, C, *spatial) -> y (N, C, 1, ...)."""
    return adaptive_avg_pool(x, 1, algorithm=algorithm)


def mixed_pool(x: Tensor, a: Tensor | float, kernel_size: Any, stride: Any = None, padding: Padding = 0,
               ceil_mode: bool = False, count_include_pad: bool = True, *, ties: str = "first",
               algorithm: str | None = None) -> Tensor:
    """a * max_pool(x) + (1 - a) * avg_pool(x): x (N, C, *spatial) -> y (N, C, *output).

    a: a number, or a Tensor of one element or one for each channel, which may be learned.
    Raises: ValueError for an `a` of another shape. Source: Lee, Gallagher and Tu (2016), section 3.1.
    """
    dims = _dims(x, kernel_size, stride, padding, 1, ceil_mode)
    if isinstance(a, Tensor):
        if a.shape not in ((), (1,), (dims.C,)):
            raise ValueError(f"mixed_pool wants `a` of shape (), (1,) or one for each channel, ({dims.C},); got {a.shape}")
        a = reshape(a, 1, -1, *(1,) * dims.rank)
    mean = avg_pool_op(x, dims=dims, algorithm=algorithm, count_include_pad=count_include_pad, divisor_override=None)
    return mean + (_max_pool(x, dims, False, ties, algorithm) - mean) * a


def median_pool(x: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, dilation: Any = 1,
                ceil_mode: bool = False, return_indices: bool = False, *, algorithm: str | None = None) -> Any:
    """Median cell of each window, of an even number the lower of the two in the middle; see max_pool.

    Of equal cells the first in order of size and then of position is the median, and gets the gradient. NaN wins.
    """
    dims = _dims(x, kernel_size, stride, padding, dilation, ceil_mode)
    y, at = choose("median_pool", dims, x.data.dtype, kind(x.data), prefer=algorithm).fn(x.data, dims)
    out = median_pool_op.record(y, (x,), {"indices": at, "dims": dims, "algorithm": algorithm})
    return (out, _indices(at)) if return_indices else out


def median_filter(x: Tensor, kernel_size: Any = 3, *, algorithm: str | None = None) -> Tensor:
    """Each cell replaced by the median of its neighbourhood: x (N, C, *spatial) -> the same shape.

    At the border the neighbourhood is what there is of it. It removes single wrong cells and keeps edges, which no
    convolution does: a mean spreads the one and blurs the other.

    >>> import numpy as np, tinyconv as tc
    >>> line = tc.tensor(np.array([[[0.0, 0, 9, 0, 0, 5, 5, 5]]]))  # a wrong cell, and an edge
    >>> median_filter(line).tolist()
    [[[0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 5.0, 5.0]]]
    """
    return median_pool(x, kernel_size, 1, "same", algorithm=algorithm)


def stochastic_pool(x: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, dilation: Any = 1,
                    ceil_mode: bool = False, training: bool = True, generator: np.random.Generator | None = None, *,
                    algorithm: str | None = None) -> Tensor:
    """A cell of each window, drawn in proportion to r = relu(x); outside of training what is expected: sum r^2 / sum r.

    x (N, C, *spatial) -> y (N, C, *output), 0 where no cell of the window is positive. The draws come from `generator`,
    else from the default one; given the draw, the gradient goes to the cell that was drawn.
    Source: Zeiler and Fergus (2013), equations 4, 5 and 6.
    """
    dims = _dims(x, kernel_size, stride, padding, dilation, ceil_mode)
    r = relu(x)
    if training:
        u = draw(r.data, dims.y_shape, generator)
        y, at = choose("stochastic_pool", dims, r.dtype, kind(r.data), prefer=algorithm).fn(r.data, u, dims)
        return stochastic_pool_op.record(y, (r,), {"indices": at, "dims": dims, "algorithm": algorithm})
    sums = {"dims": dims, "algorithm": algorithm, "count_include_pad": True, "divisor_override": 1}
    total = avg_pool_op(r, **sums)
    some = np.isfinite(total.data) & (total.data > 0)
    return where(some, avg_pool_op(r * r, **sums) / where(some, total, 1.0), total.detach())


def _dims(x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> AnyPool:
    return pool_dims(_shape(x), freeze(kernel_size), freeze(stride), freeze(padding), freeze(dilation), ceil_mode)


def _shape(x: Any) -> tuple[int, ...]:
    if not isinstance(x, Tensor) or x.data.dtype not in FLOATS:
        raise TypeError("pooling wants a Tensor of float32 or float64, got "
                        + (str(x.dtype) if isinstance(x, Tensor) else type(x).__name__))
    return x.data.shape


def draw(x: Any, shape: tuple[int, ...], generator: np.random.Generator | None) -> Any:
    """Numbers from [0, 1) of x's dtype, where x lives: they all follow from one number that the generator draws."""
    raw = (generator or default_generator()).bit_generator.random_raw
    key = (raw() << 32 ^ raw()) & 2**64 - 1  # twice: there are generators of 32 bits
    return choose("uniform", shape, x.dtype, kind(x)).fn(key, shape, x.dtype)


def _indices(at: Any) -> Tensor:
    """Positions as a Tensor that cannot be written to, or is a copy: the gradient will go where they point."""
    if type(at) is not np.ndarray:
        return Tensor.wrap(at.copy())
    view = at.view()
    view.flags.writeable = False
    return Tensor.wrap(view)

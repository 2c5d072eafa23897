"""The definition of pooling: what each output position makes of the cells in its window.

Two families. Some poolings choose one cell of each window (max, median, stochastic) and return its value and its flat
position in the plane; their linear half is then  gather: y[o] = x[at[o]]  and its adjoint  scatter: x[at[o]] += y[o].
The others weigh all cells (average, Lp, the mean over tied maxima) and come with the adjoint or the gradient.
Padding holds no cells: it never wins a maximum and adds nothing to a sum. Written to be read, for any number of spatial
dimensions, at the dtype of its operands. Read next: direct.py, sums.py and cellwise.py, the same as
compiled loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np

from ...dims import AnyPool


def max_pool(x: np.ndarray, dims: AnyPool) -> tuple[np.ndarray, np.ndarray]:
    """Largest cell of each window, and where it stands: the first of equals, and the first NaN before anything else."""
    return _choose(x, dims, lambda o, cells: np.argmax(cells, axis=-1))


def median_pool(x: np.ndarray, dims: AnyPool) -> tuple[np.ndarray, np.ndarray]:
    """Median cell of each window (the lower of two), and where it stands; the first NaN before anything else."""
    def middle(o: int, cells: np.ndarray) -> np.ndarray:
        order = np.argsort(cells, axis=-1, kind="stable")
        return np.where(np.isnan(cells).any(-1), np.argmax(cells, -1), order[..., (cells.shape[-1] - 1) // 2])
    return _choose(x, dims, middle)


def stochastic_pool(x: np.ndarray, u: np.ndarray, dims: AnyPool) -> tuple[np.ndarray, np.ndarray]:
    """A cell of each window drawn in proportion to max(x, 0) by the uniform number u[o], and where it stands.

    It is the first whose running sum exceeds u times the total; where none does (all zeros), the largest.
    Source: Zeiler and Fergus, "Stochastic pooling for regularization of deep convolutional neural networks" (2013).
    """
    def draw(o: int, cells: np.ndarray) -> np.ndarray:
        weights = np.maximum(cells, 0).astype(np.float64)
        sums = np.cumsum(weights, axis=-1)
        hit = sums > _flat(u)[..., o, None] * sums[..., -1:]
        return np.where(hit.any(-1), np.argmax(hit, -1), np.argmax(weights, -1))
    return _choose(x, dims, draw)


def pool_gather(x: np.ndarray, indices: np.ndarray, dims: AnyPool) -> np.ndarray:
    """y[n, c, o] = x[n, c, indices[n, c, o]], positions flat in a plane."""
    return np.take_along_axis(_flat(x), _flat(indices), axis=-1).reshape(dims.y_shape)


def pool_scatter(y: np.ndarray, indices: np.ndarray, dims: AnyPool) -> np.ndarray:
    """x[n, c, indices[n, c, o]] += y[n, c, o], from zeros: the adjoint of the gather, and max unpooling."""
    x = np.zeros((dims.N, dims.C, prod(dims.input)), y.dtype)
    n, c = np.ogrid[:dims.N, :dims.C]
    for o in range(prod(dims.output)):
        x[n, c, _flat(indices)[n, c, o]] += _flat(y)[n, c, o]
    return x.reshape(dims.x_shape)


def pool_even_gather(u: np.ndarray, x: np.ndarray, y: np.ndarray, dims: AnyPool) -> np.ndarray:
    """Mean of u over the cells of each window where x equals the maximum y: linear in u, and y itself for u = x."""
    out = np.empty((dims.N, dims.C, prod(dims.output)), u.dtype)
    for o, cells in windows(dims):
        share = _tied(_flat(x)[..., cells], _flat(y)[..., o, None])
        out[..., o] = np.where(share, _flat(u)[..., cells], 0).sum(-1) / share.sum(-1, dtype=u.dtype)
    return out.reshape(dims.y_shape)


def pool_even_scatter(g: np.ndarray, x: np.ndarray, y: np.ndarray, dims: AnyPool) -> np.ndarray:
    """Spread g[o] evenly over the cells of each window where x equals the maximum y: the adjoint of the even gather."""
    out = np.zeros((dims.N, dims.C, prod(dims.input)), g.dtype)
    for o, cells in windows(dims):
        share = _tied(_flat(x)[..., cells], _flat(y)[..., o, None])
        out[..., cells] += np.where(share, (_flat(g)[..., o] / share.sum(-1, dtype=g.dtype))[..., None], 0)
    return out.reshape(dims.x_shape)


def avg_pool(x: np.ndarray, dims: AnyPool, count_include_pad: bool = True,
             divisor_override: int | None = None) -> np.ndarray:
    """Sum of each window over its divisor: its cells with the padding, or without, or a number of one's own."""
    y = np.empty((dims.N, dims.C, prod(dims.output)), x.dtype)
    divisor = _divisors(dims, count_include_pad, divisor_override)
    for o, cells in windows(dims):
        y[..., o] = _flat(x)[..., cells].sum(-1) / x.dtype.type(divisor[o])
    return y.reshape(dims.y_shape)


def avg_pool_adjoint(y: np.ndarray, dims: AnyPool, count_include_pad: bool = True,
                     divisor_override: int | None = None) -> np.ndarray:
    """Every cell's sum of y[o] / divisor[o] over the windows that hold it: the adjoint of avg_pool."""
    x = np.zeros((dims.N, dims.C, prod(dims.input)), y.dtype)
    divisor = _divisors(dims, count_include_pad, divisor_override)
    for o, cells in windows(dims):
        x[..., cells] += _flat(y)[..., o, None] / y.dtype.type(divisor[o])
    return x.reshape(dims.x_shape)


def lp_pool(x: np.ndarray, dims: AnyPool, p: float) -> np.ndarray:
    """The p-norm of each window, (sum |x|^p)^(1/p), for finite p >= 1; summed in float64."""
    y = np.empty((dims.N, dims.C, prod(dims.output)), x.dtype)
    for o, cells in windows(dims):
        y[..., o] = (np.abs(_flat(x)[..., cells].astype(np.float64)) ** p).sum(-1) ** (1 / p)
    return y.reshape(dims.y_shape)


def lp_pool_grad(x: np.ndarray, y: np.ndarray, g: np.ndarray, dims: AnyPool, p: float) -> np.ndarray:
    """Every cell's sum of g[o] sign(x) (|x|/y[o])^(p-1) over the windows that hold it; 0 where y[o] = 0."""
    out = np.zeros((dims.N, dims.C, prod(dims.input)), np.float64)
    for o, cells in windows(dims):
        v, norm = _flat(x)[..., cells].astype(np.float64), _flat(y)[..., o, None].astype(np.float64)
        ratio = np.divide(np.abs(v), norm, out=np.zeros_like(v), where=norm != 0)
        out[..., cells] += _flat(g)[..., o, None] * np.sign(v) * ratio ** (p - 1)
    return out.astype(g.dtype).reshape(dims.x_shape)


def windows(dims: AnyPool) -> Iterator[tuple[int, np.ndarray]]:
    """Every output position, flat, with the flat input positions of its cells in row-major order."""
    axes = (zip(first, count) for first, count in dims.windows)
    for o, window in enumerate(product(*axes)):
        cells = np.zeros(1, np.int64)
        for (first, count), d, size in zip(window, dims.dilation, dims.input):
            cells = np.add.outer(cells * size, first + d * np.arange(count)).ravel()  # (d*H + h)*W + w
        yield o, cells


def _choose(x, dims: AnyPool, pick) -> tuple[np.ndarray, np.ndarray]:
    """Value and position of the cell that pick(o, cells of window o) chooses."""
    at = np.empty((dims.N, dims.C, prod(dims.output)), np.int64)
    for o, cells in windows(dims):
        at[..., o] = cells[pick(o, _flat(x)[..., cells])]
    at = at.reshape(dims.y_shape)
    return pool_gather(x, at, dims), at


def _divisors(dims: AnyPool, count_include_pad: bool, divisor_override: int | None) -> list[int]:
    if divisor_override:
        return [divisor_override] * prod(dims.output)
    sizes = dims.extents if count_include_pad else [count for _, count in dims.windows]
    return [prod(window) for window in product(*sizes)]


def _tied(cells: np.ndarray, top: np.ndarray) -> np.ndarray:
    return (cells == top) | (np.isnan(cells) & np.isnan(top))


def _flat(a: np.ndarray) -> np.ndarray:
    return a.reshape(*a.shape[:2], prod(a.shape[2:]))

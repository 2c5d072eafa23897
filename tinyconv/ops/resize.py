"""Resizing: every value of the result is a mean of at most two cells along each axis, so it is a linear map with an adjoint.

    y[o] = (1 - w[o]) * x[lo[o]] + w[o] * x[hi[o]]            along one axis after the other
    x[i] = sum over lo[o] = i of (1 - w[o]) * y[o] + sum over hi[o] = i of w[o] * y[o]        the adjoint

lo and w are the whole and the broken part of a place in x. Cells are squares whose centres lie at i + 1/2, so that place
is (o + 1/2) / scale - 1/2; with align_corners the outermost centres meet, and it is o * (I - 1) / (O - 1).
Pixel shuffling only moves elements. Read next: shape.py, fold.py.
"""

from __future__ import annotations

from math import floor
from typing import Any, NamedTuple

import numpy as np

from ..device import constant, kind
from ..dims import freeze, per_axis
from ..forms import adjoint_pair
from ..registry import choose
from ..tensor import Tensor
from .pool import adaptive_avg_pool
from .shape import permute, reshape

LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}
MODES = ("nearest", "nearest-exact", *LINEAR, "area")


class Taps(NamedTuple):
    """Along one axis of `size` cells, for each result the two cells it is made of and the weight of the second.

    The cells never decrease from one result to the next.
    """

    axis: int
    size: int
    lo: np.ndarray
    hi: np.ndarray
    w: np.ndarray


def _resize(x: Any, taps: tuple[Taps, ...]) -> Any:
    for t in taps:
        x = _along(x, t)
    return x


def _resize_adjoint(y: Any, taps: tuple[Taps, ...]) -> Any:
    for t in reversed(taps):
        y = _along_adjoint(y, t)
    return y


def _along(x: Any, t: Taps) -> Any:
    first = x.take(constant(x, t.lo), t.axis)
    if not t.w.any():
        return first
    w = _column(t.w, x, t.axis)
    second = x.take(constant(x, t.hi), t.axis)
    second[_at(constant(x, np.flatnonzero(t.w == 0)), t.axis)] = 0  # what has no weight adds nothing, not even an infinity
    second *= w
    first *= 1 - w
    first += second
    return first


def _along_adjoint(y: Any, t: Taps) -> Any:
    x = np.zeros_like(y, shape=(*y.shape[:t.axis], t.size, *y.shape[t.axis + 1:]))
    w = _column(t.w, y, t.axis)
    _add(x, y if not t.w.any() else y * (1 - w), t.lo, t.axis)
    if t.w.any():
        some = np.flatnonzero(t.w)
        _add(x, y[_at(constant(y, some), t.axis)] * w[constant(y, some)], t.hi[some], t.axis)
    return x


def _add(x: Any, y: Any, cells: np.ndarray, axis: int) -> None:
    """x[cells[o]] += y[o] along the axis: equal cells stand side by side, so each is the sum of one run of y."""
    where, starts = np.unique(cells, return_index=True)
    if where.size:
        x[_at(constant(x, where), axis)] += choose("sum_runs", y.shape, y.dtype, kind(y)).fn(y, starts, axis)


def _at(key: np.ndarray, axis: int) -> tuple:
    return (slice(None),) * axis + (key,)


def _column(w: np.ndarray, x: Any, axis: int) -> Any:
    return constant(x, w.astype(x.dtype)).reshape(-1, *(1,) * (x.ndim - axis - 1))


resize_op, resize_adjoint_op = adjoint_pair("resize", _resize, "resize_adjoint", _resize_adjoint)


def interpolate(x: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
                recompute_scale_factor: bool | None = None) -> Tensor:
    """x (N, C, *spatial) at another size: (N, C, *size), or floor(spatial * scale_factor).

    mode: "nearest" (cell floor(o / scale)), "nearest-exact" (the cell that holds the centre of the new one), "linear" for
    any number of dimensions, which for 2 and 3 is also called "bilinear" and "trilinear", or "area" (adaptive averages).
    scale_factor: as given it says where cells lie, too; with recompute_scale_factor the ratio of the sizes does. An axis
    whose size stays the same is left alone by the linear modes.
    align_corners: of the linear modes; see the head of this file.
    Raises: ValueError for both or neither of size and scale_factor, an empty result, an unknown mode.

    >>> import numpy as np, tinyconv as tc
    >>> x = tc.tensor(np.array([[[0.0, 4.0]]]))
    >>> interpolate(x, 4, mode="linear").tolist(), interpolate(x, 5, mode="linear", align_corners=True).tolist()
    ([[[0.0, 1.0, 3.0, 4.0]]], [[[0.0, 1.0, 2.0, 3.0, 4.0]]])
    """
    rank = _check_mode(x, mode, align_corners)
    before = x.shape[2:]
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate wants a size or a scale_factor, and not both; got {size} and {scale_factor}")
    scales: tuple[float, ...] | None = None
    if size is not None:
        if recompute_scale_factor:
            raise ValueError(f"recompute_scale_factor is for a scale_factor; here the size {size} is given")
        after = per_axis("size", freeze(size), rank)
    else:
        scales = _scales(scale_factor, rank)
        after = tuple(floor(i * s) for i, s in zip(before, scales))
    if min(before) < 1 or min(after) < 1:
        raise ValueError(f"interpolate from {before} to {after}" + (f" by a scale_factor of {scales}" if scales else "")
                         + ": each size must be at least 1")
    if mode == "area":
        return adaptive_avg_pool(x, after)
    steps = [i / o for i, o in zip(before, after)] if scales is None or recompute_scale_factor else [1 / s for s in scales]
    taps = [_linear(axis, i, o, step, bool(align_corners)) if mode in LINEAR else _nearest(axis, i, o, step, mode)
            for axis, (i, o, step) in enumerate(zip(before, after, steps), 2)]
    return resize_op(x, taps=tuple(taps))


def _check_mode(x: Tensor, mode: str, align_corners: bool | None) -> int:
    rank = x.ndim - 2
    if not 1 <= rank <= 3 or x.dtype.kind != "f":
        raise ValueError(f"interpolate wants floats (N, C, *spatial) with 1 to 3 spatial dimensions, got {x.dtype} of shape "
                         f"{x.shape}")
    if mode not in MODES:
        raise ValueError(f"interpolate has the modes {', '.join(MODES)}; got {mode!r}")
    if mode != "linear" and LINEAR.get(mode, rank) != rank:
        raise ValueError(f"{mode} is for {LINEAR[mode]} spatial dimensions, an input of shape {x.shape} has {rank}: "
                         f'"linear" is for any number')
    if align_corners is not None and mode not in LINEAR:
        raise ValueError(f"align_corners is an option of the linear modes, not of {mode!r}")
    return rank


def _scales(scale_factor: Any, rank: int) -> tuple[float, ...]:
    given = freeze(scale_factor)
    scales = tuple(map(float, given)) if isinstance(given, tuple) else (float(given),) * rank
    if len(scales) != rank:
        raise ValueError(f"scale_factor={scale_factor!r} gives {len(scales)} numbers for {rank} spatial dimension(s)")
    if not all(0 < s < np.inf for s in scales):
        raise ValueError(f"scale_factor must be positive and finite, got {scale_factor!r}")
    return scales


def _nearest(axis: int, i: int, o: int, step: float, mode: str) -> Taps:
    """Places floor(o * step), worked out so that o * I / O is exact where it is whole."""
    place = np.arange(o) + (0.5 if mode == "nearest-exact" else 0.0)
    exact = place * i / o if step == i / o else place * step
    cell = np.minimum(np.floor(exact), i - 1).astype(np.intp)
    return Taps(axis, i, cell, cell, np.zeros(o))


def _linear(axis: int, i: int, o: int, step: float, align_corners: bool) -> Taps:
    if align_corners:
        place = np.arange(o) * ((i - 1) / (o - 1) if o > 1 else 0.0)
    else:
        place = np.arange(o) * 1.0 if i == o else np.maximum((np.arange(o) + 0.5) * step - 0.5, 0.0)
    lo = np.minimum(np.floor(place), i - 1).astype(np.intp)
    w = np.where(lo < i - 1, place - lo, 0.0)  # the last cell has no neighbour
    return Taps(axis, i, lo, np.minimum(lo + 1, i - 1), w)


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """Channels into pixels: x (N, C * r^n, *spatial) -> (N, C, *spatial * r) for n spatial dimensions and r = upscale_factor.

    y[c, h*r + i, w*r + j] = x[(c*r + i)*r + j, h, w]: a convolution before it learns to enlarge, without the checkered
    overlaps of a transposed one. Raises: ValueError where r^n does not divide the channels. Source: Shi et al. (2016).
    """
    n, r = _check_shuffle("pixel_shuffle", "upscale_factor", x, upscale_factor)
    N, C, *size = x.shape
    if C % r**n:
        raise ValueError(f"pixel_shuffle by {r} wants a multiple of {r}^{n} = {r**n} channels, got {C}, shape {x.shape}")
    parts = reshape(x, N, C // r**n, *(r,) * n, *size)
    pairs = [axis for k in range(n) for axis in (2 + n + k, 2 + k)]  # each size beside its r
    return reshape(permute(parts, 0, 1, *pairs), N, C // r**n, *(s * r for s in size))


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """Pixels into channels, the inverse of pixel_shuffle: x (N, C, *spatial * r) -> (N, C * r^n, *spatial).

    Raises: ValueError where r = downscale_factor does not divide the sizes.
    """
    n, r = _check_shuffle("pixel_unshuffle", "downscale_factor", x, downscale_factor)
    N, C, *size = x.shape
    if any(s % r for s in size):
        raise ValueError(f"pixel_unshuffle by {r} wants sizes that are multiples of {r}, got {tuple(size)}")
    parts = reshape(x, N, C, *(v for s in size for v in (s // r, r)))
    order = (*range(3, 3 + 2 * n, 2), *range(2, 2 + 2 * n, 2))
    return reshape(permute(parts, 0, 1, *order), N, C * r**n, *(s // r for s in size))


def _check_shuffle(name: str, what: str, x: Tensor, r: Any) -> tuple[int, int]:
    if isinstance(r, bool) or not isinstance(r, int) or r < 1:
        raise ValueError(f"{name} wants {what} as an int of at least 1, got {r!r}")
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"{name} wants an input (N, C, *spatial) with 1 to 3 spatial dimensions, got shape {x.shape}")
    return x.ndim - 2, r

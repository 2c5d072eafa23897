"""Moving elements about: every operation here is linear, and its adjoint puts the elements back.

    reshape <-> reshape,  permute <-> permute,  expand <-> sum,  take <-> put (scatter-add),  pad <-> crop

Read next: pointwise.py.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..forms import adjoint_pair
from ..tensor import Op, Tensor, _plain

# -- the adjoint pairs -----------------------------------------------------------------------------------------------


def _sum_to(y: Any, small: tuple[int, ...], big: tuple[int, ...]) -> Any:
    lead = len(big) - len(small)
    axes = (*range(lead), *(lead + i for i, (s, b) in enumerate(zip(small, big[lead:])) if s == 1 != b))
    return y.sum(axes).reshape(small) if axes else y.reshape(small)


def _put(y: Any, key: Any, shape: tuple[int, ...]) -> Any:
    x = np.zeros_like(y, shape=shape)
    if _is_basic(key):
        x[key] = y
    else:
        np.add.at(x, key, y)  # an element taken twice gets both gradients
    return x


def _put_along(y: Any, indices: Any, axis: int, shape: tuple[int, ...]) -> Any:
    x = np.zeros_like(y, shape=shape)
    np.add.at(x, _along(indices, axis), y)
    return x


def _along(indices: Any, axis: int) -> tuple:
    grid = np.ogrid[tuple(slice(n) for n in indices.shape)]
    return (*grid[:axis], indices, *grid[axis + 1:])


reshape_op, _ = adjoint_pair("reshape", lambda x, a, b: x.reshape(b), "reshape", lambda y, a, b: y.reshape(a), view=True)
permute_op, _ = adjoint_pair("permute", lambda x, dims, back: x.transpose(dims),
                             "permute", lambda y, dims, back: y.transpose(back), view=True)
flip_op, _ = adjoint_pair("flip", lambda x, axes: np.flip(x, axes), "flip", lambda y, axes: np.flip(y, axes), view=True)
expand_op, sum_to_op = adjoint_pair("expand", lambda x, small, big: np.broadcast_to(x, big), "sum_to", _sum_to, view=True)
take_op, put_op = adjoint_pair("take", lambda x, key, shape: np.asarray(x[key]), "put", _put, view=True)
take_along_op, put_along_op = adjoint_pair(
    "take_along", lambda x, indices, axis, shape: np.take_along_axis(x, indices, axis), "put_along", _put_along)


def _pad(x: Any, widths: tuple, value: float) -> Any:
    return np.pad(x, widths, constant_values=value)


def _crop(y: Any, widths: tuple, value: float) -> Any:
    return y[tuple(slice(lo, n - hi) for (lo, hi), n in zip(widths, y.shape))]


crop_op, pad_zeros_op = adjoint_pair("crop", _crop, "pad", lambda x, widths, value: _pad(x, widths, 0))
# affine for a value other than 0, so not half of a pair, but its adjoint is the same
pad_op = Op("pad", _pad, [lambda g, y, x, widths, value: crop_op(g, widths=widths, value=value)])

# -- as users call them ----------------------------------------------------------------------------------------------


def _sizes(args: tuple) -> tuple[int, ...]:
    """Sizes given one by one, or as one sequence."""
    sizes = args[0] if len(args) == 1 and isinstance(args[0], Sequence) else args
    return tuple(int(n) for n in sizes)


def _dim(x: Tensor, dim: int, extra: int = 0) -> int:
    rank = x.ndim + extra
    if not -rank <= dim < rank:
        raise IndexError(f"dim {dim} is out of range for a tensor of {x.ndim} dimensions, shape {x.shape}")
    return dim % rank


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1. Raises ValueError where the counts differ."""
    to = _sizes(shape)
    known = prod(n for n in to if n != -1)
    if to.count(-1) == 1 and known and x.numel() % known == 0:
        to = tuple(x.numel() // known if n == -1 else n for n in to)
    if min(to, default=1) < 0 or prod(to) != x.numel():
        raise ValueError(f"cannot reshape {x.shape} ({x.numel()} elements) to {_sizes(shape)}")
    return reshape_op(x, a=x.data.shape, b=to)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim (included) as one."""
    first, last = _dim(x, start_dim), _dim(x, end_dim)
    return reshape_op(x, a=x.shape, b=(*x.shape[:first], prod(x.shape[first:last + 1]), *x.shape[last + 1:]))


def permute(x: Tensor, *dims: Any) -> Tensor:
    """Dimensions in another order."""
    order = tuple(_dim(x, d) for d in _sizes(dims))
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"permute wants each of {x.ndim} dimensions once, got {_sizes(dims)}")
    return permute_op(x, dims=order, back=tuple(int(i) for i in np.argsort(order)))


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged."""
    order = list(range(x.ndim))
    a, b = _dim(x, dim0), _dim(x, dim1)
    order[a], order[b] = order[b], order[a]
    return permute(x, order)


def squeeze(x: Tensor, dim: int | None = None) -> Tensor:
    """Without its dimensions of size 1, or without `dim` if that has size 1."""
    axis = None if dim is None else _dim(x, dim)
    keep = tuple(n for i, n in enumerate(x.shape) if n != 1 or (axis is not None and i != axis))
    return reshape_op(x, a=x.shape, b=keep)


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at `dim`."""
    axis = _dim(x, dim, extra=1)
    return reshape_op(x, a=x.shape, b=(*x.shape[:axis], 1, *x.shape[axis:]))


def expand(x: Tensor, *sizes: Any) -> Tensor:
    """Repeated along dimensions of size 1 (and new ones in front), without a copy; -1 keeps a size."""
    to = _sizes(sizes)
    lead = len(to) - x.ndim
    to = tuple(x.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(to))
    if lead < 0 or any(s not in (1, b) for s, b in zip(x.shape, to[lead:])):
        raise ValueError(f"cannot expand {x.shape} to {to}: from the right, each size must be equal or 1")
    return expand_op(x, small=x.shape, big=to)


def flip(x: Tensor, *dims: Any) -> Tensor:
    """Elements in reverse order along `dims`."""
    return flip_op(x, axes=tuple(_dim(x, d) for d in _sizes(dims)))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an existing dimension. Raises ValueError where another size differs."""
    if not tensors:
        raise ValueError("cat of no tensors")
    axis = _dim(tensors[0], dim)
    shapes = [t.shape for t in tensors]
    if any(len(s) != len(shapes[0]) or s[:axis] + s[axis + 1:] != shapes[0][:axis] + shapes[0][axis + 1:] for s in shapes):
        raise ValueError(f"cat along dim {dim}: shapes may differ only there, got {', '.join(map(str, shapes))}")
    ends = np.cumsum([s[axis] for s in shapes]).tolist()
    lead = (builtins.slice(None),) * axis
    keys = tuple((*lead, builtins.slice(end - s[axis], end)) for s, end in zip(shapes, ends))
    shape = (*shapes[0][:axis], ends[-1], *shapes[0][axis + 1:])
    return cat_op.record(np.concatenate([t.data for t in tensors], axis), tuple(tensors), {"keys": keys, "shape": shape})


def _uncat(needs: tuple[bool, ...], g: Tensor, out: None, *x: None, keys: tuple, shape: tuple[int, ...]) -> list:
    return [take_op(g, key=key, shape=shape) if need else None for need, key in zip(needs, keys)]


cat_op = Op("cat", np.concatenate, _uncat)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension."""
    return cat([unsqueeze(t, dim) for t in tensors], dim if dim >= 0 else dim % (tensors[0].ndim + 1))


def split(x: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive pieces along dim: of split_size (the last may be smaller), or of the sizes listed."""
    axis = _dim(x, dim)
    n = x.shape[axis]
    if isinstance(split_size, int):
        if split_size < 1:
            raise ValueError(f"split_size must be at least 1, got {split_size}")
        sizes = [builtins.min(split_size, n - i) for i in range(0, n, split_size)] or [0]
    else:
        sizes = list(split_size)
        if builtins.sum(sizes) != n:
            raise ValueError(f"split sizes {sizes} add up to {builtins.sum(sizes)}, dim {dim} has {n}")
    ends = np.cumsum(sizes).tolist()
    lead = (builtins.slice(None),) * axis
    return tuple(getitem(x, (*lead, builtins.slice(end - s, end))) for s, end in zip(sizes, ends))


def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size along dim (the last may be smaller)."""
    return split(x, builtins.max(1, -(-x.shape[_dim(x, dim)] // chunks)), dim)


def getitem(x: Tensor, key: Any) -> Tensor:
    """x[key], by NumPy's rules: ints, slices, None, Ellipsis, boolean masks and integer arrays."""
    return take_op(x, key=_plain(key), shape=x.data.shape)


def gather(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """y[i, j] = x[index[i, j], j] for dim 0, and so on: one element along dim for each of index."""
    axis = _dim(x, dim)
    if index.ndim != x.ndim or index.dtype.kind not in "iu":
        raise ValueError(f"gather wants an integer index of {x.ndim} dimensions, got {index.dtype} of shape {index.shape}")
    key = _along(index.data, axis)
    return take_op(x, key=key, shape=x.shape)


def _is_basic(key: Any) -> bool:
    """Whether a key takes each element once at most (no arrays)."""
    keys = key if isinstance(key, tuple) else (key,)
    return all(k is None or k is Ellipsis or isinstance(k, (int, np.integer, builtins.slice)) for k in keys)


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Widen the last dimensions: pad = (left, right, top, bottom, front, back), the last dimension first, as in PyTorch.

    mode: "constant" (with `value`), "reflect" (without the edge), "replicate" (the edge), "circular" (from the other end).
    Negative widths crop in constant mode. Raises ValueError where a mirror image is longer than the dimension.
    """
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ValueError(f"pad is (before, after) for each of at most {x.ndim} dimensions, last first; got {tuple(pad)}")
    given = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)][::-1]
    widths = ((0, 0),) * (x.ndim - len(given)) + tuple(given)
    if mode == "constant":
        cut = tuple((builtins.max(-lo, 0), builtins.max(-hi, 0)) for lo, hi in widths)
        grow = tuple((builtins.max(lo, 0), builtins.max(hi, 0)) for lo, hi in widths)
        if any(map(any, cut)):
            x = crop_op(x, widths=cut, value=0.0)
        return pad_op(x, widths=grow, value=value)
    for axis, (lo, hi) in enumerate(widths):
        if (lo, hi) != (0, 0):
            picks = _border(mode, x.shape[axis], lo, hi)
            x = take_op(x, key=(builtins.slice(None),) * axis + (picks,), shape=x.shape)
    return x


def _border(mode: str, n: int, lo: int, hi: int) -> np.ndarray:
    """Which element of a dimension of n stands at each place of the padded one."""
    i = np.arange(-lo, n + hi)
    if min(lo, hi) < 0 or n < 1:
        raise ValueError(f"{mode} padding of {(lo, hi)} on a dimension of {n}: widths must be at least 0")
    if mode == "replicate":
        return i.clip(0, n - 1)
    if mode not in ("reflect", "circular"):
        raise ValueError(f'mode must be "constant", "reflect", "replicate" or "circular", got {mode!r}')
    most = n - 1 if mode == "reflect" else n
    if max(lo, hi) > most:
        raise ValueError(f"{mode} padding of {(lo, hi)} on a dimension of {n}: at most {most} on a side")
    return i % n if mode == "circular" else (n - 1) - np.abs((n - 1) - np.abs(i))

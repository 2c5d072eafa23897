"""Moving elements about: every operation here is linear, and its adjoint puts the elements back.

    reshape <-> reshape,  permute <-> permute,  expand <-> sum,  slice <-> unslice,  take <-> put (scatter-add),  pad <-> crop

Read next: pointwise.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from operator import index
from typing import Any

import numpy as np

from ..device import constant, kind
from ..forms import adjoint_pair
from ..op import Op
from ..registry import choose
from ..tensor import Tensor, plain
from .dtypes import align_dtypes

# -- the adjoint pairs -----------------------------------------------------------------------------------------------


def _sum_to(y: Any, small: tuple[int, ...], big: tuple[int, ...]) -> Any:
    lead = len(big) - len(small)
    axes = (*range(lead), *(lead + i for i, (s, b) in enumerate(zip(small, big[lead:])) if s == 1 != b))
    return y.sum(axes).reshape(small) if axes else y.reshape(small)


def _unslice(y: Any, key: tuple, shape: tuple[int, ...]) -> Any:
    x = np.zeros_like(y, shape=shape)
    x[key] = y  # ints and slices take each element once
    return x


def _put(y: Any, key: Any, shape: tuple[int, ...]) -> Any:
    return choose("put", shape, y.dtype, kind(y)).fn(y, key, shape)  # an element taken twice gets both gradients


def _put_along(y: Any, indices: Any, axis: int, shape: tuple[int, ...]) -> Any:
    return _put(y, _along(indices, axis), shape)


def _along(indices: Any, axis: int) -> tuple:
    places = grid(indices)
    return (*places[:axis], indices, *places[axis + 1:])


def grid(x: Any) -> tuple:
    """For each dimension of x the numbers of its elements, lying along it (np.ogrid), where x lives; not to be written to."""
    return tuple(constant(x, a) for a in _grid(x.shape))


@lru_cache(maxsize=64)
def _grid(shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return tuple(np.ogrid[tuple(slice(n) for n in shape)])


reshape_op, _ = adjoint_pair("reshape", lambda x, a, b: x.reshape(b), "reshape", lambda y, a, b: y.reshape(a), view=True)
permute_op, _ = adjoint_pair("permute", lambda x, dims, back: x.transpose(dims),
                             "permute", lambda y, dims, back: y.transpose(back), view=True)
flip_op, _ = adjoint_pair("flip", lambda x, axes: np.flip(x, axes), "flip", lambda y, axes: np.flip(y, axes), view=True)
expand_op, _ = adjoint_pair("expand", lambda x, small, big: np.broadcast_to(x, big), "sum_to", _sum_to, view=True)
slice_op, _ = adjoint_pair("slice", lambda x, key, shape: x[key], "unslice", _unslice, view=True)
take_op, _ = adjoint_pair("take", lambda x, key, shape: x[key], "put", _put)
take_along_op, _ = adjoint_pair(
    "take_along", lambda x, indices, axis, shape: x[_along(indices, axis)], "put_along", _put_along)


def _pad(x: Any, widths: tuple, value: float) -> Any:
    y = np.full_like(x, value, shape=tuple(lo + n + hi for (lo, hi), n in zip(widths, x.shape)))
    _crop(y, widths, value)[...] = x
    return y


def _crop(y: Any, widths: tuple, value: float) -> Any:
    return y[(*(slice(lo, n - hi) for (lo, hi), n in zip(widths, y.shape)), ...)]


crop_op, _ = adjoint_pair("crop", _crop, "pad", lambda x, widths, value: _pad(x, widths, 0), view=True)
# affine for a value other than 0, so not half of a pair, but its adjoint is the same
pad_op = Op("pad", _pad, [lambda g, y, x, widths, value: crop_op(g, widths=widths, value=value)])

# -- as users call them ----------------------------------------------------------------------------------------------


def sizes_of(args: tuple) -> tuple[int, ...]:
    """Sizes given one by one, or as one sequence."""
    return tuple(map(index, args[0] if len(args) == 1 and isinstance(args[0], Sequence) else args))


def dim_of(x: Tensor, dim: Any, extra: int = 0) -> int:
    """A dimension counted from the front. Raises IndexError with the shape where there is none such, TypeError for no int."""
    rank = x.data.ndim + extra
    if isinstance(dim, bool) or not hasattr(dim, "__index__") or isinstance(dim, Tensor):
        raise TypeError(f"dim must be an int, got {type(dim).__name__}")
    if not -rank <= dim < rank:
        raise IndexError(f"dim {dim} is out of range for a tensor of {x.ndim} dimensions, shape {x.shape}")
    return dim % rank


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1. Raises ValueError where the counts differ."""
    to = sizes_of(shape)
    known = prod(n for n in to if n != -1)
    if to.count(-1) == 1 and known and x.numel() % known == 0:
        to = tuple(x.numel() // known if n == -1 else n for n in to)
    if min(to, default=1) < 0 or prod(to) != x.numel():
        raise ValueError(f"cannot reshape {x.shape} ({x.numel()} elements) to {sizes_of(shape)}")
    return reshape_op(x, a=x.data.shape, b=to)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim (included) as one; a tensor of none gets one."""
    if x.ndim == 0:
        return reshape(x, 1)
    first, last = dim_of(x, start_dim), dim_of(x, end_dim)
    if first > last:
        raise ValueError(f"flatten from dim {start_dim} to dim {end_dim} of {x.shape}: the first comes after the last")
    shape = x.data.shape
    return reshape_op(x, a=shape, b=(*shape[:first], prod(shape[first:last + 1]), *shape[last + 1:]))


def permute(x: Tensor, *dims: Any) -> Tensor:
    """Dimensions in another order."""
    order = tuple(dim_of(x, d) for d in sizes_of(dims))
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"permute wants each of {x.ndim} dimensions once, got {sizes_of(dims)}")
    return permute_op(x, dims=order, back=tuple(sorted(range(x.ndim), key=order.__getitem__)))


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged."""
    order = list(range(x.ndim))
    a, b = dim_of(x, dim0), dim_of(x, dim1)
    order[a], order[b] = order[b], order[a]
    return permute(x, order)


def squeeze(x: Tensor, dim: int | None = None) -> Tensor:
    """Without its dimensions of size 1, or without `dim` if that has size 1."""
    axis = None if dim is None else dim_of(x, dim)
    keep = tuple(n for i, n in enumerate(x.shape) if n != 1 or (axis is not None and i != axis))
    return reshape_op(x, a=x.shape, b=keep)


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at `dim`."""
    axis = dim_of(x, dim, extra=1)
    return reshape_op(x, a=x.shape, b=(*x.shape[:axis], 1, *x.shape[axis:]))


def expand(x: Tensor, *sizes: Any) -> Tensor:
    """Repeated along dimensions of size 1 (and new ones in front), without a copy; -1 keeps a size."""
    to = sizes_of(sizes)
    lead = len(to) - x.ndim
    to = tuple(x.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(to))
    if lead < 0 or min(to, default=0) < 0 or any(s not in (1, b) for s, b in zip(x.shape, to[lead:])):
        raise ValueError(f"cannot expand {x.shape} to {to}: from the right, each size must be equal or 1")
    return expand_op(x, small=x.shape, big=to)


def flip(x: Tensor, *dims: Any) -> Tensor:
    """Elements in reverse order along `dims`."""
    return flip_op(x, axes=tuple(dim_of(x, d) for d in sizes_of(dims)))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an existing dimension. Raises ValueError where another size differs."""
    tensors = align_dtypes(*_some("cat", tensors))
    axis = dim_of(tensors[0], dim)
    shapes = [t.shape for t in tensors]
    if any(len(s) != len(shapes[0]) or s[:axis] + s[axis + 1:] != shapes[0][:axis] + shapes[0][axis + 1:] for s in shapes):
        raise ValueError(f"cat along dim {dim}: shapes may differ only there, got {', '.join(map(str, shapes))}")
    ends = np.cumsum([s[axis] for s in shapes]).tolist()
    lead = (slice(None),) * axis
    keys = tuple((*lead, slice(end - s[axis], end)) for s, end in zip(shapes, ends))
    shape = (*shapes[0][:axis], ends[-1], *shapes[0][axis + 1:])
    return cat_op(*tensors, axis=axis, keys=keys, shape=shape)


def _uncat(needs: Sequence[bool], g: Tensor, out: None, *x: None, axis: int, keys: tuple, shape: tuple[int, ...]) -> list:
    """a slice of g for each"""
    return [slice_op(g, key=key, shape=shape) if need else None for need, key in zip(needs, keys)]


cat_op = Op("cat", lambda *x, axis, keys, shape: np.concatenate(x, axis), _uncat)


def _some(name: str, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    if len(tensors) == 0:
        raise ValueError(f"{name} of no tensors")
    if not all(isinstance(t, Tensor) for t in tensors):
        raise TypeError(f"{name} wants a sequence of tensors, got {[type(t).__name__ for t in tensors]}")
    return tensors


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension."""
    shapes = {t.shape for t in _some("stack", tensors)}
    if len(shapes) > 1:
        raise ValueError(f"stack wants tensors of one shape, got {', '.join(map(str, sorted(shapes)))}")
    axis = dim_of(tensors[0], dim, extra=1)
    return cat([unsqueeze(t, axis) for t in tensors], axis)


def split(x: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive pieces along dim: of split_size (the last may be smaller), or of the sizes listed."""
    axis = dim_of(x, dim)
    n = x.shape[axis]
    if isinstance(split_size, Sequence):
        sizes = list(map(index, split_size))
        if sum(sizes) != n or min(sizes, default=0) < 0:
            raise ValueError(f"split sizes must be at least 0 and add up to the {n} of dim {dim}, got {sizes}: "
                             f"{sum(sizes)}")
    elif split_size < 1:
        raise ValueError(f"split_size must be at least 1, got {split_size}")
    else:
        sizes = [min(split_size, n - i) for i in range(0, n, split_size)] or [0]
    ends = np.cumsum(sizes).tolist()
    lead = (slice(None),) * axis
    return tuple(getitem(x, (*lead, slice(end - s, end))) for s, end in zip(sizes, ends))


def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size along dim (the last may be smaller)."""
    if chunks < 1:
        raise ValueError(f"chunks must be at least 1, got {chunks}")
    return split(x, max(1, -(-x.shape[dim_of(x, dim)] // chunks)), dim)


def getitem(x: Tensor, key: Any) -> Tensor:
    """x[key], by NumPy's rules: ints, slices, None, Ellipsis (a view), boolean masks and integer arrays (a copy)."""
    keys = key if isinstance(key, tuple) else (key,)
    if all(isinstance(k, (int, slice, type(None), type(...), np.integer)) for k in keys):
        return slice_op(x, key=keys if ... in keys else (*keys, ...), shape=x.data.shape)  # with ... a view of one element too
    return take_op(x, key=tuple(map(_fixed, plain(keys, x.data))), shape=x.data.shape)


def _fixed(k: Any) -> Any:
    """An array of indices as a copy: the gradient goes back where it pointed, whatever is written to it meanwhile."""
    if kind(k) == "cuda":
        return k.copy()
    if isinstance(k, (np.ndarray, Sequence)) and np.ndim(k):
        return np.array(k, np.intp if len(k) == 0 and np.asarray(k).dtype.kind == "f" else None)  # [] names no element
    return k


def gather(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """y[i, j] = x[index[i, j], j] for dim 0, and so on: one element along dim for each of index."""
    axis = dim_of(x, dim)
    if not isinstance(index, Tensor) or index.ndim != x.ndim or index.dtype.kind not in "iu":
        got = f"one of {index.dtype} and shape {index.shape}" if isinstance(index, Tensor) else type(index).__name__
        raise TypeError(f"gather wants an integer tensor of {x.ndim} dimensions as index, got {got}")
    # on the GPU nobody looks: it would wait for the indices, and CuPy wraps those beyond the end around
    if not index.is_cuda and index.numel() and not (0 <= index.data.min() and index.data.max() < x.shape[axis]):
        raise IndexError(f"gather along dim {dim} of {x.shape}: indices run from {index.data.min()} to {index.data.max()}, "
                         f"they must be 0 to {x.shape[axis] - 1}")
    return take_along_op(x, indices=plain(index, x.data).copy(), axis=axis, shape=x.shape)


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Widen the last dimensions: pad = (left, right, top, bottom, front, back), the last dimension first, as in PyTorch.

    mode: "constant" (with `value`, or 0), "reflect" (without the edge), "replicate" (the edge), "circular" (from the other
    end).
    Negative widths crop in constant mode. Raises ValueError where a mirror image is longer than the dimension.
    """
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ValueError(f'mode must be "constant", "reflect", "replicate" or "circular", got {mode!r}')
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ValueError(f"pad is (before, after) for each of at most {x.ndim} dimensions, last first; got {tuple(pad)}")
    given = [(index(pad[i]), index(pad[i + 1])) for i in range(0, len(pad), 2)][::-1]
    widths = ((0, 0),) * (x.ndim - len(given)) + tuple(given)
    if mode == "constant":
        cut = tuple((max(-lo, 0), max(-hi, 0)) for lo, hi in widths)
        grow = tuple((max(lo, 0), max(hi, 0)) for lo, hi in widths)
        if any(map(any, cut)):
            if any(lo + hi > n for (lo, hi), n in zip(cut, x.shape)):
                raise ValueError(f"pad {tuple(pad)} crops more than there is of {x.shape}")
            x = crop_op(x, widths=cut, value=0.0)
        return pad_op(x, widths=grow, value=0.0 if value is None else value)
    for axis, (lo, hi) in enumerate(widths):
        if (lo, hi) != (0, 0):
            picks = constant(x.data, _border(mode, x.shape[axis], lo, hi))
            x = take_op(x, key=(slice(None),) * axis + (picks,), shape=x.shape)
    return x


def _border(mode: str, n: int, lo: int, hi: int) -> np.ndarray:
    """Which element of a dimension of n stands at each place of the padded one."""
    i = np.arange(-lo, n + hi)
    if min(lo, hi) < 0 or n < 1:
        raise ValueError(f"{mode} padding of {(lo, hi)} on a dimension of {n}: widths must be at least 0")
    if mode == "replicate":
        return i.clip(0, n - 1)
    most = n - 1 if mode == "reflect" else n
    if max(lo, hi) > most:
        raise ValueError(f"{mode} padding of {(lo, hi)} on a dimension of {n}: at most {most} on a side")
    return i % n if mode == "circular" else (n - 1) - np.abs((n - 1) - np.abs(i))

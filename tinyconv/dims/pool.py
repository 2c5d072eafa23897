"""The windows of one pooling, of fixed size or adapted to an output size, and the axes of one normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import NamedTuple

from .sizes import AXES, Ints, Padding, Pairs, check_output, output_size, per_axis, positive, resolve_padding


@dataclass(frozen=True, slots=True)
class PoolDims:
    """Sizes of one pooling: x (N, C, *input) -> y (N, C, *output), one window for every output position."""

    N: int
    C: int
    input: Ints
    kernel: Ints
    output: Ints
    stride: Ints
    padding: Pairs
    dilation: Ints
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        key = (self.N, self.C, self.input, self.kernel, self.output, self.stride, self.padding, self.dilation)
        object.__setattr__(self, "_hash", hash(key))

    def __hash__(self) -> int:
        return self._hash

    @property
    def rank(self) -> int:
        """Number of spatial dimensions: 1, 2 or 3."""
        return len(self.input)

    @property
    def x_shape(self) -> Ints:
        return (self.N, self.C, *self.input)

    @property
    def y_shape(self) -> Ints:
        return (self.N, self.C, *self.output)

    @property
    def windows(self) -> tuple[tuple[Ints, Ints], ...]:
        """For each spatial axis, of every window the first cell inside the input and the number of cells inside.

        >>> pool_dims((1, 1, 5), 3, stride=2, padding=1).windows
        (((0, 1, 3), (2, 3, 2)),)
        """
        return tuple(_inside(*axis) for axis in zip(
            self.input, self.kernel, self.output, self.stride, (lo for lo, _ in self.padding), self.dilation))

    @property
    def extents(self) -> tuple[Ints, ...]:
        """For each spatial axis, of every window the number of cells inside the input and its padding."""
        return tuple(_inside(lo + i + hi, k, o, s, 0, d)[1] for i, k, o, s, (lo, hi), d in zip(
            self.input, self.kernel, self.output, self.stride, self.padding, self.dilation))

    def bytes(self, itemsize: int = 4) -> int:
        """Bytes of x and y together: the least that any algorithm moves."""
        return itemsize * (prod(self.x_shape) + prod(self.y_shape))


@dataclass(frozen=True, slots=True)
class AdaptiveDims:
    """Sizes of a pooling whose windows divide the input evenly: window o is floor(o*i/O) up to ceil((o+1)*i/O)."""

    N: int
    C: int
    input: Ints
    output: Ints

    @property
    def rank(self) -> int:
        """Number of spatial dimensions: 1, 2 or 3."""
        return len(self.input)

    @property
    def x_shape(self) -> Ints:
        return (self.N, self.C, *self.input)

    @property
    def y_shape(self) -> Ints:
        return (self.N, self.C, *self.output)

    @property
    def dilation(self) -> Ints:
        return (1,) * self.rank

    @property
    def windows(self) -> tuple[tuple[Ints, Ints], ...]:
        """For each spatial axis, the first cell of every window and its number of cells.

        >>> adaptive_dims((1, 1, 5), 3).windows
        (((0, 1, 3), (2, 3, 2)),)
        """
        axes = []
        for i, size in zip(self.input, self.output):
            first = tuple(o * i // size for o in range(size))
            axes.append((first, tuple(-(-(o + 1) * i // size) - f for o, f in enumerate(first))))
        return tuple(axes)

    @property
    def extents(self) -> tuple[Ints, ...]:
        """For each spatial axis, the number of cells of every window."""
        return tuple(count for _, count in self.windows)

    def bytes(self, itemsize: int = 4) -> int:
        """Bytes of x and y together: the least that any algorithm moves."""
        return itemsize * (prod(self.x_shape) + prod(self.y_shape))


AnyPool = PoolDims | AdaptiveDims


class NormDims(NamedTuple):
    """Sizes of a normalisation: x seen as (N, S, K, L), with one mean and variance for each s, over n, k and l.

    The weight of x[n, s, k, l] is number (s % P) * K + k of P * K. With M cells in an image and D features,

        batch norm (N, C, M, per channel)         N=N   S=C     K=1     L=M   P=C
        instance norm (one image and channel)     N=1   S=N*C   K=1     L=M   P=C
        group norm (one image and group)          N=1   S=N*G   K=C/G   L=M   P=G
        layer norm (one sample)                   N=1   S=N     K=D     L=1   P=1
    """

    N: int
    S: int
    K: int
    L: int
    P: int

    @property
    def values(self) -> int:
        """Values behind each mean."""
        return self.N * self.K * self.L


@lru_cache(maxsize=4096, typed=True)
def pool_dims(x_shape: Ints, kernel_size: int | Ints, stride: int | Ints | None = None, padding: Padding = 0,
              dilation: int | Ints = 1, ceil_mode: bool = False) -> PoolDims:
    """The dims of a pooling of x (N, C, *input); stride defaults to kernel_size, as in PyTorch.

    With ceil_mode the last window may start inside the input (or the padding before it) and hang over the end. Padding
    may exceed half the window, which PyTorch refuses, as long as every window keeps an element of x.
    Raises: ValueError where a window would hold no element of x at all.

    >>> pool_dims((1, 1, 5, 5), 2, ceil_mode=True).output
    (3, 3)
    """
    size = _pool_size(x_shape)
    rank = len(size)
    kernel = per_axis("kernel_size", kernel_size, rank)
    s = kernel if stride is None else per_axis("stride", stride, rank)
    d = per_axis("dilation", dilation, rank)
    pads = resolve_padding(padding, size, kernel, s, d)
    out = []
    for i, k, st, (lo, hi), dil in zip(size, kernel, s, pads, d):
        o = output_size(i, k, st, lo, hi + (st - 1 if ceil_mode else 0), dil)
        out.append(min(o, -(-(i + lo) // st)) if ceil_mode else o)  # a window that starts beyond the input is left out
    check_output(tuple(out), size, kernel, s, pads, d)
    dims = PoolDims(x_shape[0], x_shape[1], size, kernel, tuple(out), s, pads, d)
    for axis, (_, counts) in enumerate(dims.windows):
        if min(counts) < 1:
            at = min(range(len(counts)), key=counts.__getitem__)
            i, k, dil, (lo, hi) = size[axis], kernel[axis], d[axis], pads[axis]
            raise ValueError(
                f"pooling window {at} along the {AXES[axis - rank]} starts at {at * s[axis] - lo} and holds no element "
                f"of the input (size {i}, kernel {k}, stride {s[axis]}, dilation {dil}, padding {lo}+{hi}): pad less "
                f"than dilation*(kernel-1)+1 = {dil * (k - 1) + 1}, and keep the dilation below the input's size")
    return dims


@lru_cache(maxsize=4096, typed=True)
def adaptive_dims(x_shape: Ints, output_size: int | tuple[int | None, ...] | None) -> AdaptiveDims | PoolDims:
    """The dims of a pooling of x (N, C, *input) to a wanted spatial size; None keeps the input's.

    Where the output divides the input, the windows are those of an ordinary pooling, and its dims are returned.
    Raises: ValueError for a size below 1 or of another rank.

    >>> adaptive_dims((1, 8, 7, 6), (None, 4)).output
    (7, 4)
    >>> adaptive_dims((1, 8, 6, 6), 2).kernel
    (3, 3)
    """
    size = _pool_size(x_shape)
    wanted = output_size if isinstance(output_size, Sequence) else (output_size,) * len(size)
    if len(wanted) != len(size):
        raise ValueError(f"output_size={output_size!r} gives {len(wanted)} numbers for {len(size)} spatial dimensions")
    out = per_axis("output_size", tuple(i if w is None else w for i, w in zip(size, wanted)), len(size))
    positive("input size", size)
    if all(i % o == 0 for i, o in zip(size, out)):
        return pool_dims(x_shape, tuple(i // o for i, o in zip(size, out)))
    return AdaptiveDims(x_shape[0], x_shape[1], size, out)


def _pool_size(x_shape: Ints) -> Ints:
    if not 3 <= len(x_shape) <= 5:
        raise ValueError(f"pooling wants x (N, C, *spatial) with 1 to 3 spatial dimensions, got shape {x_shape}")
    return tuple(x_shape[2:])


def _inside(i: int, k: int, o: int, s: int, lo: int, d: int) -> tuple[Ints, Ints]:
    """First cell inside 0..i-1 and number of such cells of each of o windows; a number below 1 where there is none."""
    first, count = [], []
    for start in range(-lo, o * s - lo, s):
        skipped = -(start // d) if start < 0 else 0  # taps that lie before the input
        first.append(start + skipped * d)
        count.append(min(k - 1, (i - 1 - start) // d) - skipped + 1)
    return tuple(first), tuple(count)

"""The geometry of a convolution or a pooling, worked out once and carried as one frozen record.

Both follow one index relation, in every spatial dimension on its own (i input, k kernel, o output position):

    i = o*stride + k*dilation - padding_lo

A ConvDims is always that of the *forward* convolution x -> y, whichever of the three maps it is handed to. A transposed
convolution is the map that fills x, so `conv_transpose_dims` gives the same record, with an x size the caller chose.
Sizes follow Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2018), relationships 1 to 15.
Read next: kernels/conv/reference.py, the three maps written as their definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]

AXES = ("depth", "height", "width")


@dataclass(frozen=True, slots=True)
class ConvDims:
    """Sizes of one convolution: x (N, C, *input), w (O, C/groups, *kernel), y (N, O, *output).

    `output` may be smaller than `output_size` allows (a transposed convolution whose `output_padding` reaches into a
    dilation): kernels take the sizes from here and never work one out themselves.
    """

    N: int
    C: int
    O: int
    input: Ints
    kernel: Ints
    output: Ints
    stride: Ints
    padding: Pairs
    dilation: Ints
    groups: int
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        key = (self.N, self.C, self.O, self.input, self.kernel, self.output, self.stride, self.padding, self.dilation)
        object.__setattr__(self, "_hash", hash((*key, self.groups)))

    def __hash__(self) -> int:  # looked up at every call of a kernel, so worked out once
        return self._hash

    @property
    def rank(self) -> int:
        """Number of spatial dimensions: 1, 2 or 3."""
        return len(self.input)

    @property
    def x_shape(self) -> Ints:
        return (self.N, self.C, *self.input)

    @property
    def w_shape(self) -> Ints:
        return (self.O, self.C // self.groups, *self.kernel)

    @property
    def y_shape(self) -> Ints:
        return (self.N, self.O, *self.output)

    @property
    def padded(self) -> Ints:
        """Spatial size of the input with its padding."""
        return tuple(i + lo + hi for i, (lo, hi) in zip(self.input, self.padding))

    @property
    def macs(self) -> int:
        """Multiply-adds of each of the three maps, padding counted as if it were data."""
        return self.N * self.O * (self.C // self.groups) * prod(self.kernel) * prod(self.output)

    @property
    def flops(self) -> int:
        """Floating-point operations: two for every multiply-add."""
        return 2 * self.macs

    def bytes(self, itemsize: int = 4) -> int:
        """Bytes of x, w and y together: the least that any algorithm moves."""
        return itemsize * (prod(self.x_shape) + prod(self.w_shape) + prod(self.y_shape))


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


def output_size(i: int, k: int, s: int = 1, lo: int = 0, hi: int = 0, d: int = 1) -> int:
    """Output positions along one dimension: floor((i + lo + hi - d*(k-1) - 1) / s) + 1.

    Args: input i, kernel k, stride s, padding lo before and hi after, dilation d (1 is dense); all in cells.
    Returns: the size, or a number below 1 where the kernel does not fit. Source: the guide, relationship 15.

    >>> output_size(227, 11, s=4)
    55
    >>> output_size(5, 3, s=2, lo=1, hi=1)
    3
    """
    return (i + lo + hi - d * (k - 1) - 1) // s + 1


def transposed_size(o: int, k: int, s: int = 1, lo: int = 0, hi: int = 0, d: int = 1, a: int = 0) -> int:
    """Size along one dimension of the x that a transposed convolution fills: s*(o-1) + a + d*(k-1) + 1 - lo - hi.

    Args: y size o, kernel k, stride s, padding lo and hi, dilation d, output padding a, all of the forward convolution.
    Source: the guide, relationship 14 (with a dilation added).

    >>> transposed_size(2, 3, s=2, lo=1, hi=1), transposed_size(2, 3, s=2, lo=1, hi=1, a=1)
    (3, 4)
    """
    return s * (o - 1) + a + d * (k - 1) + 1 - lo - hi


@lru_cache(maxsize=4096, typed=True)
def conv_dims(x_shape: Ints, w_shape: Ints, stride: int | Ints = 1, padding: Padding = 0, dilation: int | Ints = 1,
              groups: int = 1) -> ConvDims:
    """The dims of conv(x, w): x (N, C, *input), w (O, C/groups, *kernel), 1 to 3 spatial dimensions.

    padding: an int, one int a dimension, a (before, after) pair a dimension, or one of "valid" (none), "same"
    (output = ceil(input/stride)), "half" (kernel//2 on each side) and "full" (kernel-1 on each side).
    Raises: ValueError with the sizes, the rule and a remedy where the geometry is impossible.

    >>> conv_dims((1, 3, 227, 227), (96, 3, 11, 11), stride=4).y_shape
    (1, 96, 55, 55)
    """
    rank = _rank("x", x_shape, w_shape)
    N, C, *size = x_shape
    O, Cg, *kernel = w_shape
    s, d = per_axis("stride", stride, rank), per_axis("dilation", dilation, rank)
    _positive("kernel size", tuple(kernel))
    _check_groups(C, O, Cg, groups, x_shape, w_shape)
    pads = resolve_padding(padding, tuple(size), tuple(kernel), s, d)
    out = tuple(output_size(*a) for a in zip(size, kernel, s, *zip(*pads), d))
    _check_output(out, tuple(size), tuple(kernel), s, pads, d)
    return ConvDims(N, C, O, tuple(size), tuple(kernel), out, s, pads, d, groups)


@lru_cache(maxsize=4096, typed=True)
def conv_transpose_dims(y_shape: Ints, w_shape: Ints, stride: int | Ints = 1, padding: Padding = 0,
                        output_padding: int | Ints = 0, dilation: int | Ints = 1, groups: int = 1,
                        output_size: int | Ints | None = None) -> ConvDims:
    """The dims of the convolution whose x a transposed convolution fills: y (N, O, *output), w (O, C/groups, *kernel).

    A stride s maps s different x sizes to one y size; `output_padding` (0 to s-1 more rows at the end) or
    `output_size` (the spatial size itself, which wins where both are given) says which is meant.
    Raises: ValueError with the sizes that are possible.

    >>> conv_transpose_dims((1, 8, 2, 2), (8, 4, 3, 3), stride=2, padding=1, output_size=4).x_shape
    (1, 4, 4, 4)
    """
    rank = _rank("the input of a transposed convolution", y_shape, w_shape)
    N, O, *out = y_shape
    wO, Cg, *kernel = w_shape
    s, d = per_axis("stride", stride, rank), per_axis("dilation", dilation, rank)
    _positive("kernel size", tuple(kernel))
    _positive("input size", tuple(out))
    _check_groups_alone(groups)
    if O != wO or O % groups:
        raise ValueError(f"a transposed weight is (in_channels, out_channels/groups, *kernel): {w_shape} with "
                         f"groups={groups} wants {wO} input channels in a multiple of groups, the input {y_shape} has {O}")
    if Cg < 1:
        raise ValueError(f"a transposed weight is (in_channels, out_channels/groups, *kernel): {w_shape} has no output channel")
    extra = per_axis("output_padding", output_padding, rank, least=0)
    if isinstance(padding, str) and padding == "same":  # x = y*s is the one size that "same" maps back to y
        size = tuple(o * st for o, st in zip(out, s))
        pads = resolve_padding(padding, size, tuple(kernel), s, d)
        if output_size is None and not any(extra):
            output_size = size
    else:
        pads = resolve_padding(padding, tuple(out), tuple(kernel), s, d)
    least = tuple(transposed_size(*a) for a in zip(out, kernel, s, *zip(*pads), d))
    room = tuple(max(a, b) for a, b in zip(s, d))
    extra = _extra_rows(extra, output_size, least, room)
    x_size = tuple(i + a for i, a in zip(least, extra))
    if min(x_size) < 1:
        raise ValueError(f"a transposed convolution of {tuple(out)} by kernel {tuple(kernel)}, stride {s}, padding {pads}, "
                         f"dilation {d} has size s*(o-1) + a + d*(k-1) + 1 - padding = {x_size}: it must be at least 1; "
                         "use less padding")
    return ConvDims(N, Cg * groups, O, x_size, tuple(kernel), tuple(out), s, pads, d, groups)


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
    _check_output(tuple(out), size, kernel, s, pads, d)
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
    _positive("input size", size)
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


def freeze(value: Any) -> Any:
    """Lists as tuples, all the way down, so that the dims of a call can be looked up."""
    return tuple(map(freeze, value)) if isinstance(value, (list, tuple)) else value


def per_axis(name: str, value: int | Sequence[int], rank: int, least: int = 1) -> Ints:
    """`value` as one int for each of `rank` dimensions; TypeError or ValueError names the argument.

    >>> per_axis("stride", 2, 3)
    (2, 2, 2)
    """
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * rank
    if len(values) == 1 and rank > 1:
        values *= rank
    if len(values) != rank:
        raise ValueError(f"{name}={value!r} gives {len(values)} numbers for {rank} spatial dimension(s)")
    for v in values:
        if isinstance(v, bool) or not hasattr(v, "__index__"):
            raise TypeError(f"{name} must be an int or {rank} ints, got {value!r}")
        if v < least:
            raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return tuple(int(v) for v in values)


def resolve_padding(padding: Padding, size: Ints, kernel: Ints, stride: Ints, dilation: Ints) -> Pairs:
    """`padding` as a (before, after) pair for each dimension; the words are those of `conv_dims`.

    >>> resolve_padding("same", (5, 5), (2, 3), (1, 1), (1, 1))
    ((0, 1), (1, 1))
    """
    rank = len(size)
    reach = tuple(d * (k - 1) for k, d in zip(kernel, dilation))  # cells a window spans beyond its first
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * rank
        if padding == "half":
            return tuple(((r + 1) // 2, (r + 1) // 2) for r in reach)
        if padding == "full":
            return tuple((r, r) for r in reach)
        if padding == "same":
            total = (max((-(-i // s) - 1) * s + r + 1 - i, 0) for i, s, r in zip(size, stride, reach))
            return tuple((t // 2, t - t // 2) for t in total)
        raise ValueError(f'padding must be ints, pairs, or one of "valid", "same", "half", "full", got {padding!r}')
    if isinstance(padding, Sequence) and any(isinstance(p, Sequence) for p in padding):
        if len(padding) != rank or not all(isinstance(p, Sequence) and len(p) == 2 for p in padding):
            raise ValueError(f"padding={padding!r}: per-side padding is one (before, after) pair for each of {rank} "
                             "spatial dimension(s)")
        return tuple((int(lo), int(hi)) for lo, hi in (per_axis("padding", p, 2, least=0) for p in padding))  # type: ignore[arg-type]
    if isinstance(padding, Sequence) and len(padding) == 2 and rank == 1:
        raise ValueError(f"padding={padding!r} for 1 spatial dimension: write ({tuple(padding)},) for (before, after)")
    return tuple((p, p) for p in per_axis("padding", padding, rank, least=0))  # type: ignore[arg-type]


def _rank(what: str, shape: Ints, w_shape: Ints) -> int:
    if not 3 <= len(shape) <= 5:
        raise ValueError(f"{what} must be (N, C, *spatial) with 1 to 3 spatial dimensions, got shape {shape}; "
                         "a single image still needs its batch axis")
    if len(w_shape) != len(shape):
        raise ValueError(f"{what} has shape {shape} and the weight {w_shape}: both need the same number of spatial "
                         f"dimensions, here {len(shape) - 2} and {len(w_shape) - 2}")
    return len(shape) - 2


def _positive(name: str, values: Ints) -> None:
    if min(values) < 1:
        raise ValueError(f"{name} must be at least 1 in every dimension, got {values}")


def _check_groups(C: int, O: int, Cg: int, groups: int, x_shape: Ints, w_shape: Ints) -> None:
    _check_groups_alone(groups)
    if Cg < 1 or O < 1 or C != Cg * groups:
        raise ValueError(f"x {x_shape} has {C} channels, the weight {w_shape} with groups={groups} wants "
                         f"{Cg} * {groups} = {Cg * groups}: a weight is (out_channels, in_channels/groups, *kernel)")
    if O % groups:
        raise ValueError(f"{O} output channels do not divide into groups={groups}: weight shape {w_shape}")


def _check_groups_alone(groups: int) -> None:
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups must be a positive int, got {groups!r}")


def _check_output(out: Ints, size: Ints, kernel: Ints, s: Ints, pads: Pairs, d: Ints) -> None:
    for axis, o in enumerate(out):
        if o < 1:
            i, k, (lo, hi) = size[axis], kernel[axis], pads[axis]
            name = AXES[axis - len(out)]
            raise ValueError(
                f"the kernel does not fit: along the {name}, input {i} + padding {lo}+{hi} = {i + lo + hi} is smaller than "
                f"dilation*(kernel-1)+1 = {d[axis]}*({k}-1)+1 = {d[axis] * (k - 1) + 1}, so the output size "
                f"floor((i + p - d*(k-1) - 1)/s) + 1 = {o}: it must be at least 1; use a smaller kernel or dilation, "
                "or more padding")


def _extra_rows(output_padding: Ints, wanted: int | Ints | None, least: Ints, room: Ints) -> Ints:
    """Rows beyond the least size that a transposed convolution gives, per dimension, checked against the room for them."""
    wanted_size = None if wanted is None else per_axis("output_size", wanted, len(least))
    extra = output_padding if wanted_size is None else tuple(w - i for w, i in zip(wanted_size, least))
    if any(not 0 <= a < r for a, r in zip(extra, room)):
        spans = ", ".join(f"{i} to {i + r - 1}" for i, r in zip(least, room))
        asked = f"output_padding={output_padding}" if wanted_size is None else f"output_size={wanted_size}"
        raise ValueError(f"{asked} is out of reach: stride and dilation leave sizes {spans} (output_padding 0 to "
                         f"{', '.join(str(r - 1) for r in room)})")
    return extra

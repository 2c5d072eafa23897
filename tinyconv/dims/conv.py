"""The sizes of one convolution, of its forward or of its transposed kind.

Read next: pool.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

from .sizes import Ints, Padding, Pairs, check_output, output_size, per_axis, positive, resolve_padding, transposed_size


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
    positive("kernel size", tuple(kernel))
    _check_groups(C, O, Cg, groups, x_shape, w_shape)
    pads = resolve_padding(padding, tuple(size), tuple(kernel), s, d)
    out = tuple(output_size(*a) for a in zip(size, kernel, s, *zip(*pads), d))
    check_output(out, tuple(size), tuple(kernel), s, pads, d)
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
    positive("kernel size", tuple(kernel))
    positive("input size", tuple(out))
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


def _rank(what: str, shape: Ints, w_shape: Ints) -> int:
    if not 3 <= len(shape) <= 5:
        raise ValueError(f"{what} must be (N, C, *spatial) with 1 to 3 spatial dimensions, got shape {shape}; "
                         "a single image still needs its batch axis")
    if len(w_shape) != len(shape):
        raise ValueError(f"{what} has shape {shape} and the weight {w_shape}: both need the same number of spatial "
                         f"dimensions, here {len(shape) - 2} and {len(w_shape) - 2}")
    return len(shape) - 2



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

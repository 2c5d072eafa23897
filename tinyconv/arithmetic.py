"""Convolution arithmetic, one dimension at a time: which rule gives a size, what a stride leaves over, what a cell sees.

All geometry is that of the forward convolution, in the order of `dims`: (i or o, k, s, lo, hi, d), where a pair lo, hi is
the padding before and after. Dimensions do not mix, so a 2-D problem is two of these.
The relationships are those of Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2018), by number;
where padding is one-sided, lo + hi stands for the guide's 2p.
Read next: cli/shape.py, which prints all of this for a problem; plot/geometry.py, which draws it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, prod

from .dims import ConvDims, Ints, PoolDims, output_size, transposed_size

TITLES = {
    1: "no padding, unit stride", 2: "padding, unit stride", 3: "half (same) padding, unit stride",
    4: "full padding, unit stride", 5: "no padding, a stride", 6: "padding and a stride", 7: "pooling",
    8: "no padding, unit stride, transposed", 9: "padding, unit stride, transposed",
    10: "half (same) padding, unit stride, transposed", 11: "full padding, unit stride, transposed",
    12: "no padding, a stride, transposed", 13: "padding and a stride, transposed",
    14: "padding, a stride and rows left over, transposed", 15: "dilation",
}


@dataclass(frozen=True, slots=True)
class Relationship:
    """A rule of the guide put to work: its number, its formula, the formula with the numbers put in, and the size."""

    number: int
    formula: str
    numbers: str
    size: int

    @property
    def title(self) -> str:
        """The case that the rule is for, in words."""
        return TITLES[self.number]

    def __str__(self) -> str:
        return f"relationship {self.number}: {self.formula} = {self.numbers} = {self.size}"


def axes(dims: ConvDims | PoolDims) -> list[tuple[int, int, int, int, int, int]]:
    """The geometry of each dimension on its own, (i, k, s, lo, hi, d), as all functions here take it.

    >>> from .dims import pool_dims
    >>> axes(pool_dims((1, 1, 5, 9), (3, 2)))
    [(5, 3, 3, 0, 0, 1), (9, 2, 2, 0, 0, 1)]
    """
    return [(i, k, s, lo, hi, d) for i, k, s, (lo, hi), d in zip(
        dims.input, dims.kernel, dims.stride, dims.padding, dims.dilation)]


def conv_relationship(i: int, k: int, s: int = 1, lo: int = 0, hi: int = 0, d: int = 1) -> Relationship:
    """The most special of relationships 1 to 6 and 15 that gives the output size of a convolution.

    Raises: ValueError where the kernel does not fit. Source: the guide, chapters 2 and 5.

    >>> print(conv_relationship(227, 11, s=4))
    relationship 5: o = floor((i - k)/s) + 1 = floor((227 - 11)/4) + 1 = 55
    >>> conv_relationship(5, 3, lo=1, hi=1).number, conv_relationship(7, 3, d=2).number
    (3, 15)
    """
    size = _fits(output_size(i, k, s, lo, hi, d), i, k, lo, hi, d)
    p, pad, put = lo + hi, *_padding(lo, hi)
    if d > 1 and k > 1:
        return Relationship(15, f"o = floor((i + {pad} - k - (k - 1)*(d - 1))/s) + 1",
                            f"floor(({i} + {put} - {k} - ({k} - 1)*({d} - 1))/{s}) + 1", size)
    if s > 1 and p:
        return Relationship(6, f"o = floor((i + {pad} - k)/s) + 1", f"floor(({i} + {put} - {k})/{s}) + 1", size)
    if s > 1:
        return Relationship(5, "o = floor((i - k)/s) + 1", f"floor(({i} - {k})/{s}) + 1", size)
    if not p:
        return Relationship(1, "o = (i - k) + 1", f"({i} - {k}) + 1", size)
    if lo == hi and k % 2 and lo == k // 2:
        return Relationship(3, "o = i + 2*floor(k/2) - (k - 1)", f"{i} + 2*floor({k}/2) - ({k} - 1)", size)
    if lo == hi == k - 1:
        return Relationship(4, "o = i + (k - 1)", f"{i} + ({k} - 1)", size)
    return Relationship(2, f"o = (i - k) + {pad} + 1", f"({i} - {k}) + {put} + 1", size)


def pool_relationship(i: int, k: int, s: int | None = None, lo: int = 0, hi: int = 0, d: int = 1) -> Relationship:
    """The rule for the output size of a pooling; the stride defaults to the window.

    Relationship 7 where there is no padding; the guide's pooling has none, so that with padding or dilation the rules of
    convolution stand in (6 and 15). Raises: ValueError where the window does not fit. Source: the guide, chapter 3.

    >>> print(pool_relationship(5, 3, s=1))
    relationship 7: o = floor((i - k)/s) + 1 = floor((5 - 3)/1) + 1 = 3
    """
    s = k if s is None else s
    size = _fits(output_size(i, k, s, lo, hi, d), i, k, lo, hi, d)
    if d > 1 and k > 1:
        return conv_relationship(i, k, s, lo, hi, d)
    if lo + hi:
        pad, put = _padding(lo, hi)
        return Relationship(6, f"o = floor((i + {pad} - k)/s) + 1", f"floor(({i} + {put} - {k})/{s}) + 1", size)
    return Relationship(7, "o = floor((i - k)/s) + 1", f"floor(({i} - {k})/{s}) + 1", size)


def transposed_relationship(o: int, k: int, s: int = 1, lo: int = 0, hi: int = 0, d: int = 1, a: int = 0) -> Relationship:
    """The most special of relationships 8 to 14 that gives the size of what a transposed convolution of size o fills.

    Geometry and output padding a are those of the convolution it transposes. The guide has no dilation here: with one,
    k^ = k + (k - 1)*(d - 1) stands for its k. Source: the guide, chapter 4.

    >>> print(transposed_relationship(3, 3, s=2, lo=1, hi=1, a=1))
    relationship 14: o' = s*(i' - 1) + a + k - 2p = 2*(3 - 1) + 1 + 3 - 2*1 = 6
    >>> [transposed_relationship(5, 3, lo=p, hi=p).number for p in (0, 1, 2)]
    [8, 10, 11]
    """
    size = transposed_size(o, k, s, lo, hi, d, a)
    K, n = ("k^", effective_kernel(k, d)) if d > 1 and k > 1 else ("k", k)
    pad, put = _padding(lo, hi)
    if a:
        return Relationship(14, f"o' = s*(i' - 1) + a + {K} - {pad}", f"{s}*({o} - 1) + {a} + {n} - {put}", size)
    if s > 1 and lo + hi:
        return Relationship(13, f"o' = s*(i' - 1) + {K} - {pad}", f"{s}*({o} - 1) + {n} - {put}", size)
    if s > 1:
        return Relationship(12, f"o' = s*(i' - 1) + {K}", f"{s}*({o} - 1) + {n}", size)
    if not lo + hi:
        return Relationship(8, f"o' = i' + ({K} - 1)", f"{o} + ({n} - 1)", size)
    if lo == hi == n - 1:
        return Relationship(11, f"o' = i' - ({K} - 1)", f"{o} - ({n} - 1)", size)
    number = 10 if lo == hi == n // 2 and n % 2 else 9
    return Relationship(number, f"o' = i' + ({K} - 1) - {pad}", f"{o} + ({n} - 1) - {put}", size)


def effective_kernel(k: int, d: int = 1) -> int:
    """Cells that a dilated kernel spans: k^ = k + (k - 1)*(d - 1). Source: the guide, section 5.1.

    >>> effective_kernel(3, d=2)
    5
    """
    return k + (k - 1) * (d - 1)


def leftover(i: int, k: int, s: int = 1, lo: int = 0, hi: int = 0, d: int = 1) -> int:
    """Rows at the end of the padded input that no window reaches: a = (i + lo + hi - k^) mod s.

    Source: the guide, relationship 14.

    >>> leftover(5, 3, s=2, lo=1, hi=1), leftover(6, 3, s=2, lo=1, hi=1)
    (0, 1)
    """
    return (i + lo + hi - effective_kernel(k, d)) % s


def untouched(i: int, k: int, s: int = 1, lo: int = 0, hi: int = 0, d: int = 1) -> Ints:
    """The rows of the input itself that no output is made of: left over at the end, or stepped over by the stride.

    >>> untouched(8, 3, s=3), untouched(6, 3, s=2, lo=1, hi=1), untouched(7, 1, s=2)
    ((6, 7), (), (1, 3, 5))
    """
    seen = {o * s + j * d - lo for o in range(output_size(i, k, s, lo, hi, d)) for j in range(k)}
    return tuple(row for row in range(i) if row not in seen)


@dataclass(frozen=True, slots=True)
class Equivalent:
    """The convolution, of stride 1 and by the flipped kernel, that computes a transposed one: stretch, pad, slide.

    Between the `input` rows lie `zeros` zeros each (`stretched` rows in all, the guide's i~'), around them `before` and
    `after` rows of zeros, `extra` of the latter being a. A negative number of rows is cut off instead.
    """

    input: int
    zeros: int
    stretched: int
    before: int
    after: int
    extra: int
    kernel: int
    dilation: int
    output: int

    def __str__(self) -> str:
        some = f"{self.zeros} zero{'s' * (self.zeros > 1)}"
        stretch = f"{self.input} rows with {some} between each two: {self.stretched}; " if self.zeros else ""
        edge = f"padding {self.before}" if self.before == self.after else f"padding {self.before} before, {self.after} after"
        edge += f" (a = {self.extra} among them)" if self.extra else ""
        return f"{stretch}{edge}; kernel {self.kernel} flipped, stride 1: {self.output}"


def equivalent_conv(o: int, k: int, s: int = 1, lo: int = 0, hi: int = 0, d: int = 1, a: int = 0) -> Equivalent:
    """The direct convolution that gives what a transposed one of size o gives: i~' = s*(o - 1) + 1, p' = k^ - p - 1.

    Source: the guide, relationships 8 to 14.

    >>> print(equivalent_conv(3, 3, s=2, lo=1, hi=1, a=1))
    3 rows with 1 zero between each two: 5; padding 1 before, 2 after (a = 1 among them); kernel 3 flipped, stride 1: 6
    """
    reach = effective_kernel(k, d) - 1
    return Equivalent(o, s - 1, s * (o - 1) + 1, reach - lo, reach - hi + a, a, k, d, transposed_size(o, k, s, lo, hi, d, a))


def transposed_sizes(o: int, k: int, s: int = 1, lo: int = 0, hi: int = 0, d: int = 1) -> range:
    """The s sizes that the convolution maps to o: a transposed one fills any of them, by output_padding 0 to s - 1.

    Source: the guide, sections 2.4 and 4.6.

    >>> transposed_sizes(3, 3, s=2, lo=1, hi=1)
    range(5, 7)
    """
    least = transposed_size(o, k, s, lo, hi, d)
    return range(least, least + s)


def output_padding_for(wanted: int, o: int, k: int, s: int = 1, lo: int = 0, hi: int = 0, d: int = 1) -> int:
    """The output padding a with which a transposed convolution of size o fills the wanted size.

    Raises: ValueError with the sizes there are. Source: the guide, relationship 14.

    >>> output_padding_for(6, 3, 3, s=2, lo=1, hi=1)
    1
    """
    sizes = transposed_sizes(o, k, s, lo, hi, d)
    if wanted not in sizes:
        there = f"{sizes[0]}" if s == 1 else f"{sizes[0]} to {sizes[-1]}"
        raise ValueError(f"a transposed convolution of {o} by kernel {k}, stride {s}, padding {lo}+{hi}, dilation {d} fills "
                         f"{there}, not {wanted}: a convolution of {wanted} with these gives "
                         f"{output_size(wanted, k, s, lo, hi, d)}")
    return wanted - sizes[0]


@dataclass(frozen=True, slots=True)
class Field:
    """What a cell sees of the input of a network, along one dimension. `Field()` is the input itself.

    Cell o is made of the input cells from start + o*jump to start + o*jump + size - 1 (outside the input: padding). Behind
    a transposed convolution these are fractions, and the cells are the whole numbers between them.
    Source: Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks" (2019), equations 1 to 4.
    """

    size: int | Fraction = 1
    jump: int | Fraction = 1
    start: int | Fraction = 0

    def conv(self, k: int, s: int | Fraction = 1, lo: int = 0, d: int = 1) -> Field:
        """The field behind a convolution or a pooling of such cells: the window's reach in jumps, then longer jumps.

        >>> Field().conv(5).conv(2, s=2)
        Field(size=6, jump=2, start=0)
        """
        reach = effective_kernel(k, d) - 1
        return self._moved(reach, s, -lo)

    def transposed(self, k: int, s: int = 1, lo: int = 0, d: int = 1) -> Field:
        """The field behind a transposed convolution: cell i has i + lo = o*s + j*d, so that jumps shrink by s.

        >>> Field(size=6, jump=2).transposed(2, s=2)
        Field(size=7, jump=1, start=-1)
        """
        reach = effective_kernel(k, d) - 1
        return self._moved(Fraction(reach, s), Fraction(1, s), Fraction(lo - reach, s))

    def joined(self, other: Field) -> Field:
        """The field of a cell that is made of two, as of a sum: from where the first begins to where the last ends.

        >>> Field().conv(3, lo=1).joined(Field())
        Field(size=3, jump=1, start=-1)
        """
        start, end = min(self.start, other.start), max(self.start + self.size, other.start + other.size)
        return Field(end - start, max(self.jump, other.jump), start)

    def cells(self, o: int) -> range:
        """The input cells that cell o is made of, padding among them.

        >>> receptive_field([(3, 2, 1), (3, 1, 1)]).cells(0)
        range(-3, 4)
        """
        first = self.start + o * self.jump
        return range(ceil(first), floor(first + self.size - 1) + 1)

    def _moved(self, reach: int | Fraction, step: int | Fraction, first: int | Fraction) -> Field:
        size, jump, start = self.size + reach * self.jump, self.jump * step, self.start + first * self.jump
        return Field(*(int(v) if v == int(v) else v for v in (size, jump, start)))


def receptive_field(layers: Iterable[Ints]) -> Field:
    """The field of the last of a stack of convolutions and poolings, each (k, s), (k, s, lo) or (k, s, lo, d).

    >>> receptive_field([(5, 1), (2, 2), (5, 1), (2, 2), (5, 1)])  # LeNet-5 up to C5
    Field(size=32, jump=4, start=0)
    """
    field = Field()
    for layer in layers:
        field = field.conv(*layer)
    return field


def conv_parameters(C: int, O: int, kernel: Ints, groups: int = 1, bias: bool = True) -> int:
    """Weights of a convolution from C to O channels, and its biases: O*(C/groups*cells + 1).

    >>> conv_parameters(3, 96, (11, 11))
    34944
    """
    return O * (C // groups * prod(kernel) + bias)


def multiply_adds_inside(dims: ConvDims) -> int:
    """Those of `dims.macs` whose x is a cell of the input: the rest multiply padding.

    >>> from .dims import conv_dims
    >>> dims = conv_dims((1, 1, 5, 5), (1, 1, 3, 3), padding=1)
    >>> dims.macs, multiply_adds_inside(dims)
    (225, 169)
    """
    pairs = 1
    for (i, k, s, lo, _, d), o in zip(axes(dims), dims.output):
        pairs *= sum(_inside(i, o, s, lo - j * d) for j in range(k))
    return dims.N * dims.O * (dims.C // dims.groups) * pairs


def _inside(i: int, o: int, s: int, offset: int) -> int:
    """How many of 0..o-1 have 0 <= o*s - offset < i."""
    return max(0, min(o - 1, (i - 1 + offset) // s) - max(0, -(-offset // s)) + 1)


def _padding(lo: int, hi: int) -> tuple[str, str]:
    """Padding as it stands in a formula, and with the numbers put in."""
    return ("2p", f"2*{lo}") if lo == hi else ("(lo + hi)", f"({lo} + {hi})")


def _fits(size: int, i: int, k: int, lo: int, hi: int, d: int) -> int:
    if size < 1:
        raise ValueError(f"the kernel does not fit: input {i} + padding {lo}+{hi} = {i + lo + hi} is smaller than "
                         f"k + (k - 1)*(d - 1) = {effective_kernel(k, d)}")
    return size


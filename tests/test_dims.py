"""Sizes: the rules against counting positions one by one, the guide's worked examples, and every error's message."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinyconv.dims import (
    conv_dims,
    conv_transpose_dims,
    freeze,
    output_size,
    per_axis,
    pool_dims,
    resolve_padding,
    transposed_size,
)

sizes, kernels, strides = st.integers(1, 24), st.integers(1, 6), st.integers(1, 5)
pads, dilations = st.integers(0, 7), st.integers(1, 4)


def positions(i: int, k: int, s: int, lo: int, hi: int, d: int) -> list[int]:
    """Where a window may start: every s cells from -lo on, as long as its last tap is inside input and padding."""
    return [start for start in range(-lo, i + hi, s) if start + d * (k - 1) < i + hi]


# the output size


@given(sizes, kernels, strides, pads, pads, dilations)
def test_output_size_counts_positions(i: int, k: int, s: int, lo: int, hi: int, d: int) -> None:
    assert max(0, output_size(i, k, s, lo, hi, d)) == len(positions(i, k, s, lo, hi, d))


@given(sizes, kernels, strides, pads, pads, dilations)
def test_conv_dims_counts_positions_or_refuses(i: int, k: int, s: int, lo: int, hi: int, d: int) -> None:
    count = len(positions(i, k, s, lo, hi, d))
    make = lambda: conv_dims((2, 3, i, 40), (4, 3, k, 1), (s, 1), ((lo, hi), (0, 0)), (d, 1))  # noqa: E731
    if count:
        assert make().output == (count, 40)
    else:
        with pytest.raises(ValueError, match="the kernel does not fit: along the height"):
            make()


@pytest.mark.parametrize("relationship, i, k, s, p, want", [
    # the figures of "A guide to convolution arithmetic for deep learning", by relationship
    (1, 4, 3, 1, 0, 2),  # figure 2.1: no padding, unit strides
    (2, 5, 4, 1, 2, 6),  # figure 2.2: arbitrary padding
    (3, 5, 3, 1, 1, 5),  # figure 2.3: half padding
    (4, 5, 3, 1, 2, 7),  # figure 2.4: full padding
    (5, 5, 3, 2, 0, 2),  # figure 2.5: no padding, strides
    (6, 5, 3, 2, 1, 3),  # figure 2.6: padding and strides
    (6, 6, 3, 2, 1, 3),  # figure 2.7: a last row that no window reaches
])
def test_the_guide_on_convolutions(relationship: int, i: int, k: int, s: int, p: int, want: int) -> None:
    assert conv_dims((1, 1, i, i), (1, 1, k, k), s, p).output == (want, want)


@pytest.mark.parametrize("relationship, o, k, s, p, a, want", [
    # figures 4.1 to 4.7: o is what the convolution above it gives, `want` what it took
    (8, 2, 3, 1, 0, 0, 4),
    (9, 6, 4, 1, 2, 0, 5),
    (10, 5, 3, 1, 1, 0, 5),
    (11, 7, 3, 1, 2, 0, 5),
    (12, 2, 3, 2, 0, 0, 5),
    (13, 3, 3, 2, 1, 0, 5),
    (14, 3, 3, 2, 1, 1, 6),
])
def test_the_guide_on_transposed_convolutions(relationship: int, o: int, k: int, s: int, p: int, a: int, want: int) -> None:
    dims = conv_transpose_dims((1, 1, o, o), (1, 1, k, k), s, p, a)
    assert dims.input == (want, want) and dims.output == (o, o)
    assert conv_dims(dims.x_shape, (1, 1, k, k), s, p).output == (o, o)


def test_the_guide_on_pooling_and_dilation() -> None:
    assert pool_dims((1, 1, 5, 5), 3, stride=1).output == (3, 3)  # figure 1.5 and 1.6, relationship 7
    assert conv_dims((1, 1, 7, 7), (1, 1, 3, 3), dilation=2).output == (3, 3)  # figure 5.1, relationship 15


# transposed sizes


@given(st.integers(1, 12), kernels, strides, pads, pads, dilations, st.data())
def test_transposed_sizes_are_those_that_map_back(o: int, k: int, s: int, lo: int, hi: int, d: int, data) -> None:
    """A stride s maps s sizes to one: exactly output_padding 0 to s - 1 gives sizes whose convolution has size o."""
    a = data.draw(st.integers(0, s - 1))
    size = transposed_size(o, k, s, lo, hi, d, a)
    assert output_size(size, k, s, lo, hi, d) == o
    assert output_size(transposed_size(o, k, s, lo, hi, d, s), k, s, lo, hi, d) == o + 1
    assert output_size(transposed_size(o, k, s, lo, hi, d, -1), k, s, lo, hi, d) == o - 1


@given(st.integers(1, 12), kernels, strides, pads, pads, dilations, st.data())
def test_transposed_dims_round_trip(o: int, k: int, s: int, lo: int, hi: int, d: int, data) -> None:
    a = data.draw(st.integers(0, max(s, d) - 1))
    least = transposed_size(o, k, s, lo, hi, d)
    y_shape, w_shape = (2, 6, o), (6, 2, k)
    if least + a < 1:
        with pytest.raises(ValueError, match="must be at least 1; use less padding"):
            conv_transpose_dims(y_shape, w_shape, s, ((lo, hi),), a, d, groups=3)
        return
    dims = conv_transpose_dims(y_shape, w_shape, s, ((lo, hi),), a, d, groups=3)
    assert dims.x_shape == (2, 6, least + a) and dims.y_shape == y_shape and dims.w_shape == w_shape
    assert dims == conv_transpose_dims(y_shape, w_shape, s, ((lo, hi),), 0, d, groups=3, output_size=least + a)
    forward = conv_dims(dims.x_shape, w_shape, s, ((lo, hi),), d, groups=3)
    assert forward.output[0] >= o and (forward.output[0] == o) == (a < s)  # beyond s, a dilation leaves rows unreached
    if a < s:
        assert forward == dims


@given(st.integers(1, 12), kernels, strides, dilations)
def test_transposed_same_multiplies_by_the_stride(o: int, k: int, s: int, d: int) -> None:
    for a in (0, (0,)):
        dims = conv_transpose_dims((1, 1, o), (1, 1, k), s, "same", a, d)
        assert dims.input == (o * s,)
        assert conv_dims(dims.x_shape, dims.w_shape, s, "same", d) == dims


def test_output_size_wins_over_output_padding() -> None:
    asked = conv_transpose_dims((1, 1, 4), (1, 1, 3), 2, 1, output_padding=1, output_size=7)
    assert asked == conv_transpose_dims((1, 1, 4), (1, 1, 3), 2, 1, output_size=7) and asked.input == (7,)


# padding


@given(sizes, kernels, strides, dilations)
def test_padding_words_mean_what_they_say(i: int, k: int, s: int, d: int) -> None:
    x, w, span = (1, 1, i), (1, 1, k), d * (k - 1) + 1
    same = conv_dims(x, w, s, "same", d)
    lo, hi = same.padding[0]
    assert same.output == (-(-i // s),) and 0 <= hi - lo <= 1
    assert lo + hi == 0 or output_size(i, k, s, 0, lo + hi - 1, d) < same.output[0]  # no more than it takes
    assert conv_dims(x, w, s, "full", d).padding == ((span - 1, span - 1),)
    half = conv_dims(x, w, 1, "half", d)
    assert half.padding == ((span // 2, span // 2),) and half.output == (i + 1 - span % 2,)
    if span <= i:
        assert conv_dims(x, w, s, "valid", d) == conv_dims(x, w, s, 0, d)
    if d == 1:
        assert half.padding == ((k // 2, k // 2),)


def test_padding_may_be_written_in_four_ways() -> None:
    size, kernel, ones = (5, 6), (3, 3), (1, 1)
    for padding in (2, (2,), (2, 2), ((2, 2), (2, 2)), [[2, 2], [2, 2]]):
        assert resolve_padding(padding, size, kernel, ones, ones) == ((2, 2), (2, 2))
    assert resolve_padding(((0, 1), (2, 3)), size, kernel, ones, ones) == ((0, 1), (2, 3))


# pooling


@given(sizes, kernels, strides, pads, pads, dilations, st.booleans())
def test_pool_dims_by_the_documented_rule(i: int, k: int, s: int, lo: int, hi: int, d: int, ceil_mode: bool) -> None:
    """PyTorch: floor or ceil of (i + padding - d*(k-1) - 1)/s, plus 1; with ceil_mode, "sliding windows that would start
    in the right padded region are ignored". Here also: a window without a single element is an error."""
    starts = positions(i, k, s, lo, hi, d)
    if ceil_mode:  # one more window may hang over the end, by less than a stride
        following = starts[-1] + s if starts else -lo
        if following + d * (k - 1) + 1 - (i + hi) < s:
            starts.append(following)
        starts = [start for start in starts if start < i]
    empty = [start for start in starts if not any(0 <= start + j * d < i for j in range(k))]
    make = lambda: pool_dims((1, 2, i), k, s, ((lo, hi),), d, ceil_mode)  # noqa: E731
    if not starts or empty:
        with pytest.raises(ValueError, match=r"holds no element|does not fit"):
            make()
    else:
        assert make().output == (len(starts),)


@given(sizes, kernels, strides, st.integers(0, 3), dilations)
def test_ceil_mode_is_pytorchs_where_pytorch_has_it(i: int, k: int, s: int, p: int, d: int) -> None:
    """Its source (ATen/native/Pool.h): one window less if the last one starts at i + p or later; p at most half the window."""
    assume(2 * p <= k and i + 2 * p > d * (k - 1))
    want = (i + 2 * p - d * (k - 1) - 1 + s - 1) // s + 1
    want -= (want - 1) * s >= i + p
    try:
        assert pool_dims((1, 1, i), k, s, p, d, ceil_mode=True).output == (want,)
    except ValueError as e:
        assert "holds no element" in str(e)  # dilated over the input from end to end


@pytest.mark.parametrize("i, k, s, p, floor, ceil", [
    (5, 2, 2, 0, 2, 3),
    (6, 3, 2, 0, 2, 3),
    (7, 3, 2, 0, 3, 3),
    (4, 1, 2, 0, 2, 2),  # the third window would start at 4, beyond the end
    (3, 2, 2, 1, 2, 2),
    (4, 2, 3, 1, 2, 2),  # the last window of ceil would start at 5
    (6, 3, 3, 1, 2, 3),
])
def test_ceil_mode_by_hand(i: int, k: int, s: int, p: int, floor: int, ceil: int) -> None:
    assert pool_dims((1, 1, i), k, s, p).output == (floor,)
    assert pool_dims((1, 1, i), k, s, p, ceil_mode=True).output == (ceil,)


def test_pool_stride_is_the_kernel_by_default() -> None:
    assert pool_dims((1, 1, 9, 9), (2, 3)) == pool_dims((1, 1, 9, 9), (2, 3), stride=(2, 3))


# what the records know


def test_conv_dims_know_their_shapes_and_costs() -> None:
    dims = conv_dims((2, 6, 9, 8), (4, 3, 3, 2), (2, 1), ((1, 0), (2, 1)), groups=2)
    assert dims.rank == 2 and dims.output == (4, 10) and dims.padded == (10, 11)
    assert (dims.x_shape, dims.w_shape, dims.y_shape) == ((2, 6, 9, 8), (4, 3, 3, 2), (2, 4, 4, 10))
    assert dims.macs == 2 * (4 * 4 * 10) * (3 * 3 * 2) and dims.flops == 2 * dims.macs
    assert dims.bytes() == 4 * (2 * 6 * 9 * 8 + 4 * 3 * 3 * 2 + 2 * 4 * 4 * 10) and dims.bytes(8) == 2 * dims.bytes()
    pool = pool_dims((2, 3, 6, 8), 2)
    assert (pool.x_shape, pool.y_shape, pool.rank) == ((2, 3, 6, 8), (2, 3, 3, 4), 2)
    assert pool.bytes() == 4 * (2 * 3 * 6 * 8 + 2 * 3 * 3 * 4)


def test_dims_are_frozen_equal_and_hash_alike() -> None:
    one, other = (conv_dims(shape, (4, 3, 3, 3)) for shape in ((1, 3, 5, 5), (2, 3, 5, 5)))
    again = conv_transpose_dims((1, 4, 3, 3), (4, 3, 3, 3))
    assert one == again and one is not again and hash(one) == hash(again) and one != other
    with pytest.raises(FrozenInstanceError):
        one.N = 3  # type: ignore[misc]
    assert freeze([1, [2, (3, [4])], "same", None]) == (1, (2, (3, (4,))), "same", None)
    assert freeze(np.array([[1, 2], [0, 1]])) == ((1, 2), (0, 1)) and freeze(np.int64(3)) == 3


# errors: one clear sentence, with the numbers in it

X, W = (1, 4, 8, 8), (6, 4, 3, 3)


@pytest.mark.parametrize("make, error, message", [
    (lambda: conv_dims((4, 8), W), ValueError,
     "x must be (N, C, *spatial) with 1 to 3 spatial dimensions, got shape (4, 8); a single image still needs its batch axis"),
    (lambda: conv_dims((1, 1, 2, 2, 2, 2), W), ValueError, "got shape (1, 1, 2, 2, 2, 2)"),
    (lambda: conv_dims(X, (6, 4, 3)), ValueError,
     "x has shape (1, 4, 8, 8) and the weight (6, 4, 3): both need the same number of spatial dimensions, here 2 and 1"),
    (lambda: conv_dims(X, (6, 4, 3, 0)), ValueError, "kernel size must be at least 1 in every dimension, got (3, 0)"),
    (lambda: conv_dims(X, (6, 3, 3, 3)), ValueError,
     "x (1, 4, 8, 8) has 4 channels, the weight (6, 3, 3, 3) with groups=1 wants 3 * 1 = 3: "
     "a weight is (out_channels, in_channels/groups, *kernel)"),
    (lambda: conv_dims(X, (6, 4, 3, 3), groups=2), ValueError, "with groups=2 wants 4 * 2 = 8"),
    (lambda: conv_dims(X, (5, 2, 3, 3), groups=2), ValueError,
     "5 output channels do not divide into groups=2: weight shape (5, 2, 3, 3)"),
    (lambda: conv_dims(X, W, groups=0), ValueError, "groups must be a positive int, got 0"),
    (lambda: conv_dims(X, W, groups=True), ValueError, "groups must be a positive int, got True"),
    (lambda: conv_dims(X, W, groups=1.0), ValueError, "groups must be a positive int, got 1.0"),
    (lambda: conv_dims((1, 4, 8, 2), W, padding=((0, 0), (0, 0))), ValueError,
     "the kernel does not fit: along the width, input 2 + padding 0+0 = 2 is smaller than dilation*(kernel-1)+1 = 1*(3-1)+1 "
     "= 3, so the output size floor((i + p - d*(k-1) - 1)/s) + 1 = 0: it must be at least 1; use a smaller kernel or "
     "dilation, or more padding"),
    (lambda: conv_dims((1, 4, 5), (6, 4, 3), dilation=3, padding=((1, 0),)), ValueError,
     "along the width, input 5 + padding 1+0 = 6 is smaller than dilation*(kernel-1)+1 = 3*(3-1)+1 = 7"),
    (lambda: conv_dims((1, 4, 2, 9, 9), (6, 4, 3, 3, 3)), ValueError, "along the depth, input 2"),
    (lambda: conv_dims(X, W, stride=0), ValueError, "stride must be at least 1, got 0"),
    (lambda: conv_dims(X, W, stride=(1, 2, 3)), ValueError, "stride=(1, 2, 3) gives 3 numbers for 2 spatial dimension(s)"),
    (lambda: conv_dims(X, W, stride=1.0), TypeError, "stride must be an int or 2 ints, got 1.0"),
    (lambda: conv_dims(X, W, stride=True), TypeError, "stride must be an int or 2 ints, got True"),
    (lambda: conv_dims(X, W, dilation="2"), TypeError, "dilation must be an int or 2 ints, got '2'"),
    (lambda: conv_dims(X, W, padding=-1), ValueError, "padding must be at least 0, got -1"),
    (lambda: conv_dims(X, W, padding="sane"), ValueError,
     'padding must be ints, pairs, or one of "valid", "same", "half", "full", got \'sane\''),
    (lambda: conv_dims(X, W, padding=((1, 2),)), ValueError,
     "padding=((1, 2),): per-side padding is one (before, after) pair for each of 2 spatial dimension(s)"),
    (lambda: conv_dims(X, W, padding=((1, 2), 3)), ValueError, "one (before, after) pair for each of 2"),
    (lambda: conv_dims((1, 4, 8), (6, 4, 3), padding=(1, 2)), ValueError,
     "padding=(1, 2) for 1 spatial dimension: write ((1, 2),) for (before, after)"),
    (lambda: conv_transpose_dims((1, 6, 4, 4), (5, 2, 3, 3)), ValueError,
     "a transposed weight is (in_channels, out_channels/groups, *kernel): (5, 2, 3, 3) with groups=1 wants 5 input channels "
     "in a multiple of groups, the input (1, 6, 4, 4) has 6"),
    (lambda: conv_transpose_dims((1, 6, 4, 4), (6, 2, 3, 3), groups=4), ValueError, "with groups=4 wants 6 input channels"),
    (lambda: conv_transpose_dims((1, 6, 4, 4), (6, 2, 3, 3), groups=1.5), ValueError,
     "groups must be a positive int, got 1.5"),
    (lambda: conv_transpose_dims((1, 6, 4, 4), (6, 0, 3, 3)), ValueError, "(6, 0, 3, 3)"),
    (lambda: conv_transpose_dims((1, 6, 0, 4), (6, 2, 3, 3)), ValueError,
     "input size must be at least 1 in every dimension, got (0, 4)"),
    (lambda: conv_transpose_dims((6, 4), (6, 2, 3, 3)), ValueError, "the input of a transposed convolution must be (N, C,"),
    (lambda: conv_transpose_dims((1, 6, 4, 4), (6, 2, 3, 3), 2, 1, output_padding=2), ValueError,
     "output_padding=(2, 2) is out of reach: stride and dilation leave sizes 7 to 8, 7 to 8 (output_padding 0 to 1, 1)"),
    (lambda: conv_transpose_dims((1, 6, 4, 4), (6, 2, 3, 3), 2, 1, output_size=(8, 9)), ValueError,
     "output_size=(8, 9) is out of reach: stride and dilation leave sizes 7 to 8, 7 to 8"),
    (lambda: conv_transpose_dims((1, 6, 2), (6, 2, 3), padding=2), ValueError,
     "has size s*(o-1) + a + d*(k-1) + 1 - padding = (0,): it must be at least 1; use less padding"),
    (lambda: pool_dims((3, 8), 2), ValueError, "got shape (3, 8)"),
    (lambda: pool_dims((1, 3, 8, 8), 0), ValueError, "kernel_size must be at least 1, got 0"),
    (lambda: pool_dims((1, 3, 8, 8), (2, 2, 2)), ValueError, "kernel_size=(2, 2, 2) gives 3 numbers for 2 spatial"),
    (lambda: pool_dims((1, 3, 2, 8), 3), ValueError, "along the height, input 2 + padding 0+0 = 2 is smaller than"),
    (lambda: pool_dims((1, 3, 8), 2, padding=2), ValueError, "holds no element of the input (size 8, kernel 2,"),
    (lambda: per_axis("size", (1, 2), 3), ValueError, "size=(1, 2) gives 2 numbers for 3 spatial dimension(s)"),
])
def test_errors_say_what_and_why(make, error: type, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make()


def test_an_error_does_not_depend_on_what_was_asked_before() -> None:
    """1, 1.0 and True are equal and hash alike: a cache must not take one for the other."""
    for order in ((1, 1.0, True), (1.0, True, 1)):
        for value in order:
            if type(value) is int:
                assert conv_dims((1, 1, 30), (1, 1, 3), stride=value).stride == (1,)
            else:
                with pytest.raises(TypeError, match="stride must be an int"):
                    conv_dims((1, 1, 30), (1, 1, 3), stride=value)


@given(sizes, kernels, strides, pads, dilations)
def test_every_window_that_is_counted_fits(i: int, k: int, s: int, p: int, d: int) -> None:
    assume(i + 2 * p >= d * (k - 1) + 1)
    o = conv_dims((1, 1, i), (1, 1, k), s, p, d).output[0]
    assert (o - 1) * s + d * (k - 1) < i + 2 * p <= o * s + d * (k - 1)

"""Convolution arithmetic: the guide's worked examples, and every rule against counting by hand."""

from math import floor

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinyconv.arithmetic import (
    Field,
    conv_parameters,
    conv_relationship,
    effective_kernel,
    equivalent_conv,
    leftover,
    multiply_adds_inside,
    output_padding_for,
    pool_relationship,
    receptive_field,
    transposed_relationship,
    transposed_sizes,
    untouched,
)
from tinyconv.cases import layers, small
from tinyconv.dims import conv_dims, conv_transpose_dims
from tinyconv.kernels.conv import reference

# (i, k, s, p, d) -> relationship and size, as they stand in the guide's figures
CONVOLUTIONS = {
    "figure 1.1": ((5, 3, 1, 0, 1), 1, 3),
    "figure 1.2": ((5, 3, 2, 1, 1), 6, 3),
    "figure 2.1": ((4, 3, 1, 0, 1), 1, 2),
    "figure 2.2": ((5, 4, 1, 2, 1), 2, 6),
    "figure 2.3": ((5, 3, 1, 1, 1), 3, 5),
    "figure 2.4": ((5, 3, 1, 2, 1), 4, 7),
    "figure 2.5": ((5, 3, 2, 0, 1), 5, 2),
    "figure 2.6": ((5, 3, 2, 1, 1), 6, 3),
    "figure 2.7": ((6, 3, 2, 1, 1), 6, 3),
    "figure 5.1": ((7, 3, 1, 0, 2), 15, 3),
}

# (i', k, s, p, a) -> relationship, size, and the equivalent convolution's i~' and p'
TRANSPOSED = {
    "figure 4.1": ((2, 3, 1, 0, 0), 8, 4, 2, 2),
    "figure 4.2": ((6, 4, 1, 2, 0), 9, 5, 6, 1),
    "figure 4.3": ((5, 3, 1, 1, 0), 10, 5, 5, 1),
    "figure 4.4": ((7, 3, 1, 2, 0), 11, 5, 7, 0),
    "figure 4.5": ((2, 3, 2, 0, 0), 12, 5, 3, 2),
    "figure 4.6": ((3, 3, 2, 1, 0), 13, 5, 5, 1),
    "figure 4.7": ((3, 3, 2, 1, 1), 14, 6, 5, 1),
}

sizes, kernels, strides, pads, dilations = st.integers(1, 30), st.integers(1, 7), st.integers(1, 5), st.integers(0, 8), \
    st.integers(1, 4)


def positions(i, k, s, lo, hi, d):
    """First cells of every window that lies in the padded input, counted one by one."""
    return [at for at in range(-lo, i + hi) if (at + lo) % s == 0 and at + (k - 1) * d < i + hi]


def evaluated(rule):
    """The number that `numbers` comes to."""
    return eval(rule.numbers, {"__builtins__": {}, "floor": floor})


@pytest.mark.parametrize("figure", CONVOLUTIONS)
def test_guide_convolution(figure):
    (i, k, s, p, d), number, size = CONVOLUTIONS[figure]
    rule = conv_relationship(i, k, s, p, p, d)
    assert (rule.number, rule.size) == (number, size) == (number, evaluated(rule))


@pytest.mark.parametrize("figure", TRANSPOSED)
def test_guide_transposed(figure):
    (o, k, s, p, a), number, size, stretched, padding = TRANSPOSED[figure]
    rule, same = transposed_relationship(o, k, s, p, p, 1, a), equivalent_conv(o, k, s, p, p, 1, a)
    assert (rule.number, rule.size, evaluated(rule)) == (number, size, size)
    assert (same.stretched, same.before, same.after, same.extra, same.output) == (stretched, padding, padding + a, a, size)


def test_guide_pooling():
    rule = pool_relationship(5, 3, 1)
    assert (rule.number, rule.size) == (7, 3)
    assert pool_relationship(28, 2).size == 14


def test_guide_leftover():
    """Figure 2.7 leaves a row of padding; without the padding the row is one of the input."""
    assert leftover(6, 3, 2, 1, 1) == 1 and untouched(6, 3, 2, 1, 1) == ()
    assert leftover(6, 3, 2) == 1 and untouched(6, 3, 2) == (5,)


def test_alexnet():
    assert str(conv_relationship(227, 11, 4)) == ("relationship 5: o = floor((i - k)/s) + 1 = floor((227 - 11)/4) + 1 = 55")
    assert conv_parameters(3, 96, (11, 11)) == 96 * 3 * 11 * 11 + 96
    assert conv_parameters(96, 256, (5, 5), groups=2, bias=False) == 256 * 48 * 25


@given(sizes, kernels, strides, pads, pads, dilations)
def test_sizes_are_counts(i, k, s, lo, hi, d):
    """Output size, left-over rows and untouched rows are what counting windows gives, and the numbers put in add up."""
    at = positions(i, k, s, lo, hi, d)
    if not at:
        with pytest.raises(ValueError, match="does not fit"):
            conv_relationship(i, k, s, lo, hi, d)
        return
    for rule in (conv_relationship(i, k, s, lo, hi, d), pool_relationship(i, k, s, lo, hi, d)):
        assert rule.size == len(at) == evaluated(rule)
    assert leftover(i, k, s, lo, hi, d) == i + hi - (at[-1] + (k - 1) * d + 1)
    seen = {first + j * d for first in at for j in range(k)}
    assert untouched(i, k, s, lo, hi, d) == tuple(sorted(set(range(i)) - seen))
    assert effective_kernel(k, d) == len(range(at[0], at[0] + (k - 1) * d + 1))


@given(sizes, kernels, strides, pads, pads, dilations, st.integers(0, 4))
def test_transposed_sizes_are_counts(o, k, s, lo, hi, d, a):
    """A convolution of each size in `transposed_sizes`, and of no other, has o positions."""
    assume(a < s)
    sizes_ = transposed_sizes(o, k, s, lo, hi, d)
    assume(sizes_[0] > 0)
    rule = transposed_relationship(o, k, s, lo, hi, d, a)
    assert rule.size == evaluated(rule) == sizes_[a]
    matching = [i for i in range(1, sizes_[-1] + s + 1) if len(positions(i, k, s, lo, hi, d)) == o]
    assert matching == list(sizes_)
    assert [output_padding_for(i, o, k, s, lo, hi, d) for i in sizes_] == list(range(s))
    for wrong in (sizes_[0] - 1, sizes_[-1] + 1):
        with pytest.raises(ValueError, match=f"not {wrong}"):
            output_padding_for(wrong, o, k, s, lo, hi, d)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(0, 4), st.integers(0, 4), st.integers(1, 3),
       st.integers(0, 2))
def test_equivalent_conv_computes_the_transposed_one(o, k, s, lo, hi, d, a):
    """Zeros inserted, padded or cut, and slid over by the flipped kernel at stride 1: equal on integers, bit for bit."""
    assume(a < s and transposed_sizes(o, k, s, lo, hi, d)[a] > 0)
    rng = np.random.default_rng(o + 10 * k + 100 * s)
    y, w = rng.integers(-9, 10, (1, 1, o)).astype(float), rng.integers(-9, 10, (1, 1, k)).astype(float)
    dims = conv_transpose_dims(y.shape, w.shape, s, ((lo, hi),), a, d)
    e = equivalent_conv(o, k, s, lo, hi, d, a)
    line = np.zeros(e.stretched)
    line[::e.zeros + 1] = y[0, 0]
    line = np.pad(line, (max(e.before, 0), max(e.after, 0)))[max(-e.before, 0):]
    line = line[:len(line) - max(-e.after, 0)]
    x = np.zeros((1, 1, len(line)))
    x[0, 0] = line
    direct = reference.conv(x, w[..., ::-1], conv_dims(x.shape, w.shape, dilation=d))
    np.testing.assert_array_equal(direct, reference.conv_input_grad(y, w, dims))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)), max_size=4),
       st.integers(0, 5))
def test_receptive_field_is_what_is_seen(stack, o):
    """Follow the taps back through the stack: the cells that are reached span the field exactly."""
    reached = {o}
    for k, s, lo, d in reversed(stack):
        reached = {at * s + j * d - lo for at in reached for j in range(k)}
    cells = receptive_field(stack).cells(o)
    assert (min(reached), max(reached)) == (cells[0], cells[-1])
    assert receptive_field(stack).size == len(cells)


@given(kernels, strides, pads, dilations, st.integers(0, 12), st.integers(1, 3), st.integers(1, 3))
def test_receptive_field_behind_a_transposed_convolution(k, s, lo, d, i, before_k, before_s):
    """No cell outside the field is reached, and with a dense kernel no smaller field would do."""
    field = Field().conv(before_k, before_s).transposed(k, s, lo, d)
    at = {(i + lo - j * d) // s for j in range(k) if (i + lo - j * d) % s == 0}
    reached = {o * before_s + j for o in at for j in range(before_k)}
    assert reached <= set(field.cells(i))
    if d == 1 and before_s == 1 == before_k and reached:
        assert (min(reached), max(reached)) == (field.cells(i)[0], field.cells(i)[-1])


@pytest.mark.parametrize("name", [*small, *layers])
def test_multiply_adds_inside(name):
    """A convolution of ones by ones, summed, counts its multiply-adds one by one (in float64, exact below 2^53)."""
    dims = {**small, **layers}[name]
    one = dims if name in small else conv_dims((1, 1, *dims.input), (1, 1, *dims.kernel), dims.stride, dims.padding,
                                               dims.dilation)
    total = reference.conv(np.ones(one.x_shape), np.ones(one.w_shape), one).sum()
    assert multiply_adds_inside(one) == total
    assert multiply_adds_inside(dims) * one.macs == total * dims.macs

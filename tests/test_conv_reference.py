"""The definition of convolution against answers worked by hand, and against SciPy for every case, rank and map."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import signal

from tinyconv import cases
from tinyconv.dims import ConvDims, conv_dims, conv_transpose_dims
from tinyconv.kernels.conv import reference

NINE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
FOUR = [[1, 2], [3, 4]]


def image(rows: list) -> np.ndarray:
    """One sample and one channel, or one kernel, from nested lists."""
    return np.array(rows, np.float64)[None, None]


@pytest.mark.parametrize("geometry, expected", [
    # 1*1 + 2*2 + 3*4 + 4*5 = 37: no flip; 2 + 6 + 15 + 24 = 47; 4 + 10 + 21 + 32 = 67; 5 + 12 + 24 + 36 = 77
    ({}, [[37, 47], [67, 77]]),
    # windows start at -1 and 1: only the last tap meets x[0, 0]: 4*1; 3*2 + 4*3 = 18; 2*4 + 4*7 = 36; 77 as above
    ({"stride": 2, "padding": 1}, [[4, 18], [36, 77]]),
    # the corners: 1*1 + 2*3 + 3*7 + 4*9
    ({"dilation": 2}, [[64]]),
    # one row before, one column after: y[0, 2] = 3*x[0, 2] = 9; y[2, 2] = 1*6 + 3*9 = 33
    ({"padding": ((1, 0), (0, 1))}, [[3 * 1 + 4 * 2, 3 * 2 + 4 * 3, 9], [37, 47, 3 + 18], [67, 77, 33]]),
])
def test_conv_by_hand(geometry: dict, expected: list) -> None:
    dims = conv_dims((1, 1, 3, 3), (1, 1, 2, 2), **geometry)
    np.testing.assert_array_equal(reference.conv(image(NINE), image(FOUR), dims), image(expected))


@pytest.mark.parametrize("size, geometry, expected", [
    # every x is reached by the y above it: the middle one by all four, 1*4 + 2*3 + 3*2 + 4*1 = 20
    (3, {}, [[1, 4, 4], [6, 20, 16], [9, 24, 16]]),
    # a stride of 2 and taps 2 wide: blocks that do not overlap, y * w
    (4, {"stride": 2}, [[1, 2, 2, 4], [3, 4, 6, 8], [3, 6, 4, 8], [9, 12, 12, 16]]),
    # the size that output_padding=1 asks for: a last row and column that no y ever touched
    (5, {"stride": 2}, [[1, 2, 2, 4, 0], [3, 4, 6, 8, 0], [3, 6, 4, 8, 0], [9, 12, 12, 16, 0], [0, 0, 0, 0, 0]]),
    # dilation 2: each y adds its four products two apart
    (4, {"dilation": 2}, [[1, 2, 2, 4], [3, 4, 6, 8], [3, 6, 4, 8], [9, 12, 12, 16]]),
    # the same as the first with the border cut off
    (1, {"padding": 1}, [[20]]),
])
def test_conv_input_grad_by_hand(size: int, geometry: dict, expected: list) -> None:
    dims = conv_transpose_dims((1, 1, 2, 2), (1, 1, 2, 2), output_size=size, **geometry)
    np.testing.assert_array_equal(reference.conv_input_grad(image(FOUR), image(FOUR), dims), image(expected))


@pytest.mark.parametrize("y, geometry, expected", [
    # w[0, 0] = 1*1 + 2*2 + 0*4 - 1*5 = 0; [0, 1]: 2 + 6 - 6; [1, 0]: 4 + 10 - 8; [1, 1]: 5 + 12 - 9
    ([[1, 2], [0, -1]], {}, [[0, 2], [6, 8]]),
    # windows start at -1 and 1: tap (0, 0) meets x only under y[1, 1]: -1*5; (0, 1): 0*4 - 6; (1, 0): 2*2 - 8;
    # (1, 1): 1*1 + 2*3 + 0*7 - 9
    ([[1, 2], [0, -1]], {"stride": 2, "padding": 1}, [[-5, -6], [-4, -2]]),
    # one position: the corners of x, times y
    ([[2]], {"dilation": 2}, [[2, 6], [14, 18]]),
])
def test_conv_weight_grad_by_hand(y: list, geometry: dict, expected: list) -> None:
    dims = conv_dims((1, 1, 3, 3), (1, 1, 2, 2), **geometry)
    np.testing.assert_array_equal(reference.conv_weight_grad(image(NINE), image(y), dims), image(expected))


def test_a_line_and_a_volume_by_hand() -> None:
    line = conv_dims((1, 1, 4), (1, 1, 3))
    y = reference.conv(np.array([[[1.0, 2, 4, 8]]]), np.array([[[1.0, 0, -1]]]), line)
    np.testing.assert_array_equal(y, [[[-3, -6]]])  # 1 - 4, 2 - 8
    cube = conv_dims((1, 1, 2, 2, 2), (1, 1, 2, 2, 2))
    x, w = np.arange(8.0).reshape(1, 1, 2, 2, 2), np.arange(1.0, 9).reshape(1, 1, 2, 2, 2)
    assert reference.conv(x, w, cube).item() == 168  # sum of i*(i + 1) for i below 8 = 140 + 28


def test_channels_add_up_and_groups_stay_apart() -> None:
    x = np.array([10.0, 100, 1000, 10000]).reshape(1, 4, 1, 1)
    all_of_them = conv_dims((1, 4, 1, 1), (1, 4, 1, 1))
    assert reference.conv(x, np.array([1.0, 2, 3, 4]).reshape(1, 4, 1, 1), all_of_them).item() == 43210
    halves = conv_dims((1, 4, 1, 1), (4, 2, 1, 1), groups=2)
    w = np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]]).reshape(4, 2, 1, 1)
    assert reference.conv(x, w, halves).ravel().tolist() == [210, 430, 65000, 87000]
    y = np.array([1.0, 10, 100, 1000]).reshape(1, 4, 1, 1)
    # x[0] hears of outputs 0 and 1 only: 1*1 + 3*10; x[1]: 2 + 40; x[2]: 500 + 7000; x[3]: 600 + 8000
    assert reference.conv_input_grad(y, w, halves).ravel().tolist() == [31, 42, 7500, 8600]
    assert reference.conv_weight_grad(x, y, halves).reshape(4, 2).tolist() == [
        [10, 100], [100, 1000], [100000, 1000000], [1000000, 10000000]]


def test_samples_stay_apart_and_the_weight_gradient_adds_them() -> None:
    dims = conv_dims((2, 1, 3, 3), (1, 1, 2, 2))
    x, y = np.concatenate([image(NINE), 10 * image(NINE)]), np.concatenate([image(FOUR), image(FOUR)])
    np.testing.assert_array_equal(reference.conv(x, image(FOUR), dims)[1], 10 * image([[37, 47], [67, 77]])[0])
    np.testing.assert_array_equal(reference.conv_weight_grad(x, y, dims), 11 * image([[37, 47], [67, 77]]))


@pytest.mark.parametrize("name", cases.small)
def test_against_scipy(name: str) -> None:
    """Stride by slicing or by stuffing zeros, dilation by stuffing zeros into the kernel; integers, so equal to the bit."""
    dims = cases.small[name]
    rng = np.random.default_rng(7)
    x, w, y = (rng.integers(-5, 6, shape).astype(np.float64) for shape in (dims.x_shape, dims.w_shape, dims.y_shape))
    want_y, want_x, want_w = np.zeros_like(y), np.zeros_like(x), np.zeros_like(w)
    every = tuple(slice(None, None, s) for s in dims.stride)
    taps = tuple(slice(None, d * (k - 1) + 1, d) for k, d in zip(dims.kernel, dims.dilation))
    Cg, Og = dims.C // dims.groups, dims.O // dims.groups
    for n, o, c in product(range(dims.N), range(dims.O), range(Cg)):
        source = o // Og * Cg + c
        padded = np.pad(x[n, source], dims.padding)
        kernel, stuffed = stuff(w[o, c], dims.dilation), stuff(y[n, o], dims.stride)
        whole = signal.correlate(padded, kernel, "valid", method="direct")[every]
        want_y[n, o] += whole[tuple(slice(size) for size in dims.output)]
        want_x[n, source] += cut(signal.convolve(stuffed, kernel, "full", method="direct"), dims)
        want_w[o, c] += signal.correlate(padded, stuffed, "valid", method="direct")[taps]
    np.testing.assert_array_equal(reference.conv(x, w, dims), want_y)
    np.testing.assert_array_equal(reference.conv_input_grad(y, w, dims), want_x)
    np.testing.assert_array_equal(reference.conv_weight_grad(x, y, dims), want_w)


def stuff(a: np.ndarray, step: tuple[int, ...]) -> np.ndarray:
    """`a` with step - 1 zeros between its cells."""
    out = np.zeros([(size - 1) * s + 1 for size, s in zip(a.shape, step)])
    out[tuple(slice(None, None, s) for s in step)] = a
    return out


def cut(full: np.ndarray, dims: ConvDims) -> np.ndarray:
    """The part of a full convolution that lies on the input: the padding cut off, zeros where no window reached."""
    missing = [(0, max(0, lo + size - have)) for size, (lo, _), have in zip(dims.input, dims.padding, full.shape)]
    return np.pad(full, missing)[tuple(slice(lo, lo + size) for size, (lo, _) in zip(dims.input, dims.padding))]

"""The definition of pooling against answers worked by hand, and against SciPy; geometry that cannot be."""

import numpy as np
import pytest
from pooled import CHOICES, image
from scipy import ndimage

from tinyconv.dims import adaptive_dims, pool_dims
from tinyconv.kernels.pool import reference, windows

GUIDE = image([3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1])


def test_the_guides_average_pooling():
    ninths = image([15, 15, 15], [9, 11, 16], [10, 7, 12])  # the guide prints 1.7 1.7 1.7 / 1.0 1.2 1.8 / 1.1 0.8 1.3
    assert np.array_equal(reference.avg_pool(GUIDE, pool_dims(GUIDE.shape, 3, stride=1)), ninths / 9)


def test_the_guides_max_pooling():
    y, at = reference.max_pool(GUIDE, pool_dims(GUIDE.shape, 3, stride=1))
    assert np.array_equal(y, image([3, 3, 3], [3, 3, 3], [3, 2, 3]))
    assert np.array_equal(at, [[[[0, 1, 8], [10, 8, 8], [10, 12, 14]]]])  # the first of equals in reading order


def test_pooling_and_unpooling_by_hand():
    x = image([1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8])
    dims = pool_dims(x.shape, 2)
    y, at = reference.max_pool(x, dims)
    assert np.array_equal(y, image([5, 6], [7, 8]))
    assert np.array_equal(at, [[[[5, 2], [12, 15]]]])
    back = reference.pool_scatter(image([1, 2], [3, 4]), at, dims)
    assert np.array_equal(back, image([0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]))


def test_windows_by_hand():
    line = pool_dims((1, 1, 6), 3, stride=2, padding=1, dilation=2)  # taps -1 1 3 | 1 3 5
    assert line.windows == (((1, 1), (2, 3)),)
    assert line.extents == ((3, 3),)
    there, back = windows.forward(line), windows.dual(line)
    assert there.source == (1, 1, 6) and there.target == (1, 1, 2) and there.steps == (1, 1, 2)
    assert back.cells[5, :6].tolist() == [0, 2, 0, 2, 0, 1]
    assert back.cells[4, :6].tolist() == [0, 0, 0, 0, 0, 1]
    assert pool_dims((1, 1, 5), 2, stride=2, padding=1, ceil_mode=True).extents == ((2, 2, 2),)
    assert adaptive_dims((1, 1, 3), 5).windows == (((0, 0, 1, 1, 2), (1, 2, 1, 2, 1)),)


def test_ceil_mode_divides_by_what_lies_inside_the_padding():
    x = np.arange(1.0, 6.0).reshape(1, 1, 5)
    dims = pool_dims(x.shape, 3, stride=3, padding=1, ceil_mode=True)  # windows -1..1, 2..4 and no third
    assert np.array_equal(reference.avg_pool(x, dims), [[[1, 4]]])
    assert np.array_equal(reference.avg_pool(x, dims, count_include_pad=False), [[[1.5, 4]]])
    assert np.array_equal(reference.avg_pool(x, dims, divisor_override=2), [[[1.5, 6]]])
    over = pool_dims((1, 1, 6), 3, stride=2, ceil_mode=True)  # 0..2, 2..4, 4..6 of which 6 is not there
    assert np.array_equal(reference.avg_pool(np.ones((1, 1, 6)), over), np.ones((1, 1, 3)))


def test_lp_pooling_by_hand():
    x = image([3, -4, 0, 0], [0, 0, 0, 0])
    dims = pool_dims(x.shape, 2)
    y = reference.lp_pool(x, dims, 2)
    assert np.array_equal(y, image([5, 0]))
    g = reference.lp_pool_grad(x, y, image([10, 10]), dims, 2)
    assert np.allclose(g, image([6, -8, 0, 0], [0, 0, 0, 0]), rtol=1e-15)  # g x / y, and 0 where the window is zero
    assert np.array_equal(reference.lp_pool(x, dims, 1), image([7, 0]))
    assert np.array_equal(reference.lp_pool_grad(x, y, image([10, 10]), dims, 1), image([10, -10, 0, 0], [0, 0, 0, 0]))


def test_even_ties_by_hand():
    x = image([2, 2, 1], [0, 2, 2])
    dims = pool_dims(x.shape, 2, stride=1)  # windows tie three times at 2, and three times at 2
    y = reference.max_pool(x, dims)[0]
    assert np.array_equal(reference.pool_even_scatter(image([3, 6]), x, y, dims), image([1, 3, 0], [0, 3, 2]))
    assert np.array_equal(reference.pool_even_gather(image([3, 6, 9], [9, 0, 3]), x, y, dims), image([3, 3]))
    assert np.array_equal(reference.pool_even_gather(x, x, y, dims), y)


def test_stochastic_pooling_by_hand():
    x = image([1, -5], [3, 0])  # weights 1, 0, 3, 0: the cell changes at a quarter
    dims = pool_dims(x.shape, 2)
    for u, cell in ((0.0, 0), (0.2, 0), (0.26, 2), (0.99, 2)):
        assert reference.stochastic_pool(x, image([u]), dims)[1].item() == cell
    assert reference.stochastic_pool(-np.abs(x), image([0.5]), dims)[1].item() == 0  # nothing to draw from: the first
    n = 4000
    many = np.repeat(x, n, axis=0)
    drawn = reference.stochastic_pool(many, np.random.default_rng(0).random((n, 1, 1, 1)), pool_dims(many.shape, 2))[0]
    assert abs(np.mean(drawn == 3) - 0.75) < 5 * np.sqrt(0.75 * 0.25 / n)  # five standard deviations


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("filtered, op", [("maximum_filter", "max_pool"), ("median_filter", "median_pool"),
                                          ("uniform_filter", "avg_pool")])
def test_reference_against_scipy(filtered, op, size):
    x = np.random.default_rng(size).normal(size=(9, 12))
    want = getattr(ndimage, filtered)(x, size)[size // 2:-(size // 2), size // 2:-(size // 2)]
    got = getattr(reference, op)(x[None, None], pool_dims((1, 1, *x.shape), size, stride=1))
    got = got[0] if op in CHOICES else got
    # uniform_filter keeps a running sum along each axis: a dozen roundings of values of a few units
    np.testing.assert_allclose(got[0, 0], want, rtol=0, atol=1e-14 if op == "avg_pool" else 0)


# -- geometry that cannot be -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments, numbers", [
    ({"kernel_size": 3, "padding": 3}, ["starts at -3", "input (size 5", "kernel 3", "padding 3+3"]),
    ({"kernel_size": 2, "stride": 1, "dilation": 7, "padding": 5}, ["holds no element", "dilation 7"]),
    ({"kernel_size": 6}, ["input 5", "= 6"]),
    ({"kernel_size": 2, "stride": 0}, ["stride", "0"]),
    ({"kernel_size": 0}, ["kernel_size", "0"]),
])
def test_impossible_geometry_says_why(arguments, numbers):
    with pytest.raises(ValueError) as error:
        pool_dims((1, 1, 5, 5), **arguments)
    assert all(n in str(error.value) for n in numbers), error.value


def test_impossible_adaptive_sizes():
    for size, message in ((0, "at least 1"), ((2, 3, 4), "3 numbers for 2")):
        with pytest.raises(ValueError, match=message):
            adaptive_dims((1, 1, 5, 5), size)


def test_deep_padding_is_taken_where_pytorch_refuses():
    dims = pool_dims((1, 1, 4), 3, stride=1, padding=2)
    y, at = reference.max_pool(np.array([[[-4.0, -3, -2, -1]]]), dims)
    assert np.array_equal(y, [[[-4, -3, -2, -1, -1, -1]]])
    assert np.array_equal(at, [[[0, 1, 2, 3, 3, 3]]])

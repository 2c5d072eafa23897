"""Fixed filters: their numbers, what they answer to known images, and SciPy."""

import numpy as np
import pytest
from scipy import ndimage

import tinyconv as tc
from tinyconv import filters
from tinyconv.nn import functional as F

ALL = [filters.mean, filters.gaussian, filters.sobel, filters.laplacian, filters.sharpen]


def photo(channels=1):
    return np.random.default_rng(0).uniform(0, 1, (2, channels, 9, 8))


def inside(y, k):
    return y[..., k:-k, k:-k]


@pytest.mark.parametrize("fn", ALL)
def test_each_channel_is_treated_alike(fn):
    x, w = tc.tensor(photo(3)), fn(channels=3, dtype=np.float64)
    assert w.shape[:2] == (3, 1) and w.dtype == np.float64 and not w.requires_grad
    y = F.conv2d(x, w, padding="same", groups=3).numpy()
    assert y.shape == x.shape
    one = fn(dtype=np.float64)
    assert one.shape == (1, 1, *w.shape[2:]) and fn().dtype == np.float32
    for c in range(3):
        np.testing.assert_allclose(F.conv2d(x[:, c:c + 1], one, padding="same").numpy()[:, 0], y[:, c], rtol=0, atol=1e-13)


@pytest.mark.parametrize("weight, scipys", [
    (filters.mean(3, dtype=float), lambda x: ndimage.uniform_filter(x, 3)),
    (filters.sobel("x", dtype=float), lambda x: ndimage.sobel(x, 1)),
    (filters.sobel("y", dtype=float), lambda x: ndimage.sobel(x, 0)),
    (filters.laplacian(dtype=float), lambda x: ndimage.laplace(x)),
    (filters.gaussian(0.8, dtype=float), lambda x: ndimage.gaussian_filter(x, 0.8, radius=3)),
    (filters.sharpen(2.0, dtype=float), lambda x: x - 2 * ndimage.laplace(x)),
])
def test_scipy_agrees_inside(weight, scipys):
    x = photo()
    k = weight.shape[-1] // 2
    y = F.conv2d(tc.tensor(x), weight, padding="same").numpy()
    np.testing.assert_allclose(inside(y, k), inside(np.array([[scipys(x[0, 0])], [scipys(x[1, 0])]]), k), rtol=0, atol=1e-13)


def test_the_numbers():
    assert filters.sobel("x").tolist()[0][0] == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    assert filters.sobel("y").tolist()[0][0] == [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]
    assert filters.laplacian().tolist()[0][0] == [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    assert filters.laplacian(diagonals=True).tolist()[0][0] == [[1, 1, 1], [1, -8, 1], [1, 1, 1]]
    assert (filters.mean(5, dtype=float).numpy() == 1 / 25).all()
    bell = filters.gaussian(1.0, 3, dtype=float).numpy()[0, 0]
    assert np.isclose(bell[0, 1] / bell[1, 1], np.exp(-0.5)) and np.isclose(bell[0, 0] / bell[1, 1], np.exp(-1.0))


def test_sums():
    """Smoothing and sharpening keep what is flat, differences make it 0."""
    for w in (filters.mean(4), filters.gaussian(2.3), filters.gaussian(1e-3), filters.gaussian(1e-3, 4), filters.sharpen(0.7)):
        assert np.isclose(w.numpy().sum(), 1, rtol=1e-6)
    for w in (filters.sobel("x"), filters.sobel("y"), filters.laplacian(), filters.laplacian(True)):
        assert w.numpy().sum() == 0
    assert filters.gaussian(1.5).shape == (1, 1, 11, 11)


def test_a_slope_and_an_edge():
    ramp = tc.tensor(np.tile(np.arange(6.0), (5, 1))[None, None])
    assert (F.conv2d(ramp, filters.sobel("x", dtype=float)).numpy() == 8).all()
    assert (F.conv2d(ramp, filters.sobel("y", dtype=float)).numpy() == 0).all()
    assert (F.conv2d(ramp, filters.laplacian(dtype=float)).numpy() == 0).all()
    step = tc.tensor(np.tile([0.0, 0, 0, 1, 1, 1], (3, 1))[None, None])
    assert F.conv2d(step, filters.sharpen(dtype=float)).numpy()[0, 0, 0].tolist() == [0, -1, 2, 1]  # overdrawn on both sides
    smooth = F.conv2d(step, filters.mean(3, dtype=float)).numpy()[0, 0, 0]
    assert np.allclose(smooth, [0, 1 / 3, 2 / 3, 1])
    assert F.median_filter(step).numpy()[0, 0, 1].tolist() == [0, 0, 0, 1, 1, 1]  # the median keeps the edge


@pytest.mark.parametrize("error, call, words", [
    (ValueError, lambda: filters.mean(0), "size must be an int of at least 1, got 0"),
    (ValueError, lambda: filters.mean(2.5), "size must be an int of at least 1, got 2.5"),
    (ValueError, lambda: filters.mean(3, channels=0), "channels must be an int of at least 1, got 0"),
    (ValueError, lambda: filters.gaussian(0.0), "a finite sigma above 0, in cells; got 0.0"),
    (ValueError, lambda: filters.gaussian(float("inf")), "got inf"),
    (ValueError, lambda: filters.gaussian(1.0, 0), "size must be an int of at least 1, got 0"),
    (ValueError, lambda: filters.sobel("z"), "got 'z'"),
    (ValueError, lambda: filters.sharpen(float("nan")), "a finite amount, got nan"),
    (TypeError, lambda: filters.mean(3, dtype=int), "a filter holds floats, not int64"),
])
def test_refusals(error, call, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)

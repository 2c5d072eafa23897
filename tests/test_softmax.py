"""softmax and its negative log-likelihood on arrays: each kernel against the formula in float64."""

import numpy as np
import pytest

from tinyconv.registry import choose, kernels


def formula(x, t):
    x = x.astype("f8")
    p = np.exp(x - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return -np.log(np.take_along_axis(p, t[:, None], 1)[:, 0]), p


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("algorithm", ["reference", "direct"])
def test_equals_the_formula(algorithm, dtype):
    rng = np.random.default_rng(0)
    kernel = next(k for k in kernels("softmax_nll") if k.algorithm == algorithm)
    for shape in [(1, 1), (10, 10), (0, 4), (33, 7), (5, 1000)]:
        x, t = (5 * rng.standard_normal(shape)).astype(dtype), rng.integers(0, shape[1], shape[0])
        each, p = kernel.fn(np.asfortranarray(x), (np.arange(shape[0]), t.astype("i4")), shape)
        assert each.dtype == p.dtype == x.dtype
        for got, want in zip((each, p), formula(x, t)):
            # exp and log round once, the sum of up to 1000 classes some dozens of times, and a logit of 20 by 20 halves
            np.testing.assert_allclose(got, want, rtol=64 * np.finfo(dtype).eps, atol=64 * np.finfo(dtype).eps)


@pytest.mark.parametrize("algorithm", ["reference", "direct"])
def test_the_ends_of_the_range(algorithm):
    kernel = next(k for k in kernels("softmax_nll") if k.algorithm == algorithm)
    x = np.array([[1e30, 0, -1e30], [0, np.nan, 0], [np.inf, 0, 0], [0, -np.inf, 0]], "f4")
    with np.errstate(invalid="ignore", divide="ignore"):
        each, p = kernel.fn(x, (np.arange(4), np.array([0, 0, 0, 0])), x.shape)
    assert each[0] == 0 and p[0].tolist() == [1, 0, 0]
    assert np.isnan(each[1:3]).all() and np.isnan(p[1]).all() and np.isnan(p[2, 0])
    assert each[3] == pytest.approx(np.log(2)) and p[3].tolist() == [0.5, 0, 0.5]


def test_the_choice():
    assert choose("softmax_nll", (10, 10), np.dtype("f4")).algorithm == "direct"
    assert choose("softmax_nll", (10, 10, 8, 8), np.dtype("f4")).algorithm == "reference"
    assert choose("softmax_nll", (1 << 10, 1 << 10), np.dtype("f4")).algorithm == "reference"

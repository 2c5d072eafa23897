"""The logistic function and its gradient on arrays: each kernel against the formula in float64, up to the ends of float32."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.kernels import sigmoid as code
from tinyconv.registry import choose, kernels


def formula(x):
    x = x.astype("f8")
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def algorithm(op, name):
    return next(k for k in kernels(op) if k.algorithm == name and k.device == "cpu").fn


@pytest.mark.parametrize("name", ["reference", "series"])
def test_every_kind_of_float32(name):
    """A pattern of bits in 4,099, a prime: numbers of every exponent and both signs, subnormal ones, infinities and NaN."""
    x = np.arange(0, 2**32, 4099, dtype=np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        y, want = algorithm("sigmoid", name)(x, x.shape), formula(x)
    number = ~np.isnan(x)
    assert np.isnan(y[~number]).all() and (~number).sum() > 1000
    off = np.abs(y[number] - want[number]) / np.spacing(want[number].astype("f4"))
    assert off.max() < code.ULP  # all 2^32, tried once, were off by 2.4 at most


@pytest.mark.parametrize("name", ["reference", "series"])
def test_where_it_bends(name):
    """Where the result leaves the normal numbers, and then is 0; the ends of the range; a step of the count of halvings."""
    x = np.concatenate([np.linspace(-105, -86, 100_003), np.linspace(-1, 1, 100_003)]).astype("f4")
    y = algorithm("sigmoid", name)(x, x.shape)
    assert (np.abs(y - formula(x)) / np.spacing(formula(x).astype("f4")) < code.ULP).all()
    ends = np.array([-np.inf, -3e38, -105, -0.0, 0.0, 1e-45, 20, 3e38, np.inf], "f4")
    assert algorithm("sigmoid", name)(ends, ends.shape).tolist() == [0, 0, 0, 0.5, 0.5, 0.5, 1, 1, 1]


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 7), (2, 3, 5, 7), (code.ALONE,), (code.ALONE + code.BLOCK + 5,)])
def test_any_size_and_order_in_memory(shape):
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, *shape)).astype("f4")
    y = formula(x).astype("f4")
    got = algorithm("sigmoid", "series")(np.asfortranarray(x), shape)
    assert got.shape == shape and got.dtype == x.dtype
    np.testing.assert_allclose(got, y, rtol=code.ULP * np.finfo("f4").eps)
    for dtype in ("f4", "f8"):
        a, b = np.asfortranarray(g.astype(dtype)), y.astype(dtype)
        want = [p * (q * (1 - q)) for p, q in zip(a.ravel(), b.ravel())]  # each product rounded once, in this order
        dx = algorithm("sigmoid_grad", "direct")(a, b, shape)
        assert dx.shape == shape and dx.dtype == a.dtype and dx.ravel().tolist() == want


def test_the_choice():
    assert choose("sigmoid", (10,), np.dtype("f4")).algorithm == "series"
    assert choose("sigmoid", (10,), np.dtype("f8")).algorithm == "reference"
    assert choose("sigmoid_grad", (10,), np.dtype("f8")).algorithm == "direct"
    with pytest.raises(ValueError, match="the digits of float32"):
        choose("sigmoid", (10,), np.dtype("f8"), algorithm="series")
    with tc.use("direct"):  # of convolutions, say, which says nothing about this
        assert tc.sigmoid(tc.zeros(2, dtype="float64")).tolist() == [0.5, 0.5]
    assert tc.tensor([0, 1]).sigmoid().dtype == np.float32  # integers come in as that


def test_derivatives_of_every_order():
    x = tc.tensor(np.linspace(-4, 4, 9), requires_grad=True)
    assert tc.autograd.gradgradcheck(tc.sigmoid, x)
    y = 1 / (1 + np.exp(-x.data))
    orders = [y * (1 - y), y * (1 - y) * (1 - 2 * y), y * (1 - y) * (1 - 6 * y + 6 * y * y)]
    g = tc.sigmoid(x)
    for want in orders:
        (g,) = tc.autograd.grad(g.sum(), x, create_graph=True)
        np.testing.assert_allclose(g.data, want, rtol=0, atol=1e-15)

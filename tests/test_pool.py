"""Pooling on the tape: worked answers, ties, borders, norms of any order, derivatives. PyTorch: test_pool_torch.py."""

import itertools

import numpy as np
import pytest
from scipy import ndimage
from threaded import on_threads

import tinyconv as tc
from tinyconv import nn
from tinyconv.autograd import grad, gradcheck, gradgradcheck
from tinyconv.nn import functional as F
from tinyconv.ops import lp_pool as lp
from tinyconv.ops import pool

INF = float("inf")
GUIDE = [[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]]
POWERS = (1, 1.5, 2, 3, 4.5, 12, INF)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """test_kernels_pool compares the thread counts."""
    with on_threads(1):
        yield


def image(rows):
    return tc.tensor(np.array([[rows]], float), requires_grad=True)


def plane(t):
    return t.numpy()[0, 0].tolist()


def distinct(*shape, seed=0):
    """Numbers of which no two are near each other or each other's negative, and none near 0."""
    n = int(np.prod(shape))
    return tc.tensor((np.random.default_rng(seed).permutation(n).reshape(shape) - n // 2 + 0.25) / 4, requires_grad=True)


# -- worked answers --------------------------------------------------------------------------------------------------


def test_the_guides_tables():
    x = image(GUIDE)
    assert np.round(F.avg_pool2d(x, 3, 1).numpy()[0, 0], 1).tolist() == [[1.7, 1.7, 1.7], [1.0, 1.2, 1.8], [1.1, 0.8, 1.3]]
    y, at = F.max_pool2d(x, 3, 1, return_indices=True)
    assert plane(y) == [[3, 3, 3], [3, 3, 3], [3, 2, 3]]
    assert plane(at) == [[0, 1, 8], [10, 8, 8], [10, 12, 14]]  # the first of equals, in reading order


def test_padding_never_wins_a_maximum():
    x = image([[-1, -2], [-3, -4]])
    assert plane(F.max_pool2d(x, 2, 1, 1)) == [[-1, -1, -2], [-1, -1, -2], [-3, -3, -4]]
    assert plane(F.avg_pool2d(x, 2, 2, 1)) == [[-0.25, -0.5], [-0.75, -1]]
    assert plane(F.avg_pool2d(x, 2, 2, 1, count_include_pad=False)) == [[-1, -2], [-3, -4]]
    assert plane(F.avg_pool2d(x, 2, 2, 1, divisor_override=2)) == [[-0.5, -1], [-1.5, -2]]


def test_windows_that_hang_over_the_end():
    x = tc.tensor(np.arange(1.0, 6.0).reshape(1, 1, 5))
    assert F.max_pool1d(x, 2, 2).tolist() == [[[2, 4]]]
    assert F.max_pool1d(x, 2, 2, ceil_mode=True).tolist() == [[[2, 4, 5]]]
    assert F.avg_pool1d(x, 2, 2, ceil_mode=True).tolist() == [[[1.5, 3.5, 5]]]
    assert F.max_pool1d(x, 2, 2, 1, ceil_mode=True).tolist() == [[[1, 3, 5]]]  # a fourth would start in the padding: left out


def test_padding_above_half_of_the_window_is_fine_while_each_window_keeps_a_cell():
    x = tc.tensor(np.array([[[1.0, 2, 3]]]))
    assert F.max_pool1d(x, 3, 1, 2).tolist() == [[[1, 2, 3, 3, 3]]]  # PyTorch refuses this padding
    assert F.max_pool1d(x, 3, 1, [(2, 0)]).tolist() == [[[1, 2, 3]]]  # a causal maximum
    assert np.allclose(F.avg_pool1d(x, 3, 1, "full", count_include_pad=False).numpy(), [[[1, 1.5, 2, 2.5, 3]]], rtol=1e-15)
    with pytest.raises(ValueError, match="starts at -3 and holds no element"):
        F.max_pool1d(x, 3, 1, 3)


def test_dilation_and_return_indices():
    x = tc.tensor(np.array([[[5.0, 9, 3, 8, 4]]]))
    y, at = F.max_pool1d(x, 2, 1, dilation=2, return_indices=True)
    assert y.tolist() == [[[5, 9, 4]]] and at.tolist() == [[[0, 1, 4]]] and at.dtype == np.int64


def test_adaptive_and_global():
    x = tc.tensor(np.array([[[1.0, 2, 3, 4, 6]]]))
    assert F.adaptive_avg_pool1d(x, 3).tolist() == [[[1.5, 3, 5]]]  # windows 0-1, 1-3, 3-4
    assert F.adaptive_max_pool1d(x, 2).tolist() == [[[3, 6]]]
    assert F.global_avg_pool(x).tolist() == [[[3.2]]] and F.global_max_pool(x).tolist() == [[[6]]]
    y, at = F.global_max_pool(image(GUIDE), return_indices=True)
    assert y.tolist() == [[[[3]]]] and at.tolist() == [[[[0]]]]
    assert nn.GlobalMaxPool()(x).tolist() == [[[6]]] and nn.GlobalAvgPool()(x).tolist() == [[[3.2]]]


@pytest.mark.parametrize("ties, share", [
    ("first", [[1, 1, 0], [1, 0, 1], [0, 0, 0]]), ("even", [[0.5, 1.5, 0], [1, 0, 1], [0, 0, 0]])])
def test_ties(ties, share):
    x = image([[7, 7, 5], [4, 2, 5], [1, 3, 3]])  # windows: 7 7 4 2 | 7 5 2 5 | 4 2 1 3 | 2 5 3 3
    (g,) = grad(nn.MaxPool2d(2, 1, ties=ties)(x).sum(), x)
    assert plane(g) == share


def test_even_ties_over_overlapping_windows():
    x = image([[1, 1, 1]])
    (g,) = grad(F.max_pool2d(x, (1, 2), 1, ties="even"), x, tc.tensor([[[[2.0, 6.0]]]], dtype="float64"), create_graph=True)
    assert plane(g) == [[1, 4, 3]]
    y, at = nn.AdaptiveMaxPool1d(1, return_indices=True)(x[:, 0])
    assert at.tolist() == [[[0]]] and y.tolist() == [[[1]]]
    assert plane(pool.adaptive_max_pool(x, 1, ties="even")) == [[1]]
    (g,) = grad(pool.adaptive_max_pool(x, 1, ties="even"), x, tc.tensor([[[[3.0]]]], dtype="float64"))
    assert plane(g) == [[1, 1, 1]]


def test_even_ties_take_no_stale_input():
    x = tc.tensor(np.ones((1, 1, 4)), requires_grad=True)
    z = x.clone()
    y = F.max_pool1d(x, 2, ties="even").sum()
    with tc.no_grad():
        x.fill_(3.0)
    with pytest.raises(RuntimeError, match="written to in place"):
        y.backward()
    assert z.data.sum() == 4


def test_indices_cannot_be_written_to():
    y, at = F.max_pool1d(tc.tensor(np.ones((1, 1, 4)), requires_grad=True), 2, return_indices=True)
    with pytest.raises(ValueError, match="read-only"):
        at.fill_(10**9)
    y.sum().backward()


def test_median_by_hand():
    x = image([[9, 1, 2], [3, 5, 4]])
    y, at = F.median_pool(x, (2, 2), 1, return_indices=True)
    assert plane(y) == [[3, 2]] and plane(at) == [[3, 2]]  # of 1 3 5 9 the lower middle one; of 1 2 4 5
    (g,) = grad(y.sum(), x)
    assert plane(g) == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("size", [3, 5])
def test_median_filter_is_scipys_inside(size):
    x = np.random.default_rng(0).integers(0, 20, (2, 2, 9, 8)).astype(float)
    y, r = F.median_filter(tc.tensor(x), size).numpy(), size // 2
    assert y.shape == x.shape
    want = ndimage.median_filter(x, (1, 1, size, size))
    assert (y[..., r:-r, r:-r] == want[..., r:-r, r:-r]).all()


def test_stochastic_pooling_draws_in_proportion():
    x = tc.tensor(np.tile([[[1.0, 0.0, 3.0, -5.0]]], (1, 4000, 1)), requires_grad=True)
    y = F.stochastic_pool(x, 4, generator=np.random.default_rng(0))
    assert set(y.numpy().ravel()) == {1.0, 3.0}
    assert abs((y.numpy() == 3).mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)
    assert (y.numpy() == F.stochastic_pool(x, 4, generator=np.random.default_rng(0)).numpy()).all()
    (g,) = grad(y.sum(), x)
    assert ((g.numpy() == 1) == (x.numpy() == y.numpy())).all()
    tc.manual_seed(1)
    layer = nn.StochasticPool(2)
    first = layer(x).numpy()
    tc.manual_seed(1)
    assert (layer(x).numpy() == first).all()
    expected = layer.eval()(x).numpy()
    assert (expected[0, :, 0] == 1).all() and (expected[0, :, 1] == 3).all()
    assert (F.stochastic_pool(x, 4, training=False).numpy() == 2.5).all()  # (1 + 9) / 4


def test_stochastic_pooling_of_nothing_positive_is_0():
    x = tc.tensor(np.array([[[-1.0, -2.0, 0.0, 5.0]]]), requires_grad=True)
    for training in (True, False):
        y = F.stochastic_pool(x, 2, training=training)
        assert y.tolist() == [[[0, 5]]]
        (g,) = grad(y.sum(), x)
        assert g.tolist() == [[[0, 0, 0, 1]]]


def test_mixed_pooling():
    x = tc.tensor(np.array([[[1.0, 3.0], [2.0, 6.0]]]), requires_grad=True)
    assert F.mixed_pool(x, 0.5, 2).tolist() == [[[2.5], [5.0]]]
    assert F.mixed_pool(x, tc.tensor([1.0, 0.0], dtype="float64"), 2).tolist() == [[[3], [4]]]
    layer = nn.MixedPool(2, channels=2, dtype="float64")
    layer(x).sum().backward()
    assert layer.a.grad.tolist() == [1, 2] and list(layer.state_dict()) == ["a"]  # max - mean
    with pytest.raises(ValueError, match=r"\(\), \(1,\) or one for each channel, \(2,\); got \(3,\)"):
        F.mixed_pool(x, tc.ones(3), 2)


# -- norms -----------------------------------------------------------------------------------------------------------


def test_lp_by_hand():
    x = image([[3, -4], [0, 12]])
    assert plane(F.lp_pool2d(x, 1, 2)) == [[19]] and plane(F.lp_pool2d(x, 2, 2)) == [[13]]
    assert plane(F.lp_pool2d(x, INF, 2)) == [[12]]
    assert np.allclose(lp.lp_pool(image([[3, -4, 8, 0]]), 2, (1, 3), ceil_mode=True).numpy(), [[89**0.5, 0]], rtol=1e-15)
    assert np.allclose(F.lp_pool2d(x, 3, 2).numpy(), (27 + 64 + 1728) ** (1 / 3), rtol=1e-15)
    (g,) = grad(F.lp_pool2d(x, 2, 2), x)
    assert np.allclose(plane(g), [[3 / 13, -4 / 13], [0, 12 / 13]], rtol=1e-15)


@pytest.mark.parametrize("p", POWERS)
def test_the_gradient_of_a_norm_is_0_at_0(p):
    for values in ([0.0, 0.0, 0.0, 2.0], [0.0] * 4):
        x = tc.tensor(np.array([[values]]), requires_grad=True)
        y = F.lp_pool1d(x, p, 2)
        (g,) = grad(y.sum(), x, create_graph=True)
        assert g.tolist() == [[[0, 0, 0, 1 if values[3] else 0]]]
        if g.requires_grad:
            (second,) = grad(g.sum(), x, allow_unused=True)
            # a norm of one cell is straight; its curvature towards the other cell, 0 here, is 1/2 for p = 2
            want = [[[0, 0, 0.5 if p == 2 and values[3] else 0, 0]]]
            assert second is None or np.allclose(second.numpy(), want, rtol=0, atol=1e-15)  # p - 1 and 1 - p cancel


def test_a_norm_of_any_order_in_any_range():
    """Powers of the cells leave the range of the dtype, the norm does not."""
    for dtype, sizes in ((np.float32, (1e-40, 1e-30, 1.0, 1e30)), (np.float64, (1e-300, 1e-30, 1.0, 1e200))):
        for p, size in itertools.product((1, 2, 3.5, 7, 8, 50, 1000), sizes):
            x = tc.tensor(np.array([[[size, -size, size, 0]]], dtype), requires_grad=True)
            y = F.lp_pool1d(x, p, 4)
            assert y.dtype == dtype and np.allclose(y.numpy() / dtype(size), 3 ** (1 / p), rtol=4e-5 if size == 1e-40 else 1e-6)
            (g,) = grad(y.sum(), x)
            want = 3 ** (1 / p - 1)
            assert np.allclose(g.numpy(), [[[want, -want, want, 0]]], rtol=1e-4 * (1 + 100 * (size == 1e-40))), (p, size)


def test_the_smallest_numbers_have_a_norm_and_a_gradient():
    x = tc.tensor(np.full((1, 1, 4), 1.4e-45, np.float32), requires_grad=True)
    for p in (1, 2, 7, 8, 9):
        y = F.lp_pool1d(x, p, 4)
        g = grad(y, x)[0].numpy()
        assert y.item() > 0 and np.isfinite(g).all() and (g > 0).all()


def test_large_powers_of_windows_of_unlike_size():
    x = tc.tensor(np.array([[[1e3, 1e3, 1e-3, 1e-3]]]))
    assert np.allclose(F.lp_pool1d(x, 200, 2).numpy(), [[[1e3 * 2 ** (1 / 200), 1e-3 * 2 ** (1 / 200)]]], rtol=1e-14)
    assert np.allclose(F.lp_pool1d(x, INF, 2).numpy(), [[[1e3, 1e-3]]])


def test_lp_over_features():
    x = np.random.default_rng(0).standard_normal((2, 7, 3, 4))
    for p, k, s in ((2, 3, 2), (1, 2, None), (3.5, 7, 1), (INF, 2, 3)):
        y = F.lp_pool_features(tc.tensor(x), p, k, s).numpy()
        starts = range(0, 7 - k + 1, s or k)
        want = np.stack([np.linalg.norm(x[:, c:c + k], p, axis=1) for c in starts], 1)
        assert y.shape == want.shape and np.allclose(y, want, rtol=1e-14)
    assert nn.LPPoolFeatures(2, 7)(tc.tensor(x)).shape == (2, 1, 3, 4)


# -- NaN, infinity, empty batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fn", [
    lambda x: F.max_pool1d(x, 2), lambda x: F.max_pool1d(x, 2, ties="even"), lambda x: F.avg_pool1d(x, 2),
    lambda x: F.median_pool(x, 2), lambda x: F.stochastic_pool(x, 2), lambda x: F.stochastic_pool(x, 2, training=False),
    lambda x: F.mixed_pool(x, 0.5, 2), lambda x: F.adaptive_max_pool1d(x, 2), lambda x: F.adaptive_avg_pool1d(x, 2),
    *(lambda x, p=p: F.lp_pool1d(x, p, 2) for p in POWERS),
])
@pytest.mark.parametrize("where", [0, 1])
def test_nan_is_passed_on(fn, where):
    x = np.array([[[1.0, 2.0, 3.0, 3.0]]])
    x[..., where] = np.nan
    y = fn(tc.tensor(x)).numpy()
    assert np.isnan(y[0, 0, 0]) and np.isfinite(y[0, 0, 1])


@pytest.mark.parametrize("fn, bad, want", [
    (lambda x: F.max_pool1d(x, 2), INF, [INF, 1]), (lambda x: F.max_pool1d(x, 2), -INF, [1, 1]),
    (lambda x: F.avg_pool1d(x, 2), INF, [INF, 1]), (lambda x: F.lp_pool1d(x, 2, 2), -INF, [INF, 2**0.5]),
    (lambda x: F.lp_pool1d(x, 30, 2), INF, [INF, 2 ** (1 / 30)]), (lambda x: F.lp_pool1d(x, INF, 2), -INF, [INF, 1]),
    (lambda x: F.median_pool(x, 2), -INF, [-INF, 1]), (lambda x: F.stochastic_pool(x, 2), INF, [INF, 1]),
    (lambda x: F.stochastic_pool(x, 2, training=False), INF, [INF, 1]),
])
def test_infinity(fn, bad, want):
    assert np.allclose(fn(tc.tensor(np.array([[[1.0, bad, 1.0, 1.0]]]))).numpy(), [[want]], rtol=1e-15)


def test_only_infinities():
    x = tc.tensor(np.full((1, 1, 2), -INF))
    y, at = F.max_pool1d(x, 2, return_indices=True)
    assert y.tolist() == [[[-INF]]] and at.tolist() == [[[0]]]


LAYERS = [
    nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, ties="even"), nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(3),
    nn.AdaptiveMaxPool2d(3), nn.LPPool2d(2, 2),
    nn.LPPool2d(1.5, 3, 2, padding=1), nn.LPPool2d(9, 2), nn.LPPool2d(INF, 2), nn.LPPoolFeatures(3, 2, 1),
    nn.MedianPool(3, 2, 1), nn.StochasticPool(2).eval(), nn.MixedPool(2), nn.GlobalMaxPool(), nn.GlobalAvgPool(),
]


@pytest.mark.parametrize("layer", [*LAYERS, nn.StochasticPool(2)], ids=repr)
def test_an_empty_batch(layer):
    x = tc.tensor(np.zeros((0, 3, 6, 6)), requires_grad=True)
    y = layer(x)
    assert y.shape == (0, *layer(tc.tensor(np.ones((1, 3, 6, 6)))).shape[1:])
    y.sum().backward()
    assert x.grad.shape == x.shape


# -- derivatives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_derivatives(layer):
    x = distinct(2, 3, 5, 6)
    gradcheck(layer, x)
    gradgradcheck(layer, x)


@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_derivatives_of_norms(p, rank):
    x = distinct(1, 2, *(7, 4, 3)[:rank])

    def norm(x):
        return lp.lp_pool(x, p, 3, 2, padding=1, ceil_mode=True)

    gradcheck(norm, x)
    gradgradcheck(norm, x)


@pytest.mark.parametrize("p", POWERS)
def test_third_derivatives_of_norms(p):
    def slope(x):
        with tc.enable_grad():  # the difference quotient runs without
            x = x if x.requires_grad else tc.tensor(x, requires_grad=True)
            return grad((lp.lp_pool(x, p, 3, 2, padding=1) ** 2).sum(), x, create_graph=True)[0]

    gradgradcheck(slope, distinct(1, 2, 5, 3))


def test_derivatives_at_ties():
    """Along a direction in which tied cells move together there is a derivative, and "even" has it as "first" does."""
    x, v = np.ones((1, 1, 4, 4)), np.random.default_rng(0).standard_normal((1, 1, 2, 2)).repeat(2, 2).repeat(2, 3)
    for ties in ("first", "even"):
        t = tc.tensor(x, requires_grad=True)
        y = F.max_pool2d(t, 2, ties=ties)
        ahead = F.max_pool2d(tc.tensor(x + 1e-6 * v), 2, ties=ties)
        c = np.random.default_rng(1).standard_normal(y.shape)
        (g,) = grad(y, t, tc.tensor(c))
        assert np.isclose((g.numpy() * v).sum(), ((ahead.numpy() - y.numpy()) / 1e-6 * c).sum(), rtol=1e-8)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, words", [
    (lambda x: F.max_pool2d(x, 2, 0), "stride must be at least 1, got 0"),
    (lambda x: F.max_pool2d(x, 0), "kernel_size must be at least 1, got 0"),
    (lambda x: F.max_pool2d(x, 2, dilation=0), "dilation must be at least 1, got 0"),
    (lambda x: F.avg_pool2d(x, 2, padding=-1), "padding must be at least 0, got -1"),
    (lambda x: F.avg_pool2d(x, 7), "input 5 + padding 0+0 = 5 is smaller than dilation*(kernel-1)+1 = 1*(7-1)+1 = 7"),
    (lambda x: F.avg_pool2d(x, 2, divisor_override=0), "divisor_override must not be 0"),
    (lambda x: F.max_pool2d(x, 2, padding=2), "holds no element of the input"),
    (lambda x: F.max_pool2d(x, 2, ties="last"), 'got \'last\''),
    (lambda x: F.max_pool1d(x, 2), "max_pool1d wants an input of 3 dimensions, (N, C, *spatial), got shape (1, 1, 5, 5)"),
    (lambda x: F.lp_pool2d(x, 0.5, 2), "norm_type=0.5: (sum |x|^p)^(1/p) is a norm only for p >= 1"),
    (lambda x: F.lp_pool2d(x, float("nan"), 2), "norm only for p >= 1"),
    (lambda x: F.lp_pool_features(x, 2, 3), "a window of 3 channels over an input with 1"),
    (lambda x: F.lp_pool_features(x, 2, 1, 0), "stride counts channels, an int of at least 1, got 0"),
    (lambda x: F.adaptive_avg_pool2d(x, 0), "output_size must be at least 1, got (0, 0)"),
    (lambda x: F.adaptive_avg_pool2d(x, (1, 2, 3)), "gives 3 numbers for 2 spatial dimensions"),
    (lambda x: nn.LPPool1d(2, 2)(x), "LPPool1d wants an input (N, C, *spatial) of 3 dimensions, got shape (1, 1, 5, 5)"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError) as caught:
        call(tc.tensor(np.ones((1, 1, 5, 5))))
    assert words in str(caught.value)


def test_only_floats_are_pooled():
    with pytest.raises(TypeError, match="float32 or float64, got int64"):
        F.max_pool1d(tc.tensor(np.ones((1, 1, 4), np.int64)), 2)

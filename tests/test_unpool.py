"""Unpooling: worked answers, what is refused, adjoints, derivatives, and PyTorch over random geometries."""

import numba
import numpy as np
import pytest
from like_torch import same

import tinyconv as tc
from tinyconv import nn
from tinyconv.autograd import grad, gradcheck, gradgradcheck
from tinyconv.nn import functional as F
from tinyconv.ops import unpool as up


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def image(*rows):
    return tc.tensor(np.array([[rows]], float), requires_grad=True)


def line(*values):
    return tc.tensor(np.array([[values]], float), requires_grad=True)


def indices(*values):
    return tc.tensor(np.array([[values]], np.int64))


def plane(t):
    return t.numpy()[0, 0].tolist()


def noise(*shape):
    return tc.tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)


# -- worked answers ----------------------------------------------------------------------------------------------------


def test_pooled_and_put_back():
    x = image([1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8])
    y, at = F.max_pool2d(x, 2, 2, return_indices=True)
    assert plane(y) == [[5, 6], [7, 8]] and plane(at) == [[5, 2], [12, 15]]
    back = F.max_unpool2d(image([1, 2], [3, 4]), at, 2, 2)
    assert plane(back) == [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
    assert (nn.MaxUnpool2d(2)(y, at).numpy() == np.where(np.isin(x.numpy(), [5, 6, 7, 8]), x.numpy(), 0)).all()


def test_output_size_chooses_among_the_sizes_that_pool_alike():
    x = tc.tensor(np.arange(35.0).reshape(1, 1, 5, 7))
    y, at = F.max_pool2d(x, 2, return_indices=True)
    for size in ((5, 7), (1, 1, 5, 7), [5, 7], x.shape):
        assert F.max_unpool2d(y, at, 2, output_size=size).shape == (1, 1, 5, 7)
    kept = F.max_unpool2d(y, at, 2, output_size=(5, 7)).numpy()
    assert (kept[kept != 0] == y.numpy().ravel()).all() and (kept.ravel()[at.numpy().ravel()] == y.numpy().ravel()).all()
    with pytest.raises(ValueError, match=r"= \(4, 6\), or by less than the stride more.*3 to 5, 5 to 7"):
        F.max_unpool2d(y, at, 2, output_size=(6, 7))
    ceil, at = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    assert F.max_unpool2d(ceil, at, 2, output_size=(5, 7)).shape == (1, 1, 5, 7)


def test_indices_of_any_max_pooling_lead_back():
    x = np.random.default_rng(0).permutation(2 * 3 * 7 * 9).reshape(2, 3, 7, 9) + 1.0
    t = tc.tensor(x)
    for y, at, how in (
        (*F.max_pool2d(t, 3, 2, 1, return_indices=True), {"kernel_size": 3, "stride": 2, "padding": 1}),
        (*F.max_pool2d(t, 2, 2, dilation=2, return_indices=True), {"kernel_size": 2, "stride": 2, "dilation": 2}),
        (*F.max_pool2d(t, 2, 2, [(1, 0), (0, 1)], return_indices=True),
         {"kernel_size": 2, "stride": 2, "padding": [(1, 0), (0, 1)]}),
        (*F.adaptive_max_pool2d(t, (3, 4), return_indices=True), {"kernel_size": None}),
        (*F.global_max_pool(t, return_indices=True), {"kernel_size": None}),
    ):
        back = up.max_unpool(y, at, **how, output_size=(7, 9), duplicates="mean").numpy()
        assert (back == np.where(np.isin(x, y.numpy()), x, 0)).all(), how


@pytest.mark.parametrize("duplicates, want, slopes", [("add", [0, 12, 0], [1, 1]), ("mean", [0, 6, 0], [0.5, 0.5])])
def test_a_cell_that_two_windows_name(duplicates, want, slopes):
    y, at = line(5, 7), indices(1, 1)
    x = F.max_unpool1d(y, at, 2, 1, duplicates=duplicates)
    assert plane(x) == want
    (g,) = grad(x.sum(), y)
    assert plane(g) == slopes
    layer = nn.MaxUnpool1d(2, 1, duplicates=duplicates)
    assert plane(layer(y, at)) == want


def test_duplicates_may_be_refused():
    y = tc.tensor(np.ones((2, 2, 2)))
    at = tc.tensor(np.array([[[0, 1], [0, 2]], [[1, 2], [2, 2]]]))
    with pytest.raises(ValueError, match='duplicates="raise": cell 2 of plane 3 is named 2 times'):
        F.max_unpool1d(y, at, 2, 1, duplicates="raise")
    at.data[1, 1, 0] = 0
    assert F.max_unpool1d(y, at, 2, 1, duplicates="raise").numpy().sum() == 8


def test_indices_are_taken_as_they_are_now():
    y, at = line(5, 7), indices(1, 2)
    x = F.max_unpool1d(y, at, 2)
    at.data[:] = 10**9  # far outside of any memory
    (g,) = grad(x, y, tc.tensor([[[1.0, 2, 3, 4]]], dtype="float64"))
    assert plane(g) == [2, 3]


def test_the_other_unpoolings():
    y = image([1, 2])
    assert plane(F.unpool(y, 2)) == [[1, 1, 2, 2], [1, 1, 2, 2]]
    assert plane(F.unpool(y, 2, mode="bed_of_nails")) == [[1, 0, 2, 0], [0, 0, 0, 0]]
    assert plane(F.unpool(y, 2, mode="average")) == [[0.25, 0.25, 0.5, 0.5]] * 2
    assert plane(F.unpool(line(2, 4), 3, 2)) == [2, 2, 3, 4, 4]  # the windows share a cell
    assert plane(F.unpool(line(3, 6), 3, 2, mode="average")) == [1, 1, 3, 2, 2]
    assert plane(F.unpool(line(3, 6), 3, 2, mode="bed_of_nails")) == [3, 0, 6, 0, 0]
    assert plane(F.unpool(line(3, 6), 3, 2, 1)) == [3, 4.5, 6] and plane(F.unpool(line(3, 6), 1, 2)) == [3, 0, 6]
    assert plane(F.unpool(line(3, 6), 2, output_size=5)) == [3, 3, 6, 6, 0]  # a cell that pooling left over
    assert plane(F.unpool(line(3, 6), 2, output_size=3)) == [3, 3, 6]  # a window that hung over the end
    assert plane(F.unpool(line(3, 6), None, output_size=3)) == [3, 4.5, 6]  # adaptive: cells 0-1 and 1-2
    assert plane(nn.Unpool(2, mode="average")(line(2, 4))) == [1, 1, 2, 2]


def test_average_unpooling_is_the_adjoint_of_average_pooling():
    rng = np.random.default_rng(0)
    for size, how in (((7, 6), {"kernel_size": 3, "stride": 2, "padding": 1}), ((5, 5), {"kernel_size": 2}),
                      ((6, 6), {"kernel_size": (2, 3), "stride": (3, 2), "padding": [(1, 0), (1, 1)]})):
        x = tc.tensor(rng.standard_normal((2, 3, *size)))
        y = F.avg_pool2d(x, **how)
        g = tc.tensor(rng.standard_normal(y.shape))
        back = F.unpool(g, **how, mode="average", output_size=size)
        assert np.isclose((y.data * g.data).sum(), (x.data * back.data).sum(), rtol=1e-13)


def test_nan_and_infinity_stay_where_they_are():
    y = line(np.nan, 1, -np.inf)
    for mode in up.MODES:
        x = F.unpool(y, 2, mode=mode).numpy()[0, 0]
        assert np.isnan(x[0]) and np.isfinite(x[2:4]).all() and x[4] == -np.inf
    x = F.max_unpool1d(y, indices(0, 2, 5), 2).numpy()[0, 0]
    assert np.isnan(x[0]) and x[1:].tolist() == [0, 1, 0, 0, -np.inf]


def test_an_empty_batch():
    y = tc.tensor(np.zeros((0, 2, 3)), requires_grad=True)
    for mode in up.MODES:
        assert F.unpool(y, 2, mode=mode).shape == (0, 2, 6)
    for duplicates in up.DUPLICATES:
        x = F.max_unpool1d(y, tc.tensor(np.zeros((0, 2, 3), np.int64)), 2, duplicates=duplicates)
        assert x.shape == (0, 2, 6)
        assert grad(x.sum(), y)[0].shape == y.shape


# -- derivatives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicates", ["add", "mean"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_derivatives_by_indices(rank, duplicates):
    y, at = getattr(F, f"max_pool{rank}d")(noise(2, 2, *(7, 5, 4)[:rank]), 3, 2, 1, return_indices=True)

    def fn(y):
        return up.max_unpool(y, at, 3, 2, 1, (7, 5, 4)[:rank], duplicates=duplicates)

    y = tc.tensor(y, requires_grad=True)
    gradcheck(fn, y)
    gradgradcheck(lambda y: fn(y * y), y)


@pytest.mark.parametrize("mode", up.MODES)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_derivatives(rank, mode):
    y = noise(2, 2, *(3, 2, 3)[:rank])
    for how in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}):
        gradcheck(lambda y, how=how: F.unpool(y, **how, mode=mode), y)
        gradgradcheck(lambda y, how=how: F.unpool(y * y, **how, mode=mode), y)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error, call, words", [
    (ValueError, lambda y, at: F.max_unpool1d(y, at, 2, 0), "stride must be at least 1, got 0"),
    (ValueError, lambda y, at: F.max_unpool1d(y, at[..., :1], 2), "the values have shape (1, 1, 2), the indices (1, 1, 1)"),
    (ValueError, lambda y, at: F.max_unpool1d(y, at, 2, output_size=6), "makes (2,) of (6,): the size must be"),
    (ValueError, lambda y, at: F.max_unpool1d(y, at, 2, output_size=(4, 4)), "gives 2 numbers for 1 spatial"),
    (ValueError, lambda y, at: F.max_unpool1d(y, at, 2, output_size=(1, 3, 4)), "channels (1, 3), the input has (1, 1)"),
    (ValueError, lambda y, at: F.max_unpool1d(y, at, 2, duplicates="last"), "got 'last'"),
    (ValueError, lambda y, at: F.max_unpool1d(y, at, None), "a kernel_size, or for adaptive pooling an output_size"),
    (ValueError, lambda y, at: F.max_unpool1d(y, at, 2, padding="same"), 'padding "same" follows from a size'),
    (ValueError, lambda y, at: F.max_unpool1d(y, at, 1, 1, 1), "padding ((1, 1),) and dilation (1,) makes (2,) of (0,)"),
    (ValueError, lambda y, at: F.max_unpool2d(y, at, 2), "max_unpool2d wants an input of 4 dimensions"),
    (IndexError, lambda y, at: F.max_unpool1d(y, at + 2, 2), "planes of (4,): indices run from 3 to 4, they must be 0 to 3"),
    (IndexError, lambda y, at: F.max_unpool1d(y, at - 2, 2), "indices run from -1 to 0, they must be 0 to 3"),
    (TypeError, lambda y, at: F.max_unpool1d(y, at.double(), 2), "integer Tensor of indices, as max_pool(return_indices=True)"),
    (TypeError, lambda y, at: F.max_unpool1d(y, at.numpy(), 2), "got ndarray"),
    (TypeError, lambda y, at: F.max_unpool1d(y.long(), at, 2), "float32 or float64, got int64"),
    (ValueError, lambda y, at: F.unpool(y, 2, mode="bilinear"), "modes nearest, bed_of_nails, average; got 'bilinear'"),
    (ValueError, lambda y, at: F.unpool(y, 2, 3, 2), "holds no cell of a plane of (1,)"),
    (ValueError, lambda y, at: F.unpool(y[0], 2), "(N, C, *spatial) with 1 to 3 spatial dimensions, got shape (1, 2)"),
    (ValueError, lambda y, at: nn.MaxUnpool3d(2)(y, at), "MaxUnpool3d wants an input (N, C, *spatial) of 5 dimensions"),
])
def test_refusals(error, call, words):
    with pytest.raises(error) as caught:
        call(tc.tensor(np.ones((1, 1, 2))), indices(1, 2))
    assert words in str(caught.value)


# -- PyTorch -----------------------------------------------------------------------------------------------------------


def against_torch(torch, seed):
    """Put back what was pooled; where one cell is named twice PyTorch keeps one of two equal values, which is their mean.

    Half of the time to a size drawn at random: both take it, or both refuse it. Returns whether it was possible.
    """
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    k, s = (tuple(int(n) for n in rng.integers(1, 4, rank)) for _ in range(2))
    p = tuple(int(rng.integers(0, a // 2 + 1)) for a in k)
    size = tuple(int(n) for n in rng.integers(3, 9 if rank < 3 else 6, rank))
    x = tc.tensor(rng.standard_normal((2, 2, *size)))
    y, at = getattr(F, f"max_pool{rank}d")(x, k, s, p, ceil_mode=bool(rng.random() < 0.5), return_indices=True)
    to = size if rng.random() < 0.5 else tuple(int(i + n) for i, n in zip(size, rng.integers(-1, 3, rank)))
    theirs, ours = getattr(torch.nn.functional, f"max_unpool{rank}d"), getattr(F, f"max_unpool{rank}d")
    what = f"{seed}: {size} to {to}, kernel {k}, stride {s}, padding {p}"
    try:
        ours(y, at, k, s, p, to)
    except (ValueError, IndexError):
        with pytest.raises((ValueError, RuntimeError)):
            theirs(torch.tensor(y.numpy()), torch.tensor(at.numpy()), k, s, p, to)
        return False
    named = np.sort(at.numpy().reshape(4, -1), 1)
    unique = (np.diff(named, axis=1) > 0).all()
    if unique:  # PyTorch's gradient of a cell named twice goes to both windows in full
        for rule in up.DUPLICATES:
            same(torch, lambda t, rule=rule: ours(t, at, k, s, p, to, duplicates=rule),
                 lambda t: theirs(t, torch.tensor(at.numpy()), k, s, p, to), y.numpy().copy(), rng, what)
    value = theirs(torch.tensor(y.numpy()), torch.tensor(at.numpy()), k, s, p, to).numpy()
    # the mean of up to 27 equal values: half an eps for each addition
    np.testing.assert_allclose(ours(y, at, k, s, p, to, duplicates="mean").numpy(), value, rtol=27 * 1.2e-16, err_msg=what)
    return True


def test_torch_agrees_over_random_geometries(torch):
    assert 60 < sum(against_torch(torch, seed) for seed in range(150)) < 150


@pytest.mark.sweep
def test_torch_agrees_over_thousands_of_geometries(torch):
    assert sum(against_torch(torch, seed) for seed in range(1000, 4000)) > 1500

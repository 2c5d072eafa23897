"""Unfold and fold: the kernels against their definition, worked answers, adjoints, derivatives, and PyTorch."""

import numpy as np
import pytest
from like_torch import same

import tinyconv as tc
from tinyconv import nn, registry
from tinyconv.autograd import gradcheck, gradgradcheck
from tinyconv.cases import small
from tinyconv.kernels.conv import reference
from tinyconv.nn import functional as F
from tinyconv.ops.fold import unfold_op


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def noise(*shape):
    return tc.tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", ["unfold", "fold"])
def test_every_kernel_is_its_definition(op, dtype):
    rng, tried = np.random.default_rng(0), 0
    for name, dims in small.items():
        columns = (dims.N, dims.C * int(np.prod(dims.kernel)), int(np.prod(dims.output)))
        if np.prod(columns) > 1e5:
            continue
        a = rng.integers(-4, 5, dims.x_shape if op == "unfold" else columns).astype(dtype)
        want = getattr(reference, op)(a, dims)
        for kernel in [k for k in registry.kernels(op)[1:] if k.device == "cpu"]:
            got = kernel.fn(a, dims)
            assert got.dtype == dtype and np.array_equal(got, want), f"{kernel.algorithm}: {name}"
            tried += 1
    assert tried > 10


def test_a_convolution_is_a_product_with_the_columns():
    rng = np.random.default_rng(0)
    x, w = rng.integers(-3, 4, (2, 3, 6, 5)).astype(float), rng.integers(-3, 4, (4, 3, 3, 2)).astype(float)
    how = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    cols = F.unfold(tc.tensor(x), (3, 2), how["dilation"], how["padding"], how["stride"])
    y = tc.conv(tc.tensor(x), tc.tensor(w), **how)
    assert ((w.reshape(4, -1) @ cols.numpy()).reshape(y.shape) == y.numpy()).all()


def test_folding_back_counts_the_windows_over_each_cell():
    x = noise(1, 1, 3, 3)
    once = F.fold(F.unfold(x, 2), (3, 3), 2).numpy() / x.numpy()
    np.testing.assert_allclose(once[0, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]], rtol=1e-15)
    assert F.fold(F.unfold(x, 3, padding=1), 3, 3, padding=1).shape == x.shape  # one int: an image, as in PyTorch
    line = noise(2, 3, 8)
    assert (F.fold(F.unfold(line, 2, stride=2), (8,), 2, stride=2).numpy() == line.numpy()).all()  # no overlap: the inverse
    layers = nn.Unfold(2, stride=2), nn.Fold((8,), 2, stride=2)
    assert (layers[1](layers[0](line)).numpy() == line.numpy()).all()


@pytest.mark.parametrize("padding, columns", [("same", 6), ("valid", 4), ("full", 8), ([(2, 0)], 6)])
def test_padding_in_the_guides_words(padding, columns):
    assert F.unfold(noise(1, 2, 6), 3, padding=padding).shape == (1, 6, columns)
    assert F.fold(tc.ones(1, 6, columns), (6,), 3, padding=padding).shape == (1, 2, 6)


def test_nan_infinity_and_an_empty_batch():
    x = tc.tensor(np.array([[[1.0, np.nan, np.inf, 2.0]]]))
    assert np.array_equal(F.unfold(x, 2).numpy(), [[[1, np.nan, np.inf], [np.nan, np.inf, 2]]], equal_nan=True)
    back = F.fold(F.unfold(x, 2), (4,), 2).numpy()
    assert np.array_equal(back, [[[1, np.nan, np.inf, 2]]], equal_nan=True)
    cols = F.unfold(noise(0, 2, 5, 5), 3)
    assert cols.shape == (0, 18, 9) and F.fold(cols, (5, 5), 3).shape == (0, 2, 5, 5)
    assert F.unfold(noise(0, 2, 5, 5), 1).shape == (0, 2, 25)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_derivatives(rank):
    size = (6, 5, 4)[:rank]
    for how in ({"kernel_size": 2}, {"kernel_size": 3, "dilation": (2, 1, 1)[:rank], "padding": 2, "stride": (1, 2, 2)[:rank]}):
        def cols(x, how=how):
            return F.unfold(x, **how)

        def back(c, how=how):
            return F.fold(c, size, **how)

        x = noise(2, 2, *size)
        c = tc.tensor(np.random.default_rng(1).standard_normal(cols(x).shape), requires_grad=True)
        assert np.isclose((cols(x).data * c.data).sum(), (x.data * back(c).data).sum(), rtol=1e-12)
        for fn, at in ((cols, x), (back, c)):
            gradcheck(fn, at)
            gradgradcheck(lambda t, fn=fn: fn(t * t), at)


@pytest.mark.parametrize("error, call, words", [
    (ValueError, lambda x: F.unfold(x, 3, stride=0), "stride must be at least 1, got 0"),
    (ValueError, lambda x: F.unfold(x, 9), "input 4 + padding 0+0 = 4 is smaller than dilation*(kernel-1)+1 = 1*(9-1)+1 = 9"),
    (ValueError, lambda x: F.unfold(x[0, 0], 2), "(N, C, *spatial) with 1 to 3 spatial dimensions, got shape (4, 4)"),
    (ValueError, lambda x: F.unfold(x, (2, 2, 2)), "gives 3 numbers for 2 spatial"),
    (ValueError, lambda x: F.fold(x, 4, 2), "columns (N, C * 4, positions), got shape (1, 2, 4, 4)"),
    (ValueError, lambda x: F.fold(x[0], 4, (3, 1)), "4 rows, of columns of shape (2, 4, 4), do not divide into patches"),
    (ValueError, lambda x: F.fold(x[0], 4, 2), "windows (2, 2) over (4, 4) have positions (3, 3), 9 columns; got 4"),
    (ValueError, lambda x: F.fold(x[0], (), 2), "fold"),
    (TypeError, lambda x: F.unfold(x.long(), 2), "unfold wants float32 or float64, got int64"),
])
def test_refusals(error, call, words):
    with pytest.raises(error) as caught:
        call(tc.tensor(np.ones((1, 2, 4, 4))))
    assert words in str(caught.value)


def test_the_operation_takes_a_pinned_kernel():
    x = noise(1, 2, 4, 4)
    with tc.use("reference"):
        a = F.unfold(x, 2)
    assert (a.numpy() == F.unfold(x, 2).numpy()).all() and unfold_op.name == "unfold"


def against_torch(torch, seed):
    rng = np.random.default_rng(seed)
    k, s, d = (tuple(int(n) for n in rng.integers(1, 4, 2)) for _ in range(3))
    p = tuple(int(n) for n in rng.integers(0, 4, 2))
    size = tuple(int(n) for n in rng.integers(1, 9, 2))
    if any(i + 2 * b - c * (a - 1) - 1 < 0 for i, a, b, c in zip(size, k, p, d)):
        return False
    how = {"kernel_size": k, "dilation": d, "padding": p, "stride": s}
    x = rng.standard_normal((int(rng.integers(1, 4)), int(rng.integers(1, 4)), *size))
    what = f"{seed}: {x.shape} {how}"
    same(torch, lambda t: F.unfold(t, **how), lambda t: torch.nn.functional.unfold(t, **how), x, rng, what)
    cols = rng.standard_normal(F.unfold(tc.tensor(x), **how).shape)
    same(torch, lambda t: F.fold(t, size, **how), lambda t: torch.nn.functional.fold(t, size, **how), cols, rng, what)
    return True


def test_torch_agrees_over_random_geometries(torch):
    assert sum(against_torch(torch, seed) for seed in range(150)) > 100


@pytest.mark.sweep
def test_torch_agrees_over_thousands_of_geometries(torch):
    assert sum(against_torch(torch, seed) for seed in range(1000, 4000)) > 2000

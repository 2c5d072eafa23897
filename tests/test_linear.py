"""Linear layers: every kernel against the definition, the relu fused into them, and bits that no number of threads moves."""

import numba
import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn
from tinyconv.autograd import gradcheck, gradgradcheck
from tinyconv.kernels import linear as kernels_linear
from tinyconv.registry import choose, kernels

OPS = {"linear": ("ni,oi->no", "xw"), "linear_input_grad": ("no,oi->ni", "yw"), "linear_weight_grad": ("ni,no->oi", "xy")}
SIZES = [(n, 70, 470) for n in range(1, 17)] + [(10, 1, 1 << 15), (10, 1 << 15, 1), (7, 193, 331), (3, 64, 512)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def slots(dims, fill):
    N, I, O = dims
    return {"x": fill((N, I)), "w": fill((O, I)), "y": fill((N, O))}


def thin(op):
    return next(k for k in kernels(op) if k.algorithm == "thin")


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("op", OPS)
def test_every_kernel_equals_the_definition(op, dtype, rng, monkeypatch):
    monkeypatch.setattr(kernels_linear, "LEAST", 1 << 15)  # it is chosen for larger ones, which take longer to judge
    formula, names = OPS[op]
    for dims in SIZES:
        arrays = slots(dims, lambda shape: rng.integers(-3, 4, shape).astype(dtype))
        a, b = (arrays[name] for name in names)
        want = np.einsum(formula, a, b)
        for kernel in kernels(op):
            if kernel.device == "cpu":
                assert not kernel.refuse(dims, np.dtype(dtype))
                got = kernel.fn(a, b, dims)
                assert got.dtype == a.dtype and np.array_equal(got, want), (kernel.algorithm, dims)
                assert np.array_equal(kernel.fn(np.asfortranarray(a), np.asfortranarray(b), dims), want)


def test_bias_and_relu_in_the_store(rng):
    dims = 10, 300, 130
    x, w = (rng.integers(-3, 4, s).astype("f4") for s in ((10, 300), (130, 300)))
    b = rng.integers(-50, 50, 130).astype("f4")
    assert np.array_equal(thin("linear").fn(x, w, dims, bias=b), x @ w.T + b)
    assert np.array_equal(thin("linear").fn(x, w, dims, bias=b, relu=True), np.maximum(x @ w.T + b, 0))


@pytest.mark.parametrize("op", OPS)
def test_not_a_number_and_infinity_reach_what_they_touch_and_nothing_else(op, rng):
    formula, names = OPS[op]
    dims = 7, 210, 170
    arrays = slots(dims, lambda shape: rng.standard_normal(shape).astype("f4"))
    for name in names:
        for bad in (np.nan, np.inf):
            spoilt = {**arrays, name: arrays[name].copy()}
            spoilt[name][-1, 3] = bad
            a, b = (spoilt[n] for n in names)
            with np.errstate(invalid="ignore"):
                want = np.einsum(formula, a.astype("f8"), b.astype("f8"))
            got = thin(op).fn(a, b, dims)
            assert np.array_equal(np.isnan(got), np.isnan(want)) and np.array_equal(np.isinf(got), np.isinf(want))
    if op == "linear":
        with np.errstate(invalid="ignore"):
            assert np.isnan(thin(op).fn(np.full((7, 210), np.nan, "f4"), arrays["w"], dims, relu=True)).all()


def test_bits_do_not_depend_on_the_threads(rng):
    dims = 10, 333, 517
    arrays = slots(dims, lambda shape: rng.standard_normal(shape).astype("f4"))
    threads = numba.get_num_threads()
    try:
        for op, (_, names) in OPS.items():
            found = []
            for n in range(1, threads + 1):
                numba.set_num_threads(n)
                found.append(thin(op).fn(*(arrays[name] for name in names), dims))
            assert all(np.array_equal(found[0], f) for f in found)
    finally:
        numba.set_num_threads(threads)


def test_the_choice():
    def chosen(*dims, dtype="f4"):
        return choose("linear", dims, np.dtype(dtype)).algorithm

    assert chosen(10, 1000, 1000) == "thin"
    assert chosen(0, 1000, 1000) == chosen(17, 1000, 1000) == chosen(10, 100, 10) == "reference"
    assert chosen(10, 1000, 1000, dtype="i8") == "reference"


@pytest.mark.parametrize("algorithm", ["reference", "thin"])
def test_relu_after_a_layer_is_done_in_it(algorithm, rng, monkeypatch):
    monkeypatch.setattr(kernels_linear, "LEAST", 0)
    layer = nn.Linear(9, 6, dtype="float64")
    x = tc.tensor(rng.standard_normal((5, 9)), requires_grad=True)
    c = tc.tensor(rng.standard_normal((5, 6)))

    def gradients(fn):
        layer.zero_grad()
        x.grad = None
        y = fn(x)
        (y * c).sum().backward()
        return [y.numpy(), x.grad.numpy(), layer.weight.grad.numpy(), layer.bias.grad.numpy()]

    with tc.use(algorithm):
        together = nn.Sequential(layer, nn.ReLU())
        assert "linear_relu" in repr(together(x))
        for a, b in zip(gradients(together), gradients(lambda x: tc.relu(layer(x))), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)  # some dozens of roundings of 1e-16
        operands = [x, layer.weight, layer.bias]
        fused = lambda x, w, b: nn.functional.linear(x, w, b, relu=True)  # noqa: E731
        assert gradcheck(fused, operands) and gradgradcheck(fused, operands)


def test_relu_without_a_bias_and_with_more_dimensions(rng):
    x, w, b = (tc.tensor(rng.standard_normal(s)) for s in ((2, 3, 4), (5, 4), (5,)))
    assert np.array_equal(nn.functional.linear(x, w, relu=True).numpy(), np.maximum(x.data @ w.data.T, 0))
    np.testing.assert_allclose(nn.functional.linear(x, w, b, relu=True).numpy(), np.maximum(x.data @ w.data.T + b.data, 0),
                               rtol=1e-12)  # BLAS may sum in another order

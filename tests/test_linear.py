"""Linear layers: every kernel against the definition, the relu fused into them, and bits that no number of threads moves."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import config

import tinyconv as tc
from tinyconv import nn
from tinyconv.autograd import gradcheck, gradgradcheck
from tinyconv.kernels import linear as kernels_linear
from tinyconv.registry import choose, kernels

OPS = {"linear": ("ni,oi->no", "xw"), "linear_input_grad": ("no,oi->ni", "yw"), "linear_weight_grad": ("ni,no->oi", "xy")}
# every number of images; ragged rows and columns; more rows, and longer ones, than a tile walks at a time; whole vectors
SIZES = [(n, 70, 471) for n in range(1, 17)] + [(10, 1, 1 << 15), (10, 1 << 15, 1), (7, 193, 331), (3, 64, 512), (11, 1303, 37)]
compiled = pytest.mark.skipif(config.DISABLE_JIT, reason="its tiles exist only as machine code")


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
def test_every_kernel_equals_the_definition(op, dtype, rng):
    formula, names = OPS[op]
    for dims in SIZES:
        arrays = slots(dims, lambda shape: rng.integers(-3, 4, shape).astype(dtype))
        a, b = (arrays[name] for name in names)
        want = np.einsum(formula, a, b)
        for kernel in kernels(op):
            if kernel.device == "cpu" and not (config.DISABLE_JIT and kernel.algorithm == "thin"):
                assert not kernel.refuse(dims, np.dtype(dtype))
                got = kernel.fn(a, b, dims)
                assert got.dtype == a.dtype and np.array_equal(got, want), (kernel.algorithm, dims)
                assert np.array_equal(kernel.fn(np.asfortranarray(a), np.asfortranarray(b), dims), want)


@compiled
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("op", OPS)
def test_rounding_stays_within_its_bound(op, dtype, rng):
    """16 eps of the sum of magnitudes: at most some 90 roundings follow each other here, and a lost lane is far above it."""
    formula, names = OPS[op]
    for dims in [(n, 1303, 67) for n in (1, 5, 7, 10, 11, 16)] + [(10, 67, 83)]:
        a, b = (slots(dims, lambda shape: rng.standard_normal(shape).astype(dtype))[name] for name in names)
        want, size = (np.einsum(formula, f(a.astype("f8")), f(b.astype("f8"))) for f in (np.asarray, np.abs))
        assert (np.abs(thin(op).fn(a, b, dims) - want) <= 16 * np.finfo(dtype).eps * size).all()


@compiled
@pytest.mark.parametrize("op", OPS)
def test_operands_of_any_layout(op, rng):
    formula, names = OPS[op]
    dims = 6, 150, 90
    a, b = (slots(dims, lambda shape: rng.integers(-3, 4, shape).astype("f4"))[name] for name in names)
    want = np.einsum(formula, a, b)
    frozen, packed = b.copy(), np.zeros(b.size * 4 + 1, "u1")
    frozen.flags.writeable = False
    unaligned = packed[1:].view("f4").reshape(b.shape)
    unaligned[...] = b
    for other in (np.repeat(b, 2, axis=1)[:, ::2], b[::-1].copy()[::-1], frozen, unaligned):
        assert np.array_equal(thin(op).fn(np.repeat(a, 3, axis=0)[::3], other, dims), want)


@compiled
@pytest.mark.parametrize("dims", [(10, 300, 131), (10, 3000, 131), (13, 300, 131)])
def test_bias_and_relu_in_the_store(dims, rng):
    N, I, O = dims
    x, w = (rng.integers(-3, 4, s).astype("f4") for s in ((N, I), (O, I)))
    b = rng.integers(-50, 50, O).astype("f4")
    assert np.array_equal(thin("linear").fn(x, w, dims, bias=b), x @ w.T + b)
    assert np.array_equal(thin("linear").fn(x, w, dims, bias=b, relu=True), np.maximum(x @ w.T + b, 0))
    assert np.array_equal(thin("linear").fn(x, w, dims, bias=np.repeat(b, 2)[::2], relu=True), np.maximum(x @ w.T + b, 0))


@compiled
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


@compiled
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


@compiled
@pytest.mark.parametrize("dims", [(10, 1333, 51), (13, 70, 199), (1, 40, 5), (5, 77, 301)])
def test_bits_do_not_depend_on_the_shares(dims, rng, monkeypatch):
    """What threads beyond those of this machine would do; of seven, some have nothing."""
    arrays = slots(dims, lambda shape: rng.standard_normal(shape).astype("f4"))
    for op, (_, names) in OPS.items():
        found = []
        for n in (1, 2, 3, 7):
            monkeypatch.setattr(kernels_linear, "_workers", lambda dims, n=n: n)
            found.append(thin(op).fn(*(arrays[name] for name in names), dims))
        assert all(np.array_equal(found[0], f) for f in found)


GUARDED = """
import sys
import numpy as np
from guarded import Guarded, guarded, kept
from tinyconv.kernels import linear

at_end = bool(int(sys.argv[1]))
linear.np = Guarded()
linear.scratch = lambda name, size, dtype: guarded(size, dtype, at_end)
for workers in (1, 3):
    linear._workers = lambda dims: workers
    for dims in [(1, 5, 3), (3, 33, 9), (7, 70, 67), (10, 700, 5), (10, 64, 64), (11, 1, 130), (16, 47, 2), (4, 21, 257)]:
        N, I, O = dims
        x, w, y, b = (guarded(shape, np.float32, at_end) for shape in ((N, I), (O, I), (N, O), (O,)))
        linear.thin(x, w, dims, bias=b)
        linear.thin_input_grad(y, w, dims)
        linear.thin_weight_grad(x, y, dims)
        kept.clear()
"""


@compiled
@pytest.mark.skipif(sys.platform != "linux", reason="pages are guarded by mprotect")
@pytest.mark.parametrize("at_end", [0, 1])
def test_nothing_beside_an_array_is_touched(at_end):
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    done = subprocess.run([sys.executable, "-c", GUARDED, str(at_end)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@compiled
def test_what_is_borrowed_is_what_is_stated(rng, monkeypatch):
    asked = []
    borrow = kernels_linear.scratch
    monkeypatch.setattr(kernels_linear, "scratch",
                        lambda name, size, dtype: asked.append(size * dtype.itemsize) or borrow(name, size, dtype))
    for dims in ((1, 40, 300), (10, 1000, 100), (16, 3000, 20)):
        arrays = slots(dims, lambda shape: rng.standard_normal(shape).astype("f4"))
        for op, (_, names) in OPS.items():
            asked.clear()
            thin(op).fn(*(arrays[name] for name in names), dims)
            assert sum(asked) == thin(op).scratch(dims, np.dtype("f4"))


def test_the_choice():
    def chosen(*dims, dtype="f4"):
        return choose("linear", dims, np.dtype(dtype)).algorithm

    fast = "reference" if config.DISABLE_JIT else "thin"
    assert chosen(10, 1000, 1000) == chosen(10, 640, 100) == chosen(1, 1000, 1000, dtype="f8") == fast
    assert chosen(0, 1000, 1000) == chosen(17, 1000, 1000) == chosen(10, 100, 10) == "reference"
    assert ("NUMBA_DISABLE_JIT" in thin("linear").refuse((10, 1000, 1000), np.dtype("f4"))) == bool(config.DISABLE_JIT)
    assert chosen(10, 1000, 1000, dtype="i8") == "reference"


@pytest.mark.parametrize("algorithm", ["reference", pytest.param("thin", marks=compiled)])
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

"""Pooling kernels: the reference holds every other kernel; adjoints, and gradients against differences.

The reference is held by test_pool_reference.py; windows of 2x2 have test_kernels_pool_pairs.py.
"""

import itertools
from math import prod

import numba
import numpy as np
import pytest
from pooled import CASES, CHOICES, OPS, calls, image, integers, kernels
from threaded import on_threads

from tinyconv import registry
from tinyconv.dims import pool_dims
from tinyconv.kernels.pool import reference


@pytest.fixture(autouse=True)
def one_thread():
    """One test below compares the thread counts."""
    with on_threads(1):
        yield


# -- every kernel against the definition -----------------------------------------------------------------------------

def test_every_operation_is_checked():
    assert set(OPS) == {k.op for op in registry.ops() for k in registry.kernels(op) if "pool" in k.fn.__module__}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", OPS)
def test_kernels_agree_with_the_reference(op, dtype):
    tried = 0
    for name, dims in CASES.items():
        for k in kernels(op):
            if k.algorithm == "reference" or k.refuse(dims, np.dtype(dtype)):
                continue
            for arrays, keywords in calls(op, dims, dtype, np.random.default_rng(len(name))):
                got, want = k.fn(*arrays, dims, **keywords), getattr(reference, op)(*arrays, dims, **keywords)
                check(k, got, want, f"{op} by {k.algorithm}, case {name}, {keywords}")
                tried += 1
    assert tried >= len(CASES)


def check(k, got, want, where):
    if k.op in CHOICES:
        check(registry.Kernel("", "", k.fn), got[0], want[0], where)
        assert got[1].dtype == np.int64 and np.array_equal(got[1], want[1]), where
        return
    assert got.dtype == want.dtype and got.shape == want.shape, where
    if k.exact:
        assert np.array_equal(got, want, equal_nan=True), where
    else:
        scale = np.abs(want).max(initial=1)
        assert np.abs(got - want).max(initial=0) <= k.bound * np.finfo(want.dtype).eps * scale, where


def test_the_adjoint_is_exact_where_every_quotient_is():
    """avg_pool_adjoint on multiples of every divisor: no rounding is left to hide behind."""
    rng = np.random.default_rng(5)
    for name, dims in CASES.items():
        for include in (True, False):
            sizes = [prod(w) for w in itertools.product(*(dims.extents if include else [c for _, c in dims.windows]))]
            y = integers(rng, dims.y_shape) * np.lcm.reduce(sizes)
            for k in kernels("avg_pool_adjoint"):
                if not k.refuse(dims, y.dtype):
                    want = reference.avg_pool_adjoint(y, dims, include)
                    assert np.array_equal(k.fn(y, dims, include), want), (k.algorithm, name, include)


@pytest.mark.parametrize("op", CHOICES)
def test_nan_and_infinity(op):
    """NaN wins over everything, the first over later ones, and a window of nothing but -inf points at its first cell."""
    rng = np.random.default_rng(1)
    specials = np.array([np.nan, np.inf, -np.inf, -1.0, 0.0, 2.0])
    for dims in CASES.values():
        x = specials[rng.choice(6, dims.x_shape, p=[0.1, 0.05, 0.4, 0.15, 0.15, 0.15])]
        if op == "stochastic_pool":
            x = np.where(np.isinf(x), -1, x)  # a share of an infinite sum means nothing
        for values in (x, np.full_like(x, -np.inf)):
            arrays = (values, rng.random(dims.y_shape)) if op == "stochastic_pool" else (values,)
            want = getattr(reference, op)(*arrays, dims)
            for k in kernels(op):
                if not k.refuse(dims, x.dtype):
                    check(k, k.fn(*arrays, dims), want, f"{op} by {k.algorithm}, {dims}")


def test_the_first_nan_wins_and_padding_never_does():
    x = image([1, np.nan, 2], [np.nan, -4, -5], [-6, -7, -8])
    dims = pool_dims(x.shape, 2, stride=1, padding=1)
    want = [[0, 1, 1, 2], [3, 1, 1, 2], [3, 3, 4, 5], [6, 6, 7, 8]]
    for k in kernels("max_pool"):
        y, at = k.fn(x, dims)
        assert np.array_equal(at[0, 0], want), k.algorithm
        assert np.array_equal(y[0, 0], x.ravel()[want], equal_nan=True), k.algorithm


def test_even_ties_among_nan():
    x = image([np.nan, 1], [np.nan, np.nan])
    dims = pool_dims(x.shape, 2)
    y = image([np.nan])
    for k in kernels("pool_even_scatter"):
        assert np.array_equal(k.fn(image([6.0]), x, y, dims), image([2, 0], [2, 2])), k.algorithm


def strided(a):
    """The same values behind other strides."""
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def unwritable(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    raw[...] = a
    return raw


@pytest.mark.parametrize("op", OPS)
def test_any_memory_layout(op):
    dims = CASES["overlap"]
    arrays, keywords = next(calls(op, dims, np.float64, np.random.default_rng(2)))
    for k in kernels(op):
        want = k.fn(*arrays, dims, **keywords)
        for layout in (strided, unwritable, unaligned, np.asfortranarray):
            check(k, k.fn(*map(layout, arrays), dims, **keywords), want, f"{op} by {k.algorithm}, {layout.__name__}")


def test_operands_are_left_alone():
    for op in OPS:
        for dims in (CASES["overlap"], CASES["adaptive"]):
            arrays, keywords = next(calls(op, dims, np.float64, np.random.default_rng(3)))
            before = [a.copy() for a in arrays]
            for k in kernels(op):
                if not k.refuse(dims, np.dtype(np.float64)):
                    k.fn(*arrays, dims, **keywords)
                    assert all(map(np.array_equal, arrays, before)), (op, k.algorithm)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only: there is no other count to compare with")
def test_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(4)
    for op in OPS:
        dims = CASES["wide_overlap"]
        (arrays, keywords), *_ = calls(op, dims, np.float32, rng)
        arrays = [rng.normal(size=a.shape).astype(a.dtype) if a.dtype == np.float32 and op not in (
            "pool_even_gather", "pool_even_scatter", "stochastic_pool") else a for a in arrays]
        results = []
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append([np.asarray(k.fn(*arrays, dims, **keywords)) for k in kernels(op)])
        for k, one, two in zip(kernels(op), *results):
            assert one.tobytes() == two.tobytes(), (op, k.algorithm)


# -- adjoints and gradients ------------------------------------------------------------------------------------------

def test_gather_and_scatter_are_adjoint():
    rng = np.random.default_rng(6)
    for dims in CASES.values():
        x, y = integers(rng, dims.x_shape), integers(rng, dims.y_shape)
        _, at = reference.max_pool(x, dims)
        for a, b in itertools.product(kernels("pool_gather"), kernels("pool_scatter")):
            if not (a.refuse(dims, x.dtype) or b.refuse(dims, x.dtype)):
                assert np.sum(a.fn(x, at, dims) * y) == np.sum(x * b.fn(y, at, dims)), (a.algorithm, b.algorithm)


def test_average_and_its_adjoint():
    rng = np.random.default_rng(7)
    for dims in CASES.values():
        for keywords in ({}, {"count_include_pad": False}, {"divisor_override": 1}):
            x, y = integers(rng, dims.x_shape), integers(rng, dims.y_shape)
            for a, b in itertools.product(kernels("avg_pool"), kernels("avg_pool_adjoint")):
                if not (a.refuse(dims, x.dtype) or b.refuse(dims, x.dtype)):
                    left, right = np.sum(a.fn(x, dims, **keywords) * y), np.sum(x * b.fn(y, dims, **keywords))
                    assert abs(left - right) <= 1e-15 * x.size * 9, (a.algorithm, b.algorithm, dims)  # |x y| <= 9


def test_even_gather_and_scatter_are_adjoint():
    rng = np.random.default_rng(8)
    for dims in CASES.values():
        x, v, y = integers(rng, dims.x_shape), integers(rng, dims.x_shape), integers(rng, dims.y_shape)
        top, _ = reference.max_pool(x, dims)
        for a, b in itertools.product(kernels("pool_even_gather"), kernels("pool_even_scatter")):
            if not (a.refuse(dims, x.dtype) or b.refuse(dims, x.dtype)):
                left, right = np.sum(a.fn(v, x, top, dims) * y), np.sum(v * b.fn(y, x, top, dims))
                assert abs(left - right) <= 1e-15 * x.size * 9, (a.algorithm, b.algorithm, dims)
                assert np.array_equal(a.fn(x, x, top, dims), top)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 7.5])
def test_lp_gradient_against_differences(p):
    rng, h = np.random.default_rng(9), 1e-6
    for dims in (CASES["overlap"], CASES["adaptive"], CASES["dilated"], CASES["volume"], CASES["line"]):
        x, g, v = (rng.normal(size=s) for s in (dims.x_shape, dims.y_shape, dims.x_shape))
        x += np.sign(x) * 0.1  # a step away from the kink of |x| at 0
        for k, kg in itertools.product(kernels("lp_pool"), kernels("lp_pool_grad")):
            if not (k.refuse(dims, x.dtype) or kg.refuse(dims, x.dtype)):
                slope = np.sum(g * (k.fn(x + h * v, dims, p) - k.fn(x - h * v, dims, p))) / (2 * h)
                exact = np.sum(v * kg.fn(x, k.fn(x, dims, p), g, dims, p))
                # the difference errs by h^2 times a third derivative of some units a cell, and by eps/h
                assert abs(slope - exact) <= 1e-7 * x.size, (k.algorithm, kg.algorithm, dims, p)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_lp_gradient_at_zero_is_zero(p, dtype):
    x = np.zeros((1, 1, 4, 4), dtype)
    x[0, 0, 0, 0] = -2  # its window has zeros beside it, the other windows nothing else
    dims = pool_dims(x.shape, 2)
    for k in kernels("lp_pool_grad"):
        g = k.fn(x, reference.lp_pool(x, dims, p), np.ones(dims.y_shape, dtype), dims, p)
        assert g[0, 0, 0, 0] == -1 and np.count_nonzero(g) == 1, (k.algorithm, g)


def test_lp_in_float32_neither_overflows_nor_vanishes():
    dims = pool_dims((1, 1, 2, 2), 2)
    for p, size in itertools.product((2, 3, 8), (1e-30, 1e30)):
        x = np.full(dims.x_shape, size, np.float32)
        for k, kg in itertools.product(kernels("lp_pool"), kernels("lp_pool_grad")):
            y = k.fn(x, dims, p)
            np.testing.assert_allclose(y, size * 4 ** (1 / p), rtol=2e-6)  # a few eps, p times over in the root
            np.testing.assert_allclose(kg.fn(x, y, np.ones_like(y), dims, p), 4 ** (1 / p - 1), rtol=5e-6)

"""What test_cuda_pool.py runs in a process of its own, in the simulator or on a GPU: pooling and normalisation kernels."""

from math import prod

import numpy as np
import pytest
from pooled import CASES, OPS, calls

from tinyconv import registry
from tinyconv.dims import NormDims
from tinyconv.kernels import gpu
from tinyconv.kernels.norm import reference as norm_reference
from tinyconv.kernels.pool import reference

SMALL = {name: dims for name, dims in CASES.items() if prod(dims.x_shape) + prod(dims.y_shape) <= 400}


def kernel(op, algorithm="cuda"):
    (found,) = [k for k in registry.kernels(op) if (k.algorithm, k.device) == (algorithm, "cuda")]
    return found


def agree(k, dims, dtype, arrays, keywords):
    want = getattr(reference, k.op)(*arrays, dims, **keywords)
    got = k.fn(*map(gpu.to_device, arrays), dims, **keywords)
    for w, g in zip(*(r if isinstance(r, tuple) else (r,) for r in (want, got))):
        assert gpu.is_device(g) and g.shape == w.shape and g.dtype == w.dtype
        if k.exact:
            np.testing.assert_array_equal(gpu.to_host(g), w)
        else:
            # roots and powers of at most 100 cells, each right to a few eps of the dtype
            bound = k.bound * np.finfo(dtype).eps
            np.testing.assert_allclose(gpu.to_host(g), w, rtol=bound, atol=bound)


def test_there_are_small_cases_of_every_kind():
    assert len(SMALL) >= 12 and {d.rank for d in SMALL.values()} == {1, 2, 3} and any("adaptive" in n for n in SMALL)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("op", OPS)
def test_every_kernel_agrees_with_the_definition(op, name):
    dims, rng = SMALL[name], np.random.default_rng(len(name))
    dtype = np.float32 if len(name) % 2 else np.float64
    if op == "pool_scatter":  # the quick one gathers from the windows that may have chosen a cell
        y, at = reference.max_pool(rng.integers(-3, 4, dims.x_shape).astype(dtype), dims)
        agree(kernel(op), dims, dtype, (y, at), {})
        agree(kernel(op, "cuda_anywhere"), dims, dtype, (y, at), {})
        op, algorithm = "pool_scatter", "cuda_anywhere"
    else:
        algorithm = "cuda"
    for arrays, keywords in list(calls(op, dims, dtype, rng))[:4]:
        agree(kernel(op, algorithm), dims, dtype, arrays, keywords)


def test_nan_wins_and_ties_go_to_the_first():
    dims = CASES["adaptive_line"]
    x = np.ones(dims.x_shape, np.float32)
    x[0, 0, 4] = x[1, 2, 9] = np.nan
    for op in ("max_pool", "median_pool"):
        agree(kernel(op), dims, np.float32, (x,), {})


NORMS = {"batch": NormDims(3, 2, 1, 7, 2), "instance": NormDims(1, 6, 1, 5, 3), "group": NormDims(1, 4, 3, 5, 2),
         "layer": NormDims(1, 5, 9, 1, 1)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("name", NORMS)
def test_normalisation_agrees_with_the_definition(name, fixed, dtype):
    dims, rng = NORMS[name], np.random.default_rng(7)
    N, S, K, L, P = dims
    x, g = (rng.standard_normal((N, S, K, L)).astype(dtype) + 3 for _ in "xg")
    w, b = (rng.standard_normal(P * K).astype(dtype) for _ in "wb")
    stats = (rng.standard_normal(S).astype(dtype), rng.random(S).astype(dtype) + 1)
    want = norm_reference.norm(x, w, b, dims, 1e-5, stats if fixed else None)
    on = gpu.to_device
    got = kernel("norm").fn(on(x), on(w), on(b), dims, 1e-5, tuple(map(on, stats)) if fixed else None)
    used = tuple(want[1:])
    back = norm_reference.norm_grad(g, x, w, *used, dims, 1e-5, fixed)
    got_back = kernel("norm_grad").fn(on(g), on(x), on(w), *map(on, used), dims, 1e-5, fixed)
    for w_, g_ in zip((*want, *back), (*got, *got_back)):
        # the ladder's bound, times the largest magnitude; x - mean loses what x itself rounds to
        bound = 8 * np.finfo(dtype).eps * max(np.abs(x).max(), np.abs(w_).max(), 1) * 4
        np.testing.assert_allclose(gpu.to_host(g_), w_, rtol=0, atol=bound)


def test_put_adds_what_is_named_twice_in_the_order_of_y():
    rng = np.random.default_rng(3)
    for shape, key in (((5, 4), (rng.integers(0, 5, 9), rng.integers(0, 4, 9))), ((6,), (np.array([2, -1, 2, 2]),)),
                       ((3, 4, 2), (slice(None), np.array([1, 1, 3])))):
        want = np.zeros(shape, np.float32)
        y = rng.standard_normal(want[key].shape).astype(np.float32)
        np.add.at(want, key, y)
        np.testing.assert_array_equal(registry.kernels("put")[0].fn(y, key, shape), want)
        moved = tuple(gpu.to_device(k) if isinstance(k, np.ndarray) else k for k in key)
        got = kernel("put").fn(gpu.to_device(y), moved, shape)
        np.testing.assert_array_equal(gpu.to_host(got), want)


def test_runs_are_summed():
    y = np.arange(24.0).reshape(2, 6, 2)
    got = kernel("sum_runs").fn(gpu.to_device(y), np.array([0, 1, 4]), 1)
    np.testing.assert_array_equal(gpu.to_host(got), np.add.reduceat(y, [0, 1, 4], 1))


def test_uniform_numbers_are_splitmix64():
    """The first three of key 1234567, as the paper's generator gives them (and java.util.SplittableRandom)."""
    bits = (6457827717110365317, 3203168211198807973, 9817491932198370423)
    got = gpu.to_host(kernel("uniform").fn(1234567, (3,), np.dtype("float64")))
    np.testing.assert_array_equal(got, [(b >> 11) / 2**53 for b in bits])
    np.testing.assert_array_equal(registry.kernels("uniform")[0].fn(1234567, (3,), np.dtype("float64")), got)
    many = gpu.to_host(kernel("uniform").fn(5, (100, 100), np.dtype("float32")))
    # the mean of 10,000 has a standard deviation of 0.0029
    assert many.dtype == np.float32 and 0 <= many.min() < 0.01 and 0.99 < many.max() < 1 and abs(many.mean() - 0.5) < 0.015


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("before, after, shape", [(1, 1, (2, 5, 3)), (2, 1, (1, 4, 2, 3)), (0, 0, (2, 3)), (9, 8, (2, 3, 2)),
                                                  (2, 2, (0, 3, 2))])
def test_local_response_normalisation_is_its_definition(before, after, shape, dtype):
    """The sums written out in float64; the derivative by hand, from every window to every channel in it."""
    rng, (alpha, beta, k) = np.random.default_rng(8), (0.3, 0.75, 1.5)
    x, g = (rng.standard_normal(shape).astype(dtype) for _ in "xg")
    X, G, C = x.astype(np.float64), g.astype(np.float64), shape[1]
    around = [range(max(c - before, 0), min(c + after + 1, C)) for c in range(C)]
    s = np.stack([k + alpha * sum(X[:, j] ** 2 for j in around[c]) for c in range(C)], 1)
    dx = np.stack([G[:, c] * s[:, c] ** -beta - 2 * alpha * beta * X[:, c] * sum(
        G[:, j] * X[:, j] * s[:, j] ** (-beta - 1) for j in range(C) if c in around[j]) for c in range(C)], 1)
    on, bound = gpu.to_device, kernel("response").bound * np.finfo(dtype).eps
    got = kernel("response").fn(on(x), before, after, alpha, beta, k)
    back = kernel("response_grad").fn(on(g), on(x), got[1], before, after, alpha, beta)
    for found, want in zip((*got, back), (X * s**-beta, s, dx)):
        assert gpu.is_device(found) and found.dtype == dtype and found.shape == shape
        np.testing.assert_allclose(gpu.to_host(found), want, rtol=0, atol=bound * np.abs(want).max(initial=1))

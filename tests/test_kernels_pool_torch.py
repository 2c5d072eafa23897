"""Pooling kernels against PyTorch over random geometries: values, indices and gradients."""

import numpy as np
import pytest
from pooled import integers
from threaded import on_threads

from tinyconv import registry
from tinyconv.dims import adaptive_dims, pool_dims
from tinyconv.kernels.pool import reference


@pytest.fixture(autouse=True)
def one_thread():
    with on_threads(1):
        yield


def geometry(rng):
    """A random pooling that PyTorch takes too: shape, arguments, ceil_mode."""
    rank = int(rng.integers(1, 4))
    kernel = tuple(int(k) for k in rng.integers(1, 5, rank))
    dilation = tuple(int(d) for d in rng.integers(1, 4, rank))
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    size = tuple(int(d * (k - 1) + 1 + rng.integers(0, 9)) for k, d in zip(kernel, dilation))
    stride = tuple(int(s) for s in rng.integers(1, 5, rank))
    shape = (int(rng.integers(1, 3)), int(rng.integers(1, 4)), *size)
    return rank, shape, {"kernel_size": kernel, "stride": stride, "padding": padding}, dilation, bool(rng.integers(2))


def close(got, want, roundings=64):
    want = want.detach().numpy()
    assert got.shape == want.shape
    scale = np.abs(want).max(initial=1)
    assert np.abs(got - want).max(initial=0) <= roundings * np.finfo(want.dtype).eps * scale


def compare_with_torch(seed, kernels):
    """One random geometry: values, indices and gradients of max, average, Lp and adaptive pooling, and unpooling."""
    torch = pytest.importorskip("torch", reason="PyTorch (extra `bench`) is what this compares with")
    torch.set_num_threads(1)  # its threads spin, and would hold up ours
    F, rng = torch.nn.functional, np.random.default_rng(seed)
    rank, shape, arguments, dilation, ceil_mode = geometry(rng)
    dtype = np.float32 if seed % 2 else np.float64
    x = integers(rng, shape, dtype) if seed % 3 else rng.normal(size=shape).astype(dtype)
    t = torch.from_numpy(x).requires_grad_()

    dims = pool_dims(shape, dilation=dilation, ceil_mode=ceil_mode, **arguments)
    y, at = getattr(F, f"max_pool{rank}d")(t, dilation=dilation, ceil_mode=ceil_mode, return_indices=True, **arguments)
    g = integers(rng, dims.y_shape, dtype)
    got, indices = kernels("max_pool", dims)(x, dims)
    assert np.array_equal(got, y.detach().numpy()) and np.array_equal(indices, at.numpy())
    back = torch.autograd.grad(y, t, torch.from_numpy(g))[0].numpy()
    assert np.array_equal(kernels("pool_scatter", dims)(g, indices, dims), back)

    dims = pool_dims(shape, ceil_mode=ceil_mode, **arguments)
    keywords = {"count_include_pad": bool(rng.integers(2))}
    if rank > 1 and rng.integers(2):
        keywords["divisor_override"] = int(rng.integers(1, 6))
    y = getattr(F, f"avg_pool{rank}d")(t, ceil_mode=ceil_mode, **arguments, **keywords)
    close(kernels("avg_pool", dims)(x, dims, **keywords), y)
    g = integers(rng, dims.y_shape, dtype)
    close(kernels("avg_pool_adjoint", dims)(g, dims, **keywords), torch.autograd.grad(y, t, torch.from_numpy(g))[0])

    size = tuple(int(n) for n in rng.integers(1, 8, rank))
    dims = adaptive_dims(shape, size)
    y, at = getattr(F, f"adaptive_max_pool{rank}d")(t, size, return_indices=True)
    got, indices = kernels("max_pool", dims)(x, dims)
    assert np.array_equal(got, y.detach().numpy()) and np.array_equal(indices, at.numpy())
    g = integers(rng, dims.y_shape, dtype)
    back = torch.autograd.grad(y, t, torch.from_numpy(g))[0].numpy()
    assert np.array_equal(kernels("pool_scatter", dims)(g, indices, dims), back)
    y = getattr(F, f"adaptive_avg_pool{rank}d")(t, size)
    close(kernels("avg_pool", dims)(x, dims), y)
    close(kernels("avg_pool_adjoint", dims)(g, dims), torch.autograd.grad(y, t, torch.from_numpy(g))[0])

    # Where all of x is positive the p-norm is PyTorch's. It takes the root of a negative sum, and has no padding.
    p, positive = float(rng.choice([1, 1.5, 2, 3])), np.abs(x) + dtype(0.5)
    plain = {"kernel_size": arguments["kernel_size"], "stride": arguments["stride"]}
    dims = pool_dims(shape, **plain)
    t = torch.from_numpy(positive).requires_grad_()
    if rank == 1:  # lp_pool1d takes no tuple
        plain = {name: value[0] for name, value in plain.items()}
    y = getattr(F, f"lp_pool{rank}d")(t, p, **plain)
    got = kernels("lp_pool", dims)(positive, dims, p)
    close(got, y)
    g = integers(rng, dims.y_shape, dtype)
    close(kernels("lp_pool_grad", dims)(positive, got, g, dims, p), torch.autograd.grad(y, t, torch.from_numpy(g))[0])


def best(op, dims):
    return registry.choose(op, dims, np.dtype(np.float32)).fn


@pytest.mark.parametrize("seed", range(60))
def test_against_torch(seed):
    compare_with_torch(seed, best)


@pytest.mark.parametrize("seed", range(6))
def test_reference_against_torch(seed):
    compare_with_torch(1000 + seed, lambda op, dims: getattr(reference, op))


@pytest.mark.sweep
@pytest.mark.parametrize("algorithm", ["reference", "direct"])
@pytest.mark.parametrize("block", range(10))
def test_against_torch_thousands(block, algorithm):
    for seed in range(10_000 + 300 * block, 10_000 + 300 * (block + 1)):
        compare_with_torch(seed, lambda op, dims: registry.choose(op, dims, np.dtype(np.float32), algorithm=algorithm).fn)


def test_torch_keeps_the_last_nan_we_the_first():
    torch = pytest.importorskip("torch", reason="PyTorch (extra `bench`) is what this compares with")
    x = np.array([[[np.nan, 1, np.nan]]])
    y, at = torch.nn.functional.max_pool1d(torch.from_numpy(x), 3, return_indices=True)
    assert np.isnan(y.item()) and at.item() == 2
    y, at = reference.max_pool(x, pool_dims(x.shape, 3))
    assert np.isnan(y.item()) and at.item() == 0

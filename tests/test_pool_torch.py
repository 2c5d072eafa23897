"""Pooling on the tape against PyTorch over random geometries, with first and second gradients, and where it differs."""

import numpy as np
import pytest
from like_torch import close, same
from threaded import on_threads

import tinyconv as tc
from tinyconv.nn import functional as F


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with on_threads(1):
        yield


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def draw(rng):
    """(kind, rank, x, the keywords of PyTorch's function); small whole numbers, so ties abound, in most of the draws."""
    kind = str(rng.choice(["max_pool", "avg_pool", "lp_pool", "adaptive_max_pool", "adaptive_avg_pool"]))
    rank = int(rng.integers(1, 4))
    size = tuple(int(n) for n in rng.integers(1, 10 if rank < 3 else 6, rank))
    shape = (int(rng.integers(1, 3)), int(rng.integers(1, 3)), *size)
    x = rng.integers(-3, 4, shape).astype(float) if rng.random() < 0.7 else rng.standard_normal(shape)
    if kind.startswith("adaptive"):
        return kind, rank, x, {"output_size": tuple(int(n) for n in rng.integers(1, 9, rank))}
    k, s, d = (tuple(int(n) for n in rng.integers(1, 4, rank)) for _ in range(3))
    options = {"kernel_size": k, "stride": None if rng.random() < 0.3 else s}
    if kind == "lp_pool" and rank == 1:
        options["kernel_size"] = k[0]  # PyTorch's lp_pool1d takes no tuple
    if kind == "lp_pool":  # PyTorch's differs for negative numbers, and where windows hang over the end
        return kind, rank, np.abs(x), options | {"norm_type": float(rng.choice([1, 1.5, 2, 3, 9]))}
    d = d if kind == "max_pool" and rng.random() < 0.4 else (1,) * rank
    options |= {"padding": tuple(int(rng.integers(0, a // 2 + 1)) for a in k),  # PyTorch refuses more
                "ceil_mode": bool(rng.random() < 0.5)}
    if kind == "max_pool":
        return kind, rank, x, options | {"dilation": d}
    options["count_include_pad"] = bool(rng.random() < 0.5)
    if rank > 1 and rng.random() < 0.3:
        options["divisor_override"] = int(rng.integers(1, 5))
    return kind, rank, x, options


def some_window_is_empty(size, kernel_size, stride, padding=None, dilation=None, ceil_mode=False, **_):
    """Counted cell by cell: whether a window of some axis lies outside, or there is none."""
    ones = (1,) * len(size)
    kernel = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,)
    for i, k, s, p, d in zip(size, kernel, stride or kernel, padding or (0,) * len(size), dilation or ones):
        starts = [a for a in range(-p, i, s) if a + d * (k - 1) < i + p + (s - 1 if ceil_mode else 0)]
        if not starts or any(not any(0 <= a + d * j < i for j in range(k)) for a in starts):
            return True
    return False


def against_torch(torch, seed):
    """True if the geometry is possible; what is refused must be impossible."""
    rng = np.random.default_rng(seed)
    kind, rank, x, options = draw(rng)
    ours, theirs = getattr(F, f"{kind}{rank}d"), getattr(torch.nn.functional, f"{kind}{rank}d")
    try:
        ours(tc.tensor(x), **options)
    except ValueError as error:
        assert some_window_is_empty(x.shape[2:], **options), f"{seed}: {error}"
        return False
    try:
        theirs(torch.tensor(x), **options)
    except RuntimeError as error:  # its 3-d average wants full windows, though they may hang over or reach into padding
        assert "smaller than kernel size" in str(error) and (kind, rank) == ("avg_pool", 3), f"{seed}: {error}"
        return False
    x = x + 0.25 if kind == "lp_pool" else x  # PyTorch's gradient at 0 is 1 for p = 1
    what = f"{seed}: {kind}{rank}d {x.shape} {options}"
    same(torch, lambda t: ours(t, **options), lambda t: theirs(t, **options), x, rng, what)
    if kind.endswith("max_pool"):
        at = ours(tc.tensor(x), **options, return_indices=True)[1]
        close(at, theirs(torch.tensor(x), **options, return_indices=True)[1], 0, f"{seed}: indices {x.shape} {options}")
    return True


def test_torch_agrees_over_random_geometries(torch):
    assert sum(against_torch(torch, seed) for seed in range(250)) > 180


@pytest.mark.sweep
def test_torch_agrees_over_thousands_of_geometries(torch):
    assert sum(against_torch(torch, seed) for seed in range(1000, 7000)) > 4000


def test_where_lp_pooling_is_not_pytorchs(torch):
    """The differences that the head of ops/lp_pool.py states."""
    x = np.array([[[-3.0, 1.0, 2.0]]])
    for p in (3, 1.5):
        theirs = torch.nn.functional.lp_pool1d(torch.tensor(x), p, 2).numpy()
        ours = F.lp_pool1d(tc.tensor(x), p, 2).numpy()
        assert np.isnan(theirs).all() and np.allclose(ours, (3**p + 1) ** (1 / p), rtol=1e-15)
    over = torch.nn.functional.lp_pool1d(torch.tensor(np.abs(x)), 2, 2, ceil_mode=True).numpy()
    assert np.allclose(over, [[[10**0.5, 8**0.5]]]) and np.allclose(
        F.lp_pool1d(tc.tensor(x), 2, 2, ceil_mode=True).numpy(), [[[10**0.5, 2]]], rtol=1e-15)
    assert torch.nn.functional.lp_pool1d(torch.tensor(x), 1, 3).item() == 0 and F.lp_pool1d(tc.tensor(x), 1, 3).item() == 6

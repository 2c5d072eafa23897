"""An activation that never falls may go after a maximum: fewer elements, the same network. And relu's gradient in one pass."""


import numpy as np
import pytest

import tinyconv as tc
from tinyconv import memory, nn
from tinyconv.nn.containers import _cheapest_order
from tinyconv.registry import kernels


def gradients(apply, x, g):
    x = tc.tensor(x, requires_grad=True)
    y = apply(x)
    y.backward(g)
    return y.numpy(), x.grad.numpy()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1), nn.Sigmoid(), nn.Tanh()], ids=repr)
def test_values_and_gradients_are_those_of_the_order_as_written(activation):
    rng = np.random.default_rng(0)
    exact = isinstance(activation, (nn.ReLU, nn.LeakyReLU))
    if exact:
        x = rng.integers(-2, 3, (2, 3, 8, 9)).astype(np.float64)  # many ties, whole windows at or below 0
    else:  # no ties: NumPy rounds exp by where an element lies in its vectors, so equal cells can come out unequal
        x = rng.permutation(2 * 3 * 8 * 9).reshape(2, 3, 8, 9) / 100 - 2
    x[0, 0, 0, 0] = np.nan
    pool = nn.MaxPool2d(3, 2, 1)
    model = nn.Sequential(activation, pool)
    assert _cheapest_order(list(model)) == [pool, activation]
    g = rng.standard_normal(pool(tc.tensor(x)).shape)
    got, want = gradients(model, x, g), gradients(lambda x: pool(activation(x)), x, g)
    # where f rounds, f' = y(1-y) or 1-y*y is off by a few eps of 1, times a cotangent, in each of 4 windows at most
    bound = 0 if exact else 16 * np.finfo(float).eps * np.abs(g).max()
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, rtol=0, atol=bound)


def test_what_falls_or_gives_more_than_the_maximum_stays():
    for first, second in [(nn.LeakyReLU(-0.5), nn.MaxPool2d(2)), (nn.SiLU(), nn.MaxPool2d(2)), (nn.ReLU(), nn.AvgPool2d(2)),
                          (nn.ReLU(), nn.MaxPool2d(2, return_indices=True)), (nn.MaxPool2d(2), nn.ReLU())]:
        assert _cheapest_order([first, second]) == [first, second]


@pytest.mark.parametrize("kernel", [k for k in kernels("relu_grad") if k.device == "cpu"], ids=lambda k: k.algorithm)
def test_relu_grad_lets_through_where_relu_is_positive(kernel):
    y = np.array([0.0, 1e-30, 3.0, np.nan, np.inf, 0.0], np.float32)
    g = np.array([1.0, 2.0, -3.0, 4.0, 5.0, np.inf], np.float32)
    np.testing.assert_array_equal(kernel.fn(g, y, (6,)), [0, 2, -3, 0, 5, 0])
    rng = np.random.default_rng(0)
    y, g = rng.standard_normal((2, 257, 130))  # more than one block, and a ragged last one
    got = kernel.fn(g.T, y.T, (130, 257))
    assert np.array_equal(got, [[g[j, i] if y[j, i] > 0 else 0 for j in range(257)] for i in range(130)])


def test_large_arrays_choose_the_compiled_pass_and_it_says_why_not():
    assert tc.choose("relu_grad", (1 << 14,), np.dtype("f4")).algorithm == "direct"
    with pytest.raises(ValueError, match="3 elements are too few"):
        tc.choose("relu_grad", (3,), np.dtype("f4"), algorithm="direct")


def test_freed_memory_comes_back_to_the_next_array():
    """Page faults of making and dropping one array again and again: one each time a page is new, none once it is kept."""
    resource = pytest.importorskip("resource", reason="page faults are counted by Unix's getrusage")
    if not memory.keep_freed_memory():
        pytest.skip("this C library is not glibc: its allocator is left as it is")

    def faults(rounds):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(rounds):
            np.ones(2_000_000, np.float32)  # 8 MB: 1,953 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults(2)
    assert faults(20) < 2000  # one round's worth at most; without it 20

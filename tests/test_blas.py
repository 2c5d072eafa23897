"""Matrix products on one BLAS thread where they are small, and the process's setting left as it was."""

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from tinyconv import blas


def threads():
    return [lib.num_threads for lib in ThreadpoolController().select(user_api="blas").lib_controllers]


@pytest.mark.parametrize("shapes", [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((0, 4), (4, 5)), ((3, 0), (0, 5))])
def test_is_the_product(shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 9, s).astype(np.float32) for s in shapes)
    want = np.einsum("...ij,...jk->...ik", a, b)
    assert np.array_equal(blas.matmul(a, b), want)
    out = np.empty_like(want)
    assert blas.matmul(a, b, out) is out
    assert np.array_equal(out, want)


def test_a_small_product_runs_on_one_thread_and_the_setting_comes_back(monkeypatch):
    seen = []
    real = np.matmul
    monkeypatch.setattr(blas.np, "matmul", lambda *args: seen.append(threads()) or real(*args))
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        blas.matmul(np.ones((64, 640)), np.ones((640, 100)))
        with pytest.raises(ValueError):
            blas.matmul(np.ones((64, 640)), np.ones((64, 100)))
        assert threads() == before
    assert seen == [[1] * len(before)] * 2


def test_bits_do_not_depend_on_the_threads_of_blas():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 5000)).astype(np.float32), rng.standard_normal((5000, 64)).astype(np.float32)
    results = []
    for n in (1, 2):
        with threadpool_limits(n, user_api="blas"):
            results.append(blas.matmul(a, b))
    assert np.array_equal(*results)

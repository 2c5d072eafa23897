"""The CUDA kernels of pooling, normalisation, indexing and optimisers compile too, with the arguments they are launched with.

Their wrappers run on NumPy arrays; what they would launch is noted, and compiled. No GPU is needed. See test_cuda_ptx.py.
"""

import re
from importlib.util import find_spec

import numpy as np
import pytest

from tinyconv.dims import NormDims, pool_dims
from tinyconv.kernels import gpu, indexing, optim_cuda, pointwise
from tinyconv.kernels.norm import cuda as norm
from tinyconv.kernels.norm import response_cuda
from tinyconv.kernels.pool import cuda as pool
from tinyconv.kernels.pool import cuda_cellwise as cellwise

pytestmark = [
    pytest.mark.skipif(find_spec("numba_cuda") is None, reason="numba-cuda is not installed: pip install 'tinyconv[cuda]'"),
    pytest.mark.skipif(gpu.simulated(), reason="the simulator compiles nothing"),
]
POOL, NORM = pool_dims((2, 3, 5, 6), 3, 2, 1), NormDims(2, 3, 1, 4, 3)


def calls(dtype):
    """name: a call of a wrapper, for everything that launches a kernel."""
    def a(*shape):
        return np.ones(shape, dtype)

    x, y, at = a(*POOL.x_shape), a(*POOL.y_shape), np.zeros(POOL.y_shape, np.int64)
    v, w, n = a(2, 3, 4), a(3), (NORM, 1e-5)
    p, g, s = a(7), a(7), a(7)
    return {
        "max_pool": lambda: pool.max_pool(x, POOL), "gather": lambda: pool.pool_gather(x, at, POOL),
        "scatter": lambda: pool.pool_scatter(y, at, POOL), "anywhere": lambda: pool.pool_scatter_anywhere(y, at, POOL),
        "avg_pool": lambda: pool.avg_pool(x, POOL), "avg_pool_adjoint": lambda: pool.avg_pool_adjoint(y, POOL),
        "median": lambda: cellwise.median_pool(x, POOL), "stochastic": lambda: cellwise.stochastic_pool(x, y, POOL),
        "even_gather": lambda: cellwise.pool_even_gather(x, x, y, POOL), "lp": lambda: cellwise.lp_pool(x, POOL, 2.5),
        "even_scatter": lambda: cellwise.pool_even_scatter(y, x, y, POOL),
        "lp_grad": lambda: cellwise.lp_pool_grad(x, y, y, POOL, 3), "norm": lambda: norm.norm(v, w, w, *n, None, True),
        "norm_grad": lambda: norm.norm_grad(v, v, w, w, w, *n, False, v),
        "response": lambda: response_cuda.response(v, 1, 1, 0.1, 0.75, 1.0),
        "response_grad": lambda: response_cuda.response_grad(v, v, v, 1, 1, 0.1, 0.75),
        "relu_grad": lambda: pointwise.relu_grad_cuda(v, v, v.shape),
        "put": lambda: indexing.put(w, (np.array([1, 0, 1]),), (4,)),
        "sum_runs": lambda: indexing.sum_runs(v, np.array([0, 2]), 1),
        "sgd": lambda: optim_cuda.sgd(p, g, s, 0.1, 0.9, 1.0, 0.0, True),
        "adagrad": lambda: optim_cuda.adagrad(p, g, s, 0.1, 0.0, 1e-10),
        "rmsprop": lambda: optim_cuda.rmsprop(p, g, s, s, s, 0.1, 0.9, 1e-8, 0.0, 0.5),
        "adam": lambda: optim_cuda.adam(p, g, s, s, s, 0.9, 0.99, 0.1, 1.0, 1e-8, 0.0, 1.0),
    }


@pytest.fixture
def launched(monkeypatch):
    """The kernels that wrappers launch, with their arguments as `launch` would pass them."""
    noted, tables = [], (gpu.table, pool.forward, pool.dual, pool.divisors)
    for table in tables:
        table.cache_clear()
    monkeypatch.setattr(gpu, "xp", lambda: np)
    monkeypatch.setattr(gpu, "is_device", lambda a: isinstance(a, np.ndarray))
    monkeypatch.setattr(gpu, "launch", lambda kernel, grid, block, *args: noted.append(
        (kernel, [gpu._argument(kernel, a) for a in args])))
    yield noted
    for table in tables:
        table.cache_clear()


def grid():
    for name in calls("float32"):
        for dtype in ("float32", "float64"):
            for cc in ((7, 5), (8, 0), (9, 0)):
                quick = (dtype, cc) == ("float32", (9, 0))
                yield pytest.param(name, dtype, cc, id=f"{name}-{dtype}-sm{cc[0]}{cc[1]}",
                                   marks=() if quick else pytest.mark.sweep)


@pytest.mark.parametrize("name, dtype, cc", list(grid()))
def test_compiles_and_spills_nothing(name, dtype, cc, launched, record_property):
    calls(dtype)[name]()
    assert launched
    for kernel, values in launched:
        made = gpu.build(kernel, gpu.signature(values), cc)
        record_property(f"{kernel.__name__}.registers", made.registers)
        assert f".target sm_{cc[0]}{cc[1]}" in made.ptx and made.spilled == 0 and 0 < made.registers <= 255
        assert made.shared <= 48 << 10
        assert not re.search(r"\b(atom|red)\.", made.ptx), "atomics make the order of sums a matter of luck"
        if dtype == "float32" and name in ("max_pool", "scatter", "avg_pool", "relu_grad", "response", "response_grad", "sgd",
                                           "adagrad", "rmsprop", "adam"):
            assert ".f64" not in made.ptx, f"{kernel.__name__}: arithmetic in the other precision"

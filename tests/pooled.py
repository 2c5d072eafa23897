"""What the tests of pooling kernels share: the cases, the operations, and the operands of a call."""

import itertools
from math import prod

import numpy as np

from tinyconv import cases, registry
from tinyconv.dims import adaptive_dims, pool_dims
from tinyconv.kernels.pool import reference

ADAPTIVE = {
    "adaptive": adaptive_dims((2, 3, 7, 5), (3, 2)),
    "adaptive_larger": adaptive_dims((1, 2, 3, 4), (5, 6)),
    "adaptive_line": adaptive_dims((2, 3, 11), 4),
    "adaptive_volume": adaptive_dims((1, 2, 5, 4, 7), (2, 4, 3)),
    "adaptive_even": adaptive_dims((2, 3, 6, 8), (3, 2)),
}
MORE = {
    "stride_over_kernel": pool_dims((2, 2, 11, 13), (2, 3), stride=(4, 5)),
    "wide_rows": pool_dims((2, 3, 6, 70), 3, stride=1, padding=1),
    "wide_pairs": pool_dims((2, 3, 6, 71), 2),
    "wide_overlap": pool_dims((1, 2, 9, 75), 3, stride=2, padding=1),
    "dilated_stride": pool_dims((1, 2, 13, 40), 3, stride=(2, 3), dilation=(3, 2), padding=2),
    "large_kernel": pool_dims((1, 2, 12, 40), (5, 7), stride=1, padding=(2, 3)),
    "last_window_in_padding": pool_dims((1, 2, 5, 5), 2, stride=2, padding=1, ceil_mode=True),
}
CASES = {**cases.pools, **ADAPTIVE, **MORE}
CHOICES = ("max_pool", "median_pool", "stochastic_pool")
OPS = (*CHOICES, "pool_gather", "pool_scatter", "pool_even_gather", "pool_even_scatter", "avg_pool",
       "avg_pool_adjoint", "lp_pool", "lp_pool_grad")


def kernels(op):
    """Those of the CPU; test_cuda_pool.py has the others."""
    return [k for k in registry.kernels(op) if k.device == "cpu"]


def image(*rows):
    return np.array([[rows]], dtype=float)


def integers(rng, shape, dtype=np.float64, low=-3, high=4):
    return rng.integers(low, high, shape).astype(dtype)


def operands(op, dims, dtype, rng):
    """Arrays and keywords of one call, small integers with many ties."""
    x, y = integers(rng, dims.x_shape, dtype), integers(rng, dims.y_shape, dtype)
    if op == "stochastic_pool":
        return [(x, integers(rng, dims.y_shape, dtype, 0, 8) / 8)], {}  # eighths fall on the borders between cells
    if op in ("pool_gather", "pool_scatter"):
        indices = rng.integers(0, prod(dims.input), dims.y_shape)
        return [(x if op == "pool_gather" else y, indices)], {}
    if op in ("pool_even_gather", "pool_even_scatter"):
        top = reference.max_pool(x, dims)[0]
        return [(integers(rng, dims.x_shape, dtype) if op == "pool_even_gather" else y, x, top)], {}
    if op in ("avg_pool", "avg_pool_adjoint"):
        return [(x if op == "avg_pool" else y,)], {"count_include_pad": [True, False], "divisor_override": [None, 3]}
    if op == "lp_pool_grad":
        return [(x, reference.lp_pool(x, dims, p), y) for p in (1, 1.5, 2, 3)], {"p": [1, 1.5, 2, 3]}
    return [(x,)], {"p": [1, 1.5, 2, 3]} if op == "lp_pool" else {}


def calls(op, dims, dtype, rng):
    arrays, keywords = operands(op, dims, dtype, rng)
    for k, values in enumerate(itertools.product(*keywords.values())):
        yield arrays[k % len(arrays)], dict(zip(keywords, values))

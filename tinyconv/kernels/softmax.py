"""The loss of a classifier on arrays: softmax, and minus the logarithm of what it gives the right class.

    p = exp(x - max x) / s,  s = sum of exp(x - max x)        each[n] = log s[n] - (x[n, t[n]] - max x[n])

over the classes, axis 1 of x (N, C, *rest); t holds a class for each position. Array expressions are eight passes with a
temporary each, and on the few numbers of a batch cost more in calls than in work.
Read next: ops/loss.py, where weights, smoothing and the mean come in.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..registry import Kernel, register
from . import gpu
from .geometry import floats_only
from .jit import njit


def softmax_nll_reference(x: Any, places: tuple, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """(each, p) by array expressions. places: the index arrays that pick x[n, t[n]]."""
    z = x - x.max(1, keepdims=True)
    p = np.exp(z)
    s = p.sum(1, keepdims=True)
    p /= s
    return np.log(s)[:, 0] - z[places], p


def softmax_nll(x: np.ndarray, places: tuple, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Row by row, while the row is at hand; by one thread, for whom it is some microseconds."""
    each, p = np.empty(shape[0], x.dtype), np.empty(shape, x.dtype)
    _softmax_nll(np.ascontiguousarray(x), places[1].astype(np.int64, copy=False), each, p)
    return each, p


@njit(error_model="numpy")
def _softmax_nll(x, t, each, p):
    N, C = x.shape
    for n in range(N):
        top = x[n, 0]
        for c in range(1, C):
            if x[n, c] > top or x[n, c] != x[n, c]:  # nothing is larger than a NaN
                top = x[n, c]
        s = x.dtype.type(0)
        for c in range(C):
            p[n, c] = np.exp(x[n, c] - top)
            s += p[n, c]
        for c in range(C):
            p[n, c] /= s
        each[n] = np.log(s) - (x[n, t[n]] - top)


def refuse_maps(shape: tuple[int, ...], dtype: np.dtype) -> str:
    """One class an image, of a batch that one thread is done with soon."""
    if len(shape) > 2:
        return f"it takes a class an image, logits of 2 dimensions, not {len(shape)}"
    if prod(shape) > MOST:
        return f"{prod(shape)} logits are too many for one thread, it takes {MOST}"
    return floats_only(shape, dtype)


MOST = 1 << 16  # logits: array expressions catch up, as their exponentials come in vectors
LADDER = (
    Kernel("softmax_nll", "reference", softmax_nll_reference),
    Kernel("softmax_nll", "direct", softmax_nll, exact=False, bound=16.0, refuse=refuse_maps),
    Kernel("softmax_nll", "cuda", softmax_nll_reference, "cuda", gpu.refuse),
)
register(*LADDER)

"""Normalisation as compiled loops: all that has one mean is worked on at once, while it is in cache.

The reference walks through all of x for each of a dozen array operations. Here a thread takes one s: its values are read
from memory once, for their mean and variance, and again from cache to be scaled and stored; the backward pass reads x and g
once for the sums and again for dx. Sums run in float64, whose order no thread count changes.
With L = 1 (layer norm) weights change from value to value, otherwise they are constant along a run of L.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ...dims import NormDims
from ..geometry import plain
from ..jit import njit

ROWS = 64  # blocks of s that share the weights of a layer norm; each sums its part of dw and db


def norm(x: np.ndarray, w: np.ndarray, b: np.ndarray, dims: NormDims, eps: float,
         given: tuple[np.ndarray, np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One s at a time, two walks over it in cache: moments, then the scaled copy. Reads x once, writes y once."""
    y = np.empty(x.shape, x.dtype)
    mean, var = (np.empty(dims.S, x.dtype), np.empty(dims.S, x.dtype)) if given is None else given
    _norm(plain(x, (-1,)), w, b, y.reshape(-1), mean, var, eps, given is not None, *dims)
    return y, mean, var


def norm_grad(g: np.ndarray, x: np.ndarray, w: np.ndarray, mean: np.ndarray, var: np.ndarray, dims: NormDims, eps: float,
              fixed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One s at a time, two walks over it in cache: the sums of g and g xhat, then dx. Reads g and x once, writes dx once."""
    dx = np.empty(x.shape, x.dtype)
    rows = _rows(dims)
    parts = np.zeros((2, -(-dims.S // rows), dims.K))
    _norm_grad(plain(g, (-1,)), plain(x, (-1,)), w, dx.reshape(-1), mean, var, parts, rows, eps, fixed, *dims)
    dw, db = parts.reshape(2, -1, dims.P * dims.K).sum(1).astype(x.dtype)
    return dx, dw, db


def grad_scratch(dims: NormDims, dtype: np.dtype) -> int:
    """Sums of g and g xhat for each s (or block of rows) and k, in float64."""
    return 2 * 8 * -(-dims.S // _rows(dims)) * dims.K


def _rows(dims: NormDims) -> int:
    """How many s share a part of dw and db: more than one only where all s have the same weights."""
    return -(-dims.S // ROWS) if dims.P == 1 else 1


@njit(parallel=True, error_model="numpy")
def _norm(x, w, b, y, mean, var, eps, given, N, S, K, L, P):
    M = K * L
    for stat in prange(S):
        s = np.int64(stat)
        if not given:
            mean[s], var[s] = _moments(x, s, N, S, M)
        m, r = mean[s], x.dtype.type(1.0 / np.sqrt(var[s] + eps))
        weights = s % P * K
        for n in range(N):
            at = (n * S + s) * M
            if L == 1:
                for k in range(K):
                    y[at + k] = (x[at + k] - m) * r * w[weights + k] + b[weights + k]
            else:
                for k in range(K):
                    a, c = r * w[weights + k], b[weights + k]
                    for i in range(at + k * L, at + k * L + L):
                        y[i] = (x[i] - m) * a + c


@njit(error_model="numpy")
def _moments(x, s, N, S, M):
    """Mean and biased variance of the N runs of M values that belong to s, in one walk: of d = x - pivot,

    mean = pivot + avg(d),  var = avg(d^2) - avg(d)^2. With one of the values as the pivot, d is of the size of the spread,
    and the difference of the two averages loses nothing that float64 would miss.
    """
    pivot, total, squares = np.float64(x[s * M]), 0.0, 0.0
    for n in range(N):
        at = (n * S + s) * M
        for i in range(at, at + M):
            d = x[i] - pivot
            total += d
            squares += d * d
    away = total / (N * M)
    return pivot + away, max(squares / (N * M) - away * away, 0.0)


@njit(parallel=True, error_model="numpy")
def _norm_grad(g, x, w, dx, mean, var, parts, rows, eps, fixed, N, S, K, L, P):
    for part in prange(parts.shape[1]):
        block = np.int64(part)
        for s in range(block * rows, min(S, block * rows + rows)):
            m, r = mean[s], 1.0 / np.sqrt(var[s] + eps)
            if L == 1:
                gh, ghx = _row_sums(g, x, w, parts, block, s, m, r, N, S, K, P)
            else:
                gh, ghx = _run_sums(g, x, w, parts, block, s, m, r, N, S, K, L, P)
            count = N * K * L
            gh, ghx = (0.0, 0.0) if fixed else (gh / count, ghx / count)
            _fill_dx(g, x, w, dx, s, m, r, gh, ghx, N, S, K, L, P)


@njit(error_model="numpy")
def _row_sums(g, x, w, parts, block, s, m, r, N, S, K, P):
    """Sums of h = g w and of h xhat over s, and for each k those of g xhat and g, added to the block's parts."""
    gh, ghx, weights = 0.0, 0.0, s % P * K
    for n in range(N):
        at = (n * S + s) * K
        for k in range(K):
            xhat = (x[at + k] - m) * r
            h = g[at + k] * w[weights + k]
            gh += h
            ghx += h * xhat
            parts[0, block, k] += g[at + k] * xhat
            parts[1, block, k] += g[at + k]
    return gh, ghx


@njit(error_model="numpy")
def _run_sums(g, x, w, parts, block, s, m, r, N, S, K, L, P):
    """The same, for weights that are constant along each run of L."""
    gh, ghx, weights = 0.0, 0.0, s % P * K
    for n in range(N):
        for k in range(K):
            at = ((n * S + s) * K + k) * L
            gs, gxs = 0.0, 0.0
            for i in range(at, at + L):
                gs += g[i]
                gxs += g[i] * (x[i] - m)
            parts[0, block, k] += gxs * r
            parts[1, block, k] += gs
            gh += gs * w[weights + k]
            ghx += gxs * r * w[weights + k]
    return gh, ghx


@njit(error_model="numpy")
def _fill_dx(g, x, w, dx, s, m, r, gh, ghx, N, S, K, L, P):
    """dx = r (g w - gh - xhat ghx), with xhat = (x - m) r."""
    one = x.dtype.type
    weights, m, r, shift, slope = s % P * K, one(m), one(r), one(r * gh), one(r * r * ghx)
    for n in range(N):
        at = (n * S + s) * K * L
        if L == 1:
            for k in range(K):
                dx[at + k] = g[at + k] * w[weights + k] * r - shift - (x[at + k] - m) * slope
        else:
            for k in range(K):
                a = w[weights + k] * r
                for i in range(at + k * L, at + k * L + L):
                    dx[i] = g[i] * a - shift - (x[i] - m) * slope

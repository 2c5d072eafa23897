"""Normalisation as compiled loops: all that has one mean is worked on at once, while it is in cache.

The reference walks through all of x for each of a dozen array operations. Here a thread takes one s: its values are read
from memory once, for their mean and variance, and again from cache to be scaled and stored; the backward pass reads x and g
once for the sums and again for dx. Sums end in float64, in an order that no thread count changes.
With L = 1 (layer norm) weights change from value to value, otherwise they are constant along a run of L.
"""

from __future__ import annotations

import numpy as np

from ...dims import NormDims
from ..geometry import plain
from ..invoke import each
from ..jit import njit

u = np.uintp  # an unsigned index spares the test for Python's negative ones
RUN = 512  # values that are summed in their own dtype: some ten in each partial sum
ROWS = 64  # blocks of s that share the weights of a layer norm; each sums its part of dw and db


def norm(x: np.ndarray, w: np.ndarray, b: np.ndarray, dims: NormDims, eps: float,
         given: tuple[np.ndarray, np.ndarray] | None = None, relu: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One s at a time, two walks over it in cache: moments, then the scaled copy. Reads x once, writes y once."""
    y = np.empty(x.shape, x.dtype)
    mean, var = (np.empty(dims.S, x.dtype), np.empty(dims.S, x.dtype)) if given is None else given
    floor = x.dtype.type(0 if relu else -np.inf)
    _norm(plain(x, (-1,)), w, b, y.reshape(-1), mean, var, eps, given is not None, floor, *dims)
    return y, mean, var


def norm_grad(g: np.ndarray, x: np.ndarray, w: np.ndarray, mean: np.ndarray, var: np.ndarray, dims: NormDims, eps: float,
              fixed: bool, y: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One s at a time, two walks over it in cache: the sums of g and g xhat, then dx. Reads g and x once, writes dx once.

    Behind a relu, what it lets through of g is first written to dx, and read from there.
    """
    dx = np.empty(x.shape, x.dtype)
    rows, g, out = _rows(dims), plain(g, (-1,)), dx.reshape(-1)
    parts = np.zeros((2, -(-dims.S // rows), dims.K))
    mask = out[:0] if y is None else plain(y, (-1,))
    _norm_grad(g if y is None else out, plain(x, (-1,)), w, out, mean, var, parts, rows, eps, fixed, g, mask, *dims)
    dw, db = parts.reshape(2, parts.shape[1] // max(dims.P, 1), dims.P * dims.K).sum(1).astype(x.dtype)
    return dx, dw, db


def grad_scratch(dims: NormDims, dtype: np.dtype) -> int:
    """Sums of g and g xhat for each s (or block of rows) and k, in float64."""
    return 2 * 8 * -(-dims.S // _rows(dims)) * dims.K


def _rows(dims: NormDims) -> int:
    """How many s share a part of dw and db: more than one only where all s have the same weights."""
    return max(-(-dims.S // ROWS), 1) if dims.P == 1 else 1


@njit(error_model="numpy")
def _norm(x, w, b, y, mean, var, eps, given, floor, N, S, K, L, P):
    each(S, _norm_one, (x, w, b, y, mean, var, eps, given, floor, N, S, K, L, P))


@njit(inner=True, error_model="numpy")
def _norm_one(s, x, w, b, y, mean, var, eps, given, floor, N, S, K, L, P):
    M = K * L
    if not given:
        mean[s], var[s] = _moments(x, s, N, S, M)
    m, r = mean[s], x.dtype.type(1.0 / np.sqrt(var[s] + eps))
    weights = s % P * K
    for n in range(N):
        at = (n * S + s) * M
        if L == 1:
            for k in range(K):
                v = (x[u(at + k)] - m) * r * w[weights + k] + b[weights + k]
                y[u(at + k)] = floor if v < floor else v
        else:
            for k in range(K):
                a, c = r * w[weights + k], b[weights + k]
                for i in range(at + k * L, at + k * L + L):
                    v = (x[u(i)] - m) * a + c
                    y[u(i)] = floor if v < floor else v


@njit(inner=True, error_model="numpy")
def _moments(x, s, N, S, M):
    """Mean and biased variance of the N runs of M values that belong to s, in two walks, the second one in cache.

    The mean is summed in float64. About it, as x's dtype rounds it, var = avg(d^2) - avg(d)^2 for d = x - pivot, which are
    of the size of the spread: runs of them are summed in x's dtype, in some dozens of partial sums, and the runs in float64.
    """
    total = 0.0
    for n in range(N):
        at = (n * S + s) * M
        for i in range(at, at + M):
            total += np.float64(x[u(i)])
    one, mean = x.dtype.type, total / (N * M)
    pivot, total, squares = one(mean), 0.0, 0.0
    for n in range(N):
        at = (n * S + s) * M
        for first in range(at, at + M, RUN):
            t, q = one(0), one(0)
            for i in range(first, min(first + RUN, at + M)):
                d = x[u(i)] - pivot
                t += d
                q += d * d
            total += t
            squares += q
    away = total / (N * M)
    return mean, max(squares / (N * M) - away * away, 0.0)


@njit(error_model="numpy")
def _norm_grad(g, x, w, dx, mean, var, parts, rows, eps, fixed, whole, mask, N, S, K, L, P):
    each(parts.shape[1], _norm_grad_block, (g, x, w, dx, mean, var, parts, rows, eps, fixed, whole, mask, N, S, K, L, P))


@njit(inner=True, error_model="numpy")
def _norm_grad_block(block, g, x, w, dx, mean, var, parts, rows, eps, fixed, whole, mask, N, S, K, L, P):
    for s in range(block * rows, min(S, block * rows + rows)):
        m, r = mean[s], 1.0 / np.sqrt(var[s] + eps)
        if mask.size:
            _let_through(whole, mask, dx, s, N, S, K * L)
        if L == 1:
            gh, ghx = _row_sums(g, x, w, parts, block, s, m, r, N, S, K, P)
        else:
            gh, ghx = _run_sums(g, x, w, parts, block, s, m, r, N, S, K, L, P)
        count = N * K * L
        gh, ghx = (0.0, 0.0) if fixed else (gh / count, ghx / count)
        _fill_dx(g, x, w, dx, s, m, r, gh, ghx, N, S, K, L, P)


@njit(inner=True)
def _let_through(g, y, dx, s, N, S, M):
    """dx = g where y > 0, else 0, over s."""
    for n in range(N):
        at = (n * S + s) * M
        for i in range(at, at + M):
            dx[u(i)] = g[u(i)] if y[u(i)] > 0 else g.dtype.type(0)


@njit(inner=True, error_model="numpy")
def _row_sums(g, x, w, parts, block, s, m, r, N, S, K, P):
    """Sums of h = g w and of h xhat over s, and for each k those of g xhat and g, added to the block's parts."""
    gh, ghx, weights = 0.0, 0.0, s % P * K
    for n in range(N):
        at = (n * S + s) * K
        for k in range(K):
            xhat = (x[u(at + k)] - m) * r
            h = g[u(at + k)] * w[weights + k]
            gh += h
            ghx += h * xhat
            parts[0, block, k] += g[u(at + k)] * xhat
            parts[1, block, k] += g[u(at + k)]
    return gh, ghx


@njit(inner=True, error_model="numpy")
def _run_sums(g, x, w, parts, block, s, m, r, N, S, K, L, P):
    """The same, for weights that are constant along each run of L."""
    one, gh, ghx, weights = x.dtype.type, 0.0, 0.0, s % P * K
    for n in range(N):
        for k in range(K):
            at = ((n * S + s) * K + k) * L
            gs, gxs = 0.0, 0.0
            for first in range(at, at + L, RUN):
                t, q = one(0), one(0)
                for i in range(first, min(first + RUN, at + L)):
                    t += g[u(i)]
                    q += g[u(i)] * (x[u(i)] - m)
                gs += t
                gxs += q
            parts[0, block, k] += gxs * r
            parts[1, block, k] += gs
            gh += gs * w[weights + k]
            ghx += gxs * r * w[weights + k]
    return gh, ghx


@njit(inner=True, fastmath={"contract", "nsz"}, error_model="numpy")  # reassoc rounds a vector unlike a number
def _fill_dx(g, x, w, dx, s, m, r, gh, ghx, N, S, K, L, P):
    """dx = r (g w - gh - xhat ghx), with xhat = (x - m) r."""
    one = x.dtype.type
    weights, m, r, shift, slope = s % P * K, one(m), one(r), one(r * gh), one(r * r * ghx)
    for n in range(N):
        at = (n * S + s) * K * L
        if L == 1:
            for k in range(K):
                dx[u(at + k)] = g[u(at + k)] * w[weights + k] * r - shift - (x[u(at + k)] - m) * slope
        else:
            for k in range(K):
                a = w[weights + k] * r
                for i in range(at + k * L, at + k * L + L):
                    dx[u(i)] = g[u(i)] * a - shift - (x[u(i)] - m) * slope

"""The definition of normalisation, for x seen as (N, S, K, L) and weights as (P, K); see dims.NormDims.

    mean[s], var[s] over n, k, l        xhat = (x - mean) / sqrt(var + eps)        y = xhat * w + b
    dw = sum of g xhat,  db = sum of g  over n, l and the s that share a weight
    dx = (h - avg(h) - xhat avg(h xhat)) / sqrt(var + eps)   for h = g w, avg over n, k, l; both averages 0 where mean and
                                                             var are given from outside and do not depend on x
Source: Ioffe and Szegedy, "Batch normalization" (2015), algorithm 1 and section 3. Read next: direct.py.
"""

from __future__ import annotations

import numpy as np

from ...dims import NormDims

OVER = (0, 2, 3)


def norm(x: np.ndarray, w: np.ndarray, b: np.ndarray, dims: NormDims, eps: float,
         given: tuple[np.ndarray, np.ndarray] | None = None, relu: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, mean (S,) and var (S,), the biased one; with `given`, those statistics in place of x's own; relu: max(y, 0)."""
    X = x.reshape(dims.N, dims.S, dims.K, dims.L).astype(np.float64)
    mean, var = (X.mean(OVER), X.var(OVER)) if given is None else given
    y = _xhat(X, mean, var, eps) * _per_weight(w, dims) + _per_weight(b, dims)
    y = np.maximum(y, 0) if relu else y
    return y.reshape(x.shape).astype(x.dtype), mean.astype(x.dtype), var.astype(x.dtype)


def norm_grad(g: np.ndarray, x: np.ndarray, w: np.ndarray, mean: np.ndarray, var: np.ndarray, dims: NormDims, eps: float,
              fixed: bool, y: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx, dw and db for a cotangent g of y, or of max(y, 0), which is then given.

    fixed: mean and var were given and do not move with x.
    """
    g = g if y is None else np.where(y > 0, g, 0)
    X, G = (a.reshape(dims.N, dims.S, dims.K, dims.L).astype(np.float64) for a in (x, g))
    xhat = _xhat(X, mean, var, eps)
    h = G * _per_weight(w, dims)
    if not fixed:
        h = h - h.mean(OVER, keepdims=True) - xhat * (h * xhat).mean(OVER, keepdims=True)
    dx = h / np.sqrt(_per_s(var) + eps)
    dw, db = ((a.sum((0, 3)).reshape(dims.S // dims.P, dims.P * dims.K).sum(0)) for a in (G * xhat, G))
    return dx.reshape(x.shape).astype(x.dtype), dw.astype(x.dtype), db.astype(x.dtype)


def _xhat(X: np.ndarray, mean: np.ndarray, var: np.ndarray, eps: float) -> np.ndarray:
    return (X - _per_s(mean)) / np.sqrt(_per_s(var) + eps)


def _per_s(a: np.ndarray) -> np.ndarray:
    return a.astype(np.float64)[:, None, None]


def _per_weight(w: np.ndarray, dims: NormDims) -> np.ndarray:
    """(P * K,) repeated over the s that share weights: (S, K, 1)."""
    return np.tile(w.astype(np.float64).reshape(dims.P, dims.K, 1), (dims.S // dims.P, 1, 1))

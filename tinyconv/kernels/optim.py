"""One step of each optimiser over a flat parameter p, in place: a single pass that reads p, its gradient g and the state once.

Written as array expressions, each step would be four to ten passes over memory with temporaries between them. Scalars are
turned to the dtype of p first: Python's doubles would drag the whole loop to double precision. State that a variant does
without is an array of size 0.
Read next: optim/, where the rules stand with their sources.
"""

from __future__ import annotations

import numpy as np

from .invoke import each
from .jit import njit

u = np.uintp  # an unsigned index spares the test for Python's negative ones, which keeps a loop out of vectors
BLOCK = 1 << 13  # elements a task


@njit(error_model="numpy")
def sgd(p, g, buf, lr, momentum, keep, decay, nesterov):
    """d = g + decay p;  buf = momentum buf + keep d;  p -= lr buf, or with Nesterov p -= lr (d + momentum buf)."""
    one = p.dtype.type
    each((p.size + BLOCK - 1) // BLOCK, _sgd, (p, g, buf, one(lr), one(momentum), one(keep), one(decay), nesterov))


@njit(inner=True)
def _sgd(block, p, g, buf, lr, momentum, keep, decay, nesterov):
    first, last = block * BLOCK, min(block * BLOCK + BLOCK, p.size)
    if buf.size == 0:
        for i in range(first, last):
            p[u(i)] -= lr * (g[u(i)] + decay * p[u(i)])
    elif nesterov:
        for i in range(first, last):
            d = g[u(i)] + decay * p[u(i)]
            buf[u(i)] = momentum * buf[u(i)] + keep * d
            p[u(i)] -= lr * (d + momentum * buf[u(i)])
    else:
        for i in range(first, last):
            buf[u(i)] = momentum * buf[u(i)] + keep * (g[u(i)] + decay * p[u(i)])
            p[u(i)] -= lr * buf[u(i)]


@njit(error_model="numpy")
def adagrad(p, g, total, lr, decay, eps):
    """d = g + decay p;  total += d^2;  p -= lr d / (sqrt(total) + eps)."""
    one = p.dtype.type
    each((p.size + BLOCK - 1) // BLOCK, _adagrad, (p, g, total, one(lr), one(decay), one(eps)))


@njit(inner=True, error_model="numpy")
def _adagrad(block, p, g, total, lr, decay, eps):
    for i in range(block * BLOCK, min(block * BLOCK + BLOCK, p.size)):
        d = g[u(i)] + decay * p[u(i)]
        total[u(i)] += d * d
        p[u(i)] -= lr * d / (np.sqrt(total[u(i)]) + eps)


@njit(error_model="numpy")
def rmsprop(p, g, square, mean, buf, lr, alpha, eps, decay, momentum):
    """square, mean: running averages of d^2 and d = g + decay p;  buf = momentum buf + d / (sqrt(square - mean^2) + eps)."""
    one = p.dtype.type
    each((p.size + BLOCK - 1) // BLOCK, _rmsprop, (p, g, square, mean, buf, one(lr), one(alpha), one(1.0 - alpha), one(eps),
                                                   one(decay), one(momentum)))


@njit(inner=True, error_model="numpy")
def _rmsprop(block, p, g, square, mean, buf, lr, alpha, rest, eps, decay, momentum):
    centred, has_momentum = mean.size > 0, buf.size > 0
    for i in range(block * BLOCK, min(block * BLOCK + BLOCK, p.size)):
        d = g[u(i)] + decay * p[u(i)]
        square[u(i)] = alpha * square[u(i)] + rest * d * d
        spread = square[u(i)]
        if centred:
            mean[u(i)] += rest * (d - mean[u(i)])
            spread -= mean[u(i)] * mean[u(i)]
        move = d / (np.sqrt(spread) + eps)
        if has_momentum:
            move += momentum * buf[u(i)]
            buf[u(i)] = move
        p[u(i)] -= lr * move


@njit(error_model="numpy")
def adam(p, g, m, v, top, beta1, beta2, size, root, eps, decay, shrink):
    """m, v: running averages of d and d^2, d = g + decay p;  p = shrink p - size m / (root sqrt(v) + eps).

    With `top`, the largest v so far stands in place of v (AMSGrad). size and root hold the corrections for the first steps.
    """
    one = p.dtype.type
    each((p.size + BLOCK - 1) // BLOCK, _adam, (p, g, m, v, top, one(1.0 - beta1), one(beta2), one(1.0 - beta2), one(size),
                                                one(root), one(eps), one(decay), one(shrink)))


@njit(inner=True, error_model="numpy")
def _adam(block, p, g, m, v, top, rest1, beta2, rest2, size, root, eps, decay, shrink):
    amsgrad = top.size > 0
    for i in range(block * BLOCK, min(block * BLOCK + BLOCK, p.size)):
        d = g[u(i)] + decay * p[u(i)]
        m[u(i)] += rest1 * (d - m[u(i)])
        v[u(i)] = beta2 * v[u(i)] + rest2 * d * d
        spread = v[u(i)]
        if amsgrad:
            top[u(i)] = max(top[u(i)], spread)
            spread = top[u(i)]
        p[u(i)] = shrink * p[u(i)] - size * m[u(i)] / (root * np.sqrt(spread) + eps)

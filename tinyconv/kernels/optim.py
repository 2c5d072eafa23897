"""One step of each optimiser over a flat parameter p, in place: a single pass that reads p, its gradient g and the state once.

Written as array expressions, each step would be four to ten passes over memory with temporaries between them. Scalars are
turned to the dtype of p first: Python's doubles would drag the whole loop to double precision. State that a variant does
without is an array of size 0.
Read next: optim/, where the rules stand with their sources.
"""

from __future__ import annotations

import numpy as np

from .jit import njit


@njit(error_model="numpy")
def sgd(p, g, buf, lr, momentum, keep, decay, nesterov):
    """d = g + decay p;  buf = momentum buf + keep d;  p -= lr buf, or with Nesterov p -= lr (d + momentum buf)."""
    one = p.dtype.type
    lr, momentum, keep, decay = one(lr), one(momentum), one(keep), one(decay)
    if buf.size == 0:
        for i in range(p.size):
            p[i] -= lr * (g[i] + decay * p[i])
    elif nesterov:
        for i in range(p.size):
            d = g[i] + decay * p[i]
            buf[i] = momentum * buf[i] + keep * d
            p[i] -= lr * (d + momentum * buf[i])
    else:
        for i in range(p.size):
            buf[i] = momentum * buf[i] + keep * (g[i] + decay * p[i])
            p[i] -= lr * buf[i]


@njit(error_model="numpy")
def adagrad(p, g, total, lr, decay, eps):
    """d = g + decay p;  total += d^2;  p -= lr d / (sqrt(total) + eps)."""
    one = p.dtype.type
    lr, decay, eps = one(lr), one(decay), one(eps)
    for i in range(p.size):
        d = g[i] + decay * p[i]
        total[i] += d * d
        p[i] -= lr * d / (np.sqrt(total[i]) + eps)


@njit(error_model="numpy")
def rmsprop(p, g, square, mean, buf, lr, alpha, eps, decay, momentum):
    """square, mean: running averages of d^2 and d = g + decay p;  buf = momentum buf + d / (sqrt(square - mean^2) + eps)."""
    one = p.dtype.type
    rest, lr, alpha, eps, decay, momentum = one(1.0 - alpha), one(lr), one(alpha), one(eps), one(decay), one(momentum)
    centred, has_momentum = mean.size > 0, buf.size > 0
    for i in range(p.size):
        d = g[i] + decay * p[i]
        square[i] = alpha * square[i] + rest * d * d
        spread = square[i]
        if centred:
            mean[i] += rest * (d - mean[i])
            spread -= mean[i] * mean[i]
        move = d / (np.sqrt(spread) + eps)
        if has_momentum:
            move += momentum * buf[i]
            buf[i] = move
        p[i] -= lr * move


@njit(error_model="numpy")
def adam(p, g, m, v, top, beta1, beta2, size, root, eps, decay, shrink):
    """m, v: running averages of d and d^2, d = g + decay p;  p = shrink p - size m / (root sqrt(v) + eps).

    With `top`, the largest v so far stands in place of v (AMSGrad). size and root hold the corrections for the first steps.
    """
    one = p.dtype.type
    rest1, rest2, beta2, size, root = one(1.0 - beta1), one(1.0 - beta2), one(beta2), one(size), one(root)
    eps, decay, shrink, amsgrad = one(eps), one(decay), one(shrink), top.size > 0
    for i in range(p.size):
        d = g[i] + decay * p[i]
        m[i] += rest1 * (d - m[i])
        v[i] = beta2 * v[i] + rest2 * d * d
        spread = v[i]
        if amsgrad:
            top[i] = max(top[i], spread)
            spread = top[i]
        p[i] = shrink * p[i] - size * m[i] / (root * np.sqrt(spread) + eps)

"""Local response normalisation by array expressions: a pass over memory for each neighbour.

    y = x s^-beta        s[c] = k + alpha sum of x[j]^2 over the channels j = c - before .. c + after

Read next: response_cuda.py, one pass for all of them.
"""

from __future__ import annotations

from typing import Any


def window(x: Any, before: int, after: int) -> Any:
    """y[:, c] = sum of x[:, c - before] to x[:, c + after], where they exist."""
    y = x.copy()
    C = x.shape[1]
    for d in range(1, min(before, C - 1) + 1):
        y[:, d:] += x[:, :-d]
    for d in range(1, min(after, C - 1) + 1):
        y[:, :-d] += x[:, d:]
    return y


def response(x: Any, before: int, after: int, alpha: float, beta: float, k: float) -> tuple[Any, Any]:
    """(y, s) of x (N, C, *spatial); alpha is a factor of the sum, not of the mean."""
    s = k + alpha * window(x * x, before, after)
    return x * s**-beta, s


def response_grad(g: Any, x: Any, s: Any, before: int, after: int, alpha: float, beta: float) -> Any:
    """dx: s[c'] holds 2 alpha x[c] of each c in its window, so c collects from the windows that hold it."""
    straight = g * s**-beta
    return straight - 2 * alpha * beta * x * window(straight * x / s, after, before)

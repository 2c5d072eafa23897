"""One comparison with PyTorch, for every linear or piecewise linear operation: value, gradient and gradient of the gradient."""

import numpy as np

import tinyconv as tc
from tinyconv.autograd import grad

BOUND = 1e-12  # float64, sums of some dozen terms of a few units


def same(torch, ours, theirs, x, rng, what, bound=BOUND):
    """`ours` and `theirs`, functions of one tensor, at x: shapes and all, with random cotangents."""
    a, b = tc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, want = ours(a), theirs(b)
    close(y, want, bound, what)
    seed, direction = rng.standard_normal(y.shape), rng.standard_normal(x.shape)
    g, g_theirs = tc.tensor(seed, requires_grad=True), torch.tensor(seed, requires_grad=True)
    (first,), (first_want,) = grad(y, a, g, create_graph=True), torch.autograd.grad(want, b, g_theirs, create_graph=True)
    close(first, first_want, bound, f"gradient: {what}")
    second = grad(first, g, tc.tensor(direction))[0]
    close(second, torch.autograd.grad(first_want, g_theirs, torch.tensor(direction))[0], bound, f"second gradient: {what}")


def close(ours, theirs, bound, what):
    want = theirs.detach().numpy()
    assert ours.shape == want.shape, f"{ours.shape} and {want.shape}: {what}"
    np.testing.assert_allclose(ours.data, want, rtol=0, atol=bound * max(1.0, np.abs(want).max(initial=0.0)), err_msg=str(what))

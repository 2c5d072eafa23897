"""Clipping of gradients: norms and values by hand, and PyTorch."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch (extra `bench`) is not installed")


def with_grads(*grads):
    params = [nn.Parameter(np.zeros(len(g))) for g in grads]
    for p, g in zip(params, grads):
        p.grad = tc.Tensor(np.array(g, float))
    return params


def test_clip_grad_norm():
    params = with_grads([3.0], [0.0, 4.0])
    assert nn.utils.clip_grad_norm_(params, 10.0).item() == 5
    assert params[1].grad.tolist() == [0, 4]
    assert nn.utils.clip_grad_norm_(params, 1.0).item() == 5
    assert np.allclose(params[1].grad.numpy(), [0, 0.8], rtol=1e-6)  # the 1e-6 in max_norm / (norm + 1e-6)
    assert nn.utils.clip_grad_norm_(with_grads([3.0], [-4.0]), 1.0, norm_type=float("inf")).item() == 4
    assert nn.utils.clip_grad_norm_(with_grads([3.0], [-4.0]), 1.0, norm_type=1).item() == 7
    assert nn.utils.clip_grad_norm_([nn.Parameter([1.0])], 1.0).item() == 0
    with pytest.raises(RuntimeError, match="the norm of the gradients is nan"):
        nn.utils.clip_grad_norm_(with_grads([float("nan")]), 1.0, error_if_nonfinite=True)
    with pytest.raises(ValueError, match="got -1"):
        nn.utils.clip_grad_norm_(params, -1)


def test_clip_grad_value():
    params = with_grads([3.0, -0.5])
    nn.utils.clip_grad_value_(params, 1.0)
    assert params[0].grad.tolist() == [1, -0.5]
    with pytest.raises(ValueError, match="got -2"):
        nn.utils.clip_grad_value_(params, -2)


def test_clipping_is_pytorchs(torch):
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(4), rng.standard_normal(3)]
    for p in (2.0, 1.0, 3.0, float("inf")):
        ours, theirs = with_grads(*grads), [torch.nn.Parameter(torch.zeros(len(g), dtype=torch.float64)) for g in grads]
        for t, g in zip(theirs, grads):
            t.grad = torch.tensor(g)
        want = torch.nn.utils.clip_grad_norm_(theirs, 0.5, norm_type=p)
        assert nn.utils.clip_grad_norm_(ours, 0.5, norm_type=p).item() == pytest.approx(want.item(), rel=1e-12)
        for a, t in zip(ours, theirs):
            assert np.allclose(a.grad.numpy(), t.grad.numpy(), rtol=1e-12, atol=0)

"""Training on CUDA: in Numba's simulator anywhere, on the GPU where there is one. The checks: cuda_train_checks.py."""

import numpy as np
import pytest
from test_cuda_conv import run_checks

import tinyconv as tc
from tinyconv.kernels import gpu, gpu_graph


def test_the_simulator_agrees_with_the_cpu():
    run_checks(True, checks="cuda_train_checks.py")


@pytest.mark.skipif(bool(gpu.missing()) or gpu.simulated(), reason=f"no GPU to run on: {gpu.missing() or 'simulated'}")
def test_the_gpu_agrees_with_the_cpu():
    run_checks(False, checks="cuda_train_checks.py")


class Replay:
    """A stand-in for a graph: what it launches again writes to the memory of the run that was recorded, and nothing else."""

    def __init__(self, fn):
        self.fn, self.calls = fn, 0

    def __call__(self):
        self.calls += 1
        if self.calls <= gpu_graph.Graph.WARM + 1:
            return self.fn()
        of = self.fn.__self__
        held, left = (of.result, of.grads), [p.grad for p in of.parameters]
        self.fn()
        for old, new in zip((*held[0], *held[1]), (*of.result, *of.grads)):
            old.data[...] = new.data
        of.result, of.grads = held
        for p, grad in zip(of.parameters, left):
            p.grad = grad
        return None


def test_a_batch_of_another_size_does_not_leave_its_gradients_to_the_graph(monkeypatch):
    """Gradients by hand: of (w x - t)^2 summed, with w = 2, t = 0: sum of 4 x^2."""
    from tinyconv.train.recorded import Recorded

    monkeypatch.setattr(gpu_graph, "Graph", type("Graph", (Replay,), {"WARM": gpu_graph.Graph.WARM}))
    w = tc.tensor([2.0], requires_grad=True)

    def step(x, t):
        w.grad = None
        loss = ((w * x - t) ** 2).sum()
        loss.backward()
        return loss, loss

    run = Recorded(step, [w])
    for values in ([1.0, 1.0], [1.0, 2.0], [3.0, 1.0], [5.0], [2.0, 2.0], [1.0], [0.0, 1.0]):
        x = np.array(values, np.float32)
        loss, _ = run(tc.tensor(x), tc.tensor(x * 0))
        assert (loss.item(), w.grad.item()) == (4 * (x * x).sum(), 4 * (x * x).sum())

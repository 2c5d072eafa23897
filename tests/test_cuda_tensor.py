"""Tensors on CUDA: in Numba's simulator anywhere, on the GPU where there is one. The checks: cuda_tensor_checks.py."""

import re

import numpy as np
import pytest
from test_cuda_conv import run_checks

import tinyconv as tc
from tinyconv.kernels import gpu, gpu_graph

absent = pytest.mark.skipif(not gpu.missing(), reason="CUDA can be used here")


def test_the_simulator_agrees_with_the_cpu():
    run_checks(True, checks="cuda_tensor_checks.py")


@pytest.mark.skipif(bool(gpu.missing()) or gpu.simulated(), reason=f"no GPU to run on: {gpu.missing() or 'simulated'}")
def test_the_gpu_agrees_with_the_cpu():
    run_checks(False, checks="cuda_tensor_checks.py")


@absent
@pytest.mark.parametrize("call", [
    lambda: tc.ones(2).cuda(), lambda: tc.ones(2).to("cuda"), lambda: tc.zeros(2, device="cuda:0"),
    lambda: tc.tensor([1.0], device="cuda"), lambda: tc.nn.Linear(2, 2).to("cuda"), lambda: tc.nn.Linear(2, 2).cuda(),
])
def test_without_a_gpu_the_sentence_says_what_is_missing(call):
    with pytest.raises(RuntimeError, match=r"device 'cuda(:0)?' cannot be used: ") as caught:
        call()
    assert gpu.missing() in str(caught.value)


def test_the_cpu_is_a_device_too():
    t = tc.ones(2, requires_grad=True)
    assert (t.device, t.is_cuda, t.cpu() is t) == ("cpu", False, True)
    net = tc.nn.Linear(2, 2).to("cpu", "float64")
    assert net.weight.dtype == "float64" and net.to(device="cpu", dtype="float32").weight.dtype == "float32"
    with pytest.raises(ValueError, match='a device is "cpu", "cuda" or "cuda:0"'):
        t.to("cuda:3")
    with pytest.raises(AttributeError):
        t.__cuda_array_interface__  # noqa: B018


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


# what is missing: a driver that answers as it is told to

class Driver:
    def __init__(self, release=13000, started=0, count=1, cc=(9, 0)):
        self.release, self.started, self.count, self.cc = release, started, count, cc

    def cuDriverGetVersion(self, to):
        to._obj.value = self.release

    def cuInit(self, flags):
        return self.started

    def cuDeviceGetCount(self, to):
        to._obj.value = self.count
        return 0

    def cuDeviceGet(self, to, ordinal):
        to._obj.value = ordinal

    def cuDeviceGetAttribute(self, to, attribute, device):
        to._obj.value = self.cc[attribute - 75]


@pytest.mark.skipif(gpu.simulated(), reason="the simulator needs no driver")
@pytest.mark.parametrize("packages, driver, sentence", [
    ((), None, r"the package numba-cuda is not installed: pip install 'tinyconv\[cuda\]' \(CUDA 13\) or"),
    (("numba_cuda",), None, "the package CuPy is not installed: pip install"),
    (("numba_cuda", "cupy"), None, "no NVIDIA driver was found: install"),
    (("numba_cuda", "cupy"), Driver(12080), r"the NVIDIA driver is for CUDA 12\.8, and the packages for 13: update the driver"),
    (("numba_cuda", "cupy"), Driver(started=100), "the NVIDIA driver sees no GPU: check nvidia-smi"),
    (("numba_cuda", "cupy"), Driver(count=0), "the NVIDIA driver sees no GPU"),
    (("numba_cuda", "cupy"), Driver(cc=(7, 0)), r"the GPU has compute capability 7\.0, and 7\.5 is the least"),
    (("numba_cuda", "cupy"), Driver(), ""),
])
def test_what_is_missing_is_named_with_its_remedy(packages, driver, sentence, monkeypatch):
    def load(name):
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(gpu, "find_spec", lambda name: name in packages or None)
    monkeypatch.setattr(gpu, "_toolkit", lambda: 13)
    monkeypatch.setattr(gpu.ctypes, "CDLL", load)
    why = gpu.missing.__wrapped__()
    assert re.match(sentence, why) if sentence else why == ""
    assert "\n" not in why

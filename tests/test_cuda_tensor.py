"""Tensors on CUDA: in Numba's simulator anywhere, on the GPU where there is one. The checks: cuda_tensor_checks.py."""

import re

import pytest
from test_cuda_conv import run_checks

import tinyconv as tc
from tinyconv.kernels import gpu

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

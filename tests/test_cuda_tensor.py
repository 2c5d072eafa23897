"""Tensors on CUDA: in Numba's simulator anywhere, on the GPU where there is one. The checks: cuda_tensor_checks.py."""

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

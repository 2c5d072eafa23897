"""Pooling and normalisation on CUDA: in Numba's simulator, and on a GPU where there is one. Checks: cuda_pool_checks.py."""

import pytest
from test_cuda_conv import run_checks

from tinyconv.kernels import gpu


def test_the_simulator_agrees_with_the_definition():
    run_checks(True, checks="cuda_pool_checks.py")


@pytest.mark.skipif(bool(gpu.missing()) or gpu.simulated(), reason=f"no GPU to run on: {gpu.missing() or 'simulated'}")
def test_the_gpu_agrees_with_the_definition():
    run_checks(False, checks="cuda_pool_checks.py")

"""compute-sanitizer over the CUDA kernels, where there is a GPU. The simulator watches every index and every race instead."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_cuda_conv import run_checks

from tinyconv.kernels import gpu

TESTS = Path(__file__).parent
TOOL = shutil.which("compute-sanitizer")


def test_no_kernel_races_in_the_simulator():
    run_checks(True, checks="cuda_race_checks.py")


@pytest.mark.sweep
@pytest.mark.skipif(bool(gpu.missing()) or gpu.simulated(), reason=f"no GPU to run on: {gpu.missing() or 'simulated'}")
@pytest.mark.skipif(TOOL is None, reason="compute-sanitizer is not on the PATH: it comes with the CUDA toolkit")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
@pytest.mark.parametrize("checks", ["cuda_conv_checks.py", "cuda_pool_checks.py", "cuda_winograd_checks.py"])
def test_the_sanitizer_finds_nothing(checks, tool):
    """CuPy's pool hides the ends of arrays from it: with the pool off, each array is an allocation of its own."""
    code = ("import cupy, pytest, sys; cupy.cuda.set_allocator(None);"
            f"sys.exit(pytest.main(['-q', '-x', '-p', 'no:cacheprovider', {str(TESTS / checks)!r}]))")
    command = [str(TOOL), "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", code]
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run(command, env=env, cwd=TESTS.parent, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout[-4000:]

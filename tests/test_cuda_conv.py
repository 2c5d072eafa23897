"""Convolution on CUDA: in Numba's simulator anywhere, and on the GPU where there is one. The checks: cuda_conv_checks.py,
cuda_winograd_checks.py.

The tables that the kernels walk are checked here, on the host: a product over them is the definition.
"""

import os
import subprocess
import sys
from math import prod
from pathlib import Path

import numpy as np
import pytest

from tinyconv import cases, registry
from tinyconv.dims import conv_dims
from tinyconv.kernels import gpu
from tinyconv.kernels.conv import cuda_plan, cuda_tiled, reference
from tinyconv.kernels.geometry import lift

TESTS = Path(__file__).parent
MAPS = ("conv", "conv_input_grad", "conv_weight_grad")


def run_checks(simulated, *options, checks="cuda_conv_checks.py"):
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": str(int(simulated)), "NUMBA_DISABLE_JIT": "0"}
    command = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(TESTS / checks), *options]
    done = subprocess.run([sys.executable, *command], env=env, cwd=TESTS.parent, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


CHECKS = ("cuda_conv_checks.py", "cuda_winograd_checks.py")


@pytest.mark.parametrize("checks", CHECKS)
def test_the_simulator_agrees_with_the_definition(checks):
    run_checks(True, checks=checks)


@pytest.mark.sweep
def test_the_simulator_agrees_on_every_case():
    run_checks(True, "-m", "sweep")


@pytest.mark.skipif(bool(gpu.missing()) or gpu.simulated(), reason=f"no GPU to run on: {gpu.missing() or 'simulated'}")
@pytest.mark.parametrize("checks", CHECKS)
def test_the_gpu_agrees_with_the_definition(checks):
    run_checks(False, checks=checks)


@pytest.mark.skipif(not gpu.missing(), reason="CUDA can be used here")
@pytest.mark.parametrize("op", MAPS)
def test_without_a_gpu_each_kernel_says_what_is_missing(op):
    """A record that refuses, with a sentence that names the remedy; never an error at import."""
    dims, dtype = cases.small["depthwise"], np.dtype("float32")
    why = gpu.missing()
    assert any(part in why for part in ("numba-cuda", "CuPy", "driver", "GPU")) and len(why.split()) > 5
    rungs = [k for k in registry.kernels(op) if k.device == "cuda"]
    assert [k.algorithm for k in rungs] == ["cuda_naive", "cuda_shared", "cuda_im2col", "cuda_tiled", "cuda_winograd",
                                             "cuda_depthwise"]
    assert {k.refuse(dims, dtype) for k in rungs} == {why}
    with pytest.raises(ValueError, match="cuda_tiled: ") as caught:
        registry.choose(op, dims, dtype, device="cuda")
    assert why in str(caught.value)
    with pytest.raises(RuntimeError, match="CUDA cannot be used"):
        gpu.xp()


def test_importing_the_kernels_loads_no_cuda():
    code = ("import sys, tinyconv; tinyconv.table(); from tinyconv.kernels import gpu; gpu.missing(); gpu.is_device(1);"
            "print([m for m in sys.modules if m.startswith(('cupy', 'numba_cuda', 'numba.cuda.cudadrv'))])")
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=TESTS.parent, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


# the tables, on the host

def product_over_tables(plan, a, w, shape):
    """out[p, j] = sum over k of a[place(p) + term(k)] * w[j, k] for every phase, as the kernels are told to do it."""
    N, G, _, Cb, size_a, size, j_step, g_step = map(int, plan.geometry)
    out, w = np.full((N, G, Cb, size), np.nan), w.ravel()
    planes = a.reshape(N, G, prod(a.shape[1:]) // G)
    assert planes.shape[2] % size_a == 0
    for P, K, first_place, first in plan.phases:
        assert N * P <= plan.positions and K <= plan.length
        places = plan.places[first_place:first_place + P]
        total = np.zeros((N, G, Cb, P))
        for term, w_at in zip(plan.terms[first:first + K], plan.w_at[first:first + K]):
            at, ok = places[:, 0] + term[0], ~(places[:, 2:] & term[1:]).any(1)
            assert ((at >= 0) & (at < planes.shape[2]))[ok].all(), "a term that is met lies outside of the array"
            values = np.where(ok, planes[:, :, np.where(ok, at, 0)], 0)
            weights = w[np.arange(G)[:, None] * g_step + np.arange(Cb) * j_step + w_at]
            total += values[:, :, None] * weights[None, :, :, None]
        out[..., places[:, 1]] = total
        behind = slice(first + K, first + K + -K % cuda_plan.SLICE + cuda_plan.SLICE)  # as far as a kernel fetches ahead
        assert len(plan.terms[behind]) >= cuda_plan.SLICE and (plan.w_at[behind] == -1).all()
        assert (places[:, None, 2:] & plan.terms[behind, 1:]).any(2).all(), "a term behind the last one that is met"
    assert ((plan.terms[plan.w_at >= 0, 1:] & -1).any(1)).all(), "a term that would be met where there is no position"
    assert not np.isnan(out).any(), "a cell that no phase fills"
    return out.reshape(shape)


def check_tables(dims, rng):
    x, w, y = (rng.integers(-4, 5, s).astype(np.float64) for s in (dims.x_shape, dims.w_shape, dims.y_shape))
    np.testing.assert_array_equal(product_over_tables(cuda_plan.forward(dims), x, w, dims.y_shape), reference.conv(x, w, dims))
    np.testing.assert_array_equal(product_over_tables(cuda_plan.input_grad(dims), y, w, dims.x_shape),
                                  reference.conv_input_grad(y, w, dims))


@pytest.mark.parametrize("case", cases.small)
def test_a_product_over_the_tables_is_the_definition(case):
    check_tables(cases.small[case], np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(40))
def test_tables_of_random_geometries(seed):
    rng = np.random.default_rng(seed)
    rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    draw = lambda low, high: tuple(int(v) for v in rng.integers(low, high, rank))  # noqa: E731
    w_shape = (groups * int(rng.integers(1, 4)), int(rng.integers(1, 4)), *draw(1, 4))
    try:
        dims = conv_dims((2, w_shape[1] * groups, *draw(1, 9)), w_shape, draw(1, 4), tuple(zip(draw(0, 4), draw(0, 4))),
                         draw(1, 4), groups)
    except ValueError as error:
        assert "output" in str(error)
        return
    check_tables(dims, rng)


@pytest.mark.parametrize("layer", cases.layers)
def test_plans_of_known_layers_multiply_nothing_for_nothing(layer):
    """Over all phases the input gradient has as many terms as the forward pass has taps: no inserted zero among them."""
    dims = cases.layers[layer]
    plan = cuda_plan.input_grad(dims)
    assert (plan.w_at >= 0).sum() == sum(int(p[1]) for p in plan.phases) == dims.O // dims.groups * prod(dims.kernel)
    assert sum(int(p[0]) for p in plan.phases) == prod(dims.input) and len(plan.phases) == prod(lift(dims).stride)
    tile, parts, span = cuda_tiled.weight_parts(cuda_plan.forward(dims))
    assert (parts - 1) * span < dims.N * prod(dims.output) <= parts * span and span % tile.BK == 0
    for p in (plan, cuda_plan.forward(dims)):
        chosen = cuda_tiled.choose_tile(p.positions, p.channels, p.groups * len(p.phases))
        assert chosen.threads >= chosen.BM and chosen.threads % chosen.BM == 0  # a thread fetches one position
        assert chosen.BN * chosen.BK % chosen.threads == 0 and chosen.BM * chosen.BK % chosen.threads == 0

"""What test_cuda_memory.py runs in the simulator: every kernel on small cases, and no two threads in a race (watched.py)."""

import ast
from math import prod
from pathlib import Path

import cuda_conv_checks
import cuda_pool_checks
import cuda_winograd_checks
import numpy as np
import pytest
from pooled import OPS, calls
from watched import Fault, watching

import tinyconv as tc
from tinyconv import kernels, optim, registry
from tinyconv.kernels import gpu
from tinyconv.kernels.gpu import cuda, int32
from tinyconv.kernels.pool import reference as pool_reference
from tinyconv.nn import functional as F

KERNELS = Path(kernels.__file__).parent
LAUNCHED = set()
WORK = 900  # multiply-adds, at most: a watched one takes some 50 us
CONVS = [pytest.param(k, name, id=f"{k.algorithm}-{k.op}-{name}") for k in cuda_conv_checks.KERNELS
         for name, dims in cuda_conv_checks.CASES.items()
         if 0 < dims.macs <= WORK and not k.refuse(dims, np.dtype("float32"))]
POOLS = ("adaptive_line", *[name for name, d in cuda_pool_checks.SMALL.items() if prod(d.x_shape) + prod(d.y_shape) <= 120])


@pytest.fixture(autouse=True)
def watched():
    with watching() as launched:
        yield
    LAUNCHED.update(launched)


@pytest.mark.parametrize("kernel, name", CONVS)
def test_convolutions(kernel, name):
    dims, draw = cuda_conv_checks.CASES[name], cuda_conv_checks.whole("float32")
    a, b = cuda_conv_checks.operands(kernel.op, dims, draw)
    bias = {"bias": gpu.to_device(draw((dims.O,)))} if "bias" in kernel.fuses else {}
    cuda_conv_checks.on_device(kernel, a, b, dims, **bias)


@pytest.mark.parametrize("name", ["in_twos", "ragged", "fives_in_twos"])
@pytest.mark.parametrize("kernel", cuda_winograd_checks.KERNELS, ids=lambda k: f"{k.algorithm}-{k.op}")
def test_convolutions_by_tiles(kernel, name):
    cuda_winograd_checks.test_is_within_its_bound_of_the_definition(kernel, name, np.dtype("float32"))


@pytest.mark.parametrize("name", sorted({*POOLS}))
def test_poolings(name):
    dims, rng = cuda_pool_checks.CASES[name], np.random.default_rng(1)
    for op in OPS:
        if op == "pool_scatter":
            y, at = pool_reference.max_pool(rng.integers(-3, 4, dims.x_shape).astype(np.float32), dims)
            cuda_pool_checks.agree(cuda_pool_checks.kernel(op), dims, np.float32, (y, at), {})
        for arrays, keywords in list(calls(op, dims, np.float32, rng))[:2]:
            k = cuda_pool_checks.kernel(op, "cuda_anywhere" if op == "pool_scatter" else "cuda")
            cuda_pool_checks.agree(k, dims, np.float32, arrays, keywords)


@pytest.mark.parametrize("name", cuda_pool_checks.NORMS)
def test_normalisations(name):
    for fixed in (False, True):
        cuda_pool_checks.test_normalisation_agrees_with_the_definition(name, fixed, np.float32)


def test_picking_and_adding():
    cuda_pool_checks.test_put_adds_what_is_named_twice_in_the_order_of_y()
    cuda_pool_checks.test_runs_are_summed()


@pytest.mark.parametrize("make", [
    lambda p: optim.SGD(p, 0.1), lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True), lambda p: optim.Adagrad(p, 0.1),
    lambda p: optim.RMSprop(p, 0.01), lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    lambda p: optim.Adam(p, 0.01), lambda p: optim.Adam(p, 0.01, amsgrad=True),
])
def test_optimisers(make):
    p = tc.ones(2, 3, device="cuda", requires_grad=True)
    rule = make([p])
    for _ in range(2):
        p.grad = tc.ones(2, 3, device="cuda")
        rule.step()


@pytest.mark.parametrize("size", [1, 2, 9])
def test_operations_by_name(size):
    x = tc.rand(2, 3, 5, device="cuda", requires_grad=True)
    F.relu(F.local_response_norm(x, size)).sum().backward()


# -- the checker itself ------------------------------------------------------------------------------------------------


def broken(fault):
    """Kernels of four threads, each with one mistake; `none` is right."""
    @gpu.jit
    def reverse(y, size, x):
        """y = x turned around within a block of four, through shared memory."""
        tile = cuda.shared.array(4, gpu.real("float32"))
        t, i = int32(cuda.threadIdx.x), int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if fault != "not written":
            tile[t] = x[i] if i < size else 0
        if fault != "no barrier":
            cuda.syncthreads()
        v = tile[3 - t]
        if i < size:
            y[i // (2 if fault == "two threads at one" else 1)] = v

    return reverse


@pytest.mark.parametrize("fault, says", [
    ("no barrier", "shared memory.*(read by thread|written by thread)"), ("not written", "not written before"),
    ("two threads at one", "written by thread . of block .* and written by"),
])
def test_a_mistake_is_seen(fault, says):
    x, y = gpu.to_device(np.arange(6, dtype=np.float32)), gpu.xp().zeros(6, np.float32)
    with pytest.raises(Fault, match=says):
        gpu.launch(broken(fault), 2, 4, y, 6, x)


def test_what_is_right_is_let_through():
    x, y = gpu.to_device(np.arange(6, dtype=np.float32)), gpu.xp().zeros(6, np.float32)
    gpu.launch(broken("none"), 2, 4, y, 6, x)
    assert gpu.to_host(y).tolist() == [3, 2, 1, 0, 0, 0]


def test_every_kernel_of_the_library_was_watched():
    """Last: whatever is decorated with gpu.jit was launched above. A new kernel is to be added to what is run."""
    wanted = {}
    for path in KERNELS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for mark in node.decorator_list:
                    if ast.unparse(mark).startswith("gpu.jit"):
                        wanted[str(path), mark.lineno] = f"{path.stem}.{node.name}"
    assert len(wanted) >= 30
    assert not {name for where, name in wanted.items() if where not in LAUNCHED}
    assert {k.device for k in registry.kernels("conv")} >= {"cuda"}

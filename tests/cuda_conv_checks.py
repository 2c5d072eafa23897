"""Every exact convolution kernel on CUDA against the definition: run by test_cuda_conv.py, in the simulator and on a GPU.

In the simulator a block is 4 threads and a tile 2 to 4 cells wide, so that small cases have many blocks, and edges.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from tinyconv import cases, registry
from tinyconv.dims import conv_dims
from tinyconv.kernels import gpu
from tinyconv.kernels.conv import cuda_plan, cuda_tiled, reference
from tinyconv.kernels.gpu import cuda

MAPS = {"conv": ("x", "w", "y"), "conv_input_grad": ("y", "w", "x"), "conv_weight_grad": ("x", "y", "w")}
KERNELS = [k for op in MAPS for k in registry.kernels(op) if k.device == "cuda" and k.exact]
QUICK = 2400  # multiply-adds: the simulator takes some 20 us for each
DOUBLE = ("stride_over_kernel", "depthwise_twice", "line")  # also tried in float64 by default
# each adds an edge that the quick ones of cases.py lack
EDGES = {
    "grouped_ragged": conv_dims((2, 6, 3, 4), (9, 2, 2, 3), padding=((0, 1), (1, 0)), groups=3),
    "volume_dilated": conv_dims((1, 2, 4, 3, 3), (2, 1, 2, 2, 2), stride=(2, 1, 1), padding=1, dilation=(1, 2, 1), groups=2),
    "depthwise_tall": conv_dims((2, 2, 7, 3), (4, 1, 3, 2), padding=(1, 0), groups=2),
    "phases_without_taps": conv_dims((2, 2, 7, 6), (3, 2, 2, 1), stride=(3, 2), dilation=(3, 1)),
    "a_batch_of_dots": conv_dims((13, 5, 1, 1), (3, 5, 1, 1)),
    "many_shifts": conv_dims((2, 2, 9), (2, 1, 33), padding=16, groups=2),  # over the edge: more than a word has bits
    "depthwise_parts": conv_dims((3, 2, 7, 7), (2, 1, 1, 2), groups=2),
}
CASES = {**cases.small, **EDGES}


def grid():
    for kernel in KERNELS:
        for name, dims in CASES.items():
            for dtype in ("float32", "float64"):
                quick = dims.macs <= QUICK and (dtype == "float32" or name in DOUBLE)
                yield pytest.param(kernel, name, np.dtype(dtype), id=f"{kernel.algorithm}-{kernel.op}-{name}-{dtype}",
                                   marks=() if quick or not gpu.simulated() else pytest.mark.sweep)


def operands(op, dims, draw):
    return [draw(getattr(dims, f"{slot}_shape")) for slot in MAPS[op][:2]]


def whole(dtype, seed=1):
    rng = np.random.default_rng(seed)
    return lambda shape: rng.integers(-4, 5, shape).astype(dtype)


def on_device(kernel, a, b, dims, **more):
    return gpu.to_host(kernel.fn(gpu.to_device(a), gpu.to_device(b), dims, **more))


def accepts(kernel, dims, dtype):
    why = kernel.refuse(dims, dtype)
    assert not why or kernel.algorithm == "cuda_depthwise", why
    return not why


@pytest.mark.parametrize("kernel, case, dtype", list(grid()))
def test_equals_the_definition_on_integers(kernel, case, dtype):
    dims = CASES[case]
    if not accepts(kernel, dims, dtype):
        assert dims.C != dims.groups or dims.groups == 1 or prod(dims.kernel) > 49
        return
    a, b = operands(kernel.op, dims, whole(dtype))
    there = [gpu.to_device(v) for v in (a, b)]
    got = kernel.fn(*there, dims)
    want = getattr(reference, kernel.op)(a, b, dims)
    assert gpu.is_device(got) and got.dtype == dtype and got.flags.c_contiguous
    np.testing.assert_array_equal(gpu.to_host(got), want)
    for v, host in zip(there, (a, b)):
        np.testing.assert_array_equal(gpu.to_host(v), host, "an operand was written to")
    if "bias" in kernel.fuses:
        bias = np.arange(dims.O, dtype=dtype) - 3
        np.testing.assert_array_equal(on_device(kernel, a, b, dims, bias=gpu.to_device(bias)),
                                      want + bias.reshape(-1, *(1,) * dims.rank))
    assert kernel.scratch(dims, dtype) >= 0


@pytest.mark.parametrize("case", ["hand", "depthwise_twice", "leftover"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: f"{k.algorithm}-{k.op}")
def test_two_runs_are_the_same_bits_and_round_no_more_than_they_must(kernel, case):
    """m products added in any order are off by m*eps/2 of the sum of their magnitudes, to first order; twice that for the
    fused multiply-adds of parts. Higham, "Accuracy and stability of numerical algorithms" (2002), section 3.1."""
    dims, dtype = CASES[case], np.dtype("float32")
    if not accepts(kernel, dims, dtype):
        return
    rng = np.random.default_rng(2)
    a, b = operands(kernel.op, dims, lambda shape: rng.standard_normal(shape).astype(dtype))
    one, two = (on_device(kernel, a, b, dims) for _ in range(2))
    assert one.tobytes() == two.tobytes()
    define = getattr(reference, kernel.op)
    a, b = a.astype(np.float64), b.astype(np.float64)
    terms = {"y": prod(dims.w_shape[1:]), "x": dims.O // dims.groups * prod(dims.kernel),
             "w": dims.N * prod(dims.output)}[MAPS[kernel.op][2]]
    assert (abs(one - define(a, b, dims)) <= terms * np.finfo(dtype).eps * define(abs(a), abs(b), dims)).all()


@pytest.mark.parametrize("case", ["same_stride", "depthwise_twice"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: f"{k.algorithm}-{k.op}")
def test_layout_does_not_matter_and_nan_stays_where_it_belongs(kernel, case):
    dims, dtype = CASES[case], np.dtype("float32")
    if not accepts(kernel, dims, dtype):
        return
    a, b = operands(kernel.op, dims, whole(dtype, seed=3))
    if kernel.op != "conv_weight_grad" and kernel.algorithm != "cuda_im2col":  # BLAS multiplies whatever it is given
        a[tuple(size // 2 for size in a.shape)] = np.nan
    want = getattr(reference, kernel.op)(a, b, dims)
    backwards = gpu.to_device(a[..., ::-1].copy())[..., ::-1]
    assert not backwards.flags.c_contiguous
    np.testing.assert_array_equal(gpu.to_host(kernel.fn(backwards, gpu.to_device(b), dims)), want)


def test_the_cases_have_edges_in_every_tile():
    """No tile of the simulator divides all of the cases, in either direction; every tile is chosen by one; sums have parts."""
    chosen, parts = set(), set()
    for dims in CASES.values():
        if dims.N and dims.macs <= QUICK:
            for plan in (cuda_plan.forward(dims), cuda_plan.input_grad(dims)):
                tile = cuda_tiled.choose_tile(plan.positions, plan.channels, plan.groups * len(plan.phases))
                chosen.add((tile, plan.positions % tile.BM > 0, plan.channels % tile.BN > 0))
            parts.add(cuda_tiled.weight_parts(cuda_plan.forward(dims))[1] > 1)
    if gpu.simulated():
        tiles = {tile for tile, _, _ in chosen}
        assert len(tiles) >= 2
        assert any(rows for _, rows, _ in chosen) and any(columns for _, _, columns in chosen)
        assert parts == {True, False}
        assert {cuda_plan.forward(dims).words for dims in CASES.values()} == set(cuda_plan.WORDS)
    else:
        assert chosen


def test_what_does_not_fit_is_refused():
    kernel = next(k for k in KERNELS if k.algorithm == "cuda_tiled")
    far = conv_dims((40000, 64, 32, 32), (64, 64, 1, 1))
    assert "32-bit" in kernel.refuse(far, np.dtype("float32"))
    many = conv_dims((1, 40000, 4, 4), (40000, 1, 2, 2), stride=2, groups=40000)
    assert "65535" in kernel.refuse(many, np.dtype("float32"))
    wide = conv_dims((1, 1, 200), (1, 1, 96), padding=48)
    assert "96 shifts over an edge" in kernel.refuse(wide, np.dtype("float32"))
    assert registry.choose("conv", wide, np.dtype("float32"), "cuda").algorithm == "cuda_im2col"
    assert not kernel.refuse(conv_dims((1, 1, 200), (1, 1, 95), padding=47), np.dtype("float32"))
    assert "tables of 500,000,000 rows" in kernel.refuse(conv_dims((1, 1, 500_000_000), (1, 1, 1)), np.dtype("float32"))
    assert "not int64" in kernel.refuse(CASES["hand"], np.dtype("int64"))
    with pytest.raises(TypeError, match="runs on the device"):
        cuda_tiled.sum_parts.__globals__["_add"]("float32")(1)
    with pytest.raises(TypeError, match="arrays on the device and numbers, got ndarray"):
        gpu.launch(cuda_tiled.sum_parts.__globals__["_add"]("float32"), 1, 4, np.ones(3, np.float32), 1, 1, 1)


def test_choose_takes_the_fastest_that_fits():
    names = {case: registry.choose("conv", CASES[case], np.dtype("float32"), "cuda").algorithm
             for case in ("half", "depthwise", "depthwise_tall")}
    assert names == {"half": "cuda_tiled", "depthwise": "cuda_depthwise", "depthwise_tall": "cuda_depthwise"}


@pytest.mark.skipif(not gpu.simulated(), reason="CuPy refuses it in words of its own")
@pytest.mark.parametrize("call", [
    lambda a: np.add(a, a, where=a > 1), lambda a: np.maximum.reduce(a), lambda a: np.add.at(a, 0, 1),
    lambda a: a.sum(initial=1), lambda a: np.max(a, initial=0),
    lambda a: np.divmod(a, a, out=(a.copy(), a.copy())), lambda a: np.add(a, a, order="C"),
    lambda a: np.apply_along_axis(sum, 0, a), lambda a: a * np.array(2.0), lambda a: gpu.flat(np.ones(3)),
    lambda a: np.concatenate([a, np.ones((2, 3))]),
], ids=["where", "reduce", "at", "initial", "initial of max", "two outs", "order", "unseen", "host scalar", "flat", "host"])
def test_the_simulator_refuses_what_cupy_refuses(call):
    """Arrays of CuPy 14.2 raised for each; add.at and apply_along_axis it has, and no kernel or test has used them on it."""
    with pytest.raises(TypeError, match=r"CuPy refuses it|on the host and on the device"):
        call(gpu.to_device(np.arange(6, dtype=np.float32).reshape(2, 3)))


@pytest.mark.skipif(not gpu.simulated(), reason="CuPy's own arrays need no proof")
def test_arrays_of_the_simulator_know_where_they_are():
    a = gpu.to_device(np.arange(6, dtype=np.float32).reshape(2, 3))
    for b in (a + 1, a.sum(), a[0, 0], a.reshape(3, 2).T, np.where(a > 1, a, 0), a.argmax(), gpu.xp().zeros(3), a @ a.T):
        assert gpu.is_device(b)
    assert not gpu.is_device(gpu.to_host(a)) and not np.shares_memory(gpu.to_host(a), a.view(np.ndarray))
    assert gpu.to_device(a) is a
    with pytest.raises(TypeError, match="on the host and on the device"):
        a + np.ones((2, 3))
    with pytest.raises(ValueError, match="contiguous"):
        gpu.launch(cuda_tiled.sum_parts.__globals__["_add"]("float32"), 1, 4, a.T, a, 6, 1)


def test_the_bench_calls_a_wrong_answer_wrong():
    from bench.cuda_work import judge

    want = gpu.to_device(np.arange(6, dtype=np.float64))
    judge(want.astype(np.float32), want, exact=True)
    for wrong in (want + 1, want * np.nan):
        with pytest.raises(ArithmeticError, match="off by"):
            judge(wrong, want, exact=False)
    judge(want + 1e-4, want, exact=False)
    with pytest.raises(ArithmeticError):
        judge(want + 1e-4, want, exact=True)


@pytest.mark.skipif(not gpu.simulated(), reason="on a GPU compute-sanitizer looks: test_cuda_memory.py")
@pytest.mark.parametrize("first, ends", [(0, None), (1, 8), (-1, -1)])
@pytest.mark.parametrize("reads", [False, True])
def test_the_simulator_watches_the_ends_of_arrays(first, ends, reads):
    """Every check in here is a memory check: an index that is off by one, at either end, is an error in the simulator."""
    @gpu.jit
    def copy(y, x, n, from_y, from_x):
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        if i < n:
            y[i + from_y] = x[i + from_x]

    x, y = (gpu.to_device(np.arange(8.0) + k) for k in range(2))
    args = (copy, 2, 4, y, x, 8, 0 if reads else first, first if reads else 0)
    if ends is None:
        gpu.launch(*args)
        np.testing.assert_array_equal(gpu.to_host(y), gpu.to_host(x))
    else:
        with pytest.raises(IndexError, match=f"element {ends} of an array of 8"):
            gpu.launch(*args)

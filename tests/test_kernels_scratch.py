"""Working memory: what a kernel states is what it takes, and how little the fast rung takes."""

from __future__ import annotations

import tracemalloc
from math import prod

import numpy as np
import pytest

from tinyconv import cases
from tinyconv.dims import ConvDims, conv_dims
from tinyconv.kernels import scratch
from tinyconv.kernels.conv import simd
from tinyconv.kernels.conv.simd_loops import BASES
from tinyconv.kernels.conv.simd_plan import SUMS
from tinyconv.kernels.emit import lanes
from tinyconv.kernels.jit import config
from tinyconv.kernels.scratch import pieces, release
from tinyconv.registry import Kernel, kernels

F32 = np.dtype("float32")
SLOTS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}
SIZES = {
    "small_images": conv_dims((64, 8, 12, 12), (10, 8, 5, 5)),
    "large_images": conv_dims((2, 24, 56, 56), (40, 24, 3, 3), padding=1),
    "pointwise": conv_dims((8, 64, 28, 28), (48, 64, 1, 1)),
    "depthwise": conv_dims((4, 32, 56, 56), (32, 1, 3, 3), padding=1, groups=32),
    "strided": conv_dims((8, 32, 28, 28), (48, 32, 3, 3), stride=2, padding=1),
    "line": conv_dims((8, 32, 1024), (32, 32, 9), padding=4),
    "one_sample": conv_dims((1, 64, 28, 28), (64, 64, 3, 3), padding=1),
}
LITTLE = 100_000  # bytes: views, tuples and what Numba keeps of a call, whatever the size of the problem

every_map = pytest.mark.parametrize("op", SLOTS)


def rung(op: str, algorithm: str) -> Kernel:
    return next(k for k in kernels(op) if k.algorithm == algorithm)


def seen(kernel: Kernel, dims: ConvDims) -> int:
    """The most that a call held beyond its operands and its result, its buffers not borrowed before."""
    args = [np.ones(getattr(dims, f"{slot}_shape"), F32) for slot in SLOTS[kernel.op]]
    kernel.fn(*args, dims)  # compiles
    release()
    tracemalloc.start()
    result = kernel.fn(*args, dims)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - result.nbytes


def rungs(*algorithms: str) -> list:
    """Each map by each of these algorithms that it has."""
    jitted = pytest.mark.skipif(config.DISABLE_JIT, reason="its tiles exist only as machine code")
    return [pytest.param(k, id=f"{op}-{k.algorithm}", marks=[jitted] if k.algorithm in ("simd", "winograd") else [])
            for op in SLOTS for k in kernels(op) if k.algorithm in algorithms]


def test_pieces_lie_apart_on_lines_of_the_cache_and_follow_their_buffer(monkeypatch):
    release()
    few = pieces("t", ((3,), (2, 5), (0,)), F32)
    assert [a.shape for a in few] == [(3,), (2, 5), (0,)] and few[1].ctypes.data - few[0].ctypes.data == scratch.ALIGN
    assert few[0].ctypes.data % scratch.ALIGN == 0 and pieces("t", ((3,), (2, 5), (0,)), F32) is few
    more = pieces("t", ((1000,),), F32)  # the buffer grows, and those of before no longer lie in it
    assert np.shares_memory(pieces("t", ((3,), (2, 5), (0,)), F32)[1], more[0]) and not np.shares_memory(few[1], more[0])
    assert not np.shares_memory(pieces("t", ((1000,),), np.dtype("f8"))[0], more[0])
    for n in range(1, 1000):
        pieces("t", ((n,),), F32)
    assert len(scratch._buffers.cut["t", F32][1]) <= scratch.PROBLEMS
    monkeypatch.setattr(scratch, "KEEP", 100)
    release()
    assert pieces("t", ((1000,),), F32) is not pieces("t", ((1000,),), F32) and not scratch._buffers.cut
    release()


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("kernel", rungs("im2col", "zero_insertion", "aot", "simd", "winograd"))
def test_what_is_stated_is_what_is_taken(kernel, name):
    dims = SIZES[name]
    if why := kernel.refuse(dims, F32):
        pytest.skip(why)
    stated = kernel.scratch(dims, F32)
    assert stated <= seen(kernel, dims) <= stated + LITTLE


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("kernel", rungs("direct", "kn2row", "fft"))
def test_no_more_is_taken_than_is_stated(kernel, name):
    """These state one bound for all maps, or for the largest tile."""
    assert seen(kernel, SIZES[name]) <= kernel.scratch(SIZES[name], F32) + LITTLE


@every_map
@pytest.mark.parametrize("name", [*SIZES, *cases.layers])
@pytest.mark.parametrize("threads", [2, 64])
def test_the_fast_rung_copies_a_padded_operand_and_packs_the_other(op, name, threads, monkeypatch):
    """No more than that, however many threads pad for themselves: rows rounded up to the stride, channels to 2L (images to
    L), and a few sums for each task."""
    monkeypatch.setattr(simd.numba, "get_num_threads", lambda: threads)
    dims, L = SIZES.get(name) or cases.layers[name], lanes(4)
    rows = [i + lo + hi + s for i, (lo, hi), s in zip(dims.input, dims.padding, dims.stride)]
    grown = [o + 2 * (k - 1) * d for o, k, d in zip(dims.output, dims.kernel, dims.dilation)]
    Co, Ci = (dims.groups * -(-(n // dims.groups) // (2 * L)) * 2 * L for n in (dims.O, dims.C))
    images, taps = -(-dims.N // L) * L, prod(dims.kernel)
    plan = {"conv": simd.forward, "conv_input_grad": simd.input_grad, "conv_weight_grad": simd.weight_grad}[op](dims, L)
    copies = images if plan.pads[6] == 0 else dims.N  # the padded width of a plan with images in its lanes is 0
    x, y = copies * dims.C * (prod(rows) + 1), copies * dims.O * prod(grown)
    threads = simd.weight_rows(plan) if op == "conv_weight_grad" else simd.plan_rows(plan)
    padded = plan.src_size * (threads if plan.slot else 1)
    assert padded <= (y if op == "conv_input_grad" else x) + 3 * L * threads
    if op == "conv_weight_grad":
        assert plan.y_size <= images * max(Co, dims.O) * prod(dims.output)
    else:
        outer, inner = (Ci, dims.O) if op == "conv_input_grad" else (Co, dims.C)
        assert plan.w_size <= outer * (inner // dims.groups + 1) * taps * (2 if dims.groups > 1 else 1)
    borrowed = 4 * (padded + (plan.y_size if op == "conv_weight_grad" else plan.w_size))
    each = 4 * (SUMS + 4 * L * L) + 16 * BASES  # sums, a block that is turned over, and where its groups start
    sums = 4 * plan.sums_size if op == "conv_weight_grad" else (len(plan.tasks) + len(plan.packs)) * each
    assert borrowed <= rung(op, "simd").scratch(dims, F32) <= borrowed + sums + (len(plan.tasks) + 64) * each

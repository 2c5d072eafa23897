"""Winograd's rung on CUDA against the definition, within its bound: run by test_cuda_conv.py, in the simulator and on a GPU.

In the simulator V and M fill some 4 kB at most, so that small cases have several blocks of tiles, and a last one that is short.
"""

from __future__ import annotations

import weakref
from dataclasses import replace

import cuda_conv_checks
import numpy as np
import pytest

from tinyconv import cases, registry
from tinyconv.dims import conv_dims
from tinyconv.kernels import gpu
from tinyconv.kernels.conv import cuda_winograd, reference
from tinyconv.kernels.conv.winograd_tiles import SIZES

MAPS = cuda_conv_checks.MAPS
KERNELS = [k for op in MAPS for k in registry.kernels(op) if k.algorithm == "cuda_winograd"]
PLANS = {"conv": cuda_winograd.forward, "conv_input_grad": cuda_winograd.input_grad, "conv_weight_grad": cuda_winograd.forward}
F32 = np.dtype("float32")
EDGES = {
    "one_cell": conv_dims((1, 1, 1, 1), (1, 1, 3, 3), padding=1),
    "map_of_one": conv_dims((2, 3, 3, 3), (2, 3, 3, 3)),
    "in_twos": conv_dims((2, 2, 6, 5), (3, 2, 3, 3), padding=1),
    "a_tile": conv_dims((1, 2, 6, 6), (2, 2, 3, 3)),
    "ragged": conv_dims((2, 3, 5, 7), (2, 3, 3, 3), padding=1),
    "one_sided": conv_dims((1, 2, 5, 9), (3, 2, 3, 3), padding=((0, 2), (1, 0))),
    "wide_padding": conv_dims((1, 1, 6, 3), (2, 1, 3, 3), padding=2),
    "far_padding": conv_dims((1, 2, 4, 5), (2, 2, 3, 3), padding=((5, 3), (4, 7))),
    "grouped": conv_dims((2, 4, 5, 6), (6, 2, 3, 3), padding=1, groups=2),
    "depthwise": conv_dims((1, 3, 4, 3), (6, 1, 3, 3), padding=1, groups=3),
    "smaller_output": replace(conv_dims((1, 2, 8, 7), (3, 2, 3, 3), padding=1), output=(6, 4)),
    "fives": conv_dims((1, 2, 9, 7), (2, 2, 5, 5), padding=((2, 1), (0, 3))),
    "fives_in_twos": conv_dims((3, 2, 6, 5), (4, 1, 5, 5), groups=2),
    "fives_alone": conv_dims((1, 1, 7, 8), (1, 1, 5, 5), padding=(1, 2)),
    "no_image": conv_dims((0, 3, 5, 5), (2, 3, 3, 3)),
}
CASES = {**EDGES, **{f"small.{name}": dims for name, dims in cases.small.items()
                     if dims.kernel in ((3, 3), (5, 5)) and dims.stride == dims.dilation == (1, 1)}}
every_map = pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.op)


def normal(op, dims, dtype=F32, seed=0):
    """Normal numbers for the two slots that a map is given."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(getattr(dims, f"{slot}_shape")).astype(dtype) for slot in MAPS[op][:2]]


def on_device(kernel, a, b, dims, **more):
    got = kernel.fn(gpu.to_device(a), gpu.to_device(b), dims, **more)
    assert gpu.is_device(got) and got.dtype == a.dtype and got.flags.c_contiguous
    return gpu.to_host(got)


def error(kernel, got, a, b, dims, plus=0.0):
    """How far off the definition `got` is, in eps of the largest sum of magnitudes."""
    wide = np.longdouble if got.dtype == np.float64 else np.float64
    a, b, define = a.astype(wide), b.astype(wide), getattr(reference, kernel.op)
    largest = define(abs(a), abs(b), dims).max(initial=0) + np.max(np.abs(plus))
    assert got.shape == define(a, b, dims).shape
    return float(abs(got - define(a, b, dims) - plus).max(initial=0) / np.finfo(got.dtype).eps / max(largest, 1e-9))


@every_map
@pytest.mark.parametrize("case", [pytest.param(name, marks=() if name in EDGES or not gpu.simulated() else pytest.mark.sweep)
                                  for name in CASES])
@pytest.mark.parametrize("dtype", [np.dtype("float32"), np.dtype("float64")], ids=str)
def test_is_within_its_bound_of_the_definition(kernel, case, dtype):
    dims = CASES[case]
    assert kernel.refuse(dims, dtype) == ""
    a, b = normal(kernel.op, dims, dtype)
    there = [gpu.to_device(v) for v in (a, b)]
    assert error(kernel, on_device(kernel, *there, dims), a, b, dims) <= kernel.bound
    for v, host in zip(there, (a, b)):
        np.testing.assert_array_equal(gpu.to_host(v), host, "an operand was written to")
    if "bias" in kernel.fuses:
        bias = np.random.default_rng(1).standard_normal(dims.O).astype(dtype)
        got = on_device(kernel, a, b, dims, bias=gpu.to_device(np.repeat(bias, 2))[::2])
        assert error(kernel, got, a, b, dims, bias.reshape(-1, 1, 1)) <= kernel.bound


def test_the_cases_reach_every_tile_and_their_edges():
    plans = [plan(dims, F32) for dims in EDGES.values() for plan in (cuda_winograd.forward, cuda_winograd.input_grad)]

    assert {(p.m, p.k) for p in plans} == {*SIZES}
    ragged = {(p.m, p.destination[1] % p.m > 0, p.destination[2] % p.m > 0) for p in plans}
    assert ragged >= {(m, True, True) for m in (2, 4)} | {(4, False, False)}
    if gpu.simulated():
        assert {min(len(p.blocks), 3) for p in plans} == {0, 1, 2, 3}
        assert any(p.blocks[-1][1].input[0] < p.block for p in plans if p.blocks)


@every_map
def test_the_bound_has_room_for_long_sums(kernel):
    """A quarter of the bound is enough for sums of 128 channels, or of 60 tiles for a weight gradient, of normal numbers."""
    dims = {"conv": conv_dims((1, 128, 4, 4), (2, 128, 3, 3), padding=1),
            "conv_input_grad": conv_dims((1, 2, 4, 4), (128, 2, 3, 3), padding=1),
            "conv_weight_grad": conv_dims((20, 2, 4, 12), (2, 2, 3, 3), padding=1)}[kernel.op]
    a, b = normal(kernel.op, dims, seed=3)
    assert error(kernel, on_device(kernel, a, b, dims), a, b, dims) <= kernel.bound / 4


@every_map
@pytest.mark.parametrize("case", ["in_twos", "grouped"])
def test_two_runs_are_the_same_bits_whatever_the_layout(kernel, case):
    dims = CASES[case]
    a, b = normal(kernel.op, dims)
    one, two = (on_device(kernel, a, b, dims) for _ in range(2))
    assert one.tobytes() == two.tobytes()
    backwards = [gpu.to_device(v[..., ::-1].copy())[..., ::-1] for v in (a, b)]
    assert not any(v.flags.c_contiguous for v in backwards)
    assert on_device(kernel, *backwards, dims).tobytes() == one.tobytes()


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # infinity less infinity, in the simulator
@every_map
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_spoils_its_tiles_and_no_others(kernel, bad):
    """A cell of group 1 and sample 1; tiles of 4x4 of the map that is filled, and the 6x6 cells that they are made of."""
    dims = conv_dims((2, 4, 9, 9), (4, 2, 3, 3), padding=1, groups=2)
    a, b = normal(kernel.op, dims)
    clean = on_device(kernel, a, b, dims)
    a[1, 3, 6, 2] = bad
    got, want = on_device(kernel, a, b, dims), getattr(reference, kernel.op)(a, b, dims)
    assert not np.isfinite(got[~np.isfinite(want)]).any()
    kept = np.ones(got.shape, bool)
    if kernel.op == "conv_weight_grad":
        kept[2:, 1] = False  # the weights of channel 3, the second of its group
    else:
        kept[1, 2:, 4:8, :4] = False  # cells 3 to 8 down and -1 to 4 across make one tile, and 6, 2 is in no other
    np.testing.assert_array_equal(got[kept], clean[kept])


@every_map
@pytest.mark.parametrize(("dims", "dtype", "why"), [
    (conv_dims((1, 2, 9, 9), (2, 2, 7, 7)), "float32", "kernels of 3x3 and 5x5, stride 1, dilation 1: here they are 7x7"),
    (conv_dims((1, 2, 9, 9), (2, 2, 3, 5)), "float32", "here they are 3x5, 1x1 and 1x1"),
    (conv_dims((1, 2, 9, 9), (2, 2, 3, 3), stride=(1, 2)), "float32", "here they are 3x3, 1x2 and 1x1"),
    (conv_dims((1, 2, 9, 9), (2, 2, 5, 5), dilation=2), "float64", "here they are 5x5, 1x1 and 2x2"),
    (conv_dims((1, 2, 9), (2, 2, 3)), "float32", "here they are 3, 1 and 1"),
    (conv_dims((1, 2, 4, 9, 9), (2, 2, 3, 3, 3)), "float32", "here they are 3x3x3"),
    (EDGES["ragged"], "float16", "it takes float32 and float64, not float16"),
    (conv_dims((1, 2000, 5, 8), (2000, 1, 3, 3), padding=1, groups=2000), "float32",
     "36 products for each of 2000 groups are more than a grid's 65535 layers"),
    (conv_dims((1, 8192, 8, 8), (8192, 8192, 3, 3), padding=1), "float32", "fill an array of 2,415,919,104 elements"),
    (conv_dims((40000, 64, 32, 32), (64, 64, 3, 3)), "float32", "32-bit indices of the CUDA kernels: split the batch"),
])
def test_refuses_what_it_cannot_do(kernel, dims, dtype, why):
    assert why in kernel.refuse(dims, np.dtype(dtype))


def test_it_is_taken_by_name_only():
    dims = conv_dims((64, 256, 14, 14), (256, 256, 3, 3), padding=1)
    for op in MAPS:
        assert registry.choose(op, dims, F32, "cuda").algorithm == "cuda_tiled"
        assert registry.choose(op, dims, F32, "cuda", algorithm="cuda_winograd").automatic is False


def test_blocks_bound_the_memory_and_cover_the_tiles(monkeypatch):
    """A large layer, as a GPU would cut it: the working memory is some LIMIT at most, and rows of V begin with a line."""
    monkeypatch.setattr(gpu, "simulated", lambda: False)
    dims = conv_dims((256, 64, 56, 56), (64, 64, 3, 3), padding=1)
    p = cuda_winograd.forward.__wrapped__(dims, F32)
    assert p.m == 4 and p.layers == 36 and len(p.blocks) == 2 and p.block % 32 == 0
    assert [first for first, _ in p.blocks] == [0, p.block]
    assert sum(product.input[0] for _, product in p.blocks) == 256 * 14 * 14
    assert p.bytes(F32) <= cuda_winograd.LIMIT + 36 * 128 * 32 * 4


@every_map
def test_blocks_change_no_bit_of_a_map(kernel, monkeypatch):
    """A block for every few tiles, or one for all; a weight gradient adds the blocks up, and rounds anew."""
    dims, got = conv_dims((10, 1, 8, 6), (1, 1, 3, 3), padding=1), []
    a, b = normal(kernel.op, dims)
    for name in ("forward", "input_grad"):  # plans that are not remembered
        monkeypatch.setattr(cuda_winograd, name, getattr(cuda_winograd, name).__wrapped__)
    for limit, blocks in ((1, gpu.cells(40, 2 if gpu.simulated() else 32)), (1 << 29, 1)):
        monkeypatch.setattr(cuda_winograd, "SIMULATED" if gpu.simulated() else "LIMIT", limit)
        assert len(PLANS[kernel.op].__wrapped__(dims, F32).blocks) == blocks
        got.append(on_device(kernel, a, b, dims))
    assert error(kernel, got[0], a, b, dims) <= kernel.bound
    if kernel.op != "conv_weight_grad":
        assert got[0].tobytes() == got[1].tobytes()


@pytest.mark.skipif(not gpu.simulated(), reason="CuPy's pool is not asked what is in use")
@every_map
@pytest.mark.parametrize("case", ["a_tile", "ragged", "grouped", "fives_in_twos"])
def test_scratch_is_what_is_held_at_once(kernel, case, monkeypatch):
    dims, held, most, fresh = CASES[case], [], [], gpu.xp().empty
    a, b = (gpu.to_device(v) for v in normal(kernel.op, dims))

    def empty(shape, dtype):
        made = fresh(shape, dtype)
        held.append(made.nbytes)
        most.append(sum(held))
        weakref.finalize(made if made.base is None else made.base, held.remove, made.nbytes)
        return made

    monkeypatch.setattr(type(gpu.xp()), "empty", staticmethod(empty), raising=False)
    result = kernel.fn(a, b, dims)
    last = kernel.op == "conv_weight_grad"  # its result is made when all else is gone
    assert kernel.scratch(dims, F32) == max(most) - (0 if last else result.nbytes)

"""Winograd's rung: against the definition in float64 within its bound, at every edge of its tiles, and when it is chosen.

The small cases of test_kernels_conv.py are all too small for the rung, so its functions are called here by themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numba
import numpy as np
import pytest

import tinyconv as tc
from tinyconv import cases
from tinyconv.dims import ConvDims, conv_dims
from tinyconv.kernels.conv import reference, winograd, winograd_tiles, winograd_weights
from tinyconv.kernels.emit import lanes
from tinyconv.kernels.jit import config
from tinyconv.kernels.scratch import release
from tinyconv.registry import choose, kernels, use

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="its tiles exist only as machine code")

F32 = np.dtype("float32")
MAPS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}
RUN = {"conv": winograd.conv, "conv_input_grad": winograd.conv_input_grad,
       "conv_weight_grad": winograd_weights.conv_weight_grad}
EDGES = {
    "one_cell": conv_dims((1, 1, 1, 1), (1, 1, 3, 3), padding=1),
    "map_of_one": conv_dims((2, 40, 3, 3), (33, 40, 3, 3)),
    "tiles_of_two": conv_dims((3, 17, 6, 5), (19, 17, 3, 3), padding=1),
    "tiles_hang_over": conv_dims((2, 17, 9, 23), (35, 17, 3, 3), padding=1),
    "one_sided": conv_dims((2, 5, 13, 18), (7, 5, 3, 3), padding=((0, 2), (1, 0))),
    "far_padding": conv_dims((1, 4, 7, 9), (33, 4, 3, 3), padding=((5, 3), (4, 7))),
    "batch_1": conv_dims((1, 17, 30, 41), (17, 17, 3, 3)),
    "groups_of_17": conv_dims((3, 34, 9, 21), (66, 17, 3, 3), padding=1, groups=2),
    "few_tiles": conv_dims((2, 33, 7, 7), (70, 33, 3, 3), padding=1),
    "deep": conv_dims((2, 33, 7, 7), (150, 33, 3, 3), padding=1),
    "deep_in_twos": conv_dims((1, 17, 6, 5), (150, 17, 3, 3), padding=1),
    "deep_fives": conv_dims((1, 17, 9, 9), (150, 17, 5, 5), padding=2),
    "deep_fives_in_twos": conv_dims((2, 17, 6, 10), (150, 17, 5, 5)),
    "many_tiles": conv_dims((8, 16, 29, 30), (33, 16, 3, 3), padding=1),
    "smaller_output": replace(conv_dims((2, 6, 12, 15), (8, 6, 3, 3), padding=1), output=(10, 11)),
    "dilated": conv_dims((2, 17, 19, 23), (35, 17, 3, 3), padding=2, dilation=2),
    "dilated_unevenly": conv_dims((2, 18, 17, 26), (33, 18, 3, 3), padding=((0, 3), (4, 1)), dilation=(1, 3)),
    "dilated_down": conv_dims((1, 16, 12, 9), (8, 8, 3, 3), padding=1, dilation=(4, 1), groups=2),
    "fives": conv_dims((3, 17, 13, 18), (35, 17, 5, 5), padding=2),
    "fives_in_twos": conv_dims((2, 17, 6, 10), (50, 17, 5, 5)),
    "fives_of_two_rows": conv_dims((20, 3, 6, 10), (9, 3, 5, 5)),
    "fives_valid": conv_dims((36, 20, 12, 12), (40, 20, 5, 5)),
    "fives_apart": conv_dims((2, 18, 17, 26), (33, 18, 5, 5), padding=((0, 7), (3, 1)), dilation=(1, 3)),
    "few_channels": conv_dims((5, 3, 17, 20), (9, 3, 5, 5), padding=1),
    "adds_up": conv_dims((36, 34, 9, 11), (46, 17, 5, 5), groups=2),
    "adds_up_padded": conv_dims((24, 17, 8, 7), (35, 17, 5, 5), padding=((1, 0), (0, 1))),
    "adds_up_threes": conv_dims((40, 17, 6, 6), (35, 17, 3, 3)),
    "no_image": conv_dims((0, 3, 5, 5), (2, 3, 3, 3)),
}

every_map = pytest.mark.parametrize("op", MAPS)
every_edge = pytest.mark.parametrize("edge", EDGES)


def operands(op: str, dims: ConvDims, dtype: str = "float32", seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(getattr(dims, f"{slot}_shape")).astype(dtype) for slot in MAPS[op]]


def within(op: str, args: list[np.ndarray], dims: ConvDims, got: np.ndarray, plus: np.ndarray | float = 0.0,
           floor: float = -np.inf) -> None:
    """`got` is the definition in float64 (plus a bias, clipped), within BOUND eps of the largest sum of magnitudes."""
    wide = [a.astype(np.longdouble if a.dtype == np.float64 else np.float64) for a in args]
    want = np.maximum(getattr(reference, op)(*wide, dims) + plus, floor)
    largest = float(getattr(reference, op)(*map(abs, wide), dims).max(initial=0) + np.max(np.abs(plus)))
    assert got.shape == want.shape and got.dtype == args[0].dtype and got.flags.c_contiguous
    np.testing.assert_allclose(got, want, rtol=0, atol=winograd.BOUND * np.finfo(got.dtype).eps * largest)


@every_map
@every_edge
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_the_definition_within_its_bound(op, edge, dtype):
    dims = EDGES[edge]
    args = operands(op, dims, dtype)
    before = [a.copy() for a in args]
    within(op, args, dims, RUN[op](*args, dims))
    assert all((a == b).all() for a, b in zip(args, before)), "an operand was written to"


def test_edges_reach_every_tile_and_order():
    plans = [plan_of(dims, lanes(4)) for dims in EDGES.values() for plan_of in (winograd.forward, winograd.input_grad)]
    assert {(p.m, p.k, p.tiles_first) for p in plans} == {(m, k, first) for m in (2, 4) for k in (3, 5) for first in (0, 1)}
    assert max(p.blocks for p in plans) > 1 and max(p.channel_blocks for p in plans) > 1
    assert {p.R for p in plans} == {1, 2, 3} and {p.own for p in plans} == {0, 1}
    assert {(p.k, p.adds) for p in plans} == {(k, adds) for k in (3, 5) for adds in (0, 1)}
    assert {winograd_weights.plan_of(dims, lanes(4))[2].segments for dims in EDGES.values()} == {1, 2, 8}


@pytest.mark.parametrize(("m", "k"), winograd_tiles.SIZES)
def test_matrices_are_exact(m, k):
    """In fractions: A' [(G g) * (B' d)] is the sum of g[t] * d[i + t], for every pair of unit vectors g and d."""
    outputs, taps, data = winograd_tiles.matrices(m, k)
    for t in range(k):
        for j in range(m + k - 1):
            got = [sum(a[i] * g[t] * b[j] for a, g, b in zip(outputs, taps, data)) for i in range(m)]
            assert got == [j == i + t for i in range(m)]


@pytest.mark.parametrize("op", MAPS)
@pytest.mark.parametrize("channels", [64, 512])
@pytest.mark.parametrize("k", [3, 5])
def test_the_bound_has_room_for_deep_layers(op, channels, k):
    """Long sums round more: half the bound is enough for those of 512 channels, of normal numbers."""
    dims = conv_dims((1, channels, 8, 9), (40, channels, k, k), padding=k // 2)
    if op == "conv_input_grad":
        dims = conv_dims((1, 40, 8, 9), (channels, 40, k, k), padding=k // 2)
    args = operands(op, dims)
    want, largest = (getattr(reference, op)(*(f(a.astype(np.float64)) for a in args), dims) for f in (np.asarray, abs))
    error = abs(RUN[op](*args, dims) - want).max() / largest.max() / np.finfo("float32").eps
    assert error < winograd.BOUND / 2


@every_edge
def test_bias_and_relu_are_fused(edge):
    dims = EDGES[edge]
    x, w = operands("conv", dims)
    bias = np.random.default_rng(4).standard_normal(dims.O).astype("float32")
    column = bias.reshape(-1, 1, 1)
    within("conv", [x, w], dims, winograd.conv(x, w, dims, bias=bias), column)
    within("conv", [x, w], dims, winograd.conv(x, w, dims, bias=np.repeat(bias, 2)[::2], relu=True), column, 0.0)
    within("conv", [x, w], dims, winograd.conv(x, w, dims, relu=True), 0.0, 0.0)


@every_edge
def test_bias_and_relu_are_fused_into_the_input_gradient(edge):
    dims = EDGES[edge]
    y, w = operands("conv_input_grad", dims)
    bias = np.random.default_rng(4).standard_normal(dims.C).astype("float32")
    column = bias.reshape(-1, 1, 1)
    within("conv_input_grad", [y, w], dims, winograd.conv_input_grad(y, w, dims, bias=bias), column)
    within("conv_input_grad", [y, w], dims, winograd.conv_input_grad(y, w, dims, bias=bias, relu=True), column, 0.0)


@every_map
@every_edge
def test_same_bits_on_any_number_of_threads(op, edge):
    dims, before = EDGES[edge], numba.get_num_threads()
    args = operands(op, dims)
    first = RUN[op](*args, dims)
    try:
        for threads in {1, min(2, config.NUMBA_NUM_THREADS), config.NUMBA_NUM_THREADS}:
            numba.set_num_threads(threads)
            np.testing.assert_array_equal(RUN[op](*args, dims), first)
    finally:
        numba.set_num_threads(before)


@every_map
@every_edge
def test_reads_only_its_operands(op, edge):
    """NaN right before and behind, and between, what a view looks at: one number read there would spoil a tile."""
    dims = EDGES[edge]
    args = operands(op, dims)
    want = RUN[op](*args, dims)
    views, rooms = [], []
    for a in args:
        room = np.full(a.size + 128, np.nan, a.dtype)
        room[64:64 + a.size] = a.ravel()
        rooms.append(room[64:64 + a.size].reshape(a.shape))
        wide = np.full([2 * size + 3 for size in a.shape], np.nan, a.dtype)
        views.append(wide[tuple(slice(1, 1 + 2 * size, 2) for size in a.shape)])
        views[-1][...] = a
    for laid_out in (rooms, views):
        np.testing.assert_array_equal(RUN[op](*laid_out, dims), want)


@pytest.mark.parametrize("op", ["conv", "conv_input_grad"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_spoils_its_tiles_and_no_others(op, bad):
    dims = EDGES["many_tiles"]
    args = operands(op, dims)
    clean = RUN[op](*args, dims)
    args[0][3, 5, 9, 10] = bad
    got, want = RUN[op](*args, dims), getattr(reference, op)(*args, dims)
    assert not np.isfinite(got[~np.isfinite(want)]).any()
    far = np.ones(got.shape, bool)
    far[3, :, 4:16, 4:16] = False
    np.testing.assert_array_equal(got[far], clean[far])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_spoils_its_channel_of_a_weight_gradient(bad):
    dims = EDGES["many_tiles"]
    args = operands("conv_weight_grad", dims)
    clean = winograd_weights.conv_weight_grad(*args, dims)
    args[0][3, 5, 9, 10] = bad
    got = winograd_weights.conv_weight_grad(*args, dims)
    assert not np.isfinite(got[:, 5]).any()
    np.testing.assert_array_equal(np.delete(got, 5, 1), np.delete(clean, 5, 1))


def test_weight_gradients_of_many_channels_and_blocks():
    """More input channels than a task takes, more tiles than a block: every kind of remainder."""
    dims = conv_dims((3, 150, 31, 38), (33, 150, 3, 3), padding=1)
    p, _, q = winograd_weights.plan_of(dims, lanes(4))
    assert p.blocks > 1 and q.chunks > 1
    args = operands("conv_weight_grad", dims)
    within("conv_weight_grad", args, dims, winograd_weights.conv_weight_grad(*args, dims))


@pytest.mark.parametrize("module", [winograd, winograd_weights])
def test_no_thread_finds_a_table_of_calls_that_is_not_filled(module, monkeypatch):
    """While addresses are found another thread of Python may come by, and after it is interrupted the next call does."""
    op = "conv" if module is winograd else "conv_weight_grad"
    monkeypatch.setattr(module, "_calls", {})
    find, found = module.address, []
    monkeypatch.setattr(module, "address", lambda *args: found.append(dict(module._calls)) or find(*args))
    RUN[op](*operands(op, EDGES["fives"]), EDGES["fives"])
    assert found == [{}] * 4 and len(module._calls) == 1


@every_map
def test_scratch_is_stated(op):
    dims = cases.layers["vgg.256"]
    kernel = next(k for k in kernels(op) if k.algorithm == "winograd")
    args = operands(op, dims)
    release()
    tracemalloc.start()
    result = kernel.fn(*args, dims)
    peak = tracemalloc.get_traced_memory()[1] - result.nbytes
    tracemalloc.stop()
    stated = kernel.scratch(dims, F32)
    assert stated / 2 <= peak <= stated + 1_000_000  # what Numba loads counts too


@every_map
def test_chosen_where_it_pays_and_forbidden_by_a_switch(op):
    dims = cases.layers["vgg.128"]
    assert choose(op, dims, F32).algorithm == "winograd"
    with use(avoid="winograd"):
        assert choose(op, dims, F32).algorithm == "simd"
        assert choose(op, dims, F32, algorithm="winograd").algorithm == "winograd"  # a name beats the switch
        with use("winograd"):
            assert choose(op, dims, F32).algorithm == "winograd"
        assert choose(op, dims, F32).algorithm == "simd"
    with use("winograd"), use(avoid=("winograd",)):
        assert choose(op, dims, F32).algorithm == "simd"
    assert choose(op, dims, F32).algorithm == "winograd"
    with pytest.raises(ValueError, match="no algorithm 'vinograd'"), tc.use(avoid="vinograd"):
        pass


@pytest.mark.parametrize(("dims", "dtype", "why"), [
    (cases.layers["alexnet.c1"], "float32", "3x3 or 5x5"),
    (cases.layers["resnet.3x3s2"], "float32", "stride"),
    (cases.layers["volume"], "float32", "two dimensions"),
    (cases.layers["vgg.64"], "float64", "float64 asks for digits"),
    (cases.layers["vgg.64"], "float16", "not float16"),
    (cases.layers["depthwise"], "float32", "1 to 1 channels"),
    (conv_dims((8, 8, 56, 56), (8, 8, 3, 3), padding=1), "float32", "do not pay for 8 to 8 channels"),
    (conv_dims((1, 512, 5, 5), (512, 512, 3, 3), padding=1), "float32", "9 tiles of 2x2"),
    (conv_dims((64, 64, 1, 64), (64, 64, 3, 3), padding=1), "float32", "times as fast as the direct sum"),
])
@every_map
def test_refuses_what_it_cannot_or_should_not(op, dims, dtype, why):
    kernel = next(k for k in kernels(op) if k.algorithm == "winograd")
    assert why in kernel.refuse(dims, np.dtype(dtype))
    assert choose(op, dims, np.dtype(dtype)).algorithm != "winograd"


GUARDED = """
import sys
from tinyconv.kernels.conv import winograd, winograd_weights
sys.path.insert(0, sys.argv[1])
import test_kernels_winograd as t
from guarded import Guarded, guarded, kept
for op in t.MAPS:  # compiled while np is NumPy
    t.RUN[op](*t.operands(op, t.EDGES["fives"]), t.EDGES["fives"])
for module in (winograd, winograd_weights):
    module.np = Guarded()
    assert module.pieces  # what is replaced is there
    module.pieces = lambda name, shapes, dtype: [guarded(shape, dtype, at_end) for shape in shapes]
for at_end in (True, False):
    for dims in t.EDGES.values():
        for op in t.MAPS:
            args = []
            for a in t.operands(op, dims):
                args.append(guarded(a.shape, a.dtype, at_end))
                args[-1][...] = a
            t.within(op, args, dims, t.RUN[op](*args, dims))
        kept.clear()
print("untouched")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="guard pages are set by mprotect, which this system lacks")
def test_nothing_outside_an_array_is_touched(tmp_path):
    """Every operand, result and buffer lies against pages that may not be read or written: a step outside is a crash."""
    script, here = tmp_path / "guarded.py", os.path.dirname(__file__)
    script.write_text(GUARDED)
    done = subprocess.run([sys.executable, str(script), here], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(here), *sys.path])})
    assert done.returncode == 0 and "untouched" in done.stdout, f"exit {done.returncode}: {done.stderr[-2000:]}"

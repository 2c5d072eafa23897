"""The fast rung: every tile and design against the definition, on integers, where sums are exact whatever their order.

What is special to it: tiles forced one by one, guard pages around every array, operands of any layout, thread counts,
and the generator at other vector widths.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from tinyconv import cases
from tinyconv.dims import ConvDims, conv_dims
from tinyconv.kernels import emit, host, tile
from tinyconv.kernels.conv import reference, simd, simd_images, simd_plan, simd_weights

MAPS = ("conv", "conv_input_grad", "conv_weight_grad")

edges = {
    "maps_of_one": conv_dims((5, 17, 1, 1), (19, 17, 1, 1)),
    "kernel_is_input": conv_dims((3, 17, 5, 4), (18, 17, 5, 4)),
    "batch_1": conv_dims((1, 17, 9, 11), (33, 17, 3, 3), padding=1),
    "one_channel": conv_dims((3, 1, 28, 28), (20, 1, 5, 5)),
    "one_output": conv_dims((2, 17, 20, 33), (1, 17, 3, 3), padding=1),
    "17_images": conv_dims((17, 5, 6, 6), (7, 5, 3, 3), padding=1, stride=2),
    "stride_4": conv_dims((2, 3, 37, 41), (16, 3, 7, 7), stride=4, padding=2),
    "stride_4_wide": conv_dims((1, 2, 9, 138), (5, 2, 5, 7), stride=(2, 4), padding=3),
    "stride_2_wide": conv_dims((2, 2, 7, 71), (5, 2, 3, 3), stride=2, padding=1),
    "planes_alone": conv_dims((2, 17, 9, 20), (34, 1, 3, 3), padding=1, groups=17, stride=(2, 1)),
    "images_of_one_channel": conv_dims((17, 1, 9, 21), (37, 1, 3, 3), padding=1),
    "bands": conv_dims((8, 9, 41, 23), (33, 9, 3, 3), stride=2, padding=1),
    "bands_of_phases": conv_dims((9, 17, 60, 19), (17, 17, 3, 3), padding=((0, 2), (3, 1)), stride=(1, 2)),
    "bands_of_groups": conv_dims((8, 6, 64, 20), (10, 3, 5, 2), stride=(3, 2), padding=2, groups=2),
    "bands_of_padding": conv_dims((8, 8, 50, 16), (8, 8, 3, 3), padding=(30, 1)),
    "lines_side_by_side": conv_dims((16, 9, 200), (17, 9, 5), padding=2),
    "two_images_a_chunk": conv_dims((32, 8, 9, 9), (40, 8, 3, 3), padding=1),
    "no_image": conv_dims((0, 3, 5, 5), (2, 3, 3, 3)),
    "no_cell_reached": conv_dims((3, 2, 1, 9), (5, 2, 1, 3), stride=2, padding=1),  # i + 1 = 2*o has no i of 0
    "groups_of_17": conv_dims((2, 34, 8, 8), (34, 17, 3, 3), padding=1, groups=2),
}


def operands(dims: ConvDims, dtype: str = "float32", seed: int = 0) -> dict[str, np.ndarray]:
    """Small integers: their products and sums are exact in float32, in any order."""
    rng = np.random.default_rng(seed)
    return {k: rng.integers(-3, 4, s).astype(dtype) for k, s in zip("xwy", (dims.x_shape, dims.w_shape, dims.y_shape))}


def run(module, name: str, a: dict[str, np.ndarray], dims: ConvDims) -> np.ndarray:
    slots = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}[name]
    return getattr(module, name)(*(a[s] for s in slots), dims)


def check(name: str, dims: ConvDims, dtype: str = "float32") -> None:
    a = operands(dims, dtype)
    got, want = run(simd, name, a, dims), run(reference, name, a, dims)
    assert got.dtype == want.dtype and got.shape == want.shape and got.flags.c_contiguous
    np.testing.assert_array_equal(got, want)


@pytest.fixture
def forget():
    """Plans forced by a test are forgotten after it."""
    plans = simd.forward, simd.input_grad, simd.weight_grad
    for cache in plans:
        cache.cache_clear()
    yield
    for cache in plans:
        cache.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MAPS)
def test_edges_equal_the_definition(name, dtype):
    for dims in edges.values():
        check(name, dims, dtype)


def test_the_edges_reach_every_way_to_pad():
    """Planes alone, bands of rows, images of a thread, and planes for all: each is what some edge takes."""
    L = emit.lanes(4)
    plans = [f(dims, L) for dims in edges.values() if dims.N for f in (simd.forward, simd.input_grad)]
    assert any(p.slot and (p.units[:, 1] == 1).all() for p in plans), "planes alone"
    assert any(p.slot and (p.units[:, 1] > 1).all() and p.units[:, 2].any() for p in plans), "bands"
    assert any(not p.slot and p.src_size for p in plans), "shared"
    weights = [simd.weight_grad(dims, L) for dims in edges.values() if dims.N]
    assert {bool(p.slot) for p in weights if p.src_size} == {True, False}


@pytest.mark.parametrize("number", range(simd_plan.IMAGES))
def test_every_tile_of_rows_and_channels(monkeypatch, forget, number):
    def forced(phase, T, Co, L):
        if number < simd_plan.CHANNEL:
            width = tile.ROW_TILES[number][1]
        else:
            R, _, G = tile.CHANNEL_TILES[number - simd_plan.CHANNEL]
            if phase.length < G:
                return chosen(phase, T, Co, L)
            width = R * L
        return 0.0, [(number, width)] * -(-Co // width)

    chosen = simd_plan._blocks
    monkeypatch.setattr(simd_plan, "_blocks", forced)
    for dims in (cases.small["ragged"], cases.small["dilated_stride"], edges["one_channel"], edges["groups_of_17"],
                 edges["bands_of_groups"]):
        check("conv", dims)
        check("conv_input_grad", dims)


@pytest.mark.parametrize("number", range(len(tile.ROW_TILES)))
def test_every_tile_of_images(monkeypatch, forget, number):
    monkeypatch.setattr(simd_images, "image_cost", lambda *a: (-1.0, number))
    for dims in (cases.small["ragged"], edges["17_images"], cases.small["volume_stride"]):
        check("conv", dims)
        check("conv_input_grad", dims)


@pytest.mark.parametrize("number", range(1, 1 + len(tile.CHANNEL_GROUPS) + len(tile.DOT_TILES)))
def test_every_tile_of_weight_gradients(monkeypatch, forget, number):
    def forced(dims, L):
        if number > len(tile.CHANNEL_GROUPS):
            return simd_weights._by_rows(dims, number - len(tile.CHANNEL_GROUPS) - 1, L)
        return simd_weights._by_channels(dims, min(number, dims.kernel[-1]), L)

    monkeypatch.setattr(simd, "weight_grad", forced)
    for dims in (cases.small["ragged"], cases.small["dilated_stride"], edges["stride_4"], edges["17_images"],
                 cases.small["grouped"], cases.layers["lenet.c1"]):
        check("conv_weight_grad", dims)


@pytest.mark.parametrize("number", range(len(tile.DOT_TILES)))
def test_every_tile_of_weight_gradients_by_images(monkeypatch, forget, number):
    monkeypatch.setattr(simd, "weight_grad", lambda dims, L: simd_weights._by_images(dims, number, L))
    for dims in (conv_dims((19, 5, 7, 9), (7, 5, 3, 2), stride=(2, 1), dilation=(1, 3)), cases.layers["lenet.c1"],
                 conv_dims((16, 6, 9), (9, 2, 3), groups=3), conv_dims((3, 4, 5, 6), (3, 4, 5, 6))):
        check("conv_weight_grad", dims)


def test_all_small_cases_by_images_too(monkeypatch, forget):
    monkeypatch.setattr(simd_images, "image_cost", lambda *a: (-1.0, 5))
    for dims in (d for d in cases.small.values() if d.N):  # an empty batch has no image to take
        check("conv", dims)
        check("conv_input_grad", dims)


@pytest.mark.parametrize("dims", [cases.small["ragged"], edges["one_channel"], cases.small["wide"], edges["17_images"]])
def test_bias_and_relu_in_the_store(dims):
    a, bias = operands(dims), np.arange(-dims.O, dims.O, 2, dtype="float32") * 20
    want = reference.conv(a["x"], a["w"], dims) + bias.reshape(-1, *[1] * dims.rank)
    np.testing.assert_array_equal(simd.conv(a["x"], a["w"], dims, bias=bias), want)
    np.testing.assert_array_equal(simd.conv(a["x"], a["w"], dims, bias=bias, relu=True), np.maximum(want, 0))


@pytest.mark.parametrize("name", MAPS)
def test_operands_of_any_layout(name):
    dims = cases.small["half"]
    a = operands(dims)
    want = run(reference, name, a, dims)
    backwards = {k: np.ascontiguousarray(v[..., ::-1])[..., ::-1] for k, v in a.items()}
    fortran = {k: np.asfortranarray(v) for k, v in a.items()}
    frozen = {k: v.copy() for k, v in a.items()}
    odd = {}
    for k, v in a.items():
        frozen[k].flags.writeable = False
        odd[k] = np.frombuffer(b"?" + v.tobytes(), np.uint8)[1:].view("float32").reshape(v.shape)
        assert not odd[k].flags.aligned
    for layout in (backwards, fortran, frozen, odd):
        np.testing.assert_array_equal(run(simd, name, layout, dims), want)


@pytest.mark.parametrize("name", MAPS)
def test_nan_and_infinity_reach_what_they_should_and_nothing_else(name):
    dims = conv_dims((3, 17, 9, 11), (18, 17, 3, 3))
    # tiles multiply padding too, and 0 * inf is NaN: the weights of an input gradient, which pads y, are left out
    for value in (np.nan, np.inf):
        for slot in "xy" if name == "conv_input_grad" else "xwy":
            a = operands(dims)
            a[slot][(0,) * a[slot].ndim] = value
            a[slot][(-1,) * a[slot].ndim] = value
            with np.errstate(invalid="ignore"):
                want = run(reference, name, a, dims)
            got = run(simd, name, a, dims)
            np.testing.assert_array_equal(got, want)


def test_relu_keeps_nan():
    dims = cases.small["half"]
    a = operands(dims)
    a["x"][:] = np.nan
    assert np.isnan(simd.conv(a["x"], a["w"], dims, relu=True)).all()


@pytest.mark.parametrize("dims", [cases.layers["mnist.c1"], cases.layers["mnist.c2"], cases.small["ragged"],
                                  cases.small["dilated_stride"], edges["bands"], edges["bands_of_phases"],
                                  edges["lines_side_by_side"]])
def test_the_same_bits_for_any_number_of_threads_and_every_run(dims):
    rng = np.random.default_rng(3)
    a = {k: rng.standard_normal(s, "float32") for k, s in zip("xwy", (dims.x_shape, dims.w_shape, dims.y_shape))}
    before = numba.get_num_threads()
    try:
        for name in MAPS:
            results = []
            for threads in {1, numba.config.NUMBA_NUM_THREADS}:
                numba.set_num_threads(threads)
                results += [run(simd, name, a, dims).tobytes() for _ in range(2)]
            assert len(set(results)) == 1, name
    finally:
        numba.set_num_threads(before)


def test_close_to_float64_on_real_numbers():
    """|error| <= T * eps * sum of magnitudes, T terms in any order (Higham, Accuracy and Stability, (3.5))."""
    dims = edges["batch_1"]
    rng = np.random.default_rng(5)
    a = {k: rng.standard_normal(s).astype("float32") for k, s in zip("xwy", (dims.x_shape, dims.w_shape, dims.y_shape))}
    for name in MAPS:
        exact = run(reference, name, {k: v.astype("float64") for k, v in a.items()}, dims)
        sizes = run(reference, name, {k: np.abs(v).astype("float64") for k, v in a.items()}, dims)
        terms = dims.macs / exact.size + 1
        assert (np.abs(run(simd, name, a, dims) - exact) <= terms * np.finfo("float32").eps * sizes).all()


GUARDED = """
import sys
from tinyconv.kernels.conv import simd
sys.path.insert(0, sys.argv[2])
import test_kernels_simd as t
from guarded import Guarded, guarded, kept
simd.np = Guarded()
simd.scratch = lambda name, size, dtype: guarded(size, dtype, at_end)
for at_end in (True, False):
    for dims in [*t.cases.small.values(), *t.edges.values()]:
        a = t.operands(dims)
        for name in t.MAPS:
            b = {k: guarded(v.shape, v.dtype, at_end) for k, v in a.items()}
            for k in b:
                b[k][...] = a[k]
            assert (t.run(simd, name, b, dims) == t.run(t.reference, name, a, dims)).all(), name
        kept.clear()
print("untouched")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="guard pages are set by mprotect, which this system lacks")
def test_nothing_outside_an_array_is_touched(tmp_path):
    """Every operand, result and buffer lies against pages that may not be read or written: a step outside is a crash."""
    script = tmp_path / "guarded.py"
    script.write_text(GUARDED)
    here = os.path.dirname(__file__)
    done = subprocess.run([sys.executable, str(script), "x", here], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(here), *sys.path])})
    assert done.returncode == 0 and "untouched" in done.stdout, f"exit {done.returncode}: {done.stderr[-2000:]}"


def test_vector_units():
    assert host.vector_unit("x86_64", frozenset({"avx2", "avx512f"})) == (64, 32)
    assert host.vector_unit("aarch64", frozenset({"neon"})) == (16, 32)
    assert host.vector_unit("x86_64", frozenset({"sse2"})) == (16, 16)


@pytest.mark.parametrize("width", [4, 16, 32, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_generator_at_other_widths(monkeypatch, width, dtype):
    """Tiles of vectors of 1 to 16 numbers, drawn anew, against the sum they stand for."""
    monkeypatch.setattr(host, "VECTOR_BYTES", width)
    monkeypatch.setattr(tile, "CHANNEL_TILES", ((2, 2, 3), (1, 1, 5)))
    monkeypatch.setattr(tile, "ROW_TILES", ((2, 3),))
    monkeypatch.setattr(tile, "DOT_TILES", ((2, 2),))
    L = emit.lanes(np.dtype(dtype).itemsize)

    @numba.njit
    def tiles(x, bases, offs, wi, w, rows, at, channels, apart, taps, dots, turned):
        tile.row_tile(0, x, bases, offs, wi, 0, offs.size, w, 0, 3 * offs.size, rows, at, 2 * L, 0)
        tile.channel_tile(0, x, bases, offs, 0, offs.size, w, 0, channels, apart, 100, 2 * L - 1, 1)
        tile.channel_tile(1, x, bases, offs, 0, offs.size, w, 0, channels, apart, 100, 0, 1)
        tile.tap_tile(0, x, bases, offs, 0, offs.size, w, 0, taps, 0)
        tile.dot_tile(0, x, bases, offs, w, bases, offs, 0, 2, 2, 2, L - L // 2, dots, 0)
        tile.turn(x, 0, L + 1, max(L - 1, 1), turned, 0, L)

    rng = np.random.default_rng(1)
    x, w = (rng.integers(-3, 4, 2000).astype(dtype) for _ in range(2))
    bases, offs = np.array([0, 41]), np.array([0, 7, 3, 30])
    rows, channels, taps, dots, turned = (np.zeros(4000, dtype) for _ in range(5))
    at, backwards = np.array([0, L]), np.array([3, 2, 1, 0])
    tiles(x, bases, offs, backwards, w, rows, at, channels, np.array([0, 50]), taps, dots, turned)
    for r, k in np.ndindex(2, 3):
        want = w[3 * 4 + k] + sum(w[3 * (3 - t) + k] * x[bases[r] + offs[t] + np.arange(L)] for t in range(4))
        np.testing.assert_array_equal(rows[at[r] + k * 2 * L:][:L], want)
    for p, k in np.ndindex(2, 2 * L):
        terms = sum(w[t * 2 * L + k] * x[bases[p] + offs[t] + np.arange(3)] for t in range(4))
        stored = channels[50 * p + 100 * k:][:3]
        np.testing.assert_array_equal(stored, np.maximum(w[4 * 2 * L + k] + terms, 0) if k < 2 * L - 1 else 0)
        for g in range(3):
            assert taps[(p * 3 + g) * 2 * L + k] == terms[g]
    mask = np.arange(L) < L - L // 2
    for k, p in np.ndindex(2, 2):
        pairs = [x[bases[p] + offs[t] + np.arange(L)] * w[bases[k] + offs[t] + np.arange(L)] for t in range(4)]
        np.testing.assert_array_equal(dots[(k * 2 + p) * L:][:L], pairs[0] + pairs[1] + np.where(mask, pairs[2] + pairs[3], 0))
    for i, j in np.ndindex(L, L):
        assert turned[j * L + i] == x[min(i, max(L - 2, 0)) * (L + 1) + j]


@pytest.mark.sweep
@pytest.mark.parametrize("width", [16, 32])
def test_the_whole_rung_at_other_widths(tmp_path, width):
    here = os.path.dirname(__file__)
    env = {**os.environ, "TINYCONV_VECTOR_BYTES": str(width), "NUMBA_CACHE_DIR": str(tmp_path)}
    tests = "edges or every_tile or small or bias"
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-k", tests, os.path.join(here, "test_kernels_simd.py")],
                          capture_output=True, text=True, env=env, cwd=os.path.dirname(here))
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("name", ["ragged", "grouped", "depthwise_twice", "volume_stride", "leftover", "pointwise", "images"])
def test_packed_operands_hold_no_leftovers(name, monkeypatch):
    """Lanes without a channel are multiplied too: leftovers of an earlier call, denormal by chance, cost a hundredfold."""
    dims = conv_dims((33, 5, 6, 6), (21, 5, 3, 3), padding=1) if name == "images" else cases.small[name]
    lent = []

    def poisoned(label, size, dtype):
        buffer = np.full(size, np.nan if dtype.kind == "f" else 0, dtype)
        if label == "packed":
            lent.append(buffer)
        return buffer

    monkeypatch.setattr(simd, "scratch", poisoned)
    x, w, y = (np.ones(s, np.float32) for s in (dims.x_shape, dims.w_shape, dims.y_shape))
    simd.conv(x, w, dims), simd.conv_input_grad(y, w, dims), simd.conv_weight_grad(x, y, dims)
    assert len(lent) == 3
    assert all(np.isfinite(buffer).all() for buffer in lent)

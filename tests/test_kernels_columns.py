"""The rung for few output channels: exact sums of integers at every edge of its tiles, and nothing outside an array touched."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product

import numba
import numpy as np
import pytest
from threaded import on_threads

import tinyconv as tc
from tinyconv.dims import ConvDims, conv_dims, conv_transpose_dims
from tinyconv.kernels import host, scratch
from tinyconv.kernels.conv import columns, columns_apart, columns_weights, direct, reference
from tinyconv.kernels.emit import lanes
from tinyconv.kernels.jit import config
from tinyconv.registry import kernels

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="its tiles exist only as machine code")

F32 = np.dtype("float32")
MAPS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}
MODULES = {"conv": columns, "conv_input_grad": columns_apart, "conv_weight_grad": columns_weights}
RUN = {op: getattr(module, op) for op, module in MODULES.items()}
EDGES = {
    "depthwise": conv_dims((2, 5, 17, 20), (5, 1, 3, 3), padding=1, groups=5),
    "one_cell": conv_dims((1, 2, 1, 1), (2, 1, 3, 3), padding=1, groups=2),
    "whole_tiles": conv_dims((1, 2, 16, 18), (2, 1, 3, 3), groups=2),
    "wide": conv_dims((1, 2, 30, 70), (2, 1, 3, 3), padding=1, groups=2),
    "fewer_rows_than_taps": conv_dims((3, 2, 2, 40), (2, 1, 7, 3), padding=3, groups=2),
    "rows_beyond_the_taps": conv_dims((2, 2, 5, 19), (2, 1, 2, 3), padding=((4, 3), (1, 1)), groups=2),
    "columns_beyond_the_taps": conv_dims((2, 2, 9, 5), (2, 1, 3, 2), padding=((1, 1), (20, 33)), groups=2),
    "one_sided": conv_dims((2, 3, 9, 21), (3, 1, 3, 4), padding=((0, 2), (3, 0)), groups=3),
    "sevens": conv_dims((1, 3, 15, 33), (3, 1, 7, 7), padding=3, groups=3),
    "tall": conv_dims((1, 3, 15, 33), (3, 1, 7, 1), groups=3),
    "dilated_along": conv_dims((2, 3, 8, 40), (3, 1, 3, 3), padding=(1, 5), dilation=(1, 5), groups=3),
    "multiplied": conv_dims((2, 3, 8, 20), (12, 1, 3, 3), padding=1, groups=3),
    "to_few": conv_dims((2, 7, 14, 16), (3, 7, 3, 3), padding=1),
    "from_few": conv_dims((2, 3, 14, 16), (7, 3, 5, 5), padding=2),
    "from_one": conv_dims((3, 1, 12, 12), (4, 1, 5, 5)),
    "groups_of_few": conv_dims((2, 10, 9, 17), (6, 5, 3, 3), padding=1, groups=2),
    "strided": conv_dims((2, 3, 29, 37), (3, 1, 3, 3), stride=2, padding=1, groups=3),
    "strided_wide": conv_dims((1, 2, 31, 140), (2, 1, 5, 4), stride=2, padding=2, groups=2),
    "strided_fours": conv_dims((2, 3, 8, 8), (3, 1, 4, 4), stride=2, padding=1, groups=3),
    "strided_one_column": conv_dims((2, 2, 15, 33), (2, 1, 5, 1), stride=2, padding=(1, 0), groups=2),
    "strided_beyond": conv_dims((2, 2, 7, 19), (2, 1, 3, 2), stride=2, padding=((4, 5), (7, 2)), groups=2),
    "strided_sevens": conv_dims((1, 2, 37, 70), (2, 1, 7, 7), stride=2, padding=3, groups=2),
    "strided_cell": conv_dims((1, 2, 2, 1), (2, 1, 2, 1), stride=2, groups=2),
    "strided_to_image": conv_transpose_dims((3, 5, 9, 17), (5, 2, 4, 4), stride=2, padding=1),
    "strided_output_padding": conv_transpose_dims((2, 6, 7, 7), (6, 1, 3, 3), stride=2, padding=1, output_padding=1, groups=2),
    "strided_dilated": conv_dims((1, 2, 9, 50), (2, 1, 2, 3), stride=2, padding=(1, 3), dilation=(1, 3), groups=2),
    "to_image": conv_transpose_dims((2, 6, 9, 11), (6, 1, 3, 3), padding=1),
    "output_padding": conv_transpose_dims((1, 2, 5, 7), (2, 1, 3, 3), dilation=(1, 2), output_padding=(0, 1)),
    "no_image": conv_dims((0, 3, 5, 5), (3, 1, 3, 3), groups=3),
}


def operands(op: str, dims: ConvDims, dtype="float32", seed=0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-3, 4, getattr(dims, f"{slot}_shape")).astype(dtype) for slot in MAPS[op]]


def fits(op: str, dims: ConvDims) -> bool:
    """Whether it can be done, however many channels it fills."""
    return op == "conv" or dims.stride == (1, 1) or (op == "conv_input_grad" and dims.dilation == (1, 1))


CASES = [(op, name) for op in MAPS for name in EDGES if fits(op, EDGES[name])]


@pytest.mark.parametrize(("op", "name"), CASES)
def test_sums_of_integers_are_exact(op, name):
    dims = EDGES[name]
    for dtype in ("float32", "float64")[:1 + (dims.kernel[0] == 3)]:  # half as wide vectors, of the tiles that compile soonest
        args = operands(op, dims, dtype)
        got = RUN[op](*args, dims)
        assert got.dtype == dtype and got.flags.c_contiguous
        np.testing.assert_array_equal(got, getattr(reference, op)(*args, dims))


@pytest.mark.parametrize(("op", "name"), [case for case in CASES if case[0] != "conv_weight_grad"])
def test_bias_and_relu_are_fused(op, name):
    dims = EDGES[name]
    args = operands(op, dims)
    want = getattr(reference, op)(*args, dims)
    b = np.arange(-2, 2 * want.shape[1] - 2, dtype="float32")[::2]  # strided
    column = b.reshape(-1, 1, 1)
    run = RUN[op]
    np.testing.assert_array_equal(run(*args, dims, bias=b), want + column)
    np.testing.assert_array_equal(run(*args, dims, bias=b.astype("float64")), want + column)
    np.testing.assert_array_equal(run(*args, dims, bias=b, relu=True), np.maximum(want + column, 0))
    np.testing.assert_array_equal(run(*args, dims, relu=True), np.maximum(want, 0))


def random_dims(rng: np.random.Generator) -> ConvDims:
    groups, per, out = (int(n) for n in rng.integers(1, 4, 3))
    k = int(rng.integers(2, 8)), int(rng.integers(1, 6))
    s, d = int(rng.integers(1, 3)), (1, int(rng.integers(1, 4)))
    pad = tuple(tuple(int(p) for p in rng.integers(0, 2 * n, 2)) for n in k)
    size = [int(rng.integers(max(1, (n - 1) * e + 1 - sum(p)), 40)) for n, e, p in zip(k, d, pad)]
    return conv_dims((int(rng.integers(1, 3)), groups * per, *size), (groups * out, per, *k), stride=s, padding=pad,
                     dilation=d, groups=groups)


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.sweep)])
def test_random_geometries(count):
    rng = np.random.default_rng(count)
    for _ in range(count):
        dims = random_dims(rng)
        for op in MAPS:
            if fits(op, dims):
                args = operands(op, dims)
                np.testing.assert_array_equal(RUN[op](*args, dims), getattr(reference, op)(*args, dims), f"{op}, {dims}")


def test_neighbours_of_a_row_do_not_leak_in():
    """A load takes in numbers before and behind its row: where they are NaN or infinite, the row does not see them."""
    dims = conv_dims((1, 3, 16, 21), (3, 1, 3, 3), padding=1, groups=3)
    x, w = operands("conv", dims)
    clean = columns.conv(x, w, dims)
    for value, (c, i) in product((np.nan, np.inf), product(range(3), range(16))):
        dirty = x.copy()
        dirty[0, c, i, 0] = dirty[0, c, i, -1] = value
        touched = np.zeros(clean.shape, bool)
        for j in (0, 1, -2, -1):
            touched[0, c, max(i - 1, 0):i + 2, j] = True
        assert (columns.conv(dirty, w, dims) == clean)[~touched].all()


@pytest.mark.parametrize(("width", "kernel"), [(21, 3), (17, 7)])
def test_what_a_tap_does_not_meet_does_not_touch_its_gradient(width, kernel):
    """NaN in the last or first column, or row, of x, which only the last or first taps reach; all of it as `direct` has it."""
    dims = conv_dims((2, 3, 16, width), (3, 1, kernel, kernel), groups=3)
    x, y = operands("conv_weight_grad", dims)
    clean, last = columns_weights.conv_weight_grad(x, y, dims), kernel - 1
    for cells, taps in (((..., -1), (..., last)), ((..., 0), (..., 0)), ((..., -1, slice(None)), (..., last, slice(None))),
                        ((..., 0, slice(None)), (..., 0, slice(None)))):
        dirty, touched = x.copy(), np.zeros(clean.shape, bool)
        dirty[cells], touched[taps] = np.nan, True
        got = columns_weights.conv_weight_grad(dirty, y, dims)
        assert (got == clean)[~touched].all() and np.isnan(got[touched]).all()
        np.testing.assert_array_equal(got, direct.conv_weight_grad(dirty, y, dims))


@pytest.mark.parametrize(("op", "stride"), [("conv", 1), ("conv", 2), ("conv_input_grad", 1), ("conv_input_grad", 2)])
def test_nan_stays_nan_behind_relu(op, stride):
    dims = conv_dims((1, 2, 9, 9), (2, 1, 3, 3), stride=stride, padding=1, groups=2)
    a, w = operands(op, dims)
    a[0, 0, 1, 1] = np.nan
    touched = np.isnan(getattr(direct, op)(a, w, dims))
    assert touched.any() and not touched.all()
    assert (np.isnan(RUN[op](a, w, dims, relu=True)) == touched).all()


def test_the_same_bits_on_any_number_of_threads():
    dims, apart = (conv_dims((3, 33, 30, 30), (33, 1, 3, 3), stride=s, padding=1, groups=33) for s in (1, 2))
    rng = np.random.default_rng(0)
    x, w, y, g = (rng.standard_normal(s).astype("float32") for s in (dims.x_shape, dims.w_shape, dims.y_shape, apart.y_shape))
    plane = conv_dims((1, 1, 200, 190), (1, 1, 3, 3), padding=1)
    spread = conv_transpose_dims((1, 1, 200, 190), (1, 1, 3, 3), stride=2)
    image = rng.standard_normal(plane.x_shape).astype("float32")  # of one plane, whose bands are shared
    found = set()
    for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        with on_threads(threads):
            results = (columns.conv(x, w, dims), columns_apart.conv_input_grad(g, w, apart),
                       columns_weights.conv_weight_grad(x, y, dims), columns.conv(image, w[:1], plane),
                       columns_apart.conv_input_grad(image, w[:1], spread))
            found.add(b"".join(a.tobytes() for a in results))
    assert len(found) == 1


def test_scratch_is_what_is_stated(monkeypatch):
    """The sums of a block of taps, for each thread that has channels; 0 elsewhere."""
    taken = []

    def take(name, size, dtype):
        taken.append(size)
        return scratch.scratch(name, size, dtype)

    monkeypatch.setattr(columns_weights, "scratch", take)
    for name, dims in (("many", conv_dims((4, 64, 30, 30), (64, 1, 3, 3), groups=64)),
                       ("a pair", conv_dims((64, 1, 60, 60), (1, 1, 5, 5))), ("little", EDGES["sevens"])):
        columns_weights.conv_weight_grad(*operands("conv_weight_grad", dims), dims)
        assert 4 * taken[-1] == columns_weights.scratch_bytes(dims, F32), name
        K, B = columns_weights._sizes(dims)[1]
        assert taken[-1] == (numba.get_num_threads() if name == "many" else 1) * K * B * lanes(4)
    assert all(k.scratch(dims, F32) == 0 for op in ("conv", "conv_input_grad") for k in kernels(op) if k.algorithm == "columns")


masked = pytest.mark.skipif(host.VECTOR_BYTES < 32, reason="vectors of 16 bytes have no masked loads")


@masked
def test_it_is_chosen_where_few_channels_are_filled():
    chosen = {name: tc.choose(op, conv_dims(*shapes, **options), F32).algorithm for name, (op, shapes, options) in {
        "depthwise": ("conv", ((8, 32, 28, 28), (32, 1, 3, 3)), {"groups": 32}),
        "of two": ("conv", ((8, 32, 28, 28), (64, 1, 3, 3)), {"groups": 32}),
        "to an image": ("conv_input_grad", ((8, 1, 28, 28), (16, 1, 3, 3)), {}),
        "to many": ("conv", ((8, 16, 28, 28), (5, 16, 3, 3)), {}),
        "apart": ("conv_input_grad", ((8, 32, 28, 28), (32, 1, 3, 3)), {"groups": 32, "stride": 2}),
        "apart to three": ("conv_input_grad", ((8, 3, 28, 28), (32, 3, 4, 4)), {"stride": 2}),
        "weights": ("conv_weight_grad", ((8, 32, 28, 28), (32, 1, 3, 3)), {"groups": 32}),
        "weights of six": ("conv_weight_grad", ((8, 1, 28, 28), (6, 1, 3, 3)), {}),
        "weights of seven": ("conv_weight_grad", ((8, 1, 28, 28), (7, 1, 3, 3)), {}),
    }.items()}
    assert chosen == {"depthwise": "columns", "of two": "columns", "to an image": "columns", "to many": "simd",
                      "apart": "columns", "apart to three": "simd", "weights": "columns", "weights of six": "columns",
                      "weights of seven": "simd"}


def few(*shapes, **options):
    return conv_dims(*(shapes or ((1, 2, 9, 9), (2, 1, 3, 3))), **{"groups": 2, **options})


ALL = ("conv", "conv_input_grad", "conv_weight_grad")


@masked
@pytest.mark.parametrize(("ops", "dims", "why"), [
    (ALL, few((1, 2, 9), (2, 1, 3)), "not 1 dimensions"),
    (ALL[:2], few(stride=3), "strides of 1 and 2, not 2 dimensions and (3, 3)"),
    (ALL[2:], few(stride=2), "strides of 1, not 2 dimensions and (2, 2)"),
    (ALL[:2], few(stride=(1, 2)), "(1, 2)"),
    (ALL[:2], few((1, 2, 9, 9), (2, 1, 1, 3)), "2 to 7 rows of taps, side by side, not 1 at a dilation of 1"),
    (ALL[2:], few((1, 2, 9, 9), (2, 1, 2, 3)), "3 to 7 rows of taps, side by side, not 2 at a dilation of 1"),
    (ALL, few((1, 2, 9, 9), (2, 1, 8, 3)), "not 8 at a dilation of 1"),
    (ALL, few(dilation=2), "not 3 at a dilation of 2"),
    (ALL[:1], few((1, 2, 9, 9), (10, 1, 3, 3)), "fills 4 channels of a group at most, not 5"),
    (ALL[1:2], conv_dims((1, 5, 9, 9), (2, 5, 3, 3)), "fills 4 channels of a group at most, not 5"),
    (ALL[1:2], conv_dims((1, 3, 9, 9), (2, 3, 3, 3), stride=2), "fills 2 channels of a group at most, not 3"),
    (ALL[1:2], few(stride=2, dilation=(1, 2)), "side by side, not at a dilation of 2"),
    (ALL[2:], conv_dims((8, 1, 9, 2 * lanes(4) + 2), (7, 1, 3, 3)), "fills 6 channels of a group at most, not 7"),
    (ALL[2:], conv_dims((8, 1, 9, lanes(4) + 3), (6, 1, 3, 3)), "fills 2 channels of a group at most, not 6"),
])
def test_it_says_why_not(ops, dims, why):
    for op in ops:
        assert why in MODULES[op].refuse(dims, F32)
        with pytest.raises(ValueError, match="columns"):
            tc.choose(op, dims, F32, algorithm="columns")


@masked
def test_other_dtypes_and_vectors_are_refused(monkeypatch):
    assert all(module.refuse(few(), F32) == "" and "not float16" in module.refuse(few(), np.dtype("float16"))
               for module in MODULES.values())
    monkeypatch.setattr(host, "VECTOR_BYTES", 16)
    assert "vectors of 16 bytes" in columns.refuse(few(), F32)


GUARDED = """
import sys
from tinyconv.kernels.conv import columns
sys.path.insert(0, sys.argv[1])
import test_kernels_columns as t
from guarded import Guarded, guarded, kept
columns.np = t.columns_apart.np = t.columns_weights.np = Guarded()
t.columns_weights.scratch = lambda name, size, dtype: guarded(size, dtype, at_end)
for at_end in (True, False):
    for dims in t.EDGES.values():
        for op in t.MAPS:
            if t.fits(op, dims):
                a = t.operands(op, dims)
                b = [guarded(v.shape, v.dtype, at_end) for v in a]
                for to, v in zip(b, a):
                    to[...] = v
                assert (t.RUN[op](*b, dims) == getattr(t.reference, op)(*a, dims)).all(), (op, dims)
                kept.clear()
print("untouched")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="guard pages are set by mprotect, which this system lacks")
@pytest.mark.parametrize("width", [None, "32", "16"])
def test_nothing_outside_an_array_is_touched(width):
    """Operands and results lie against pages that may not be read or written: a step outside is a crash."""
    if width and lanes(4) * 4 < int(width):
        pytest.skip(f"vectors are of {lanes(4) * 4} bytes here")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(os.path.dirname(__file__)), *sys.path])}
    done = subprocess.run([sys.executable, "-c", GUARDED, os.path.dirname(__file__)], capture_output=True, text=True,
                          env=env | ({"TINYCONV_VECTOR_BYTES": width} if width else {}))
    assert done.returncode == 0 and "untouched" in done.stdout, f"exit {done.returncode}: {done.stderr[-2000:]}"

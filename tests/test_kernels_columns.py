"""The rung for few output channels: exact sums of integers at every edge of its tiles, and nothing outside an array touched."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product

import numba
import numpy as np
import pytest

import tinyconv as tc
from tinyconv.dims import ConvDims, conv_dims, conv_transpose_dims
from tinyconv.kernels.conv import columns, columns_weights, reference
from tinyconv.kernels.emit import lanes
from tinyconv.kernels.jit import config

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="its tiles exist only as machine code")

F32 = np.dtype("float32")
MAPS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}
RUN = {"conv": columns.conv, "conv_input_grad": columns.conv_input_grad, "conv_weight_grad": columns_weights.conv_weight_grad}
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


every_edge = pytest.mark.parametrize(("op", "name"), [(op, name) for op in MAPS for name in EDGES if fits(op, EDGES[name])])


@every_edge
def test_sums_of_integers_are_exact(op, name):
    dims = EDGES[name]
    for dtype in ("float32", "float64")[:1 + (dims.kernel[0] == 3)]:  # half as wide vectors, of the tiles that compile soonest
        args = operands(op, dims, dtype)
        got = RUN[op](*args, dims)
        assert got.dtype == dtype and got.flags.c_contiguous
        np.testing.assert_array_equal(got, getattr(reference, op)(*args, dims))


@every_edge
def test_bias_and_relu_are_fused(op, name):
    dims = EDGES[name]
    if op == "conv_weight_grad":
        return  # no bias is added to it
    args = operands(op, dims)
    want = getattr(reference, op)(*args, dims)
    b = np.arange(-2, 2 * want.shape[1] - 2, dtype="float32")[::2]  # strided
    column = b.reshape(-1, 1, 1)
    run = RUN[op]
    np.testing.assert_array_equal(run(*args, dims, bias=b), want + column)
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
    """NaN in the last column of x, which only the last column of taps reaches."""
    dims = conv_dims((2, 3, 16, width), (3, 1, kernel, kernel), groups=3)
    x, y = operands("conv_weight_grad", dims)
    clean = columns_weights.conv_weight_grad(x, y, dims)
    x[:, :, :, -1] = np.nan
    dirty = columns_weights.conv_weight_grad(x, y, dims)
    assert (dirty == clean)[..., :-1].all() and np.isnan(dirty[..., -1]).all()


def test_nan_stays_nan_behind_relu():
    dims = conv_dims((1, 2, 4, 4), (2, 1, 3, 3), padding=1, groups=2)
    x, w = operands("conv", dims)
    x[0, 0, 1, 1] = np.nan
    assert np.isnan(columns.conv(x, w, dims, relu=True)[0, 0, :3, :3]).all()


def test_the_same_bits_on_any_number_of_threads():
    dims, apart = (conv_dims((3, 33, 30, 30), (33, 1, 3, 3), stride=s, padding=1, groups=33) for s in (1, 2))
    rng = np.random.default_rng(0)
    x, w, y, g = (rng.standard_normal(s).astype("float32") for s in (dims.x_shape, dims.w_shape, dims.y_shape, apart.y_shape))
    before, found = numba.get_num_threads(), []
    try:
        for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(threads)
            found.append(b"".join(a.tobytes() for a in (
                columns.conv(x, w, dims), columns.conv_input_grad(g, w, apart), columns_weights.conv_weight_grad(x, y, dims))))
    finally:
        numba.set_num_threads(before)
    assert len(set(found)) == 1


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


@pytest.mark.parametrize(("shapes", "options", "why"), [
    (((1, 2, 9), (2, 1, 3)), {"groups": 2}, "not 1 dimensions"),
    (((1, 2, 9, 9), (2, 1, 3, 3)), {"groups": 2, "stride": 3}, "strides of (3, 3)"),
    (((1, 2, 9, 9), (2, 1, 3, 3)), {"groups": 2, "stride": (1, 2)}, "strides of (1, 2)"),
    (((1, 2, 9, 9), (2, 1, 1, 3)), {"groups": 2}, "not 1 at a dilation of 1"),
    (((1, 2, 9, 9), (2, 1, 8, 3)), {"groups": 2}, "not 8 at a dilation of 1"),
    (((1, 2, 9, 9), (2, 1, 3, 3)), {"groups": 2, "dilation": 2}, "not 3 at a dilation of 2"),
    (((1, 2, 9, 9), (10, 1, 3, 3)), {"groups": 2}, "5 channels of a group: it takes 4 at most"),
])
def test_it_says_why_not(shapes, options, why):
    assert why in columns.refuse(conv_dims(*shapes, **options), F32)
    with pytest.raises(ValueError, match="columns"):
        tc.choose("conv", conv_dims(*shapes, **options), F32, algorithm="columns")


def test_it_says_why_not_of_gradients_and_dtypes():
    dims = conv_dims((1, 2, 9, 9), (2, 1, 3, 3), groups=2, stride=2)
    assert columns.refuse(dims, F32) == columns.refuse_input_grad(dims, F32) == ""
    few = conv_dims((1, 3, 9, 9), (2, 3, 3, 3), stride=2)
    assert "fills 2 channels of a group at most, by taps side by side, not 3" in columns.refuse_input_grad(few, F32)
    along = conv_dims((1, 2, 9, 9), (2, 1, 3, 3), groups=2, stride=2, dilation=(1, 2))
    assert "not 1 at a dilation of 2" in columns.refuse_input_grad(along, F32) and columns.refuse(along, F32) == ""
    assert "a stride of 1, 3 rows of taps or more" in columns_weights.refuse(dims, F32)
    wide, narrow = (conv_dims((8, 1, 9, n + 2), (6, 1, 3, 3)) for n in (2 * lanes(4), lanes(4) + 1))
    assert columns_weights.refuse(wide, F32) == ""
    assert f"for rows of {lanes(4) + 1} 2 output channels" in columns_weights.refuse(narrow, F32)
    assert "not float16" in columns.refuse(dims, np.dtype("float16"))


GUARDED = """
import sys
from tinyconv.kernels.conv import columns
sys.path.insert(0, sys.argv[1])
import test_kernels_columns as t
from guarded import Guarded, guarded, kept
columns.np = columns.columns_apart.np = t.columns_weights.np = Guarded()
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
@pytest.mark.parametrize("width", [None, "32"])
def test_nothing_outside_an_array_is_touched(width):
    """Operands, results and tables lie against pages that may not be read or written: a step outside is a crash."""
    if width and lanes(4) * 4 < int(width):
        pytest.skip(f"vectors are of {lanes(4) * 4} bytes here")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(os.path.dirname(__file__)), *sys.path])}
    done = subprocess.run([sys.executable, "-c", GUARDED, os.path.dirname(__file__)], capture_output=True, text=True,
                          env=env | ({"TINYCONV_VECTOR_BYTES": width} if width else {}))
    assert done.returncode == 0 and "untouched" in done.stdout, f"exit {done.returncode}: {done.stderr[-2000:]}"

"""The rungs that teach, toeplitz, zero_insertion, kn2row and fft: the definition, their adjoints, hand-worked cases."""

import tracemalloc
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyconv import cases
from tinyconv.dims import ConvDims, conv_dims
from tinyconv.kernels.conv import fft, im2col, kn2row, reference, toeplitz, zero_insertion
from tinyconv.registry import kernels

NAMES = ("toeplitz", "zero_insertion", "kn2row", "fft")
RUNGS = [k for op in ("conv", "conv_input_grad", "conv_weight_grad") for k in kernels(op) if k.algorithm in NAMES]
SLOTS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def label(kernel):
    return f"{kernel.op}-{kernel.algorithm}"


def operands(op, dims, dtype, rng, whole=True):
    shapes = [getattr(dims, f"{slot}_shape") for slot in SLOTS[op]]
    return [(rng.integers(-4, 5, s) if whole else rng.standard_normal(s)).astype(dtype) for s in shapes]


def agrees(kernel, dims, dtype, rng):
    """The kernel equals the definition in float64: exactly, or within its bound of the largest sum of magnitudes.

    Cells that no window reads still take part in a transform: where they are all there is, their product counts as one sum.
    """
    args = operands(kernel.op, dims, dtype, rng, whole=kernel.exact)
    define = getattr(reference, kernel.op)
    wide = [a.astype(np.float64) for a in args]
    want, sums = define(*wide, dims), define(*map(np.abs, wide), dims)
    got = kernel.fn(*args, dims)
    assert got.dtype == dtype and got.shape == want.shape and got.flags.c_contiguous
    if kernel.exact:
        assert (got == want).all()
    elif got.size and args[0].size:
        scale = max(sums.max(), abs(args[0]).max() * abs(args[1]).max())
        assert np.abs(got - want).max() <= kernel.bound * np.finfo(dtype).eps * scale


@pytest.mark.parametrize("kernel", RUNGS, ids=label)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", cases.small)
def test_equals_the_definition(kernel, case, dtype, rng):
    dims = cases.small[case]
    assert not kernel.refuse(dims, np.dtype(dtype))
    agrees(kernel, dims, dtype, rng)


@pytest.mark.parametrize("name", ["toeplitz", "kn2row", "fft"])
@pytest.mark.parametrize("case", cases.small)
def test_maps_are_adjoint(name, case, rng):
    """<conv(x, w), y> = <x, conv_input_grad(y, w)> = <w, conv_weight_grad(x, y)>, on whole numbers."""
    dims = cases.small[case]
    fn = {k.op: k.fn for k in RUNGS if k.algorithm == name}
    x, w, y = (rng.integers(-4, 5, s).astype(float) for s in (dims.x_shape, dims.w_shape, dims.y_shape))
    forward = np.vdot(fn["conv"](x, w, dims), y)
    both = np.vdot(x, fn["conv_input_grad"](y, w, dims)), np.vdot(w, fn["conv_weight_grad"](x, y, dims))
    slack = 0.0 if name != "fft" else 1e-9 * (1 + np.vdot(reference.conv(abs(x), abs(w), dims), abs(y)))
    assert abs(forward - both[0]) <= slack and abs(forward - both[1]) <= slack


@pytest.mark.parametrize("kernel", RUNGS, ids=label)
@pytest.mark.parametrize("dims", [
    conv_dims((2, 3, 2), (4, 3, 1), stride=2, padding=((0, 1),)),  # a phase as large as the input, and not the input
    conv_dims((2, 1, 3, 5), (2, 1, 1, 1), stride=(1, 3), padding=(0, 3)),
    conv_dims((1, 1, 1, 3), (1, 1, 1, 1), stride=(1, 4), padding=((0, 0), (1, 1))),  # no window meets the input
], ids=["phase_is_as_large", "outer_columns", "all_padding"])
def test_found_by_the_sweep(kernel, dims, rng):
    agrees(kernel, dims, "float32", rng)


@st.composite
def geometries(draw) -> ConvDims:
    rank = draw(st.integers(1, 3))
    each = lambda lo, hi: tuple(draw(st.integers(lo, hi)) for _ in range(rank))  # noqa: E731
    groups = draw(st.integers(1, 3))
    kernel, dilation, padding = each(1, 4), each(1, 3), [each(0, 4), each(0, 4)]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    least = [max(r - a - b, 1) for r, a, b in zip(reach, *padding)]
    size = tuple(n + draw(st.integers(0, 6)) for n in least)
    x = (draw(st.integers(0, 3)), groups * draw(st.integers(1, 3)), *size)
    w = (groups * draw(st.integers(1, 3)), x[1] // groups, *kernel)
    return conv_dims(x, w, each(1, 4), tuple(zip(*padding)), dilation, groups)


def try_geometry(dims):
    for kernel in RUNGS:
        agrees(kernel, dims, "float32", np.random.default_rng(5))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(geometries())
def test_random_geometries(dims):
    try_geometry(dims)


@pytest.mark.sweep
@settings(max_examples=2000, deadline=None)
@given(geometries())
def test_many_random_geometries(dims):
    try_geometry(dims)


@pytest.mark.parametrize("kernel", RUNGS, ids=label)
def test_strided_and_reversed_operands(kernel, rng):
    """Views give what their copies give, and are left as they were."""
    dims = cases.small["grouped"]
    args = operands(kernel.op, dims, "float32", rng)
    views = [np.repeat(a, 2, axis=-1)[..., ::2] for a in args]
    views[0] = np.flip(np.flip(views[0], 2).copy(), 2)
    for v in views:
        v.flags.writeable = False
    assert (kernel.fn(*views, dims) == kernel.fn(*args, dims)).all()


@pytest.mark.parametrize("kernel", RUNGS, ids=label)
@pytest.mark.parametrize("dims", [conv_dims((2, 20, 12, 12), (40, 20, 5, 5)),
                                  conv_dims((2, 6, 40, 40), (8, 6, 5, 5), stride=2, padding=2)], ids=["dense", "stride"])
def test_scratch_is_stated(kernel, dims, rng):
    """What a call allocates beyond its result is within what `scratch` says, and the statement is not idle."""
    args = operands(kernel.op, dims, "float32", rng)
    kernel.fn(*args, dims)  # tables of the geometry are made once and kept
    tracemalloc.start()
    result = kernel.fn(*args, dims)
    peak = tracemalloc.get_traced_memory()[1] - result.nbytes
    tracemalloc.stop()
    stated = kernel.scratch(dims, np.dtype("float32"))
    held = 2 * im2col.LIMIT if kernel.algorithm == "zero_insertion" else 0  # blocks of patches still held for the next
    assert peak <= stated + held + 50_000
    assert stated <= 10 * peak + 50_000


# -- toeplitz ------------------------------------------------------------------------------------------------------


def test_the_guides_matrix():
    """Section 4.1 of the guide: a 3x3 kernel on a 4x4 input is a 4x16 matrix, its nine weights in each of four rows."""
    w = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    dims = conv_dims((1, 1, 4, 4), w.shape)
    matrix = toeplitz.toeplitz_matrix(w, dims)
    first = [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0]
    assert matrix.tolist() == [[0] * shift + first[:16 - shift] for shift in (0, 1, 4, 5)]


def test_matrix_and_its_transpose_are_the_maps(rng):
    dims = cases.small["volume_stride"]
    w, x, y = (rng.integers(-4, 5, s).astype(float) for s in (dims.w_shape, dims.x_shape, dims.y_shape))
    matrix = toeplitz.toeplitz_matrix(w, dims)
    assert matrix.shape == (prod(dims.y_shape), prod(dims.x_shape))
    assert (matrix @ x.ravel() == reference.conv(x, w, dims).ravel()).all()
    assert (matrix.T @ y.ravel() == reference.conv_input_grad(y, w, dims).ravel()).all()


def test_toeplitz_refuses_what_is_too_large():
    dims = cases.layers["vgg.128"]
    assert "115605504 non-zeros, the limit is 8388608" in toeplitz.refuse(dims, np.dtype("float32"))


def test_without_scipy(monkeypatch, rng):
    """toeplitz says what it lacks; fft does with NumPy's transforms."""
    monkeypatch.setattr(toeplitz, "find_spec", lambda name: None)
    monkeypatch.setattr(fft, "find_spec", lambda name: None)
    assert "SciPy is not installed" in toeplitz.refuse(cases.small["hand"], np.dtype("float32"))
    for kernel in RUNGS:
        if kernel.algorithm == "fft":
            agrees(kernel, cases.small["dilated_stride"], "float32", rng)


# -- zero_insertion ------------------------------------------------------------------------------------------------


def test_stretched_and_padded_as_the_guide_draws_it():
    """Figure 4.5 of the guide: i=5, k=3, s=2: a 2x2 y becomes 3x3 with zeros between, then 7x7 with k-1 = 2 around."""
    y = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    wide = zero_insertion.pad(zero_insertion.stretch(y, (2, 2)), (2, 2), (7, 7))[0, 0]
    assert np.flatnonzero(wide).tolist() == [2 * 7 + 2, 2 * 7 + 4, 4 * 7 + 2, 4 * 7 + 4]
    dims = conv_dims((1, 1, 5, 5), (1, 1, 3, 3), stride=2)
    x = zero_insertion.conv_input_grad(y, np.ones((1, 1, 3, 3)), dims)
    assert x[0, 0].tolist() == [[1, 1, 3, 2, 2], [1, 1, 3, 2, 2], [4, 4, 10, 6, 6], [3, 3, 7, 4, 4], [3, 3, 7, 4, 4]]


# -- fft -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [k for k in RUNGS if k.algorithm == "fft"], ids=label)
@pytest.mark.parametrize("case", [name for name in cases.small if name != "empty_batch"])
def test_tiles_join_without_a_seam(kernel, case, monkeypatch, rng):
    """With transforms so short that every small case is cut into several tiles."""
    dims = cases.small[case]
    monkeypatch.setattr(fft, "LENGTH", dict.fromkeys((1, 2, 3), 2))
    monkeypatch.setattr(fft, "lengths", fft.lengths.__wrapped__)  # not those remembered for longer transforms
    monkeypatch.setattr(fft, "_tile_size", lambda dims: (2,) * dims.rank)
    assert len(list(fft.tiles(dims))) == prod(-(-outs // 2) for outs in dims.output)
    agrees(kernel, dims, "float64", rng)


def test_large_images_are_tiled(rng):
    dims = conv_dims((1, 1, 200, 131), (2, 1, 9, 9), padding=4)
    assert len(list(fft.tiles(dims))) > 6 and max(fft.lengths(dims)) <= 64
    for kernel in RUNGS:
        if kernel.algorithm == "fft":
            agrees(kernel, dims, "float32", rng)


def test_fast_lengths_hold_only_small_primes():
    assert [fft.fast_length(n) for n in (1, 7, 11, 13, 31, 61, 121)] == [1, 8, 12, 15, 32, 64, 125]


# -- kn2row --------------------------------------------------------------------------------------------------------


def test_kn2row_copies_no_plane_it_can_read_in_place():
    """Without padding and stride x is read where it lies; an even stride splits it into its four phases."""
    whole = kn2row.layout(conv_dims((1, 2, 6, 7), (3, 2, 3, 3)))
    assert whole.plane == (6, 7) and {phase for _, phase, _ in whole.taps} == {(0, 0)}
    assert [q for _, _, q in whole.taps] == [0, 1, 2, 7, 8, 9, 14, 15, 16]
    split = kn2row.layout(conv_dims((1, 2, 6, 8), (3, 2, 3, 3), stride=2))
    assert sorted({phase for _, phase, _ in split.taps}) == [(0, 0), (0, 1), (1, 0), (1, 1)]

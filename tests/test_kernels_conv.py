"""Every kernel of convolution, on every small case and dtype, against the definition.

A kernel that is registered is checked, without a word here: `registry.kernels` gives the parameters. One that refuses a
case must say why, and `choose` must pass the reason on. Where the definition itself is checked: test_conv_reference.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import prod

import numba
import numpy as np
import pytest

from tinyconv import cases, registry
from tinyconv.dims import ConvDims, conv_transpose_dims
from tinyconv.kernels.conv import im2col, reference
from tinyconv.kernels.jit import config

MAPS = {"conv": ("x", "w", "y"), "conv_input_grad": ("y", "w", "x"), "conv_weight_grad": ("x", "y", "w")}
DTYPES = [np.dtype("float32"), np.dtype("float64")]
KERNELS = [k for op in MAPS for k in registry.kernels(op) if k.device == "cpu"]
CHECKED = [k for k in KERNELS if k.algorithm != "reference"]  # the definition is no check of itself
# loops that are not compiled take a microsecond a step
CASES = {name: dims for name, dims in cases.small.items() if not config.DISABLE_JIT or dims.macs <= 5000}
VARIED = [name for name in ("half", "same_stride", "dilated_stride", "grouped", "depthwise", "pointwise", "one_sided",
                            "kernel_is_input", "line", "volume_stride", "output_padding", "ragged") if name in CASES]

every_kernel = pytest.mark.parametrize("kernel", CHECKED, ids=lambda k: f"{k.algorithm}.{k.op}")
every_case = pytest.mark.parametrize("case", CASES)
varied_case = pytest.mark.parametrize("case", VARIED)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine every join of threads waits for a time slice. One test below compares the thread counts."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


@dataclass(frozen=True)
class Problem:
    """One map of one case: operands, and what the definition makes of them at a higher precision."""

    op: str
    dims: ConvDims
    a: np.ndarray
    b: np.ndarray
    want: np.ndarray
    magnitude: np.ndarray  # the sums of the magnitudes of what is added up

    def allowed(self, kernel: registry.Kernel) -> float:
        """How far an inexact kernel may be off: `bound` eps of the largest sum of magnitudes. An exact one: not at all."""
        return 0 if kernel.exact else kernel.bound * np.finfo(self.a.dtype).eps * float(self.magnitude.max(initial=0))

    def check(self, kernel: registry.Kernel, got: np.ndarray, plus: np.ndarray | int = 0) -> None:
        assert got.shape == self.want.shape and got.dtype == self.a.dtype and got.flags.c_contiguous
        np.testing.assert_allclose(got, self.want + plus, rtol=0, atol=self.allowed(kernel), equal_nan=False)


@cache
def integers(op: str, case: str, dtype: np.dtype) -> Problem:
    """Operands of small integers: every sum of their products is exact, in any order."""
    return problem(op, case, dtype, lambda rng, shape: rng.integers(-4, 5, shape))


@cache
def normals(op: str, case: str, dtype: np.dtype) -> Problem:
    return problem(op, case, dtype, lambda rng, shape: rng.standard_normal(shape))


def problem(op: str, case: str, dtype: np.dtype, draw: Callable) -> Problem:
    dims, rng = cases.small[case], np.random.default_rng(1)
    a, b = (draw(rng, shape(slot, dims)).astype(dtype) for slot in MAPS[op][:2])
    wide = np.longdouble if dtype == np.float64 else np.float64
    want = define(op, a.astype(wide), b.astype(wide), dims)
    a.flags.writeable = b.flags.writeable = False  # shared by the tests
    return Problem(op, dims, a, b, want, define(op, abs(a).astype(wide), abs(b).astype(wide), dims))


def shape(slot: str, dims: ConvDims) -> tuple[int, ...]:
    return getattr(dims, slot + "_shape")


def define(op: str, a: np.ndarray, b: np.ndarray, dims: ConvDims) -> np.ndarray:
    return getattr(reference, op)(a, b, dims)


def accepts(kernel: registry.Kernel, dims: ConvDims, dtype: np.dtype) -> bool:
    """Whether the kernel takes the case; if not, that it says why, and that `choose` says so too."""
    why = kernel.refuse(dims, dtype)
    if why:
        assert isinstance(why, str) and len(why.split()) >= 3, f"not a reason: {why!r}"
        with pytest.raises(ValueError) as caught:
            registry.choose(kernel.op, dims, dtype, algorithm=kernel.algorithm)
        assert why in str(caught.value)
    return not why


def accepted(kernel: registry.Kernel, case: str, make: Callable = integers) -> Iterator[Problem]:
    """The problem in every dtype that the kernel takes."""
    for dtype in DTYPES:
        if accepts(kernel, cases.small[case], dtype):
            yield make(kernel.op, case, dtype)


@every_kernel
@every_case
def test_equals_the_definition_on_integers(kernel: registry.Kernel, case: str) -> None:
    for p in accepted(kernel, case):
        a, b = p.a.copy(), p.b.copy()
        got = kernel.fn(a, b, p.dims)
        p.check(kernel, got)
        assert (a.tobytes(), b.tobytes()) == (p.a.tobytes(), p.b.tobytes()), "an operand was written to"
        assert not np.shares_memory(got, a) and not np.shares_memory(got, b)
        assert kernel.scratch(p.dims, p.a.dtype) >= 0


@every_kernel
@every_case
def test_rounds_no_more_than_its_sums_must(kernel: registry.Kernel, case: str) -> None:
    """m products added in any order are off by m*eps/2 of the sum of their magnitudes, to first order; twice that where
    the definition is no more precise. Higham, "Accuracy and stability of numerical algorithms" (2002), section 3.1."""
    for p in accepted(kernel, case, normals):
        error = abs(kernel.fn(p.a, p.b, p.dims) - p.want)
        if kernel.exact:
            terms = {"y": prod(p.dims.w_shape[1:]), "x": p.dims.O // p.dims.groups * prod(p.dims.kernel),
                     "w": p.dims.N * prod(p.dims.output)}[MAPS[kernel.op][2]]
            assert (error <= terms * np.finfo(p.a.dtype).eps * p.magnitude).all()
        else:
            assert error.max(initial=0) <= p.allowed(kernel)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(300))
def test_random_geometries(seed: int) -> None:
    """The same for sizes that nobody chose: any rank, groups, stride, dilation, per-side padding and output padding."""
    rng = np.random.default_rng(seed)
    rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    draw = lambda low, high: tuple(int(v) for v in rng.integers(low, high, rank))  # noqa: E731
    w_shape = (groups * int(rng.integers(1, 6)), int(rng.integers(1, 6)), *draw(1, 5))
    stride, dilation, padding = draw(1, 4), draw(1, 4), tuple(zip(draw(0, 5), draw(0, 5)))
    small = (int(rng.integers(0, 4)), w_shape[0], *draw(1, 9 if rank < 3 else 5))
    extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation))
    try:
        dims = conv_transpose_dims(small, w_shape, stride, padding, extra, dilation, groups)
    except ValueError as e:
        assert "use less padding" in str(e)
        return
    for dtype in DTYPES:
        for op in MAPS:
            a, b = (rng.integers(-4, 5, shape(slot, dims)).astype(dtype) for slot in MAPS[op][:2])
            p = Problem(op, dims, a, b, define(op, a, b, dims), define(op, abs(a), abs(b), dims))
            for kernel in (k for k in CHECKED if k.op == op and accepts(k, dims, dtype)):
                p.check(kernel, kernel.fn(a, b, dims))


@every_case
@pytest.mark.parametrize("algorithm", sorted({k.algorithm for k in KERNELS}))
def test_three_maps_are_one_form(algorithm: str, case: str) -> None:
    """<conv(x, w), y> = <x, conv_input_grad(y, w)> = <w, conv_weight_grad(x, y)>, for the maps that the algorithm has."""
    dims, rng = CASES[case], np.random.default_rng(3)
    slots = {slot: rng.integers(-4, 5, shape(slot, dims)).astype(np.float64) for slot in "xwy"}
    form = np.sum(define("conv", slots["x"], slots["w"], dims) * slots["y"])
    for kernel in (k for k in KERNELS if k.algorithm == algorithm):
        a, b, out = (slots[slot] for slot in MAPS[kernel.op])
        if accepts(kernel, dims, a.dtype):
            p = Problem(kernel.op, dims, a, b, out, define(kernel.op, abs(a), abs(b), dims))
            assert abs(np.sum(kernel.fn(a, b, dims) * out) - form) <= p.allowed(kernel) * abs(out).sum()


def reversed_memory(a: np.ndarray) -> np.ndarray:
    return a.copy(order="F")


def inside_poison(a: np.ndarray) -> np.ndarray:
    """A view with strides, and NaN wherever it does not look."""
    room = np.full([2 * size + 3 for size in a.shape], np.nan, a.dtype)
    view = room[tuple(slice(1, 1 + 2 * size, 2) for size in a.shape)]
    view[...] = a
    return view


def between_poison(a: np.ndarray) -> np.ndarray:
    """Contiguous, with NaN right before and right behind."""
    room = np.full(a.size + 128, np.nan, a.dtype)
    room[64:64 + a.size] = a.ravel()
    return room[64:64 + a.size].reshape(a.shape)


def backwards(a: np.ndarray) -> np.ndarray:
    return a[..., ::-1].copy()[..., ::-1]


def unaligned(a: np.ndarray) -> np.ndarray:
    room = np.zeros(a.nbytes + 1, np.uint8)
    view = room[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    assert not view.flags.aligned
    return view


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


@every_kernel
@varied_case
def test_layout_of_operands_does_not_matter(kernel: registry.Kernel, case: str) -> None:
    for p in accepted(kernel, case):
        for laid_out in (reversed_memory, inside_poison, between_poison, backwards, unaligned, read_only):
            p.check(kernel, kernel.fn(laid_out(p.a), laid_out(p.b), p.dims))


@every_kernel
@varied_case
def test_an_operand_may_be_one_number_repeated(kernel: registry.Kernel, case: str) -> None:
    """The gradient of a sum is a broadcast view: all strides 0."""
    for p in accepted(kernel, case):
        ones = np.broadcast_to(p.a.dtype.type(1), p.a.shape)
        magnitude = define(kernel.op, ones, abs(p.b), p.dims)
        q = Problem(p.op, p.dims, ones, p.b, define(kernel.op, ones, p.b, p.dims), magnitude)
        q.check(kernel, kernel.fn(ones, p.b, p.dims))


@every_kernel
@varied_case
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_never_lost(kernel: registry.Kernel, case: str, bad: float) -> None:
    """Not finite wherever the definition is; and nowhere else for an exact kernel, as long as no padding (zeros, to some
    kernels, and 0 * inf is NaN) is there to multiply."""
    for p in accepted(kernel, case):
        a = p.a.copy()
        a[tuple(size // 2 for size in a.shape)] = bad
        with np.errstate(invalid="ignore"):
            got, want = kernel.fn(a, p.b, p.dims), define(kernel.op, a, p.b, p.dims)
        assert not np.isfinite(got[~np.isfinite(want)]).any()
        assert np.isnan(got[np.isnan(want)]).all()
        if kernel.exact and not any(map(any, p.dims.padding)):
            np.testing.assert_array_equal(got, want)


@every_kernel
@varied_case
def test_same_bits_in_every_run_and_on_any_number_of_threads(kernel: registry.Kernel, case: str) -> None:
    most = numba.config.NUMBA_NUM_THREADS
    for p in accepted(kernel, case, normals):
        first = kernel.fn(p.a, p.b, p.dims)
        for threads in {1, min(2, most), most}:
            numba.set_num_threads(threads)
            np.testing.assert_array_equal(kernel.fn(p.a, p.b, p.dims), first)


@pytest.mark.parametrize("kernel", [k for k in CHECKED if k.fuses], ids=lambda k: f"{k.algorithm}.{k.op}")
@every_case
def test_what_is_fused_equals_what_is_separate(kernel: registry.Kernel, case: str) -> None:
    assert kernel.op != "conv_weight_grad" and kernel.fuses <= {"bias", "relu"}
    for p in accepted(kernel, case):
        bias = np.random.default_rng(4).integers(-9, 10, p.want.shape[1]).astype(p.a.dtype)
        column = bias.reshape(-1, *(1,) * p.dims.rank)
        p.check(kernel, kernel.fn(p.a, p.b, p.dims, bias=None))
        p.check(kernel, kernel.fn(p.a, p.b, p.dims, bias=bias), plus=column)
        p.check(kernel, kernel.fn(p.a, p.b, p.dims, bias=np.repeat(bias, 2)[::2]), plus=column)
        if "relu" in kernel.fuses:
            q = replace(p, want=np.maximum(p.want + column, 0))
            q.check(kernel, kernel.fn(p.a, p.b, p.dims, bias=bias, relu=True))


@every_kernel
def test_other_dtypes_are_refused_or_right(kernel: registry.Kernel) -> None:
    dims = cases.small["hand"]
    for dtype in map(np.dtype, ("int64", "float16", "complex64")):
        if accepts(kernel, dims, dtype):
            a, b = (np.ones(shape(slot, dims), dtype) for slot in MAPS[kernel.op][:2])
            np.testing.assert_array_equal(kernel.fn(a, b, dims), define(kernel.op, a, b, dims))


# im2col by itself


@every_case
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_im2col_and_col2im_are_adjoint(case: str, dtype: np.dtype) -> None:
    dims = CASES[case]
    rng = np.random.default_rng(5)
    x = rng.integers(-4, 5, dims.x_shape).astype(dtype)
    cols = rng.integers(-4, 5, (dims.N, dims.C * prod(dims.kernel), prod(dims.output))).astype(dtype)
    there, back = im2col.im2col(x, dims), im2col.col2im(cols, dims)
    assert there.shape == cols.shape and back.shape == x.shape and there.dtype == back.dtype == dtype
    assert there.flags.c_contiguous and not np.shares_memory(there, x)
    assert np.sum(there * cols, dtype=np.float64) == np.sum(x * back, dtype=np.float64)


@every_case
def test_im2col_holds_what_each_tap_sees(case: str) -> None:
    """Row (c, tap) is what the definition gives for a kernel that is 1 there and 0 elsewhere."""
    dims = CASES[case]
    x = np.random.default_rng(6).standard_normal(dims.x_shape)
    cols = im2col.im2col(x, dims).reshape(dims.N, dims.C, prod(dims.kernel), *dims.output)
    one = replace(dims, O=dims.C, groups=dims.C)
    for k in range(prod(dims.kernel)):
        w = np.zeros(one.w_shape)
        w.reshape(dims.C, -1)[:, k] = 1
        np.testing.assert_array_equal(cols[:, :, k], reference.conv(x, w, one))


@pytest.mark.parametrize("limit", [1, 500, 3000, 20000])
@varied_case
def test_im2col_in_small_blocks(limit: int, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of every kind (samples, planes, lines, parts of a line) give the same sums, and stay below the limit."""
    monkeypatch.setattr(im2col, "LIMIT", limit)
    dims, dtype = CASES[case], DTYPES[1]
    seen = np.zeros((dims.N, *(1,) * (3 - dims.rank), *dims.output), int)
    column = dims.C * prod(dims.kernel) * dtype.itemsize
    for n, box in im2col.blocks(dims, dtype):
        seen[n, *box] += 1
        assert seen[n, *box].size * column <= max(limit, column)
    assert (seen == 1).all()
    assert im2col.scratch(dims, dtype) <= max(limit, column)
    for op in MAPS:
        p = integers(op, case, dtype)
        np.testing.assert_array_equal(getattr(im2col, op)(p.a, p.b, dims), p.want)

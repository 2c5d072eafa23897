"""Break a kernel on purpose, and see that it does not pass: a check that lets a wrong gradient through is worse than none.

Each mutation is a mistake that people make. Where it changes what a case means, the check of every small case (the one that
the bench runs on a kernel of yours) must find it, and so must gradcheck, once the tape uses the broken kernel.
"""

from dataclasses import replace

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import cases
from tinyconv.autograd import gradcheck
from tinyconv.bench.check import check_small, problem_with
from tinyconv.kernels.conv import reference
from tinyconv.registry import Kernel, choose, kernel, unregister, use

OPS = ("conv", "conv_input_grad", "conv_weight_grad")


def flipped_axes(fn, op, a, b, dims):
    """The kernel turned around, as in the textbook's convolution."""
    axes = tuple(range(2, 2 + dims.rank))
    return np.flip(fn(a, b, dims), axes) if op == "conv_weight_grad" else fn(a, np.flip(b, axes), dims)


def height_for_width(fn, op, a, b, dims):
    """Strides, dilations and padding of one axis used for another."""
    turned = {name: getattr(dims, name)[::-1] for name in ("stride", "dilation", "padding")}
    return fn(a, b, replace(dims, **turned))


def padding_off_by_one(fn, op, a, b, dims):
    return fn(a, b, replace(dims, padding=tuple((lo + 1, hi) for lo, hi in dims.padding)))


def missing_tail_rows(fn, op, a, b, dims):
    """The last row of the result is never written."""
    out = fn(a, b, dims)
    out[:, :, -1:] = 0
    return out


def missing_tail_columns(fn, op, a, b, dims):
    """Columns beyond the last whole vector are never written."""
    out = fn(a, b, dims)
    out[..., out.shape[-1] // 4 * 4:] = 0
    return out


def deleted(fn, op, a, b, dims):
    """The gradient is not computed at all."""
    return np.zeros_like(fn(a, b, dims))


def undilated(fn, op, a, b, dims):
    return fn(a, b, replace(dims, dilation=(1,) * dims.rank))


def only_the_first_group(fn, op, a, b, dims):
    """Every group gets the weights, or the sums, of the first."""
    if op == "conv_weight_grad":
        return np.concatenate([fn(a, b, dims)[:dims.O // dims.groups]] * dims.groups)
    return fn(a, np.concatenate([b[:dims.O // dims.groups]] * dims.groups), dims)


def only_the_first_sample(fn, op, a, b, dims):
    if op == "conv_weight_grad":
        return fn(a[:1], b[:1], replace(dims, N=min(dims.N, 1)))
    return np.concatenate([fn(a[:1], b, replace(dims, N=1))] * dims.N) if dims.N else fn(a, b, dims)


def half_precision(fn, op, a, b, dims):
    """Right on small whole numbers, and only on them."""
    return fn(a.astype(np.float16), b.astype(np.float16), dims).astype(a.dtype)


def wrong_sign(fn, op, a, b, dims):
    return -fn(a, b, dims)


GEOMETRY = (flipped_axes, height_for_width, padding_off_by_one, missing_tail_rows, missing_tail_columns, deleted, undilated,
            only_the_first_group, only_the_first_sample, wrong_sign)
MUTATIONS = (*GEOMETRY, half_precision)


def broken(op, mutation):
    fn = getattr(reference, op)
    return lambda a, b, dims: mutation(fn, op, a, b, dims)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "bounded"])
def test_the_check_of_small_cases_sees_it(op, mutation, exact):
    wrong, _, right = check_small(Kernel(op, "broken", broken(op, mutation), exact=exact, bound=0.0 if exact else 16.0),
                                 ("float32",))
    assert wrong, f"{mutation.__name__} of {op} passed all {right} checks"
    assert "first mismatch at [" in str(wrong[0]) and "instead of" in str(wrong[0])


@pytest.mark.parametrize("op", OPS)
def test_the_check_of_small_cases_passes_what_is_right(op):
    assert check_small(Kernel(op, "sound", getattr(reference, op)))[0] == []


@pytest.fixture
def on_the_ladder():
    """Registers a broken kernel under the name "broken", and takes it off again."""
    def put(op, mutation):
        kernel(op, "broken")(broken(op, mutation))

    yield put
    unregister("broken")


GEOMETRIES = ("leftover", "one_sided", "dilated_stride", "grouped", "line")  # of small cases, enough to tell each mutation


def check_gradients(dims):
    """gradcheck of conv: the gradients that the tape makes are those of numerical differences, or AssertionError."""
    rng = np.random.default_rng(3)
    x = tc.Tensor(rng.standard_normal(dims.x_shape), requires_grad=True)
    w = tc.Tensor(rng.standard_normal(dims.w_shape), requires_grad=True)
    assert gradcheck(lambda x, w: tc.conv(x, w, stride=dims.stride, padding=dims.padding, dilation=dims.dilation,
                                          groups=dims.groups), (x, w))


@pytest.mark.parametrize("op", OPS[1:])
@pytest.mark.parametrize("mutation", GEOMETRY, ids=lambda m: m.__name__)
def test_gradcheck_sees_it(op, mutation, on_the_ladder):
    on_the_ladder(op, mutation)
    with use("broken", "reference"):
        assert choose(op, cases.small["leftover"], np.dtype("float64")).algorithm == "broken"
        with pytest.raises(AssertionError):
            for name in GEOMETRIES:
                check_gradients(cases.small[name])


def test_gradcheck_passes_what_is_right():
    with use("reference"):
        for name in GEOMETRIES:
            check_gradients(cases.small[name])


@pytest.mark.parametrize("mutation", GEOMETRY, ids=lambda m: m.__name__)
def test_the_adjoint_identity_sees_a_broken_gradient(mutation):
    """<conv(x, w), y> = <x, conv_input_grad(y, w)>, on whole numbers, breaks on some case."""
    rng, fn = np.random.default_rng(4), broken("conv_input_grad", mutation)
    off = []
    for dims in cases.small.values():
        x, w, y = (rng.integers(-4, 5, s).astype(float) for s in (dims.x_shape, dims.w_shape, dims.y_shape))
        off.append(np.vdot(reference.conv(x, w, dims), y) != np.vdot(x, fn(y, w, dims)))
    assert any(off)


def test_a_kernel_that_writes_to_its_operands_is_seen():
    def greedy(x, w, dims):
        y = reference.conv(x, w, dims)
        x *= 0
        return y

    wrong, _, _ = check_small(Kernel("conv", "greedy", greedy))
    assert "it wrote to its operands" in str(wrong[0])


@pytest.mark.parametrize(("answer", "says"), [
    (np.ones((2, 3), np.float64), "shape (2, 3) of float64, not (2, 3) of float32"),
    (np.ones((3, 2), np.float32), "shape (3, 2) of float32, not (2, 3) of float32"),
    ([[1.0] * 3] * 2, "list, not an array"),
    (np.float32([[1, 1, 1], [1, np.nan, 7]]), "first mismatch at [1, 1]: nan instead of 1.0 (2 of 6 elements"),
])
def test_what_is_wrong_is_said(answer, says):
    assert says in problem_with(answer, np.ones((2, 3)), 0.0, np.dtype("float32"))

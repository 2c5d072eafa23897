"""The one rule: forms linear in each slot, adjoint pairs, and fused operations that mean the same as their parts."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import ops
from tinyconv.autograd import grad, gradcheck, gradgradcheck
from tinyconv.forms import adjoint_pair, fused, self_adjoint, trilinear
from tinyconv.ops import dtypes, linalg, pointwise, reduce, shape
from tinyconv.tensor import Tensor


def leaf(rng, *size):
    return tc.tensor(rng.standard_normal(size), requires_grad=True)


# a form with no symmetry to hide a wrong slot: T(x, w, y) = sum A[i, j, k] x[i] w[j] y[k]
A = np.random.default_rng(5).standard_normal((2, 3, 4))
fill_y, fill_x, fill_w = trilinear(
    "toy",
    y=lambda x, w, by: by * np.einsum("ijk,i,j->k", A, x, w),
    x=lambda y, w, by: by * np.einsum("ijk,k,j->i", A, y, w),
    w=lambda x, y, by: by * np.einsum("ijk,i,k->j", A, x, y),
)


@pytest.mark.parametrize("fill, sizes, slots", [
    (fill_y, (2, 3), "i,j->k"), (fill_x, (4, 3), "k,j->i"), (fill_w, (2, 4), "i,k->j")], ids=["y", "x", "w"])
def test_every_derivative_of_a_trilinear_form_to_order_3(fill, sizes, slots):
    rng = np.random.default_rng(0)
    p, q = leaf(rng, sizes[0]), leaf(rng, sizes[1])
    a, b = slots[:3].split(",")
    out = slots[-1]
    expect = Tensor.wrap(np.transpose(A, ["ijk".index(c) for c in (a, b, out)]))  # slots in the order p, q, result
    y = fill(p, q, by=2.0)
    g = leaf(rng, *y.shape)
    np.testing.assert_allclose(y.data, 2 * np.einsum("abc,a,b->c", expect.data, p.data, q.data), rtol=1e-12)
    gp, gq = grad(y, [p, q], g, create_graph=True)
    np.testing.assert_allclose(gp.data, 2 * np.einsum("abc,b,c->a", expect.data, q.data, g.data), rtol=1e-12)
    np.testing.assert_allclose(gq.data, 2 * np.einsum("abc,a,c->b", expect.data, p.data, g.data), rtol=1e-12)
    u = leaf(rng, *p.shape)
    pq, pg = grad(gp, [q, g], u, create_graph=True)  # order 2: T with p replaced by u
    np.testing.assert_allclose(pq.data, 2 * np.einsum("abc,a,c->b", expect.data, u.data, g.data), rtol=1e-12)
    np.testing.assert_allclose(pg.data, 2 * np.einsum("abc,a,b->c", expect.data, u.data, q.data), rtol=1e-12)
    v = leaf(rng, *q.shape)
    pqu, pqg = grad(pq, [u, g], v)  # order 3
    np.testing.assert_allclose(pqu.data, 2 * np.einsum("abc,b,c->a", expect.data, v.data, g.data), rtol=1e-12)
    np.testing.assert_allclose(pqg.data, 2 * np.einsum("abc,a,b->c", expect.data, u.data, v.data), rtol=1e-12)


def test_a_form_with_itself_in_both_slots():
    rng = np.random.default_rng(1)
    square, _, _ = trilinear("square", y=lambda x, w: x * w, x=lambda y, w: y * w, w=lambda x, y: x * y)
    x = leaf(rng, 5)
    assert gradcheck(lambda t: square(square(t, t), t), x)
    assert gradgradcheck(lambda t: square(square(t, t), t), x)


INDICES = np.array([[2, 0, 2], [1, 1, 1]])
PAIRS = {
    "reshape": (shape.reshape_op, (2, 6), {"a": (2, 6), "b": (3, 4)}),
    "permute": (shape.permute_op, (2, 3, 4), {"dims": (2, 0, 1), "back": (1, 2, 0)}),
    "flip": (shape.flip_op, (2, 3), {"axes": (1,)}),
    "expand": (shape.expand_op, (3, 1), {"small": (3, 1), "big": (2, 3, 4)}),
    "expand 0-d": (shape.expand_op, (), {"small": (), "big": (2, 3)}),
    "expand by nothing": (shape.expand_op, (3,), {"small": (3,), "big": (1, 3)}),
    "slice": (shape.slice_op, (5, 4), {"key": (slice(None, None, -2), 1, ...), "shape": (5, 4)}),
    "take": (shape.take_op, (3, 4), {"key": (INDICES, 1), "shape": (3, 4)}),
    "take by mask": (shape.take_op, (2, 3), {"key": INDICES > 0, "shape": (2, 3)}),
    "take_along": (shape.take_along_op, (2, 4), {"indices": INDICES, "axis": 1, "shape": (2, 4)}),
    "crop": (shape.crop_op, (5, 4), {"widths": ((1, 2), (0, 1)), "value": 0.0}),
    "cast": (dtypes.cast_op, (3,), {"to": np.dtype("float64"), "was": np.dtype("float64")}),
    "sum": (reduce.sum_op, (2, 3, 4), {"axes": (0, 2), "kept": (1, 3, 1), "to": (3,), "big": (2, 3, 4)}),
    "sum of all": (reduce.sum_op, (2, 3), {"axes": (0, 1), "kept": (1, 1), "to": (), "big": (2, 3)}),
    "scale": (pointwise.scale_op, (3,), {"by": -2.5}),
    "unscale": (pointwise.unscale_op, (3,), {"by": -2.5}),
    "neg": (pointwise.neg, (3,), {}),
    "mask": (pointwise.mask_op, (3,), {"keep": np.array([True, False, True])}),
    "clone": (pointwise.clone_op, (3,), {}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_adjoint_pairs(name):
    """<a(x), y> == <x, b(y)>, where b is the gradient rule of a; and the rule of b is a again."""
    op, size, meta = PAIRS[name]
    rng = np.random.default_rng(2)
    x = leaf(rng, *size)
    ax = op(x, **meta)
    y = leaf(rng, *ax.shape)
    (by,) = grad(ax, x, y, create_graph=True)
    assert by.shape == x.shape and by.dtype == x.dtype
    # a sum of n products of numbers near 1, in two orders: n eps at most, and n <= 24
    assert float((ax.data * y.data).sum()) == pytest.approx(float((x.data * by.data).sum()), abs=1e-14 * 24)
    (again,) = grad(by, y, x)
    np.testing.assert_array_equal(again.data, ax.data)


def test_every_pair_of_the_house_is_here():
    """A linear operation added to ops/ belongs into PAIRS."""
    linear = {op.name for module in (dtypes, linalg, pointwise, reduce, shape) for name, op in vars(module).items()
              if isinstance(op, ops.Op) and name != "_" and _is_linear(op)}
    assert len(linear) > 10
    assert linear <= {op.name for op, _, _ in PAIRS.values()} | {"repeat", "to"}  # of the sum; from one device to another


def _is_linear(op):
    """Made by adjoint_pair or self_adjoint: its one rule comes from forms.py and keeps nothing."""
    return (not op.at_once and len(op.rules) == 1 and op.rules[0].__module__ == "tinyconv.forms"
            and not (op.keeps_in or op.keeps_out))


def test_pairs_differentiate_each_other():
    first, second = adjoint_pair("triple", lambda x: 3 * x, "triple_back", lambda y: 3 * y)
    other = self_adjoint("double", lambda x: 2 * x)
    x = tc.tensor(np.ones(2), requires_grad=True)
    assert gradcheck(lambda t: other(second(first(t))), x) and gradgradcheck(lambda t: other(second(first(t))), x)


# -- fused ---------------------------------------------------------------------------------------------------------


def _parts(x, w, by):
    return tc.tanh(x * w) * by


def _value(x, w, by):
    return np.tanh(x * w) * by


def _backward(needs, g, out, x, w, by):
    d = g * by * (1 - (out / by) ** 2)
    return [d * w if needs[0] else None, d * x if needs[1] else None]


fused_op = fused("tanh_product", _parts, _value, _backward, keeps="xy")


def both_ways(fn):
    """The gradients of fn(op) to order 2, with the fused operation and with its parts."""
    results = []
    for op in (fused_op, _parts):
        rng = np.random.default_rng(3)
        x, w = leaf(rng, 4), leaf(rng, 4)
        y = fn(op, x, w)
        g = leaf(rng, *y.shape)
        first = grad(y, [x, w], g, retain_graph=True, allow_unused=True)
        graph = grad(y, [x, w], g, create_graph=True, allow_unused=True)
        for a, b in zip(first, graph):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-13)
        u = [leaf(rng, 4), leaf(rng, 4)]
        second = grad(graph, [x, w, g], u, create_graph=True)
        third = grad(second, [x, w], [leaf(rng, *s.shape) for s in second])
        results.append([y, *first, *second, *third])
    for a, b in zip(*results):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-14)


def test_fused_equals_its_parts():
    both_ways(lambda op, x, w: op(x, w, by=1.5))


def test_fused_operands_that_depend_on_each_other():
    both_ways(lambda op, x, w: op(x, x.exp() * w, by=1.5))
    both_ways(lambda op, x, w: op(op(x, w, by=0.5), x, by=1.5) + op(w, w, by=2.0))


def test_fused_asks_only_for_what_is_needed():
    asked = []

    def backward(needs, g, out, x, w):
        asked.append(list(needs))
        return [g * w if needs[0] else None, g * x if needs[1] else None]

    op = fused("product", lambda x, w: x * w, lambda x, w: x * w, backward)
    x, w = tc.tensor(np.ones(2), requires_grad=True), tc.tensor(np.ones(2))
    op(x, w).backward(np.ones(2))
    op(w, x).backward(np.ones(2))
    a, b = tc.tensor(np.ones(2), requires_grad=True), tc.tensor(np.ones(2), requires_grad=True)
    grad(op(a, b), b, np.ones(2))
    assert asked == [[True, False], [False, True], [False, True]]
    assert a.grad is None and b.grad is None


def test_fused_of_no_dimension():
    double = fused("double", lambda x: x * 2.0, lambda x: x * 2, lambda needs, g, out, x: [g * 2])  # NumPy makes scalars here
    x = tc.tensor(np.float64(3.0), requires_grad=True)
    double(x).backward()
    assert isinstance(x.grad.data, np.ndarray) and x.grad.item() == 2.0


def test_fused_under_gradcheck():
    rng = np.random.default_rng(4)
    x, w = leaf(rng, 3), leaf(rng, 3)
    assert gradcheck(lambda x, w: fused_op(x, w, by=2.0), [x, w])
    assert gradgradcheck(lambda x, w: fused_op(x, w, by=2.0), [x, w])

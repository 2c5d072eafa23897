"""grad, and the checks: what they accept, what they catch, and what they say at a kink."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.autograd import GradcheckError, grad, gradcheck, gradgradcheck
from tinyconv.op import Op
from tinyconv.tensor import Tensor


def leaf(*values):
    return tc.tensor(np.array(values), requires_grad=True)


# -- grad ----------------------------------------------------------------------------------------------------------


def test_grad_leaves_grad_alone():
    x = leaf(2.0)
    (g,) = grad(x * x, x)
    assert g.item() == 4.0 and not g.requires_grad and x.grad is None


def test_grad_of_what_is_not_a_leaf():
    x = leaf(2.0)
    h = x * 3.0
    y = h * h + x
    gh, gx = grad(y, [h, x])
    assert gh.item() == 12.0 and gx.item() == 37.0
    assert grad(h, h)[0].item() == 1.0


def test_grad_of_several_outputs():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    outs = [(x * w).sum(), x * 10.0]
    gx, gw = grad(outs, [x, w], [None, np.array([1.0, 100.0])])
    assert gx.tolist() == [13.0, 1004.0] and gw.tolist() == [1.0, 2.0]
    y = x.sum()
    assert grad([y, y], x)[0].tolist() == [2.0, 2.0]  # the same output twice
    assert [g.tolist() for g in grad(x.sum(), [x, x])] == [[1.0, 1.0]] * 2  # and the same input


def test_unused_inputs():
    x, other = leaf(1.0), leaf(2.0)
    y = x * 2.0
    with pytest.raises(RuntimeError, match=r"input 1, of shape \(1,\): pass allow_unused=True"):
        grad(y, [x, other])
    gx, go = grad(x * 2.0, [x, other], allow_unused=True)
    assert gx.item() == 2.0 and go is None
    with pytest.raises(RuntimeError, match=r"input 0.*does not require a gradient"):
        grad(x * 2.0, tc.tensor(1.0))
    with pytest.raises(RuntimeError, match="nothing on the tape"):
        grad(tc.tensor(1.0), x)
    with pytest.raises(ValueError, match="1 outputs want 1 grad_outputs, got 2"):
        grad([x * 2.0], x, [None, None])


def test_create_graph_to_order_4():
    x = leaf(1.5)
    y, want = x**5, [5 * 1.5**4, 20 * 1.5**3, 60 * 1.5**2, 120 * 1.5]
    for value in want:
        (y,) = grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(value, rel=1e-14)


def test_a_gradient_without_a_graph_is_off_the_tape():
    x = leaf(1.5)
    (g,) = grad(x**3, x)
    assert not g.requires_grad
    with tc.no_grad():
        (g,) = grad(x_cubed(x), x, create_graph=True)
    assert g.requires_grad  # create_graph asks for it, whatever the mode


@tc.enable_grad()
def x_cubed(x):
    return x**3


def test_a_penalty_on_the_gradient():
    """The loss holds a gradient: d/dw of |d (w x^2)/dx|^2 = (2 w x)^2 is 8 w x^2."""
    x, w = leaf(1.0, 2.0), leaf(3.0)
    (gx,) = grad((w * x * x).sum(), x, create_graph=True)
    (gx * gx).sum().backward()
    assert w.grad.item() == pytest.approx(8 * 3.0 * 5.0)


def test_hessian_vector_product():
    rng = np.random.default_rng(0)
    m = rng.standard_normal((4, 4))
    x, v = tc.tensor(rng.standard_normal(4), requires_grad=True), rng.standard_normal(4)
    (g,) = grad(x @ (tc.tensor(m) @ x), x, create_graph=True)
    (hv,) = grad(g, x, v)
    np.testing.assert_allclose(hv.data, (m + m.T) @ v, rtol=1e-12)


# -- gradcheck -----------------------------------------------------------------------------------------------------


def test_checks_pass_what_is_right():
    x, w = leaf(0.5, -1.5), leaf(2.0, 3.0)
    for fn in (lambda x, w: x * w, lambda x, w: (x.sum(), w.exp() * x), lambda x, w: [x * 2.0], lambda x, w: x.sum() * w[0],
               lambda x, w: (x * w, x > 0.0), lambda x, w: x.tanh().sum()):
        assert gradcheck(fn, [x, w]) is True
        assert gradgradcheck(fn, [x, w]) is True
    assert gradcheck(lambda x: x * x, x) and gradcheck(lambda s: s * s, tc.tensor(np.float64(2.0), requires_grad=True))
    assert gradcheck(lambda x, n: x * n, [x, tc.tensor([1, 2])])  # an input that needs no gradient
    with tc.no_grad():
        assert gradcheck(lambda x: x * x, x) and gradgradcheck(lambda x: x * x, x)


def bad(name, forward, *rules, keeps="x"):
    return Op(name, forward, rules, keeps=keeps)


def same(g, y, *x):
    return g


def sum_rows(g, y, a, b):
    return g.sum(0)


WRONG = {
    "sign": (bad("sub", np.subtract, same, same), [(3,), (3,)]),
    "factor": (bad("square", lambda x: x * x, lambda g, y, x: g * x), [(3,)]),
    "swapped": (bad("mul", np.multiply, lambda g, y, a, b: g * a, lambda g, y, a, b: g * b), [(3,), (3,)]),
    "no sum over a broadcast": (bad("add", np.add, same, same), [(2, 3), (3,)]),
    "sum over the wrong axis": (bad("add", np.add, same, lambda g, y, a, b: g.sum(1)), [(3, 3), (3,)]),
    "transposed": (bad("matmul", np.matmul, lambda g, y, a, b: g @ b, lambda g, y, a, b: a.T @ g), [(3, 3), (3, 3)]),
    "not transposed back": (bad("t", lambda x: x.T, same), [(3, 3)]),
    "wrong shape": (bad("t", lambda x: x.T, same), [(2, 3)]),
    "dropped": (bad("mul", np.multiply, lambda g, y, a, b: g * b, None), [(3,), (3,)]),
    "cut off": (lambda a: a.detach() * 2.0, [(3,)]),
    "cut off in part": (lambda a: a.detach() * a, [(3,)]),
    "NaN": (bad("id", np.copy, lambda g, y, x: g * np.nan), [(3,)]),
    "wrong dtype": (bad("id", np.copy, lambda g, y, x: g.to("float32")), [(3,)]),
    "lost accumulation": (bad("take", lambda x: x[[0, 0]], lambda g, y, x: tc.cat([g[:1], tc.zeros_like(g)])), [(3,)]),
    "small": (bad("id", np.copy, lambda g, y, x: g * 1.001), [(3,)]),
}


@pytest.mark.parametrize("name", WRONG)
def test_gradcheck_catches(name):
    fn, sizes = WRONG[name]
    rng = np.random.default_rng(0)
    inputs = [tc.tensor(rng.standard_normal(s), requires_grad=True) for s in sizes]
    with pytest.raises((GradcheckError, ValueError), match=r"input|broadcast|cut off"):
        gradcheck(fn, inputs)


def test_gradgradcheck_catches_a_wrong_second_derivative():
    """The first derivative is right, but written on arrays: the tape does not see that it depends on x."""
    fn = bad("cube", lambda x: x**3, lambda g, y, x: g * Tensor.wrap(3 * x.data**2))
    x = leaf(1.0, 2.0)
    assert gradcheck(fn, x)
    with pytest.raises(GradcheckError, match="input 0"):
        gradgradcheck(fn, x)


def test_the_message_holds_both_values():
    with pytest.raises(GradcheckError, match=r"input 0: .*the tape gives \S+, the difference quotient \S+ \(step 1e-06") as e:
        gradcheck(WRONG["factor"][0], leaf(1.0))
    assert "kink" not in str(e.value)


@pytest.mark.parametrize("fn, x", [
    (lambda x: x.max(0).values, leaf(1.0, 1.0)),
    (lambda x: tc.relu(x), leaf(0.0)),
    (lambda x: x.clip(0.0, 1.0), leaf(0.5, 1.0)),
], ids=["tie", "relu", "bound"])
def test_a_kink_is_named(fn, x):
    with pytest.raises(GradcheckError, match=r"one-sided differences \S+ and \S+ differ.*kink"):
        gradcheck(fn, x)


def test_a_jump_of_the_shape_is_named():
    with pytest.raises(GradcheckError, match=r"shapes of the results change.*\(1,\)"):
        gradcheck(lambda x: x[x > 0.0], leaf(0.0, 1.0))


def test_gradcheck_wants_float64():
    narrow = tc.tensor([1.0], requires_grad=True)
    for inputs in (narrow, tc.tensor(np.ones(1)), [leaf(1.0), narrow]):
        with pytest.raises(ValueError, match="float64"):
            gradcheck(lambda *x: x[0] * 2.0, inputs)


def test_the_checks_leave_no_trace():
    x = leaf(1.0, 2.0)
    gradcheck(lambda x: x * x, x)
    gradgradcheck(lambda x: x * x, x)
    assert x.grad is None and x.tolist() == [1.0, 2.0]


def test_results_are_the_same_from_run_to_run():
    rng = np.random.default_rng(1)
    w = rng.standard_normal((5, 5)).astype(np.float32)

    def run():
        x = tc.tensor(w, requires_grad=True)
        y = ((x @ x).tanh() + x.softmax(0) * x[[0, 0, 1, 2, 3]]).sum()
        y.backward()
        return x.grad.data

    np.testing.assert_array_equal(run(), run())


def test_grad_wants_tensors():
    x = tc.ones(2, requires_grad=True)
    with pytest.raises(TypeError, match="input 1 is of type ndarray"):
        grad(x.sum(), [x, np.ones(2)])
    with pytest.raises(TypeError, match="output 0 is of type ndarray"):
        grad([np.ones(2)], x)

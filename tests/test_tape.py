"""The tape: accumulation, lifetime of buffers, modes, leaves, operations of one's own."""

import gc
import threading
import weakref

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.autograd import grad
from tinyconv.op import Op
from tinyconv.tape import Node


def leaf(*values, dtype=np.float64):
    return tc.tensor(np.array(values, dtype), requires_grad=True)


# -- what backward adds up -----------------------------------------------------------------------------------------


def test_chain_rule_by_hand():
    x, y = leaf(2.0), leaf(3.0)
    z = x * y + x.exp()
    z.backward()
    assert x.grad.item() == 3.0 + np.exp(2.0)
    assert y.grad.item() == 2.0


def test_shared_nodes_add_up():
    x = leaf(1.5)
    a = x * x  # one operand twice
    b = a + a * a  # a diamond
    b.sum().backward()
    assert x.grad.item() == pytest.approx(2 * 1.5 + 4 * 1.5**3, rel=1e-15)


def test_a_node_waits_for_all_its_users():
    x = leaf(1.0)
    h = x * 2.0
    early = h * 3.0  # used by the oldest and by the youngest
    for _ in range(5):
        early = early * 1.0
    calls = []
    spy = Op("spy", lambda a: a.copy(), [lambda g, y, a: calls.append(g.item()) or g])
    s = spy(h)
    out = early + s * 5.0 + spy(s) * 7.0
    out.backward()
    assert calls == [7.0, 12.0]  # each rule once, the second with everything that its result was used for
    assert x.grad.item() == 2.0 * (3.0 + 12.0)


def test_gradients_accumulate_over_backward_calls_until_dropped():
    x = leaf(1.0, 2.0)
    (x * 3.0).sum().backward()
    (x * 4.0).sum().backward()
    assert x.grad.tolist() == [7.0, 7.0]
    x.grad = None
    (x * 5.0).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]


def test_gradients_of_two_leaves_share_no_memory():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = tc.tensor(np.ones(2))
    (a + b).backward(seed)  # add passes the cotangent on as it is
    a.grad.mul_(10.0)
    assert b.grad.tolist() == [1.0, 1.0] and seed.tolist() == [1.0, 1.0]
    ga, gb = grad((a + b).sum(), [a, b])
    ga += 1.0  # and a broadcast cotangent can be written to
    assert gb.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("kind", ["fresh", "kept", "its array kept", "viewed", "given twice", "a view"])
def test_a_gradient_is_copied_only_where_someone_else_holds_it(kind):
    made, held = [], []

    def rules(needs, g, out, *operands):
        array = np.full(4, 3.0)[:3] if kind == "a view" else np.full(3, 3.0)
        dx = tc.Tensor.wrap(array)
        made.append(array.ctypes.data)
        held.extend({"kept": [dx], "its array kept": [array], "viewed": [array[1:]]}.get(kind, []))
        return [dx, dx if kind == "given twice" else None]

    a, b = leaf(1.0, 2.0, 3.0), leaf(1.0, 2.0, 3.0)
    Op("made", lambda x, y: x + y, rules)(a, b).sum().backward()
    assert (a.grad.data.ctypes.data == made[0]) == (kind == "fresh")
    a.grad.mul_(10.0)
    assert a.grad.tolist() == [30.0] * 3
    assert all(np.all(np.asarray(h) == 3.0) for h in held)
    assert b.grad is None or b.grad.tolist() == [3.0] * 3


def test_a_cotangent_that_requires_a_gradient_does_not_leak_out():
    x, v = leaf(1.0), leaf(2.0)
    (g,) = grad(x + 0.0, x, v)
    assert not g.requires_grad
    (g,) = grad(x + 0.0, x, v, create_graph=True)
    assert g.requires_grad and g is not v
    g.sum().backward()
    assert v.grad.item() == 1.0


@pytest.mark.parametrize("steps, step", [
    (100_000, lambda y, c: y + c), (100_000, lambda y, c: y * c), (50_000, lambda y, c: (y * 0.0).exp())])
def test_a_chain_of_100_000_operations(steps, step):
    x, c = leaf(1.0), tc.tensor(np.ones(1))
    y = x
    for _ in range(steps):
        y = step(y, c)
    y.backward()
    assert x.grad is not None and np.isfinite(x.grad.item())
    del y  # the nodes go one by one, not by recursion


def test_a_long_chain_that_was_never_walked_can_be_dropped():
    y = x = leaf(1.0)
    for _ in range(100_000):
        y = y * x
    thread = threading.Thread(target=lambda held: held.clear(), args=([y],))  # with the smaller stack of a thread
    del y
    thread.start()
    thread.join()
    assert x.grad is None


def test_a_long_chain_walked_for_one_input():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    assert grad(y, x)[0].item() == 1.0


def test_backward_in_a_thread():
    x = leaf(1.0)
    done = []
    thread = threading.Thread(target=lambda: done.append((x * 2.0).backward()))
    thread.start()
    thread.join()
    assert done == [None] and x.grad.item() == 2.0


# -- lifetime of what the tape keeps -------------------------------------------------------------------------------


def test_buffers_are_freed_by_backward():
    x = leaf(1.0, 2.0)
    h = x * 3.0
    loss = (h.exp() * h).sum()
    array = weakref.ref(h.data)
    del h
    assert array() is not None
    loss.backward()
    assert array() is None  # though the loss is still here


def test_a_tape_is_freed_without_the_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = x.exp() * x.tanh() + tc.cat([x, x])[:2].softmax(0)
        array = weakref.ref(y.data)
        loss = y.sum()
        loss.backward(retain_graph=True)
        del y, loss
        assert array() is None
    finally:
        gc.enable()


def test_second_backward_says_what_to_do():
    x = leaf(1.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match=r"second backward through mul.*retain_graph=True"):
        y.backward()


def test_a_backward_that_fails_leaves_the_gradients_as_they_were():
    x, w = leaf(1.0), leaf(2.0)
    h = x * x
    h.backward(retain_graph=True)
    h.backward()
    late = leaf(3.0)  # younger than h: its gradient is known before h is found to be freed
    with pytest.raises(RuntimeError, match="second backward"):
        (h * w * late).backward()
    assert x.grad.item() == 4.0 and w.grad is None and late.grad is None


def test_retain_graph_allows_a_second_backward():
    x = leaf(3.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 12.0
    with pytest.raises(RuntimeError, match="second backward"):
        y.backward()


def test_gradients_of_the_middle_leave_the_lower_part_whole():
    x = leaf(2.0)
    h = x * x
    out = h * h
    (g,) = grad(out, h)
    assert g.item() == 8.0
    h.backward(g)  # nothing below h was walked
    assert x.grad.item() == 32.0


def test_create_graph_keeps_the_graph():
    x = leaf(2.0)
    y = x**3
    y.backward(create_graph=True)
    first = x.grad
    assert first.requires_grad and first.item() == 12.0
    x.grad = None
    first.backward()
    assert x.grad.item() == 12.0  # the second derivative, 6 x


# -- modes ---------------------------------------------------------------------------------------------------------


def test_no_grad_as_context_and_as_decorator():
    x = leaf(1.0)

    @tc.no_grad()
    def double(t):
        return t * 2.0

    with tc.no_grad():
        assert not (x * 2.0).requires_grad and not tc.is_grad_enabled()
        with tc.enable_grad():
            assert (x * 2.0).requires_grad
        assert not tc.is_grad_enabled()
    for _ in range(2):  # a decorator works more than once
        assert not double(x).requires_grad
    assert tc.is_grad_enabled() and (x * 2.0).requires_grad

    @tc.enable_grad()
    def recorded(t):
        return t * 2.0

    with tc.no_grad():
        assert recorded(x).requires_grad


def test_an_exception_ends_no_grad():
    with pytest.raises(KeyError), tc.no_grad():
        raise KeyError
    assert tc.is_grad_enabled()


def test_each_thread_has_its_own_mode():
    seen = []
    with tc.no_grad():
        thread = threading.Thread(target=lambda: seen.append(tc.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_backward_works_inside_no_grad():
    x = leaf(2.0)
    y = x * x
    with tc.no_grad():
        y.backward()
    assert x.grad.item() == 4.0 and not x.grad.requires_grad


# -- leaves --------------------------------------------------------------------------------------------------------


def test_leaf_rules():
    x = leaf(1.0)
    y = x * 2.0
    assert x.is_leaf and not y.is_leaf and tc.tensor(1.0).is_leaf
    assert y.grad is None
    with pytest.raises(RuntimeError, match=r"only a leaf.*result of scale"):
        y.requires_grad = False
    with pytest.raises(TypeError, match=r"floating-point.*int64"):
        tc.tensor([1, 2]).requires_grad_()
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        tc.tensor([1.0, 2.0]).backward()
    assert not x.requires_grad_(False).requires_grad


def test_retain_grad_keeps_the_gradient_of_a_result():
    x = leaf(2.0)
    y = x * 3.0
    y.retain_grad()
    (y * y).backward()
    assert y.grad.item() == 12.0 and x.grad.item() == 36.0
    with pytest.raises(RuntimeError, match="retain_grad"):
        tc.tensor(1.0).retain_grad()


def test_grad_can_be_set_and_is_checked():
    x = leaf(1.0, 2.0)
    x.grad = tc.tensor(np.zeros(2))
    (x * 2.0).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        x.grad = tc.tensor(np.zeros(3))
    with pytest.raises(ValueError, match="float32"):
        x.grad = tc.tensor([0.0, 0.0])
    with pytest.raises(TypeError, match="ndarray"):
        x.grad = np.zeros(2)
    with pytest.raises(RuntimeError, match="cannot hold"):
        tc.tensor([1.0]).grad = tc.tensor([1.0])


def test_detach_shares_memory_and_cuts_the_tape():
    x = leaf(1.0, 2.0)
    y = (x * 2.0).detach()
    assert not y.requires_grad and y.is_leaf
    d = x.detach()
    d[0] = 5.0
    assert x.tolist() == [5.0, 2.0]


def test_backward_wants_a_cotangent_that_fits():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"\(2,\) needs a gradient"):
        (x * 2.0).backward()
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        (x * 2.0).backward(np.ones(3))
    with pytest.raises(ValueError, match="float32"):
        (x * 2.0).backward(tc.tensor([1.0, 1.0]))
    (x * 2.0).backward([1.0, 10.0])
    assert x.grad.tolist() == [2.0, 20.0]


# -- operations of one's own ---------------------------------------------------------------------------------------


def test_an_op_of_ones_own():
    def rules(needs, g, out, a, b):
        assert needs == [True, False]
        return [g * b, None]

    product = Op("product", lambda a, b: a * b, rules, keeps="x")
    x, c = leaf(2.0), tc.tensor(np.array([5.0]))
    product(x, c).backward()
    assert x.grad.item() == 5.0 and repr(product) == "<op product>"
    assert Node().age < Node().age

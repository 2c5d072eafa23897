"""Writes in place: what the tape refuses, what it allows, and what it sees."""


import numpy as np
import pytest

import tinyconv as tc


def leaf(*values, dtype=np.float64):
    return tc.tensor(np.array(values, dtype), requires_grad=True)


def test_writing_to_a_leaf_needs_no_grad():
    w = leaf(1.0, 2.0)
    for write in (lambda: w.__setitem__(0, 1.0), lambda: w.fill_(0.0), lambda: w.zero_(), lambda: w.copy_([0.0, 0.0]),
                  lambda: w.add_(1.0), lambda: w.__iadd__(1.0), lambda: w.__imul__(2.0), lambda: w.__ipow__(2)):
        with pytest.raises(RuntimeError, match=r"leaf.*no_grad"):
            write()
    assert w.tolist() == [1.0, 2.0]
    with tc.no_grad():
        same = w
        w -= 1.0
        w[1] = 7.0
        w.add_(tc.tensor(np.ones(2)), alpha=2).sub_(1.0).mul_(2.0).div_(4.0)
    assert w is same and w.requires_grad and w.tolist() == [0.5, 4.0]


@pytest.mark.parametrize("mode", [tc.enable_grad, tc.no_grad])
def test_writing_to_a_result_is_refused(mode):
    y = leaf(1.0, 2.0) * 2.0
    with mode():
        for write in (lambda: y.__setitem__(0, 1.0), lambda: y.zero_(), lambda: y.add_(1.0)):
            with pytest.raises(RuntimeError, match="result of scale"):
                write()
    with tc.no_grad(), pytest.raises(RuntimeError, match="result of scale"):
        y += 1.0  # it would silently leave the tape


def written(w):
    with tc.no_grad():
        w += 1.0


@pytest.mark.parametrize("write", [
    written,
    lambda w: w.detach().fill_(0.0),
    lambda w: w.detach().reshape(2, 1).__setitem__((0, 0), 0.0),
    lambda w: w.detach()[::-1].zero_(),
    lambda w: w.detach()[0].zero_(),  # a view of one element
    lambda w: w.detach().expand(2).detach().mark_written(),
    lambda w: (w.data.__setitem__(0, 3.0), w.mark_written()),
], ids=["no_grad", "detach", "reshape", "slice", "element", "expand", "data"])
def test_a_write_to_a_saved_operand_is_caught(write):
    w = leaf(1.0, 2.0)
    y = (w * w).sum()
    write(w)
    with pytest.raises(RuntimeError, match=r"operand of mul, of shape \(2,\), was written to"):
        y.backward()


def test_a_write_to_a_saved_operand_off_the_tape_is_caught():
    w, x = leaf(1.0, 2.0), tc.tensor(np.array([3.0, 4.0]))
    y = (w * x).sum()
    x += 1.0
    with pytest.raises(RuntimeError, match="operand of mul"):
        y.backward()
    assert w.grad is None


@pytest.mark.parametrize("fn", [tc.exp, tc.tanh, tc.sqrt, tc.sigmoid, tc.relu, lambda x: tc.softmax(x, 0), tc.amax,
                                lambda x: 1.0 / x])
def test_a_write_to_a_saved_result_is_caught(fn):
    x = leaf(1.0, 2.0)
    y = fn(x)
    y.detach().fill_(100.0)
    with pytest.raises(RuntimeError, match="written to in place"):
        y.backward(np.ones(y.shape))


def test_an_update_between_forward_and_backward_is_caught():
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    with tc.no_grad():
        w.sub_(w.grad, alpha=0.1)
    with pytest.raises(RuntimeError, match="written to"):
        loss.backward()


def test_a_write_to_what_no_rule_reads_is_allowed():
    w, x = leaf(1.0, 2.0), tc.tensor(np.array([3.0, 4.0]))
    y = (w + x).sum()
    x += 1.0
    before = tc.tensor(np.ones(2))
    before += 1.0  # written to before it was used
    z = (w * before).sum()
    (y + z).backward()
    assert w.grad.tolist() == [3.0, 3.0]


def test_a_write_to_a_copy_is_not_a_write_to_the_original():
    x = tc.tensor(np.arange(4.0))
    w = leaf(*np.ones(4))
    y = (w * x).sum()
    x[np.array([0, 1])].zero_()
    x.clone().zero_()
    y.backward()
    assert w.grad.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_write_of_a_tensor_on_the_tape_is_refused():
    buffer, w = tc.tensor(np.zeros(2)), leaf(1.0, 2.0)
    for write in (lambda: buffer.__setitem__(0, w[0]), lambda: buffer.copy_(w), lambda: buffer.add_(w)):
        with pytest.raises(RuntimeError, match="lose its gradient"):
            write()
    with tc.no_grad():
        buffer.copy_(w)
    buffer.add_(w.detach())
    assert buffer.tolist() == [2.0, 4.0]


def test_what_a_tensor_cannot_hold_is_not_written():
    """Whole numbers would be cut off, other shapes broadcast to something else."""
    n, t = tc.tensor([1, 2, 3]), tc.tensor([1.0, 2.0, 3.0])
    for write in (lambda: n.add_(1.5), lambda: n.sub_(t), lambda: n.mul_(0.5), lambda: n.div_(2), lambda: n.add_(1, alpha=0.5)):
        with pytest.raises(TypeError, match=r"int64 of shape \(3,\) cannot hold the result, float32"):
            write()
    with pytest.raises(ValueError, match=r"float32 of shape \(3,\) cannot hold .* shape \(1, 3\), in place"):
        t.add_(tc.zeros(1, 3))
    assert (n > 1).add_(n > 2).tolist() == [False, True, True]
    assert n.add_(1, alpha=2).tolist() == [3, 4, 5] and t.mul_(n).tolist() == [3.0, 8.0, 15.0]


def test_a_write_to_what_is_read_only_is_refused():
    wide = tc.zeros(1, 3).expand(2, 3)
    _, at = tc.nn.functional.max_pool1d(tc.zeros(1, 1, 4), 2, return_indices=True)
    for write in (lambda: wide.add_(1.0), lambda: wide.__setitem__(0, 1.0), lambda: wide.fill_(1.0), lambda: at.zero_()):
        with pytest.raises(ValueError, match=r"of shape \(.*\) that is read-only.*write to t.clone"):
            write()
    assert wide.clone().add_(1.0).tolist() == [[1.0] * 3] * 2


def test_plus_equals_puts_a_sum_on_the_tape():
    w = leaf(3.0)
    total = tc.tensor(np.zeros(1))
    for _ in range(3):
        total += w * w
    total.backward()
    assert w.grad.item() == 18.0


def test_plus_equals_writes_where_nothing_is_recorded():
    t = tc.tensor([1.0, 2.0])
    same, view = t, t[1:]
    t += 1
    t *= tc.tensor([2.0, 2.0])
    t /= 2.0
    t -= np.array([1.0, 1.0], np.float32)
    t **= 2
    assert t is same and t.tolist() == [1.0, 4.0] and view.tolist() == [4.0]
    with pytest.raises(ValueError, match=r"\(2,\) cannot hold.*\(3, 2\)"):
        t += tc.tensor(np.ones((3, 2)))
    n = tc.tensor([1, 2])
    with pytest.raises(TypeError, match=r"int64 .* cannot hold .*float32"):
        n += 0.5
    n += 1
    assert n.tolist() == [2, 3] and n.dtype == np.int64


def test_a_key_or_a_mask_may_change_after_its_use():
    x = leaf(1.0, 2.0, 3.0)
    key, mask, index = np.array([0, 0]), tc.tensor([True, False, True]), tc.tensor([2, 2])
    y = x[key].sum() + x[mask].sum() * 10.0 + tc.where(mask, x, 0.0).sum() * 100.0 + tc.gather(x, 0, index).sum() * 1000.0
    key[:] = 2
    mask.fill_(False)
    index.zero_()
    y.backward()
    assert x.grad.tolist() == [112.0, 0.0, 2110.0]

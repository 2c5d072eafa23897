"""Looking on: who is told what, in which order, in which thread; and that nobody is told outside of the block."""

import threading

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.mode import Watch, watched, watches
from tinyconv.nn import functional as F


class Notes(Watch):
    """Writes down all it is told."""

    def __init__(self):
        self.lines = []

    def chose(self, kernel, dims, dtype):
        self.lines.append(f"chose {kernel.algorithm} for {kernel.op}")

    def ran(self, op, operands, meta, out):
        self.lines.append(f"ran {op.name} {[t.shape for t in operands]} {'recorded' if out.node else 'not recorded'}")

    def sweeping(self, outputs, cotangents):
        self.lines.append(f"sweep from {outputs[0].node.op.name} with {cotangents[0].tolist()}")

    def pulling(self, node, g):
        self.lines.append(f"pull {node.op.name} with {g.tolist()}")

    def filled(self, node, edge, gradient):
        self.lines.append(f"fill {edge.op.name if edge.op else 'leaf'} with {gradient.tolist()}")

    def added(self, node, edge):
        self.lines.append("added")

    def pulled(self, node):
        self.lines.append(f"pulled {node.op.name}")

    def swept(self):
        self.lines.append("swept")


def leaf(*values):
    return tc.tensor(np.array(values), requires_grad=True)


@pytest.mark.parametrize("make, records", [(tc.no_grad, False), (tc.enable_grad, True)])
def test_a_block_may_be_entered_again_and_within_itself(make, records):
    block, x = make(), leaf(2.0)
    for _ in range(2):
        with block:
            with block:
                assert (x * x).requires_grad is records
            assert (x * x).requires_grad is records
        assert (x * x).requires_grad

    @block
    def depth(n):
        """So many calls."""
        assert (x * x).requires_grad is records
        return n and 1 + depth(n - 1)

    with pytest.raises(ZeroDivisionError), block:
        _ = 1 / 0
    assert depth(3) == 3 and depth.__doc__ == "So many calls." and (x * x).requires_grad


def test_all_is_told_in_order():
    x = leaf(2.0)
    notes = Notes()
    with watched(notes):
        y = x.exp() + x
        y.backward()
    y + y  # outside of the block
    e = np.exp(2.0)
    assert notes.lines == [
        "ran exp [(1,)] recorded", "ran add [(1,), (1,)] recorded", "sweep from add with [1.0]",
        "pull add with [1.0]", "fill exp with [1.0]", "added", "fill leaf with [1.0]", "added", "pulled add",
        "pull exp with [1.0]", "ran mul [(1,), (1,)] not recorded", f"fill leaf with [{e}]",
        "ran add [(1,), (1,)] not recorded", "added", "pulled exp", "swept"]
    assert x.grad.item() == 1 + e


def test_kernels_are_told_where_they_are_chosen():
    x = leaf(*np.arange(16.0))
    notes = Notes()
    with watched(notes), tc.use("reference"):
        F.max_pool1d(x.reshape(1, 1, 16), 4)
        with tc.no_grad():
            F.max_pool1d(x.reshape(1, 1, 16), 4)
    assert notes.lines[1:3] == ["chose reference for max_pool", "ran max_pool [(1, 1, 16)] recorded"]
    assert notes.lines[-2:] == ["chose reference for max_pool", "ran max_pool [(1, 1, 16)] not recorded"]


@pytest.mark.parametrize("around, within", [(tc.no_grad, tc.enable_grad), (tc.enable_grad, tc.no_grad)])
def test_looking_on_leaves_the_grad_mode_alone(around, within):
    with around():
        before = tc.is_grad_enabled()
        with watched(Notes()):
            assert tc.is_grad_enabled() is before
            with within():
                assert tc.is_grad_enabled() is not before and len(watches()) == 1
                with watched(Notes()):
                    assert tc.is_grad_enabled() is not before and len(watches()) == 2
            assert tc.is_grad_enabled() is before
        assert tc.is_grad_enabled() is before and watches() == ()


def test_both_of_two_nested_watches_are_told():
    outer, inner = Notes(), Notes()
    x = leaf(1.0)
    with watched(outer):
        y = x * 2.0
        with watched(inner):
            y = y.exp()
        y.backward()
    assert inner.lines == ["ran exp [(1,)] recorded"]
    assert outer.lines[:2] == ["ran scale [(1,)] recorded", "ran exp [(1,)] recorded"] and outer.lines[-1] == "swept"


def test_a_thread_is_watched_by_its_own_watches_only():
    mine, other = Notes(), Notes()
    x, barrier = leaf(1.0), threading.Barrier(2)

    def work():
        assert watches() == ()
        x.tanh()
        with watched(other):
            barrier.wait()
            x.sin()
            barrier.wait()

    thread = threading.Thread(target=work)
    with watched(mine):
        thread.start()
        barrier.wait()
        x.cos()
        barrier.wait()
        thread.join()
    assert [line.split()[1] for line in mine.lines] == ["cos"]
    assert [line.split()[1] for line in other.lines] == ["sin"]


def test_a_backward_pass_that_fails_is_told_to_have_ended():
    x, notes = leaf(1.0), Notes()
    y = x.exp()
    y.backward()
    with watched(notes):
        with pytest.raises(RuntimeError, match="second backward"):
            y.backward()
        assert len(watches()) == 1
    assert notes.lines[-1] == "swept" and watches() == ()


def test_results_are_those_of_an_unwatched_run():
    def run():
        rng = np.random.default_rng(0)
        x, w, b = (tc.tensor(rng.standard_normal(s), requires_grad=True) for s in ((2, 3, 6, 6), (4, 3, 3, 3), (4,)))
        y = F.max_pool2d(F.conv2d(x, w, b).relu(), 2)
        (g,) = tc.autograd.grad((y * y).sum(), w, create_graph=True)
        (g * g).sum().backward()
        return [t.grad.numpy() for t in (x, w, b)]

    plain = run()
    with watched(Notes()):
        seen = run()
    for a, b in zip(plain, seen, strict=True):
        np.testing.assert_array_equal(a, b)

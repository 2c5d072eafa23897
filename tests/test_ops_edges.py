"""Operations at their edges: ties and kinks, overflow and infinity, sizes of 0, ranks of 0, integers, and what is refused."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.autograd import grad
from tinyconv.ops import pointwise

X = [-1.0, 0.0, 0.0, 2.0]


@pytest.mark.parametrize("fn, want", [
    (tc.abs, [-1.0, 0.0, 0.0, 1.0]),
    (tc.relu, [0.0, 0.0, 0.0, 1.0]),
    (lambda x: x.clip(0.0, 2.0), [0.0, 1.0, 1.0, 1.0]),  # bounds included
    (lambda x: x.clip(3.0, 1.0), [0.0, 0.0, 0.0, 0.0]),
    (lambda x: tc.maximum(x, 0.0), [0.0, 0.5, 0.5, 1.0]),
    (lambda x: tc.minimum(x, 0.0), [1.0, 0.5, 0.5, 0.0]),
    (lambda x: tc.maximum(x, x), [1.0, 1.0, 1.0, 1.0]),
    (lambda x: x[:3].amax(), [0.0, 0.5, 0.5, 0.0]),
    (lambda x: x[:3].max(), [0.0, 0.5, 0.5, 0.0]),
    (lambda x: x[1:].amin(0), [0.0, 0.5, 0.5, 0.0]),
    (lambda x: x[:3].max(0).values, [0.0, 1.0, 0.0, 0.0]),  # the first wins
    (lambda x: x[1:].min(0).values, [0.0, 1.0, 0.0, 0.0]),
    (lambda x: x**0, [0.0, 0.0, 0.0, 0.0]),
    (lambda x: x**1, [1.0, 1.0, 1.0, 1.0]),
    (lambda x: x**2, [-2.0, 0.0, 0.0, 4.0]),
    (lambda x: x[1:3].std(), [0.0, 0.0, 0.0, 0.0]),
    (lambda x: tc.where(x > 0, x, x * 3.0), [3.0, 3.0, 3.0, 1.0]),
    (lambda x: x[1:] ** tc.tensor(np.array([0.0, 2.0, 3.0])), [0.0, 0.0, 0.0, 12.0]),
])
def test_ties_and_kinks(fn, want):
    x = tc.tensor(np.array(X), requires_grad=True)
    y = fn(x)
    assert grad(y, x, np.ones(y.shape))[0].tolist() == want


def test_infinite_and_absent_derivatives():
    x = tc.tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        assert grad(x.sqrt().sum(), x)[0].tolist() == [np.inf, 0.5]
        assert grad((x**0.5).sum(), x)[0].tolist() == [np.inf, 0.5]
        masked = tc.where(x > 0, tc.log(x), 0.0)
        safe = tc.where(x > 0, tc.log(tc.where(x > 0, x, 1.0)), 0.0)
    assert masked.tolist() == safe.tolist() == [0.0, 0.0]
    assert grad(safe.sum(), x)[0].tolist() == [0.0, 1.0]
    b = tc.tensor([0.0, 2.0], requires_grad=True)
    assert grad((tc.tensor([0.0, 0.0]) ** b).sum(), b)[0].tolist() == [0.0, 0.0]


def test_not_chosen_is_0_even_at_nan():
    x = tc.tensor([np.nan, 1.0, np.inf], requires_grad=True)
    with np.errstate(invalid="ignore"):
        y = tc.where(x.data == 1.0, x, tc.zeros(3)) * tc.tensor([np.nan, 2.0, np.inf])
    assert grad(y, x, np.ones(3))[0].tolist() == [0.0, 2.0, 0.0]
    assert np.isnan(tc.maximum(x, 0.0).data[0]) and np.isnan(x.max().item()) and np.isnan(tc.relu(x).data[0])


def test_no_overflow():
    x = tc.tensor([-1e4, 0.0, 1e4], requires_grad=True)
    with np.errstate(over="raise", invalid="raise"):
        for fn in (tc.sigmoid, tc.softplus, tc.tanh, pointwise.silu, lambda t: t.softmax(0), lambda t: t.log_softmax(0),
                   lambda t: t.logsumexp(), lambda t: tc.softmax(t, 0, temperature=1e-3)):
            y = fn(x)
            assert np.isfinite(y.data).all() and np.isfinite(grad(y, x, np.ones(y.shape))[0].data).all()
    assert tc.softplus(x).tolist() == [0.0, pytest.approx(np.log(2)), 1e4]


def test_logsumexp_of_infinities():
    with np.errstate(divide="ignore"):
        assert tc.tensor([-np.inf, -np.inf]).logsumexp().item() == -np.inf
        assert tc.tensor([-np.inf, 1.0]).logsumexp().item() == 1.0
        assert tc.tensor([np.inf, 1.0]).logsumexp().item() == np.inf
    assert tc.tensor([-np.inf, 0.0]).softmax(0).tolist() == [0.0, 1.0]


# -- sizes 0 and 1, ranks 0 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fn, shape", [
    (lambda x: x + x, (0, 3)), (lambda x: x * tc.ones(3), (0, 3)), (lambda x: x.sum(), ()), (lambda x: x.sum(0), (3,)),
    (lambda x: x.T, (3, 0)), (lambda x: x.reshape(-1), (0,)), (lambda x: x.reshape(3, -1), (3, 0)), (tc.exp, (0, 3)),
    (lambda x: x @ tc.ones(3, 2), (0, 2)), (lambda x: tc.ones(2, 0) @ x, (2, 3)),
    (lambda x: tc.linear(x, tc.ones(2, 3)), (0, 2)),
    (lambda x: tc.cat([x, tc.ones(2, 3)]), (2, 3)), (lambda x: x[:, 1], (0,)), (lambda x: x[[]], (0, 3)),
    (lambda x: x.softmax(0), (0, 3)), (lambda x: x.softmax(1), (0, 3)), (lambda x: x.log_softmax(0), (0, 3)),
    (lambda x: x.amax(1), (0,)), (lambda x: x.max(1).values, (0,)), (lambda x: tc.pad(x, (0, 0, 1, 1)), (2, 3)),
    (lambda x: x.split(2)[0], (0, 3)), (lambda x: x.expand(2, 0, 3), (2, 0, 3)), (lambda x: tc.stack([x, x]), (2, 0, 3)),
    (lambda x: tc.einsum("ij,jk->ik", x, tc.ones(3, 2)), (0, 2)), (lambda x: x.unsqueeze(1).squeeze(1), (0, 3)),
    (lambda x: tc.linear(x.unsqueeze(0), tc.ones(2, 3)), (1, 0, 2)), (lambda x: x.unsqueeze(0) @ tc.ones(3, 2), (1, 0, 2)),
])
def test_empty(fn, shape):
    x = tc.zeros(0, 3, requires_grad=True)
    with np.errstate(divide="ignore"):  # the log of an empty sum
        y = fn(x)
    assert y.shape == shape
    assert grad(y, x, np.ones(shape))[0].shape == (0, 3)


def test_mean_and_var_of_too_few():
    assert np.isnan(tc.zeros(0).mean().item())
    assert np.isnan(tc.ones(1).var().item()) and np.isnan(tc.ones(2).var(correction=3).item())
    assert tc.ones(1).var(correction=0).item() == 0.0
    for empty in (lambda: tc.zeros(0).max(), lambda: tc.zeros(0).argmax(), lambda: tc.zeros(2, 0).amax(1)):
        with pytest.raises(ValueError, match=r"empty|no elements"):
            empty()
    with pytest.raises(ValueError, match=r"no elements: shape \(2, 0\) holds none over dim \(1,\)"):
        tc.zeros(2, 0).amin(1)
    assert tc.zeros(0, 2).amax(1).shape == (0,)


@pytest.mark.parametrize("a, b, words", [
    ((2, 3), (4, 5), r"matmul of \(2, 3\) and \(4, 5\): the last size of the first, 3, must be the last but one of"),
    ((2, 3), (4,), r"matmul of \(2, 3\) and \(4,\): the last size of the first, 3, must be the last of the second, 4"),
    ((3,), (4, 5), r"matmul of \(3,\) and \(4, 5\)"), ((3,), (4,), r"matmul of \(3,\) and \(4,\)"),
])
def test_matmul_names_the_shapes_that_were_given(a, b, words):
    with pytest.raises(ValueError, match=words):
        tc.zeros(*a) @ tc.zeros(*b)


def test_of_rank_0():
    x = tc.tensor(2.0, requires_grad=True)
    for y in (x * x, x.sum(), x.reshape(1)[0], x.expand(3).mean(), x.flatten()[0], x.max(), x.T, tc.stack([x, x]).amin(),
              x.permute(), x[...], x.unsqueeze(0).squeeze(), x.logsumexp()):
        assert grad(y, x)[0].shape == ()


def test_an_empty_mask_is_a_mask():
    x = tc.zeros(0, 2)
    assert x[tc.zeros(0, 2) > 0].shape == (0,) and x[np.zeros(0, bool)].shape == x[[]].shape == (0, 2)


def test_padding_with_none_is_padding_with_0():
    """None is what PyTorch has where no value is given."""
    assert tc.pad(tc.ones(1), (1, 1), "constant", None).tolist() == tc.pad(tc.ones(1), (1, 1)).tolist() == [0.0, 1.0, 0.0]


def test_the_logsumexp_of_nothing_is_minus_infinity():
    x = tc.zeros(2, 0, requires_grad=True)
    y = x.logsumexp(1)
    y.sum().backward()
    assert y.tolist() == [-np.inf, -np.inf] and x.logsumexp().item() == -np.inf and x.grad.shape == (2, 0)


def test_a_nan_that_won_gets_the_gradient():
    """As in PyTorch; with gradient 0 nobody would hear of it."""
    for best in (tc.max, tc.min, tc.amax, tc.amin):
        x = tc.tensor([1.0, np.nan, 3.0], requires_grad=True)
        assert grad(best(x), x)[0].tolist() == [0.0, 1.0, 0.0]
    for best in (tc.maximum, tc.minimum):
        a, b = tc.tensor([1.0, np.nan, 1.0], requires_grad=True), tc.tensor([np.nan, 2.0, 1.0], requires_grad=True)
        assert [g.tolist() for g in grad(best(a, b).sum(), (a, b))] == [[1.0, 1.0, 0.5], [1.0, 1.0, 0.5]]


def test_integers_come_out_whole():
    n = tc.tensor([[3, 1], [2, 3]])
    assert n.sum(0).tolist() == [5, 4] and n.max(1).indices.tolist() == [0, 1] and (n @ n).tolist() == [[11, 6], [12, 11]]
    assert n.argmax().item() == 0 and n.argmin(1, keepdim=True).tolist() == [[1], [0]]
    assert n.clip(max=2).tolist() == [[2, 1], [2, 2]]
    assert (2**n).tolist() == [[8, 2], [4, 8]] and abs(-n).tolist() == n.tolist() and (n - 4).tolist() == [[-1, -3], [-2, -1]]
    assert n.mean().item() == 2.25 and (n / 2).tolist() == [[1.5, 0.5], [1.0, 1.5]]


def test_integers_are_divided_as_floats():
    """Each is turned to float32 by itself: in the dtype of the other -1 may be 255."""
    n, minus = tc.tensor(np.array([2, 4], np.uint8)), tc.tensor(np.array(-4, np.int8))
    for q, want in ((n / minus, [-0.5, -1.0]), (minus / n, [-2.0, -1.0]), (n / -1, [-2.0, -4.0]), (-8 / n, [-4.0, -2.0]),
                    (n / np.array([-1, -2]), [-2.0, -2.0]), (n / tc.tensor([True, True]), [2.0, 4.0])):
        assert q.dtype == np.float32 and q.tolist() == want
    big = tc.tensor(2**53 - 1)
    assert (big / tc.tensor(np.ones(1))).tolist() == (tc.tensor(np.ones(1)) * big).tolist() == [2**53 - 1]


def test_views_write_through():
    x = tc.tensor(np.arange(6.0).reshape(2, 3))
    x.T[0, 1] = 10.0
    x.reshape(6)[0] = 20.0
    x[0][1].fill_(30.0)
    x.flip(0)[0, 2] = 40.0
    x.unsqueeze(0).squeeze().permute(1, 0)[1].add_(1.0)
    assert x.tolist() == [[20.0, 31.0, 2.0], [10.0, 5.0, 40.0]]


# -- errors that say what is wrong ---------------------------------------------------------------------------------

A = tc.zeros(2, 3)


@pytest.mark.parametrize("call, error, says", [
    (lambda: A + tc.zeros(4), ValueError, r"\(2, 3\) and \(4,\) do not broadcast"),
    (lambda: A + None, TypeError, "NoneType"),
    (lambda: A.reshape(4, 2), ValueError, r"\(2, 3\) \(6 elements\) to \(4, 2\)"),
    (lambda: A.reshape(-1, -1), ValueError, r"\(-1, -1\)"),
    (lambda: A.reshape(4, -1), ValueError, r"\(4, -1\)"),
    (lambda: A.reshape(1.5, 4), TypeError, "integer"),
    (lambda: A.sum(2), IndexError, r"dim 2 .* \(2, 3\)"),
    (lambda: A.sum((0, -2)), ValueError, "twice"),
    (lambda: A.var(False), TypeError, "dim must be an int, got bool"),
    (lambda: tc.max(A, A), TypeError, "dim must be an int, got Tensor"),
    (lambda: A.softmax(None), TypeError, "dim must be an int, got NoneType"),
    (lambda: A.max(-3), IndexError, "dim -3"),
    (lambda: A.softmax(2), IndexError, "dim 2"),
    (lambda: A.permute(0, 0), ValueError, r"each of 2 dimensions once, got \(0, 0\)"),
    (lambda: A.transpose(0, 2), IndexError, "dim 2"),
    (lambda: A.flatten(1, 0), ValueError, r"dim 1 to dim 0 of \(2, 3\)"),
    (lambda: A.unsqueeze(3), IndexError, "dim 3"),
    (lambda: A.expand(2, 4), ValueError, r"\(2, 3\) to \(2, 4\)"),
    (lambda: A.expand(3), ValueError, r"\(2, 3\) to \(3,\)"),
    (lambda: A.expand(-1, 2, 3), ValueError, r"\(2, 3\) to \(-1, 2, 3\)"),
    (lambda: tc.cat([A, tc.zeros(3, 2)]), ValueError, r"dim 0.*\(2, 3\), \(3, 2\)"),
    (lambda: tc.cat([]), ValueError, "no tensors"),
    (lambda: tc.stack([], -1), ValueError, "no tensors"),
    (lambda: tc.stack([A, tc.zeros(3)]), ValueError, r"one shape, got \(2, 3\), \(3,\)"),
    (lambda: A.split(0), ValueError, "at least 1, got 0"),
    (lambda: A.split([1, 3]), ValueError, r"the 2 of dim 0, got \[1, 3\]"),
    (lambda: A.split([3, -1]), ValueError, r"at least 0"),
    (lambda: A.chunk(0), ValueError, "at least 1, got 0"),
    (lambda: A[2], IndexError, "index 2.*size 2"),
    (lambda: A[0, 0, 0], IndexError, "too many indices"),
    (lambda: tc.gather(A, 1, tc.tensor([[0, 3]])), IndexError, "0 to 3, they must be 0 to 2"),
    (lambda: tc.gather(A, 1, tc.tensor([[-1]])), IndexError, "they must be 0 to 2"),
    (lambda: tc.gather(A, 1, tc.tensor([0])), TypeError, "integer tensor of 2 dimensions"),
    (lambda: tc.pad(A, (1,)), ValueError, "at most 2 dimensions"),
    (lambda: tc.linear(A, np.ones((4, 3))), TypeError, "must be a Tensor, got ndarray"),
    (lambda: tc.pad(A, (1, 1), "wild"), ValueError, "'wild'"),
    (lambda: tc.pad(A, (3, 0), "reflect"), ValueError, r"\(3, 0\) on a dimension of 3: at most 2"),
    (lambda: tc.pad(A, (4, 0), "circular"), ValueError, "at most 3"),
    (lambda: tc.pad(A, (-1, 0), "replicate"), ValueError, "at least 0"),
    (lambda: tc.pad(A, (-2, -2)), ValueError, r"\(-2, -2\) crops more than there is of \(2, 3\)"),
    (lambda: A @ tc.zeros(2, 3), ValueError, r"\(2, 3\) and \(2, 3\).*3, must be.*2"),
    (lambda: A @ 2.0, ValueError, r"\(2, 3\) and \(\)"),
    (lambda: tc.zeros(2, 2, 3) @ tc.zeros(3, 3, 2), ValueError, "broadcast"),
    (lambda: tc.linear(A, tc.zeros(4, 2)), ValueError, r"\(2, 3\) and \(4, 2\)"),
    (lambda: tc.linear(A, tc.zeros(4, 3), tc.zeros(3)), ValueError, r"\(4,\), got \(3,\)"),
    (lambda: tc.einsum("ij,jk->ik", A, A), ValueError, r"sizes of a label.*\(2, 3\), \(2, 3\)"),
    (lambda: tc.einsum("ij,ij->ij", A, tc.zeros(1, 3)), ValueError, "sizes of a label"),
    (lambda: tc.einsum("ii->i", A), ValueError, "none twice"),
    (lambda: tc.einsum("ij->ik", A), ValueError, "labels of the operands"),
    (lambda: tc.einsum("ijk->i", A), ValueError, "a label for each"),
    (lambda: A.clip(), ValueError, "min, max or both"),
    (lambda: A.clip(A), TypeError, "numbers as min and max, got a Tensor"),
    (lambda: A.item(), ValueError, r"\(2, 3\)"),
    (lambda: tc.arange(0, 3, 0), ValueError, "step"),
])
def test_errors(call, error, says):
    with pytest.raises(error, match=says):
        call()

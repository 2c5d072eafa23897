"""Losses: worked numbers, PyTorch where it is installed, derivatives to second order, and refusals."""

import math

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.autograd import grad, gradcheck, gradgradcheck
from tinyconv.ops import loss

F64_BOUND = 1e-12  # float64 sums of at most a few hundred terms of size 1, in another order


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch (extra `bench`) is not installed")


def leaf(array):
    return tc.Tensor(np.asarray(array, np.float64), requires_grad=True)


def logits(rng, *shape):
    return leaf(rng.standard_normal(shape))


# -- worked numbers ----------------------------------------------------------------------------------------------------


def test_cross_entropy_by_hand():
    x = leaf([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])  # p = (1/4, 3/4) and (4/5, 1/5)
    y = loss.cross_entropy(x, np.array([1, 1]))
    assert y.item() == pytest.approx((math.log(4 / 3) + math.log(5)) / 2, rel=1e-14)
    y.backward()
    assert np.allclose(x.grad.numpy(), [[1 / 8, -1 / 8], [2 / 5, -2 / 5]], rtol=1e-14, atol=0)


@pytest.mark.parametrize("reduction, want", [("none", [math.log(2), 0.0, math.log(2)]), ("sum", 2 * math.log(2)),
                                             ("mean", math.log(2))])
def test_ignored_positions_count_for_nothing(reduction, want):
    x = leaf([[1.0, 1.0], [5.0, 7.0], [0.0, 0.0]])
    y = loss.cross_entropy(x, np.array([0, -100, 1]), reduction=reduction)
    assert np.allclose(y.numpy(), want, rtol=1e-14, atol=0)
    tc.ops.sum(y).backward()
    assert (x.grad.numpy()[1] == 0).all()
    assert np.allclose(loss.cross_entropy(x, np.array([0, 255, 1]), ignore_index=255, reduction=reduction).numpy(), want)


def test_ignore_index_may_be_a_class():
    x = leaf([[1.0, 1.0], [5.0, 7.0]])
    assert loss.cross_entropy(x, np.array([0, 1]), ignore_index=1).item() == pytest.approx(math.log(2), rel=1e-14)


def test_class_weights_divide_the_mean():
    x = leaf(np.zeros((2, 2)))  # each loss is log 2: any weighted mean is log 2 too, the sum is not
    w = [3.0, 1.0]
    assert loss.cross_entropy(x, np.array([0, 1]), w).item() == pytest.approx(math.log(2), rel=1e-14)
    assert loss.cross_entropy(x, np.array([0, 1]), w, reduction="sum").item() == pytest.approx(4 * math.log(2), rel=1e-14)


def test_label_smoothing_by_hand():
    x = leaf([[0.0, math.log(3.0)]])
    want = 0.9 * math.log(4 / 3) + 0.1 * (math.log(4) + math.log(4 / 3)) / 2
    assert loss.cross_entropy(x, np.array([1]), label_smoothing=0.1).item() == pytest.approx(want, rel=1e-14)


def test_huge_logits_do_not_overflow():
    x = tc.tensor([[1e4, -1e4], [-1e30, 1e30]], requires_grad=True)
    y = loss.cross_entropy(x, np.array([0, 1]))
    y.backward()
    assert y.item() == 0 and np.isfinite(x.grad.numpy()).all()


def test_the_mean_of_nothing_is_nan():
    x = logits(np.random.default_rng(0), 2, 3)
    assert math.isnan(loss.cross_entropy(x, np.array([-100, -100])).item())
    assert loss.cross_entropy(x, np.array([-100, -100]), reduction="sum").item() == 0
    none, empty = tc.zeros(0, 3), np.zeros(0, int)
    for y in (loss.cross_entropy(none, empty), loss.cross_entropy(none, empty, label_smoothing=0.1), loss.nll_loss(none, empty),
              loss.mse_loss(none, tc.zeros(0, 3)), loss.l1_loss(none, tc.zeros(0, 3))):
        assert math.isnan(y.item())
    assert loss.cross_entropy(none, empty, reduction="sum").item() == loss.mse_loss(none, tc.zeros(0, 3), "sum").item() == 0


@pytest.mark.parametrize("options", [{}, {"weight": [1.0, 2.0, 3.0]}, {"label_smoothing": 0.1}], ids=str)
def test_a_batch_that_is_ignored_as_a_whole_has_gradient_0(options):
    """As PyTorch has it: a NaN there would undo the weights of a network for one image that is all border."""
    x = logits(np.random.default_rng(0), 2, 3, 4)
    void = np.full((2, 4), -100)
    y = loss.cross_entropy(x, void, **options)
    for create_graph in (False, True):
        (g,) = grad(y, x, create_graph=create_graph, retain_graph=True)
        assert math.isnan(y.item()) and g.tolist() == np.zeros((2, 3, 4)).tolist()
    if "label_smoothing" not in options:
        (g,) = grad(loss.nll_loss(x, void, **options), x)
        assert not g.numpy().any()


def test_one_unbatched_position():
    x = leaf([0.0, math.log(3.0)])
    for y in (loss.cross_entropy(x, 1, reduction="none"), loss.nll_loss(tc.ops.log_softmax(x), tc.tensor(1))):
        assert y.shape == () and y.item() == pytest.approx(math.log(4 / 3), rel=1e-14)


def test_one_unbatched_distribution_has_a_gradient_too():
    """d loss / d q is -log p; of x = [0, log 3], log p is [-log 4, log(3/4)]."""
    q = leaf([0.5, 0.5])
    loss.cross_entropy(tc.tensor(np.array([0.0, math.log(3.0)])), q).backward()
    np.testing.assert_allclose(q.grad.numpy(), [math.log(4), math.log(4 / 3)], rtol=1e-14)


def test_integers_are_read_as_floats():
    """Neither is the mean rounded to a whole number, nor the target."""
    n, t = tc.tensor([1, 2, 3]), tc.tensor([2.0, 2.5, 5.0])
    assert loss.mse_loss(n, tc.tensor([2, 2, 5])).item() == pytest.approx(5 / 3)
    assert loss.mse_loss(n, t, "sum").item() == 5.25 and loss.l1_loss(n, t, "sum").item() == 3.5
    assert loss.huber_loss(n, t, "none").tolist() == [0.5, 0.125, 1.5]


def test_other_losses_by_hand():
    x, t = leaf([1.0, -2.0, 0.5]), np.array([0.0, 0.0, 0.5])
    assert loss.mse_loss(x, t).item() == pytest.approx(5 / 3)
    assert loss.mse_loss(x, t, "sum").item() == 5
    assert loss.mse_loss(x, t, "none").tolist() == [1, 4, 0]
    assert loss.l1_loss(x, t, "none").tolist() == [1, 2, 0]
    assert loss.huber_loss(x, t, "none", delta=1.5).tolist() == [0.5, 1.5 * (2 - 0.75), 0]
    assert loss.smooth_l1_loss(x, t, "none", beta=2.0).tolist() == [0.25, 1.0, 0]
    assert loss.smooth_l1_loss(x, t, "none", beta=0.0).tolist() == [1, 2, 0]
    y = loss.bce_with_logits(leaf([0.0, math.log(3)]), np.array([1.0, 0.0]), reduction="none", pos_weight=2.0)
    assert np.allclose(y.numpy(), [2 * math.log(2), math.log(4)], rtol=1e-14, atol=0)
    assert np.isfinite(loss.bce_with_logits(leaf([1e4, -1e4]), np.array([0.0, 1.0])).item())


# -- one fused operation means what its parts mean -----------------------------------------------------------------------


SHAPES = [(5, 4), (2, 3, 4), (2, 3, 2, 2), (1, 1)]
OPTIONS = [{}, {"weight": True}, {"label_smoothing": 0.3}, {"weight": True, "label_smoothing": 0.3}]


def problem(shape, options, seed=0):
    rng = np.random.default_rng(seed)
    x = logits(rng, *shape)
    t = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    if t.size > 1:
        t.flat[1] = -100
    options = {**options, "weight": rng.uniform(0.5, 2, shape[1])} if options.get("weight") else options
    return x, t, options


@pytest.mark.parametrize("reduction", loss.REDUCTIONS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy_derivatives(shape, options, reduction):
    x, t, options = problem(shape, options)
    gradcheck(lambda x: loss.cross_entropy(x, t, reduction=reduction, **options), x)
    gradgradcheck(lambda x: loss.cross_entropy(x, t, reduction=reduction, **options), x)


def test_fused_and_composed_gradients_agree():
    x, t, options = problem((6, 5), OPTIONS[3])
    y = loss.cross_entropy(x, t, **options)
    fused = grad(y, x, retain_graph=True)[0]
    composed = grad(y, x, create_graph=True)[0]
    assert np.allclose(fused.numpy(), composed.numpy(), rtol=0, atol=F64_BOUND)


@pytest.mark.parametrize("fn", [
    loss.mse_loss, loss.l1_loss, loss.huber_loss, loss.smooth_l1_loss, loss.bce_with_logits,
    lambda x, t, reduction: loss.bce_with_logits(x, t, [1.0, 2.0, 3.0], reduction, pos_weight=[3.0, 2.0, 1.0]),
])
@pytest.mark.parametrize("reduction", loss.REDUCTIONS)
def test_pairwise_derivatives(fn, reduction):
    rng = np.random.default_rng(1)
    x, t = logits(rng, 4, 3), leaf(rng.uniform(0.1, 0.9, (4, 3)))  # no |x - t| near 0 or 1 for this seed
    gradcheck(lambda x, t: fn(x, t, reduction=reduction), [x, t])
    gradgradcheck(lambda x, t: fn(x, t, reduction=reduction), [x, t])


@pytest.mark.parametrize("reduction", loss.REDUCTIONS)
def test_probability_targets_have_gradients_too(reduction):
    rng = np.random.default_rng(2)
    x, q = logits(rng, 3, 4, 2), leaf(rng.dirichlet(np.ones(4), (3, 2)).transpose(0, 2, 1))
    options = {"weight": [1.0, 2.0, 0.5, 1.5], "label_smoothing": 0.2, "reduction": reduction}
    gradcheck(lambda x, q: loss.cross_entropy(x, q, **options), [x, q])
    gradgradcheck(lambda x, q: loss.cross_entropy(x, q, **options), [x, q])


def test_nll_derivatives():
    x, t, options = problem((3, 4, 2), {"weight": True})
    gradcheck(lambda x: loss.nll_loss(tc.ops.log_softmax(x, 1), t, **options), x)
    gradgradcheck(lambda x: loss.nll_loss(tc.ops.log_softmax(x, 1), t, **options), x)


def test_a_second_backward_sees_the_same_gradient():
    x, t, _ = problem((3, 4), {})
    y = loss.cross_entropy(x, t)
    assert (grad(y, x, retain_graph=True)[0].numpy() == grad(y, x)[0].numpy()).all()


# -- PyTorch ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", loss.REDUCTIONS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_cross_entropy_is_pytorchs(torch, shape, options, reduction):
    x, t, options = problem(shape, options, seed=3)
    theirs = {**options, "weight": torch.tensor(options["weight"])} if "weight" in options else options
    tx = torch.tensor(x.numpy(), requires_grad=True)
    want = torch.nn.functional.cross_entropy(tx, torch.tensor(t), reduction=reduction, **theirs)
    got = loss.cross_entropy(x, t, reduction=reduction, **options)
    assert np.allclose(got.numpy(), want.detach().numpy(), rtol=0, atol=F64_BOUND)
    g = np.random.default_rng(4).standard_normal(got.shape)
    got.backward(g)
    want.backward(torch.tensor(g))
    assert np.allclose(x.grad.numpy(), tx.grad.numpy(), rtol=0, atol=F64_BOUND)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_probability_targets_are_pytorchs(torch, options):
    rng = np.random.default_rng(5)
    x, _, options = problem((3, 4, 2), options)
    q = rng.dirichlet(np.ones(4), (3, 2)).transpose(0, 2, 1)
    theirs = {**options, "weight": torch.tensor(options["weight"])} if "weight" in options else options
    want = torch.nn.functional.cross_entropy(torch.tensor(x.numpy()), torch.tensor(q), **theirs)
    assert loss.cross_entropy(x, q, **options).item() == pytest.approx(want.item(), abs=F64_BOUND)


@pytest.mark.parametrize("reduction", loss.REDUCTIONS)
def test_other_losses_are_pytorchs(torch, reduction):
    rng = np.random.default_rng(6)
    x, t, w = rng.standard_normal((3, 4)) * 2, rng.uniform(size=(3, 4)), rng.uniform(0.5, 2, 4)
    F, X, T, W = torch.nn.functional, torch.tensor(x), torch.tensor(t), torch.tensor(w)
    pairs = [
        (loss.mse_loss(leaf(x), t, reduction), F.mse_loss(X, T, reduction=reduction)),
        (loss.l1_loss(leaf(x), t, reduction), F.l1_loss(X, T, reduction=reduction)),
        (loss.huber_loss(leaf(x), t, reduction, 0.7), F.huber_loss(X, T, reduction=reduction, delta=0.7)),
        (loss.smooth_l1_loss(leaf(x), t, reduction, 0.7), F.smooth_l1_loss(X, T, reduction=reduction, beta=0.7)),
        (loss.bce_with_logits(leaf(x), t, w, reduction, w),
         F.binary_cross_entropy_with_logits(X, T, W, reduction=reduction, pos_weight=W)),
    ]
    for got, want in pairs:
        assert np.allclose(got.tolist(), want.numpy(), rtol=0, atol=F64_BOUND)


# -- refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target, options, error, words", [
    ([0, 4, 1], {}, ValueError, "class 4 at (1,); with 4 classes it must be 0 to 3, or ignore_index=-100"),
    ([0, -1, 1], {}, ValueError, "class -1 at (1,)"),
    ([0, 1], {}, ValueError, "of input (3, 4) wants a target of shape (3,)"),
    ([True, False, True], {}, TypeError, "an integer dtype, got bool"),
    (np.ones(3), {}, ValueError, "probabilities and must have the shape of the input, (3, 4), not (3,)"),
    ([0, 1, 2], {"weight": [1.0, 2.0]}, ValueError, "one factor for each of 4 classes, got shape (2,)"),
    ([0, 1, 2], {"label_smoothing": 1.5}, ValueError, "between 0 and 1, got 1.5"),
    ([0, 1, 2], {"reduction": "avg"}, ValueError, "\"mean\", \"sum\" or \"none\", got 'avg'"),
])
def test_cross_entropy_refuses(target, options, error, words):
    with pytest.raises(error) as caught:
        loss.cross_entropy(tc.Tensor(np.zeros((3, 4))), np.asarray(target), **options)
    assert words in str(caught.value)


@pytest.mark.parametrize("call, error, words", [
    (lambda x: loss.cross_entropy(x.data, np.zeros(3, int)), TypeError, "floating-point Tensor, got ndarray"),
    (lambda x: loss.cross_entropy(x.long(), np.zeros(3, int)), TypeError, "floating-point Tensor, got int64"),
    (lambda x: loss.cross_entropy(tc.tensor(1.0), 0), ValueError, "at least one class, got ()"),
    (lambda x: loss.mse_loss(x, np.zeros((3, 1))), ValueError, "of the input's shape (3, 4), got (3, 1)"),
    (lambda x: loss.mse_loss(x, x, "all"), ValueError, "got 'all'"),
    (lambda x: loss.l1_loss(x, x, "all"), ValueError, "got 'all'"),
    (lambda x: loss.huber_loss(x, x, delta=0), ValueError, "delta must be positive, got 0"),
    (lambda x: loss.huber_loss(x, x, delta=math.nan), ValueError, "delta must be positive, got nan"),
    (lambda x: loss.smooth_l1_loss(x, x, beta=math.nan), ValueError, "beta must be at least 0, got nan"),
    (lambda x: loss.smooth_l1_loss(x, x, beta=-1), ValueError, "beta must be at least 0, got -1"),
    (lambda x: loss.nll_loss(x, np.array([0, 1, 9])), ValueError, "nll_loss: the target holds class 9 at (2,)"),
])
def test_losses_refuse(call, error, words):
    with pytest.raises(error) as caught:
        call(tc.Tensor(np.zeros((3, 4))))
    assert words in str(caught.value)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_targets_of_every_integer_dtype(dtype):
    x, t = np.random.default_rng(0).standard_normal((4, 3)).astype("f4"), np.array([2, 0, 1, 1])
    assert loss.cross_entropy(tc.Tensor(x), tc.Tensor(t.astype(dtype))).item() == loss.cross_entropy(tc.Tensor(x), t).item()
    assert loss.cross_entropy(tc.Tensor(x), t).dtype == np.float32

"""Normalisation and dropout: the kernels against their definition, worked numbers, PyTorch, and derivatives."""

import math
import subprocess
import sys

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn
from tinyconv.autograd import grad, gradcheck, gradgradcheck
from tinyconv.dims import NormDims
from tinyconv.ops import norm
from tinyconv.registry import choose, kernels

BOUND = 1e-11  # float64: means over some hundred values, and 1/sqrt(var) below 10


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch (extra `bench`) is not installed")


def leaf(array):
    return tc.Tensor(np.asarray(array, np.float64), requires_grad=True)


# -- kernels -------------------------------------------------------------------------------------------------------------------


def on_cpu(op):
    """The ladder of the CPU; test_cuda_pool.py has the other."""
    return [k for k in kernels(op) if k.device == "cpu"]


DIMS = [
    NormDims(4, 3, 1, 10, 3), NormDims(1, 12, 1, 10, 3), NormDims(1, 8, 3, 10, 2), NormDims(1, 150, 7, 1, 1),
    NormDims(1, 6, 5, 1, 2), NormDims(1, 3, 4, 6, 1), NormDims(3, 1, 1, 1, 1), NormDims(2, 2, 1, 5000, 2),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dims", DIMS, ids=str)
@pytest.mark.parametrize("fixed", [False, True])
def test_every_kernel_is_its_definition(dims, dtype, fixed):
    rng = np.random.default_rng(0)
    x, g = ((rng.standard_normal(math.prod(dims[:4])) * 2 + 1).astype(dtype) for _ in range(2))
    w, b = (rng.uniform(0.5, 2, dims.P * dims.K).astype(dtype) for _ in range(2))
    given = (rng.standard_normal(dims.S).astype(dtype), rng.uniform(0.5, 2, dims.S).astype(dtype)) if fixed else None
    reference, *others = on_cpu("norm")
    reference_grad, *other_grads = on_cpu("norm_grad")
    want = reference.fn(x, w, b, dims, 1e-5, given)
    want_grad = reference_grad.fn(g, x, w, *want[1:], dims, 1e-5, fixed)
    eps = np.finfo(dtype).eps
    for kernel in others:
        for got, right in zip(kernel.fn(x, w, b, dims, 1e-5, given), want):
            assert got.dtype == dtype and got.shape == right.shape
            # y is a handful of roundings of numbers of the size of x, over the deviation
            size = 2 * np.abs(x).max() * (1 + 1 / np.sqrt(want[2].min() + 1e-5))
            assert np.abs(got - right).max() <= kernel.bound * eps * size
    for kernel in other_grads:
        for got, right in zip(kernel.fn(g, x, w, *want[1:], dims, 1e-5, fixed), want_grad):
            assert got.dtype == dtype and got.shape == right.shape
            # the backward sums are in float64; x - mean and 1/deviation carry the roundings of mean and var
            terms = math.prod(dims[:4]) // (dims.P * dims.K) if got.size < x.size else 1
            size = 2 * np.abs(g).max() * (1 + np.abs(x).max()) / (want[2].min() + 1e-5) * terms
            assert np.abs(got - right).max() <= kernel.bound * eps * size


def test_kernels_take_strided_and_read_only_arrays():
    dims = NormDims(2, 3, 1, 4, 3)
    x = np.random.default_rng(0).standard_normal((4, 3, 2)).T.astype("f4")
    x.flags.writeable = False
    ones, zeros = np.ones(3, "f4"), np.zeros(3, "f4")
    a, b = (k.fn(x, ones, zeros, dims, 1e-5) for k in on_cpu("norm"))
    assert np.allclose(a[0], b[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("offset, scale", [(1e4, 1.0), (-3e3, 1e-3), (0.0, 1e3)])
def test_moments_far_from_zero(offset, scale):
    """float32 values far from 0 keep their variance: the kernel must not subtract two large squares."""
    x = (offset + scale * np.random.default_rng(0).standard_normal(3000)).astype("f4")
    x[0] = offset + 100 * scale  # the worst pivot
    ones, zeros = np.ones(1, "f4"), np.zeros(1, "f4")
    _, mean, var = choose("norm", DIMS[0], x.dtype).fn(x, ones, zeros, NormDims(1, 1, 1, 3000, 1), 1e-5)
    assert mean[0] == np.float32(x.astype("f8").mean()) and var[0] == pytest.approx(x.astype("f8").var(), rel=1e-6)


def test_a_constant_has_no_variance():
    x = np.full(100, 0.1, "f4")
    y, mean, var = choose("norm", DIMS[0], x.dtype).fn(x, np.ones(1, "f4"), np.zeros(1, "f4"), NormDims(1, 1, 1, 100, 1), 1e-5)
    assert mean[0] == x[0] and var[0] == 0 and (y == 0).all()


def test_nan_reaches_its_channel_only():
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype("f4")
    x[1, 1, 2] = np.nan
    y = norm.batch_norm(tc.Tensor(x), None, None, training=True).numpy()
    assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, [0, 2]]).all()


def test_the_fused_kernel_is_chosen():
    assert choose("norm", DIMS[0], np.dtype("float32")).algorithm == "direct"


PROGRAM = """
import numpy as np, hashlib
from tinyconv.dims import NormDims
from tinyconv.kernels.norm import direct
rng, digest = np.random.default_rng(0), hashlib.sha256()
for dims in (NormDims(3, 5, 1, 77, 5), NormDims(1, 130, 9, 1, 1), NormDims(1, 6, 3, 11, 2)):
    x, g = (rng.standard_normal(dims.N * dims.S * dims.K * dims.L).astype("f4") for _ in range(2))
    w = np.ones(dims.P * dims.K, "f4")
    y, mean, var = direct.norm(x, w, w, dims, 1e-5)
    for a in (y, mean, var, *direct.norm_grad(g, x, w, mean, var, dims, 1e-5, False)):
        digest.update(a.tobytes())
print(digest.hexdigest())
"""


def test_results_are_the_same_bits_on_any_number_of_threads():
    def run(threads):
        done = subprocess.run([sys.executable, "-c", f"import os; os.environ['NUMBA_NUM_THREADS'] = '{threads}'{PROGRAM}"],
                              capture_output=True, text=True, check=True)
        return done.stdout

    assert run(1) == run(2) == run(3)


# -- worked numbers ------------------------------------------------------------------------------------------------------------


def test_batch_norm_by_hand():
    x = leaf([[[0.0, 2.0]], [[4.0, 6.0]]])  # one channel: mean 3, variance 5, unbiased 20/3
    mean, var = tc.Tensor(np.array([1.0])), tc.Tensor(np.array([2.0]))
    y = norm.batch_norm(x, mean, var, leaf([2.0]), leaf([1.0]), training=True, momentum=0.25, eps=0.0)
    assert np.allclose(y.numpy().ravel(), 1 + 2 * np.array([-3, -1, 1, 3]) / math.sqrt(5), rtol=1e-14)
    assert mean.item() == 1.5 and var.item() == pytest.approx(0.75 * 2 + 0.25 * 20 / 3, rel=1e-15)
    y = norm.batch_norm(x, tc.Tensor(np.array([2.0])), tc.Tensor(np.array([4.0])), eps=0.0)
    assert y.numpy().ravel().tolist() == [-1, 0, 1, 2]


def test_layer_and_group_norm_by_hand():
    x = leaf([[1.0, 3.0, 10.0, 30.0]])
    y = norm.layer_norm(x, 4, eps=0.0)  # mean 44/4, variance 1010/4 - 11^2
    assert np.allclose(y.numpy(), (x.numpy() - 11) / math.sqrt(131.5), rtol=1e-14)
    assert np.allclose(norm.group_norm(x, 2, eps=0.0).numpy(), [[-1, 1, -1, 1]], rtol=1e-14)


def test_local_response_norm_by_hand():
    x = leaf(np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1))
    y = norm.local_response_norm(x, 2, alpha=2.0, beta=1.0, k=1.0)  # windows {c-1, c}, alpha/size = 1
    assert np.allclose(y.numpy().ravel(), [1 / 2, 2 / 6, 3 / 14, 4 / 26], rtol=1e-15)
    y = norm.local_response_norm(x, 9, alpha=9.0, beta=0.5, k=0.0)  # the window reaches over all channels
    assert np.allclose(y.numpy().ravel(), x.numpy().ravel() / math.sqrt(30), rtol=1e-15)


# -- derivatives ---------------------------------------------------------------------------------------------------------------


def weights(rng, *shape):
    return leaf(rng.uniform(0.5, 2, shape)), leaf(rng.standard_normal(shape))


STATS = (tc.Tensor(np.array([0.1, -0.2, 0.3])), tc.Tensor(np.array([1.5, 0.5, 1.0])))


@pytest.mark.parametrize("shape, wshape, fn", [
    ((4, 3), (3,), lambda x, w, b: norm.batch_norm(x, None, None, w, b, training=True)),
    ((4, 3), (3,), lambda x, w, b: norm.batch_norm(x, *STATS, w, b)),
    ((2, 3, 4), (3,), lambda x, w, b: norm.batch_norm(x, None, None, w, b, training=True)),
    ((2, 3, 2, 2), (3,), lambda x, w, b: norm.batch_norm(x, *STATS, w, b)),
    ((2, 3, 2, 3), (3,), lambda x, w, b: norm.instance_norm(x, None, None, w, b)),
    ((2, 3, 4), (3,), lambda x, w, b: norm.instance_norm(x, *STATS, w, b, use_input_stats=False)),
    ((2, 4, 3), (4,), lambda x, w, b: norm.group_norm(x, 2, w, b)),
    ((2, 4), (4,), lambda x, w, b: norm.group_norm(x, 2, w, b)),
    ((2, 3, 2), (3, 2), lambda x, w, b: norm.layer_norm(x, (3, 2), w, b)),
    ((2, 3, 4), (4,), lambda x, w, b: norm.layer_norm(x, 4, w, b)),
])
def test_derivatives(shape, wshape, fn):
    rng = np.random.default_rng(1)
    x, (w, b) = leaf(rng.standard_normal(shape)), weights(rng, *wshape)
    gradcheck(fn, [x, w, b])
    gradgradcheck(fn, [x, w, b])
    y = fn(x, w, b)
    g = tc.Tensor(rng.standard_normal(y.shape))
    fused = grad(y, [x, w, b], g, retain_graph=True)
    composed = grad(y, [x, w, b], g, create_graph=True)
    for a, c in zip(fused, composed):
        assert np.allclose(a.numpy(), c.numpy(), rtol=0, atol=BOUND)


def test_without_weights():
    x = leaf(np.random.default_rng(0).standard_normal((3, 4, 2)))
    for fn in (lambda x: norm.batch_norm(x, None, None, training=True), lambda x: norm.layer_norm(x, 2),
               lambda x: norm.layer_norm(x, (4, 2), bias=tc.Tensor(np.ones((4, 2)))), lambda x: norm.group_norm(x, 2)):
        gradcheck(fn, x)
        gradgradcheck(fn, x)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_local_response_norm_derivatives(size):
    x = leaf(np.random.default_rng(0).standard_normal((2, 4, 3)))
    gradcheck(lambda x: norm.local_response_norm(x, size, 2.0, 0.75, 1.5), x)
    gradgradcheck(lambda x: norm.local_response_norm(x, size, 2.0, 0.75, 1.5), x)


def test_statistics_in_use_are_not_those_of_a_later_batch():
    rng = np.random.default_rng(0)
    layer = nn.BatchNorm2d(2, dtype="float64").eval()
    x = leaf(rng.standard_normal((2, 2, 2, 2)))
    y = layer(x)
    layer.train()(leaf(rng.standard_normal((2, 2, 2, 2)) * 5))
    y.backward(np.ones(y.shape))
    assert np.allclose(x.grad.numpy(), 1 / math.sqrt(1 + 1e-5), rtol=1e-14)


# -- layers against PyTorch ----------------------------------------------------------------------------------------------------


def test_local_response_norm_within_channels_by_hand():
    x = leaf([[[1.0, 2.0, 3.0], [0.0, 0.0, 2.0]]])
    y = norm.local_response_norm(x, 3, alpha=3.0, beta=1.0, k=1.0, within_channel=True)  # 1 + the squares side by side
    assert np.allclose(y.numpy(), [[[1 / 6, 2 / 15, 3 / 14], [0, 0, 2 / 5]]], rtol=1e-15)
    y = norm.local_response_norm(x, 2, alpha=2.0, beta=1.0, k=1.0, within_channel=True)  # the cell and the one before it
    assert np.allclose(y.numpy(), [[[1 / 2, 2 / 6, 3 / 14], [0, 0, 2 / 5]]], rtol=1e-15)
    image = leaf(np.ones((1, 2, 3, 3)))
    y = nn.LocalResponseNorm(3, alpha=9.0, beta=0.5, k=0.0, within_channel=True)(image).numpy()
    assert np.allclose(y[0, 1] ** -2, [[4, 6, 4], [6, 9, 6], [4, 6, 4]], rtol=1e-14)
    assert repr(nn.LocalResponseNorm(3, within_channel=True)).endswith("k=1.0, within_channel=True)")


@pytest.mark.parametrize("size, shape", [(3, (2, 3, 7)), (2, (1, 2, 4, 5)), (3, (1, 2, 3, 4, 2)), (9, (1, 2, 4, 3))])
def test_local_response_norm_within_channels_derivatives(size, shape):
    def fn(x):
        return norm.local_response_norm(x, size, 2.0, 0.75, 1.5, within_channel=True)

    x = leaf(np.random.default_rng(0).standard_normal(shape))
    gradcheck(fn, x)
    gradgradcheck(fn, x)
    assert fn(x[:0]).shape == (0, *shape[1:])


LAYERS = [
    ("BatchNorm1d(3)", (4, 3)), ("BatchNorm1d(3)", (4, 3, 5)), ("BatchNorm2d(3, momentum=None)", (2, 3, 4, 3)),
    ("BatchNorm3d(3, eps=0.1, affine=False)", (2, 3, 2, 3, 2)), ("BatchNorm2d(3, track_running_stats=False)", (2, 3, 4, 3)),
    ("InstanceNorm1d(3)", (2, 3, 5)), ("InstanceNorm2d(3, affine=True, track_running_stats=True)", (2, 3, 4, 3)),
    ("InstanceNorm3d(3, momentum=0.3)", (2, 3, 2, 3, 2)), ("GroupNorm(2, 4)", (2, 4, 3, 3)),
    ("GroupNorm(4, 4, affine=False)", (2, 4, 3)),
    ("LayerNorm(4)", (2, 3, 4)), ("LayerNorm((3, 4), eps=0.1)", (2, 3, 4)), ("LayerNorm((3, 4), bias=False)", (2, 3, 4)),
    ("LayerNorm(4, elementwise_affine=False)", (2, 4)), ("LocalResponseNorm(3, alpha=0.5, beta=0.5, k=2.0)", (2, 5, 3, 3)),
    ("LocalResponseNorm(4, alpha=0.5)", (2, 5, 3)),
]


@pytest.mark.parametrize("text, shape", LAYERS)
def test_layers_are_pytorchs(torch, text, shape):
    rng = np.random.default_rng(2)
    ours, theirs = eval(text, vars(nn)).double(), eval(text, vars(torch.nn)).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(rng.uniform(0.5, 2, p.shape)))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    for mode in (True, True, False):  # two batches move the running statistics, a third is normalised by them
        ours.train(mode)
        theirs.train(mode)
        x = rng.standard_normal(shape) * 2 + 1
        a, t = leaf(x), torch.tensor(x, requires_grad=True)
        y, ty = ours(a), theirs(t)
        assert np.allclose(y.numpy(), ty.detach().numpy(), rtol=0, atol=BOUND)
        g = rng.standard_normal(shape)
        y.backward(g)
        ty.backward(torch.tensor(g))
        assert np.allclose(a.grad.numpy(), t.grad.numpy(), rtol=0, atol=BOUND)
        for p, tp in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert np.allclose(p.grad.numpy(), tp.grad.numpy(), rtol=0, atol=BOUND)
        for b, tb in zip(ours.buffers(), theirs.buffers(), strict=True):
            assert np.allclose(b.numpy(), tb.numpy(), rtol=0, atol=BOUND)


@pytest.mark.parametrize("text, shown", [
    ("BatchNorm2d(3)", "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"),
    ("InstanceNorm1d(3)", "InstanceNorm1d(3, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False)"),
    ("GroupNorm(2, 4)", "GroupNorm(2, 4, eps=1e-05, affine=True)"),
    ("LayerNorm(4)", "LayerNorm((4,), eps=1e-05, elementwise_affine=True)"),
    ("LocalResponseNorm(5)", "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)"),
])
def test_repr(text, shown):
    assert repr(eval(text, vars(nn))) == shown


# -- dropout -------------------------------------------------------------------------------------------------------------------


def test_dropout_keeps_the_mean_and_follows_its_generator():
    x = tc.Tensor(np.ones((100, 100)), requires_grad=True)
    y = norm.dropout(x, 0.25, generator=np.random.default_rng(0))
    kept = y.numpy() != 0
    assert np.allclose(y.numpy()[kept], 1 / 0.75, rtol=1e-15)
    assert abs(kept.mean() - 0.75) < 4 * math.sqrt(0.25 * 0.75 / 1e4)
    y.backward(np.ones(x.shape))
    assert (x.grad.numpy() == y.numpy()).all()
    again = norm.dropout(x, 0.25, generator=np.random.default_rng(0))
    assert (again.numpy() == y.numpy()).all()
    tc.manual_seed(4)
    first = norm.dropout(x, 0.25).numpy()
    tc.manual_seed(4)
    assert (norm.dropout(x, 0.25).numpy() == first).all() and (first != y.numpy()).any()


def test_dropout_at_its_ends_and_in_evaluation():
    x = tc.Tensor(np.array([1.0, 2.0], np.float32))
    assert norm.dropout(x, 0.0) is x and norm.dropout(x, 0.5, training=False) is x
    assert norm.dropout(x, 1.0).tolist() == [0, 0]
    layer = nn.Dropout(0.5, generator=np.random.default_rng(0))
    assert layer.eval()(x) is x and layer.train()(x).dtype == np.float32
    assert repr(layer) == "Dropout(p=0.5)"


def test_dropout2d_drops_whole_channels():
    x = leaf(np.ones((4, 8, 3, 3)))
    y = nn.Dropout2d(0.5, generator=np.random.default_rng(0))(x).numpy()
    assert (y == y[:, :, :1, :1]).all() and set(np.unique(y)) == {0, 2}


def test_dropout_derivatives():
    x = leaf(np.random.default_rng(0).standard_normal((3, 4)))
    gradcheck(lambda x: norm.dropout(x, 0.5, generator=np.random.default_rng(1)), x)
    gradgradcheck(lambda x: norm.dropout(x * x, 0.5, generator=np.random.default_rng(1)), x)


# -- refusals ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, words", [
    (lambda x: nn.BatchNorm2d(3)(x[:1, :, :1, :1]),
     "more than one value for each channel to have a variance; an input of shape (1, 3, 1, 1) has 1"),
    (lambda x: nn.BatchNorm2d(4)(x), "BatchNorm2d(4) wants an input of 4 channels, got 3, of shape"),
    (lambda x: nn.BatchNorm1d(3)(x), "BatchNorm1d wants an input (N, C, *spatial) of 2 or 3 dimensions, got shape (2, 3, 4,"),
    (lambda x: norm.batch_norm(x, None, None), "training=False wants running_mean and running_var"),
    (lambda x: norm.batch_norm(x.long(), None, None, training=True), "floating-point input (N, C, *spatial), got int64"),
    (lambda x: norm.instance_norm(x[:, :, :1, :1]), "each channel and image to have a variance"),
    (lambda x: norm.instance_norm(x, use_input_stats=False), "use_input_stats=False wants running_mean"),
    (lambda x: norm.group_norm(x, 2), "cannot divide 3 channels into 2 groups"),
    (lambda x: nn.GroupNorm(2, 3), "cannot divide 3 channels into 2 groups"),
    (lambda x: norm.group_norm(x, 3, tc.Tensor(np.ones(4))), "wants weight of shape (3,), got (4,)"),
    (lambda x: norm.layer_norm(x, (3, 4)), "layer_norm over (3, 4) wants an input that ends in these sizes, got (2, 3, 4, 4)"),
    (lambda x: norm.layer_norm(x, 4, tc.Tensor(np.ones(3))), "wants weight of shape (4,), got (3,)"),
    (lambda x: norm.local_response_norm(x, 0), "a size of at least 1, got (2, 3, 4, 4) and 0"),
    (lambda x: norm.local_response_norm(x, 0, within_channel=True), "a size of at least 1, got (2, 3, 4, 4) and 0"),
    (lambda x: norm.local_response_norm(x[:, :, 0, 0], 3, within_channel=True), "an input (N, C, *spatial)"),
    (lambda x: norm.dropout(x, 1.5), "between 0 and 1, got 1.5"),
    (lambda x: nn.Dropout(-0.1), "between 0 and 1, got -0.1"),
    (lambda x: norm.dropout2d(x[0, 0, 0]), "(N, C, *spatial), got float64 of shape (4,)"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError) as caught:
        call(tc.Tensor(np.ones((2, 3, 4, 4))))
    assert words in str(caught.value)


@pytest.mark.parametrize("fn", [
    lambda x: norm.layer_norm(x, 3), lambda x: norm.batch_norm(x, None, None, training=True), lambda x: norm.group_norm(x, 1),
    lambda x: norm.local_response_norm(x, 3),
])
def test_only_floats_are_normalised(fn):
    """Whole numbers would come out as whole numbers, cut off."""
    with pytest.raises(ValueError, match=r"_norm wants a floating-point input.*, got int64 of shape \(2, 3\)"):
        fn(tc.tensor([[1, 2, 6], [0, 1, 5]]))
    with pytest.raises(TypeError, match="_norm wants a Tensor, got ndarray"):
        fn(np.ones((2, 3)))


def test_weights_are_tensors():
    with pytest.raises(TypeError, match="layer_norm wants bias as a Tensor, got ndarray"):
        norm.layer_norm(tc.ones(2, 3), 3, None, np.ones(3, np.float32))


def test_an_empty_batch_leaves_running_statistics_alone():
    layer = nn.InstanceNorm2d(3, track_running_stats=True)
    assert layer(tc.zeros(0, 3, 2, 2)).shape == (0, 3, 2, 2)
    assert layer.running_mean.tolist() == [0.0] * 3 and layer.running_var.tolist() == [1.0] * 3


@pytest.mark.parametrize("shape, over", [((0, 4), 4), ((0, 2, 3), (2, 3)), ((2, 0), 0)])
def test_layer_norm_of_nothing_has_gradients(shape, over):
    x, w = tc.zeros(*shape, requires_grad=True), tc.ones(over, requires_grad=True)
    norm.layer_norm(x, over, w).sum().backward()
    assert x.grad.shape == shape and w.grad.shape == w.shape and not w.grad.numpy().any()

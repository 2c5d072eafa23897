"""Every layer against PyTorch's of the same name, what layers pass on to the functions they stand for, and what they refuse."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn
from tinyconv.autograd import gradcheck, gradgradcheck

BOUND = 1e-10  # float64, sums of at most some thousand terms of size 1


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch (extra `bench`) is not installed")


def like_pytorch(torch, ours, theirs, *inputs, bound=BOUND, **options):
    """Load PyTorch's initial state; then outputs, input gradients, parameter gradients and buffers must agree."""
    theirs = theirs.double()
    ours.double().load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    xs = [tc.Tensor(x, requires_grad=True) for x in inputs]
    txs = [torch.tensor(x, requires_grad=True) for x in inputs]
    y, ty = ours(*xs, **options), theirs(*txs, **options)
    assert y.shape == tuple(ty.shape)
    assert np.allclose(y.numpy(), ty.detach().numpy(), rtol=0, atol=bound)
    g = np.random.default_rng(9).standard_normal(y.shape)
    y.backward(g)
    ty.backward(torch.tensor(g))
    for x, tx in zip(xs, txs):
        assert np.allclose(x.grad.numpy(), tx.grad.numpy(), rtol=0, atol=bound)
    for (name, p), (theirs_name, tp) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == theirs_name
        assert np.allclose(p.grad.numpy(), tp.grad.numpy(), rtol=0, atol=bound)
    for (name, b), (theirs_name, tb) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert name == theirs_name and b.dtype == tb.numpy().dtype
        assert np.allclose(b.numpy(), tb.numpy(), rtol=0, atol=bound)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions(torch, rank, mode):
    args = (4, 6, 3)
    options = {"stride": 2, "padding": 1, "groups": 2, "padding_mode": mode}
    name = f"Conv{rank}d"
    x = np.random.default_rng(rank).standard_normal((2, 4, *(5, 6, 4)[:rank]))
    like_pytorch(torch, getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options), x)


def test_same_padding_of_every_mode(torch):
    x = np.random.default_rng(0).standard_normal((1, 1, 5, 6))
    for mode in ("zeros", "reflect"):
        options = {"padding": "same", "padding_mode": mode, "dilation": 2, "bias": False}
        like_pytorch(torch, nn.Conv2d(1, 2, (2, 3), **options), torch.nn.Conv2d(1, 2, (2, 3), **options), x)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolutions(torch, rank):
    options = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 2}
    name = f"ConvTranspose{rank}d"
    x = np.random.default_rng(rank).standard_normal((2, 4, *(3, 4, 2)[:rank]))
    like_pytorch(torch, getattr(nn, name)(4, 6, 3, **options), getattr(torch.nn, name)(4, 6, 3, **options), x)


def test_transposed_convolution_with_an_output_size(torch):
    x = np.random.default_rng(0).standard_normal((1, 1, 2, 2))
    like_pytorch(torch, nn.ConvTranspose2d(1, 1, 3, 2, 1), torch.nn.ConvTranspose2d(1, 1, 3, 2, 1), x, output_size=[4, 3])


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind, options", [
    ("MaxPool", {"kernel_size": 2}), ("MaxPool", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ("MaxPool", {"kernel_size": 2, "stride": 1, "dilation": 2}), ("AvgPool", {"kernel_size": 2}),
    ("AvgPool", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}),
    ("AdaptiveMaxPool", {"output_size": 3}), ("AdaptiveAvgPool", {"output_size": 3}),
], ids=str)
def test_pooling(torch, rank, kind, options):
    x = np.random.default_rng(rank).permutation(2 * 3 * 6 * 7 * 4).astype(float)[:2 * 3 * int(np.prod((6, 7, 4)[:rank]))]
    x = x.reshape(2, 3, *(6, 7, 4)[:rank])  # no two cells equal
    name = f"{kind}{rank}d"
    like_pytorch(torch, getattr(nn, name)(**options), getattr(torch.nn, name)(**options), x)
    function = "".join("_" * (c.isupper() and i > 0) + c.lower() for i, c in enumerate(kind)) + f"{rank}d"
    y = getattr(nn.functional, function)(tc.Tensor(x), **options)
    assert (y.numpy() == getattr(nn, name)(**options)(tc.Tensor(x)).numpy()).all()


@pytest.mark.parametrize("layer", [
    nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2, 1, 1, divisor_override=3), nn.AdaptiveMaxPool2d((2, None)), nn.AdaptiveAvgPool2d(2),
], ids=repr)
def test_pooling_derivatives(layer):
    x = tc.Tensor(np.random.default_rng(0).permutation(2 * 5 * 5).reshape(1, 2, 5, 5) / 10.0, requires_grad=True)
    gradcheck(layer, x)
    gradgradcheck(layer, x)


def test_pooling_returns_indices(torch):
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 5))
    for text in ("MaxPool2d(2, return_indices=True)", "AdaptiveMaxPool2d(2, return_indices=True)"):
        y, at = eval(text, vars(nn))(tc.Tensor(x))
        _, want = eval(text, vars(torch.nn))(torch.tensor(x))
        assert (at.numpy() == want.numpy()).all() and (y.numpy().ravel() == np.take_along_axis(
            x.reshape(2, 25), at.numpy().reshape(2, -1), 1).ravel()).all()


@pytest.mark.parametrize("text", ["Linear(3, 4)", "Linear(3, 4, bias=False)", "Flatten()", "Flatten(0, 1)", "Identity()",
                                  "ReLU()", "LeakyReLU(0.2)", "Sigmoid()", "Tanh()", "SiLU()", "Softplus()", "Softmax(dim=1)",
                                  "LogSoftmax(dim=1)"])
def test_layers_without_geometry(torch, text):
    x = np.random.default_rng(1).standard_normal((2, 5, 3))
    like_pytorch(torch, eval(text, vars(nn)), eval(text, vars(torch.nn)), x)


def test_temperature_flattens():
    x = tc.Tensor(np.array([[0.0, 2.0]]))
    assert np.allclose(nn.Softmax(1, temperature=2.0)(x).numpy(), [[1 / (1 + np.e), np.e / (1 + np.e)]], rtol=1e-14)
    assert np.allclose(nn.LogSoftmax(1, 2.0)(x).numpy(), np.log(nn.Softmax(1, 2.0)(x).numpy()), rtol=1e-13)


@pytest.mark.parametrize("text", ["CrossEntropyLoss(w, 2, 'sum', 0.1)", "NLLLoss(w, 2, 'sum')"])
def test_losses_of_classes_pass_their_options_on(text):
    rng = np.random.default_rng(0)
    x, t, w = tc.Tensor(rng.standard_normal((5, 3))), np.array([0, 1, 2, 0, 1]), rng.uniform(1, 2, 3)
    fn = {"CrossEntropyLoss": nn.functional.cross_entropy, "NLLLoss": nn.functional.nll_loss}[text.split("(")[0]]
    smoothing = {"label_smoothing": 0.1} if "0.1" in text else {}
    want = fn(x, t, weight=w, ignore_index=2, reduction="sum", **smoothing).item()
    layer = eval(text, {**vars(nn), "w": w})
    assert layer(x, t).item() == want and list(layer.state_dict()) == ["weight"]


@pytest.mark.parametrize("text, fn", [
    ("MSELoss('sum')", lambda x, t: nn.functional.mse_loss(x, t, "sum")),
    ("L1Loss('sum')", lambda x, t: nn.functional.l1_loss(x, t, "sum")),
    ("HuberLoss('sum', 0.3)", lambda x, t: nn.functional.huber_loss(x, t, "sum", 0.3)),
    ("SmoothL1Loss('sum', 0.3)", lambda x, t: nn.functional.smooth_l1_loss(x, t, "sum", 0.3)),
    ("BCEWithLogitsLoss(2.0, 'sum', 3.0)",
     lambda x, t: nn.functional.binary_cross_entropy_with_logits(x, t, 2.0, "sum", 3.0)),
])
def test_other_losses_pass_their_options_on(text, fn):
    rng = np.random.default_rng(0)
    x, t = tc.Tensor(rng.standard_normal((5, 3))), rng.uniform(size=(5, 3))
    assert eval(text, vars(nn))(x, t).item() == fn(x, t).item()


# -- refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, words", [
    (lambda: nn.Conv2d(3, 4, 3, groups=2), "in_channels=3 and out_channels=4 must be positive multiples of groups=2"),
    (lambda: nn.Conv2d(3, 4, 0), "kernel_size must be at least 1"),
    (lambda: nn.Conv2d(1, 1, 3, padding_mode="mirror"), "got 'mirror'"),
    (lambda: nn.Conv2d(1, 1, 3)(tc.Tensor(np.zeros((1, 4, 4)))),
     "Conv2d wants an input (N, C, *spatial) of 4 dimensions, got shape (1, 4, 4)"),
    (lambda: nn.ConvTranspose1d(1, 1, 3, output_padding=-1), "output_padding must be at least 0"),
    (lambda: nn.MaxPool1d(2)(tc.Tensor(np.zeros((1, 1, 4, 4)))), "MaxPool1d wants an input (N, C, *spatial) of 3 dimensions"),
    (lambda: nn.AvgPool1d(2, divisor_override=0)(tc.Tensor(np.zeros((1, 1, 4)))), "divisor_override must not be 0"),
    (lambda: nn.Linear(0, 3), "at least one feature on each side, got 0 and 3"),
    (lambda: nn.functional.conv1d(tc.Tensor(np.zeros((1, 1, 4, 4))), tc.Tensor(np.zeros((1, 1, 3)))),
     "conv1d wants an input of 3 dimensions"),
])
def test_layers_refuse(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)


@pytest.mark.parametrize("layer", [
    nn.Conv2d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1), nn.BatchNorm2d(1), nn.InstanceNorm2d(1), nn.MaxPool2d(1), nn.AvgPool2d(1),
    nn.AdaptiveMaxPool2d(1), nn.LPPool2d(2, 1)], ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("x", [None, np.ones((1, 1, 2, 2), np.float32)], ids=["None", "ndarray"])
def test_layers_want_tensors(layer, x):
    with pytest.raises(TypeError, match=f"^{type(layer).__name__} wants a Tensor, got {type(x).__name__}: "):
        layer(x)


def test_a_batch_that_does_not_fit_is_not_counted():
    layer = nn.BatchNorm2d(4)
    with pytest.raises(ValueError, match="4 channels, got 3"):
        layer(tc.ones(2, 3, 4, 4))
    assert layer.num_batches_tracked.item() == 0
    assert nn.InstanceNorm2d(4)(tc.rand(2, 3, 4, 4)).shape == (2, 3, 4, 4)  # keeps nothing that has a number of channels


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_functions_are_the_layers(rank):
    rng = np.random.default_rng(0)
    x, w, b = (tc.Tensor(rng.standard_normal(s)) for s in ((2, 2, 5, 5, 5)[:rank + 2], (2, 2, 3, 3, 3)[:rank + 2], 2))
    F = nn.functional
    want = tc.conv(x, w, b, stride=2, padding=1).numpy()
    assert (getattr(F, f"conv{rank}d")(x, w, b, 2, 1).numpy() == want).all()
    want = tc.conv_transpose(x, w, b, stride=2, padding=1, output_padding=1).numpy()
    assert (getattr(F, f"conv_transpose{rank}d")(x, w, b, 2, 1, 1).numpy() == want).all()

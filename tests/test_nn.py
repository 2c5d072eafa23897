"""Modules: what they find in themselves, their state and text, and every layer against PyTorch's of the same name."""

import copy
from collections import OrderedDict

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn
from tinyconv.autograd import gradcheck, gradgradcheck

BOUND = 1e-10  # float64, sums of at most some thousand terms of size 1


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch (extra `bench`) is not installed")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
        self.scale = nn.Parameter([1.0, 2.0])
        self.head = nn.Linear(2, 3, bias=False)
        self.register_buffer("seen", np.zeros(2))
        self.register_buffer("scratch", np.zeros(2), persistent=False)
        self.heads = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 2)])

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)) * self.scale)


NAMES = ["scale", "features.0.weight", "features.0.bias", "head.weight", "heads.0.weight", "heads.0.bias", "heads.1.weight",
         "heads.1.bias"]


# -- what a module is made of ----------------------------------------------------------------------------------------------


def test_parts_are_found_by_name():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["scale"]
    assert [n for n, _ in net.named_buffers()] == ["seen", "scratch"]
    assert [n for n, _ in net.named_children()] == ["features", "head", "heads"]
    assert [n for n, _ in net.named_modules()] == ["", "features", "features.0", "features.1", "head", "heads", "heads.0",
                                                   "heads.1"]
    assert [n for n, _ in net.head.named_parameters("head")] == ["head.weight"]
    assert list(net.children()) == [net.features, net.head, net.heads] and next(net.modules()) is net
    assert len(list(net.parameters())) == len(NAMES) and len(list(net.buffers())) == 2


def test_state_dict_has_pytorchs_keys_and_shares_memory():
    net = Net()
    state = net.state_dict()
    assert list(state) == ["scale", "seen", *NAMES[1:]]
    assert not any(t.requires_grad for t in state.values())
    assert np.shares_memory(state["head.weight"].data, net.head.weight.data)
    assert list(net.head.state_dict("head.")) == ["head.weight"]


def test_a_shared_module_counts_once_and_is_saved_twice():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, layer)
    assert len(list(net.parameters())) == 2 and len(list(net.modules())) == 2
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    net[1] = nn.Linear(2, 2)
    net[1].weight = layer.weight  # tied weights
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]


def test_a_parameter_stays_one():
    net = Net()
    with pytest.raises(TypeError, match=r"Net\.scale is a Parameter"):
        net.scale = tc.tensor([1.0, 2.0])
    net.seen = tc.tensor([5.0, 6.0])  # a buffer takes a tensor's place in the state
    assert net.state_dict()["seen"].tolist() == [5, 6]
    net.scale = None
    assert "scale" not in net.state_dict()
    net.register_parameter("scale", nn.Parameter([3.0]))
    assert "scale" in net.state_dict()


def test_modes_and_gradients():
    net = Net()
    assert net.training and net.features[0].training
    assert net.eval() is net and not net.training and not net.features[0].training
    assert net.train().head.training
    shared = nn.Dropout()
    twice = nn.Sequential(shared, nn.Sequential(shared, nn.ReLU()))
    assert not any(m.training for m in twice.eval().modules()) and all(m.training for m in twice.train().modules())
    net(tc.Tensor(np.ones((2, 1, 4, 4), np.float32))).sum().backward()
    assert net.head.weight.grad is not None and net.heads[0].weight.grad is None
    net.zero_grad(set_to_none=False)
    assert (net.head.weight.grad.numpy() == 0).all()
    net.zero_grad()
    assert net.head.weight.grad is None
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_to_another_dtype_keeps_the_objects():
    net = Net()
    net(tc.Tensor(np.ones((2, 1, 4, 4), np.float32))).sum().backward()
    before = list(net.parameters())
    assert net.double() is net and all(a is b for a, b in zip(before, net.parameters()))
    assert net.scale.dtype == net.scale.grad.dtype == net.seen.dtype == np.float64
    assert net.float().scale.dtype == np.float32
    with pytest.raises(TypeError, match="not to int64"):
        net.to("int64")


def test_apply_visits_children_first():
    seen = []
    Net().apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Conv2d", "ReLU", "Sequential", "Linear", "Linear", "Linear", "ModuleList", "Net"]


def test_a_copy_is_independent():
    net = Net()
    twin = copy.deepcopy(net)
    with tc.no_grad():
        twin.scale.fill_(9.0)
    assert net.scale.tolist() == [1, 2] and isinstance(twin.scale, nn.Parameter) and twin.scale.requires_grad
    assert list(twin.state_dict()) == list(net.state_dict())


def test_forward_must_be_defined():
    with pytest.raises(NotImplementedError, match="Module defines no forward"):
        nn.Module()(1)


# -- state -----------------------------------------------------------------------------------------------------------------


def test_state_round_trip():
    tc.manual_seed(0)
    a, b = Net(), Net()
    x = tc.Tensor(np.random.default_rng(0).standard_normal((2, 1, 4, 4)).astype("f4"))
    assert not (a(x).numpy() == b(x).numpy()).all()
    result = b.load_state_dict({k: v.numpy() for k, v in a.state_dict().items()})
    assert result == ([], []) and (a(x).numpy() == b(x).numpy()).all()


def test_loading_names_every_problem_and_writes_nothing():
    net = Net()
    state = {k: np.ones_like(v.numpy()) for k, v in net.state_dict().items()}
    del state["seen"]
    state["extra"] = np.zeros(1)
    state["head.weight"] = np.zeros((2, 2))
    before = net.scale.numpy().copy()
    with pytest.raises(ValueError) as caught:
        net.load_state_dict(state)
    for words in ("does not fit Net", "missing: seen", "unexpected: extra",
                  "head.weight has shape (2, 2) in the state, (3, 2) in the module"):
        assert words in str(caught.value)
    assert (net.scale.numpy() == before).all()
    del state["head.weight"]
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["seen", "head.weight"] and result.unexpected_keys == ["extra"]
    assert (net.scale.numpy() == 1).all()


# -- containers --------------------------------------------------------------------------------------------------------------


def test_sequential_indexes_slices_and_names():
    a, b, c = nn.ReLU(), nn.Linear(2, 2), nn.Tanh()
    net = nn.Sequential(a, b, c)
    assert net[0] is a and net[-1] is c and len(net) == 3 and list(net) == [a, b, c]
    tail = net[1:]
    assert isinstance(tail, nn.Sequential) and list(tail.state_dict()) == ["1.weight", "1.bias"]
    assert list(tail.append(nn.Linear(2, 1)).state_dict()) == ["1.weight", "1.bias", "3.weight", "3.bias"]
    net[1] = nn.Identity()
    assert isinstance(net[1], nn.Identity)
    named = nn.Sequential(OrderedDict(first=a, second=b))
    assert named.second is b and list(named.state_dict()) == ["second.weight", "second.bias"]
    x = tc.tensor([[-1.0, 2.0]])
    assert (nn.Sequential(a, c)(x).numpy() == np.tanh([[0.0, 2.0]]).astype("f4")).all()


def test_containers_refuse_what_is_no_module():
    with pytest.raises(TypeError, match="did you mean to call it"):
        nn.Sequential(nn.ReLU)
    with pytest.raises(TypeError, match="ModuleList holds modules, got <class 'int'>"):
        nn.ModuleList([1])
    with pytest.raises(ValueError, match=r"'a\.b' cannot name a module"):
        nn.Sequential({"a.b": nn.ReLU()})
    with pytest.raises(ValueError, match="'forward' cannot name a module"):
        nn.Sequential({"forward": nn.ReLU()})


# -- text --------------------------------------------------------------------------------------------------------------------


SAME_TEXT = [
    "Conv2d(1, 20, 5)", "Conv2d(4, 8, (3, 1), stride=2, padding=1, dilation=(1, 2), groups=2, bias=False)",
    "Conv1d(2, 2, 3, padding=1, padding_mode='circular')", "Conv3d(1, 1, 2, padding='same')",
    "ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1)", "Linear(3, 4, bias=False)", "Flatten()", "Identity(54)",
    "ReLU()", "LeakyReLU(0.2)", "Sigmoid()", "Tanh()", "SiLU()", "Softmax(dim=1)", "LogSoftmax(dim=1)", "CrossEntropyLoss()",
    "NLLLoss()", "MSELoss()", "BCEWithLogitsLoss()", "Sequential(Linear(1, 1), Sequential(ReLU(), Flatten(0)))",
    "ModuleList([ReLU(), Tanh()])", "Sequential()", "MaxPool2d(2)", "MaxPool1d(3, 2, 1, ceil_mode=True)", "AvgPool2d((2, 1))",
    "AdaptiveAvgPool2d((2, None))", "AdaptiveMaxPool3d(2)",
]


@pytest.mark.parametrize("text", SAME_TEXT)
def test_repr_is_pytorchs(text, torch):
    assert repr(eval(text, vars(nn))) == repr(eval(text, vars(torch.nn)))


def test_repr_shows_what_goes_beyond():
    assert repr(nn.Conv2d(1, 1, 3, algorithm="reference")).endswith("stride=(1, 1), algorithm=reference)")
    assert repr(nn.Softmax(1, temperature=2.0)) == "Softmax(dim=1, temperature=2.0)"


# -- layers ------------------------------------------------------------------------------------------------------------------


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


# -- clipping --------------------------------------------------------------------------------------------------------------


def with_grads(*grads):
    params = [nn.Parameter(np.zeros(len(g))) for g in grads]
    for p, g in zip(params, grads):
        p.grad = tc.Tensor(np.array(g, float))
    return params


def test_clip_grad_norm():
    params = with_grads([3.0], [0.0, 4.0])
    assert nn.utils.clip_grad_norm_(params, 10.0).item() == 5
    assert params[1].grad.tolist() == [0, 4]
    assert nn.utils.clip_grad_norm_(params, 1.0).item() == 5
    assert np.allclose(params[1].grad.numpy(), [0, 0.8], rtol=1e-6)  # the 1e-6 in max_norm / (norm + 1e-6)
    assert nn.utils.clip_grad_norm_(with_grads([3.0], [-4.0]), 1.0, norm_type=float("inf")).item() == 4
    assert nn.utils.clip_grad_norm_(with_grads([3.0], [-4.0]), 1.0, norm_type=1).item() == 7
    assert nn.utils.clip_grad_norm_([nn.Parameter([1.0])], 1.0).item() == 0
    with pytest.raises(RuntimeError, match="the norm of the gradients is nan"):
        nn.utils.clip_grad_norm_(with_grads([float("nan")]), 1.0, error_if_nonfinite=True)
    with pytest.raises(ValueError, match="got -1"):
        nn.utils.clip_grad_norm_(params, -1)


def test_clip_grad_value():
    params = with_grads([3.0, -0.5])
    nn.utils.clip_grad_value_(params, 1.0)
    assert params[0].grad.tolist() == [1, -0.5]
    with pytest.raises(ValueError, match="got -2"):
        nn.utils.clip_grad_value_(params, -2)


def test_clipping_is_pytorchs(torch):
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(4), rng.standard_normal(3)]
    for p in (2.0, 1.0, 3.0, float("inf")):
        ours, theirs = with_grads(*grads), [torch.nn.Parameter(torch.zeros(len(g), dtype=torch.float64)) for g in grads]
        for t, g in zip(theirs, grads):
            t.grad = torch.tensor(g)
        want = torch.nn.utils.clip_grad_norm_(theirs, 0.5, norm_type=p)
        assert nn.utils.clip_grad_norm_(ours, 0.5, norm_type=p).item() == pytest.approx(want.item(), rel=1e-12)
        for a, t in zip(ours, theirs):
            assert np.allclose(a.grad.numpy(), t.grad.numpy(), rtol=1e-12, atol=0)

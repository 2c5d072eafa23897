"""Modules: what they find in themselves, their modes, state and text, and containers. The layers: test_nn_layers.py."""

import copy
from collections import OrderedDict

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn


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
    for name in ("scale", "seen"):
        with pytest.raises(TypeError, match=rf"Net\.{name} is a (Parameter|Buffer): assign a"):
            setattr(net, name, np.ones(2, np.float32))  # it would be gone from the state, unheard
    assert isinstance(net.scale, nn.Parameter) and isinstance(net.seen, nn.Buffer)
    with pytest.raises(TypeError, match=r"register_parameter\('scale'\) wants a Parameter or None, got ndarray"):
        net.register_parameter("scale", np.ones(2))
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


@pytest.mark.parametrize("value, words", [(np.full((3, 2), "1"), "holds <U1"), (np.ones((3, 2), complex), "holds complex128"),
                                          ([[None] * 2] * 3, "holds object")])
def test_loading_what_is_no_number_writes_nothing(value, words):
    net = Net()
    state = {k: np.ones_like(v.numpy()) for k, v in net.state_dict().items()}
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    with pytest.raises(ValueError, match=rf"head\.weight {words} in the state"):
        net.load_state_dict({**state, "head.weight": value})
    assert all((v.numpy() == before[k]).all() for k, v in net.state_dict().items())


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

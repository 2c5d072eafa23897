"""Weights to PyTorch and back through safetensors, on twins of LeNet-5 and ResNet-20 that are written in PyTorch alone."""

from collections import OrderedDict

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn
from tinyconv.data.files import DataError
from tinyconv.models import ModelError, build, find, load_weights, save_weights

torch = pytest.importorskip("torch", reason="PyTorch is what the files are exchanged with")
from safetensors.torch import load_file, save_file  # noqa: E402

IMAGES = {"lenet5": (1, 32, 32), "resnet20": (3, 32, 32)}
# float32 sums in another order, through 20 layers: relative to the largest logit, some 100 times less than 1e-5; a wrong
# layer moves them by 1e-1
BOUND = 1e-5


def lenet5():
    t = torch.nn
    return t.Sequential(OrderedDict(
        c1=t.Conv2d(1, 6, 5), tanh1=t.Tanh(), s2=t.AvgPool2d(2), c3=t.Conv2d(6, 16, 5), tanh3=t.Tanh(), s4=t.AvgPool2d(2),
        c5=t.Conv2d(16, 120, 5), tanh5=t.Tanh(), flatten=t.Flatten(), f6=t.Linear(120, 84), tanh6=t.Tanh(),
        output=t.Linear(84, 10)))


def resnet20():
    class Block(torch.nn.Module):
        def __init__(self, c, o, stride):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(c, o, 3, stride, 1, bias=False)
            self.bn1 = torch.nn.BatchNorm2d(o)
            self.conv2 = torch.nn.Conv2d(o, o, 3, 1, 1, bias=False)
            self.bn2 = torch.nn.BatchNorm2d(o)
            self.more = (o - c) // 2

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            if self.more:
                x = torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))
            return torch.relu(y + x)

    class ResNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = torch.nn.BatchNorm2d(16)
            for i, (c, o) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
                setattr(self, f"layer{i}", torch.nn.Sequential(
                    Block(c, o, 1 + (c != o)), Block(o, o, 1), Block(o, o, 1)))
            self.fc = torch.nn.Linear(64, 10)

        def forward(self, x):
            x = torch.relu(self.bn1(self.conv1(x)))
            return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))

    return ResNet()


TWINS = {"lenet5": lenet5, "resnet20": resnet20}


def pair(name):
    """Ours and PyTorch's, with weights of their own, after two batches in training: running statistics have moved."""
    tc.manual_seed(0)
    torch.manual_seed(1)
    ours, theirs = build(name, IMAGES[name], 10), TWINS[name]()
    for seed in (1, 2):
        x = images(name, seed)
        ours(tc.tensor(x))
        theirs(torch.tensor(x))
    return ours.eval(), theirs.eval()


def images(name, seed=0):
    return np.random.default_rng(seed).standard_normal((4, *IMAGES[name])).astype(np.float32)


def answers(ours, theirs, name):
    x = images(name)
    with tc.no_grad(), torch.no_grad():
        return ours(tc.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy()


@pytest.mark.parametrize("name", TWINS)
def test_names_shapes_and_order_are_pytorchs(name):
    ours, theirs = pair(name)
    assert [(k, t.shape, str(t.dtype)) for k, t in ours.state_dict().items()] == [
        (k, tuple(t.shape), str(t.dtype).removeprefix("torch.")) for k, t in theirs.state_dict().items()]


@pytest.mark.parametrize("name", TWINS)
def test_from_pytorch(name, tmp_path):
    ours, theirs = pair(name)
    before, want = answers(ours, theirs, name)
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    load_weights(ours, tmp_path / "theirs.safetensors")
    got, _ = answers(ours, theirs, name)
    np.testing.assert_allclose(got, want, rtol=0, atol=BOUND * np.abs(want).max())
    assert np.abs(before - want).max() > 100 * BOUND * np.abs(want).max()


@pytest.mark.parametrize("name", TWINS)
def test_to_pytorch(name, tmp_path):
    ours, theirs = pair(name)
    save_weights(ours, tmp_path / "ours.safetensors")
    theirs.load_state_dict(load_file(tmp_path / "ours.safetensors"), strict=True)
    got, want = answers(ours, theirs, name)
    np.testing.assert_allclose(got, want, rtol=0, atol=BOUND * np.abs(want).max())
    assert {int(v) for k, v in theirs.state_dict().items() if k.endswith("num_batches_tracked")} == (
        {2} if name == "resnet20" else set())


def test_there_and_back_is_bit_for_bit(tmp_path):
    ours, theirs = pair("resnet20")
    save_weights(ours, tmp_path / "a.safetensors")
    theirs.load_state_dict(load_file(tmp_path / "a.safetensors"))
    save_file(theirs.state_dict(), tmp_path / "b.safetensors")
    back = build("resnet20", IMAGES["resnet20"], 10)
    load_weights(back, tmp_path / "b.safetensors")
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(ours.state_dict().values(), back.state_dict().values()))


def test_files_without_counters_and_in_half_precision_load(tmp_path):
    ours, theirs = pair("resnet20")
    state = {k: t.half() for k, t in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "half.safetensors")
    load_weights(ours, tmp_path / "half.safetensors")
    assert ours.bn1.num_batches_tracked.item() == 2 and ours.conv1.weight.dtype == np.float32
    np.testing.assert_array_equal(ours.conv1.weight.numpy(), theirs.conv1.weight.detach().half().numpy())


def test_what_does_not_fit_is_told_and_changes_nothing(tmp_path):
    ours, theirs = pair("lenet5")
    before = {k: t.numpy().copy() for k, t in ours.state_dict().items()}
    path = tmp_path / "x.safetensors"
    state = theirs.state_dict()

    def refused(match):
        with pytest.raises(ModelError, match=match):
            load_weights(ours, path)
        assert all((before[k] == t.numpy()).all() for k, t in ours.state_dict().items())

    refused("there is no file .*x.safetensors")
    path.write_bytes(b"no weights at all")
    refused("is damaged")
    save_file({k: t for k, t in state.items() if k != "c3.bias"}, path)
    refused("missing: c3.bias")
    save_file({**state, "extra": torch.zeros(1)}, path)
    refused("unexpected: extra")
    save_file({**state, "c3.weight": torch.zeros(16, 6, 3, 3)}, path)
    refused(r"c3.weight has shape \(16, 6, 3, 3\) in the state, \(16, 6, 5, 5\) in the module")
    with pytest.raises(DataError, match="cannot write"):
        save_weights(ours, tmp_path / "nowhere" / "x.safetensors")


def test_views_and_plain_modules_are_written_whole(tmp_path):
    """A transposed weight is not contiguous: its file holds the values in their places."""
    layer = nn.Linear(3, 2)
    layer.weight.data = np.arange(6, dtype=np.float32).reshape(3, 2).T
    save_weights(layer, tmp_path / "l.safetensors")
    assert load_file(tmp_path / "l.safetensors")["weight"].tolist() == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize("name, keys", [
    ("vgg16", {"features.28.weight": (512, 512, 3, 3), "classifier.0.weight": (4096, 25088), "classifier.6.bias": (1000,)}),
    ("resnet18", {"layer2.0.downsample.0.weight": (128, 64, 1, 1), "layer4.1.bn2.running_var": (512,),
                  "fc.weight": (1000, 512)}),
    ("googlenet-bn", {"conv3.bn.weight": (192,), "inception3a.branch3.1.conv.weight": (32, 16, 3, 3),
                      "inception5b.branch4.1.conv.weight": (128, 832, 1, 1), "fc.bias": (1000,)})])
def test_names_are_torchvisions(name, keys):
    """Some of each network's keys, with shapes; torchvision's googlenet has auxiliary heads besides."""
    with nn.init.skipped():
        state = find(name).new().state_dict()
    assert {key: state[key].shape for key in keys} == keys

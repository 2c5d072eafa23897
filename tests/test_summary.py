"""The summary of a network: published counts, and receptive fields against what gradients reach."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn
from tinyconv.models import build
from tinyconv.ops import relu


def column(summary, name):
    return [getattr(row, name) for row in summary.rows]


def test_lenet5_has_the_published_counts():
    """LeCun et al. (1998), II.B, with a fully connected C3; a layer's multiply-adds are its outputs times its taps."""
    s = build("lenet5", (1, 32, 32), 10).summary((1, 32, 32))
    of = {row.name: row for row in s.rows}
    assert [of[n].parameters for n in ("c1", "c3", "c5", "f6", "output")] == [156, 2416, 48120, 10164, 850]
    assert [of[n].macs for n in ("c1", "c3", "c5", "f6")] == [28 * 28 * 6 * 25, 10 * 10 * 16 * 6 * 25, 120 * 400, 120 * 84]
    assert [of[n].output for n in ("c1", "s2", "c3", "s4", "c5", "output")] == [
        ((6, 28, 28),), ((6, 14, 14),), ((16, 10, 10),), ((16, 5, 5),), ((120, 1, 1),), ((10,),)]
    assert [(of[n].sees, of[n].jump) for n in ("c1", "s2", "c3", "s4", "c5")] == [
        ((5, 5), (1, 1)), ((6, 6), (2, 2)), ((14, 14), (2, 2)), ((16, 16), (4, 4)), ((32, 32), (4, 4))]
    assert of["f6"].sees == (32, 32) and of["f6"].jump == (0, 0)
    assert (s.parameters, s.parameter_bytes) == (61706, 4 * 61706)
    assert of["c1"].bytes == 4 * 6 * 28 * 28


STACKS = {
    "plain": (nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3)),
    "strides": (nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.Conv2d(2, 2, (3, 2), stride=(1, 2)), nn.Conv2d(2, 1, 2)),
    "dilated": (nn.Conv2d(1, 1, 3, dilation=2, padding=2), nn.Conv2d(1, 1, 2, dilation=(3, 1))),
    "pooled": (nn.Conv2d(1, 2, 3, padding=1), nn.AvgPool2d(2), nn.Conv2d(2, 1, 3), nn.AvgPool2d(3, 2)),
    "transposed": (nn.Conv2d(1, 2, 3, stride=2), nn.ConvTranspose2d(2, 1, 3, stride=2)),
    "adaptive": (nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1)),
}


def reached(model, x, row, col):
    """The size of the box of input cells that one output cell's gradient reaches."""
    y = model(x)
    g = np.zeros(y.shape, np.float32)
    g[..., row, col] = 1
    x.grad = None
    y.backward(tc.tensor(g))
    at = x.grad.numpy()[0, 0].nonzero()
    return tuple(int(a.max() - a.min()) + 1 for a in at)


@pytest.mark.parametrize("name", STACKS)
def test_receptive_fields_are_what_gradients_reach(name):
    """With positive weights and inputs nothing cancels: the widest box over the output cells is the field."""
    model = nn.Sequential(*STACKS[name])
    for p in model.parameters():
        p.data[...] = 1
    x = tc.tensor(np.ones((1, 1, 23, 24), np.float32), requires_grad=True)
    boxes = [reached(model, x, *at) for at in np.ndindex(model(x).shape[2:])]
    assert model.summary((1, 23, 24)).rows[-1].sees == tuple(max(axis) for axis in zip(*boxes))


class Residual(nn.Module):
    """Two paths and an operation that is no module."""

    def __init__(self):
        self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 5, padding=2)
        self.scale = nn.Parameter(np.ones((2, 1, 1), np.float32))

    def forward(self, x):
        h = relu(self.b(self.a(x)) + x) * self.scale
        return tc.conv(h, self.a.weight, padding=1).mean((2, 3))


def test_operations_between_layers_are_counted():
    s = Residual().summary((2, 9, 9))
    assert column(s, "name") == ["a", "b", "Residual"]
    assert column(s, "macs") == [81 * 2 * 2 * 9, 81 * 2 * 2 * 25, 81 * 2 * 2 * 9]
    assert column(s, "parameters") == [38, 102, 2]
    assert column(s, "sees") == [(3, 3), (7, 7), (9, 9)]
    assert s.macs == sum(column(s, "macs"))


class Apart(nn.Module):
    """A sum of two paths that look to different sides."""

    def __init__(self):
        self.left, self.right = nn.Conv2d(1, 1, 3, padding=((2, 0), (2, 0))), nn.Conv2d(1, 1, 2, padding=((0, 1), (0, 1)))
        self.last = nn.Identity()

    def forward(self, x):
        return self.last(self.left(x) + self.right(x))


def test_a_sum_sees_what_its_operands_see():
    model = Apart()
    for p in model.parameters():
        p.data[...] = 1
    x = tc.tensor(np.ones((1, 1, 9, 9), np.float32), requires_grad=True)
    assert column(model.summary((1, 9, 9)), "sees") == [(3, 3), (2, 2), (4, 4)]
    assert reached(model, x, 4, 4) == (4, 4)


def test_a_shared_layer_is_counted_once_and_charged_twice():
    layer = nn.Linear(6, 6)
    s = nn.Sequential(layer, nn.Tanh(), layer).summary((6,))
    assert column(s, "parameters") == [42, 0, 0] and s.parameters == 42
    assert column(s, "macs") == [36, 0, 36]


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())
    model[1].eval()
    before, state = [dict(vars(m)) for m in model.modules()], model[0].weight.numpy().copy()
    with tc.no_grad():
        model.summary((1, 5, 5))
    assert [dict(vars(m)) for m in model.modules()] == before
    assert (model.training, model[1].training) == (True, False)
    np.testing.assert_array_equal(model[0].weight.numpy(), state)
    with pytest.raises(ValueError):
        model.summary((2, 5, 5))
    assert "forward" not in vars(model[0])


def test_frozen_parameters_and_notebooks():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    s = model.summary((3,))
    assert (s.parameters, s.trained) == (11, 3)
    assert "(8 of them frozen)" in repr(s)
    assert s._repr_html_().count("<tr>") == 3

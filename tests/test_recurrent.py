"""Recurrent cells against PyTorch's, and ReNet's four sweeps against loops."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn

CELLS = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
BOUND = 1e-12  # float64, sums of a dozen terms of about one


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def twins(torch, name, bias=True):
    theirs = {"rnn": torch.nn.RNNCell, "lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}[name](5, 4, bias=bias).double()
    ours = CELLS[name](5, 4, bias=bias).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: t.numpy() for k, t in theirs.state_dict().items()})
    return ours, theirs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CELLS)
def test_cells_are_pytorchs(torch, name, bias):
    """Three steps from zeros, and the gradients of inputs and weights through them."""
    torch.manual_seed(0)
    ours, theirs = twins(torch, name, bias)
    xs = np.random.default_rng(0).standard_normal((3, 2, 5))
    x, x_theirs = tc.tensor(xs, requires_grad=True), torch.tensor(xs, requires_grad=True)
    state = state_theirs = None
    for t in range(3):
        state, state_theirs = ours(x[t], state), theirs(x_theirs[t], state_theirs)
    pairs = zip(state, state_theirs) if name == "lstm" else [(state, state_theirs)]
    loss = loss_theirs = 0
    for i, (a, b) in enumerate(pairs, 1):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=0, atol=BOUND)
        loss, loss_theirs = loss + i * (a * a).sum(), loss_theirs + i * (b * b).sum()
    loss.backward()
    loss_theirs.backward()
    np.testing.assert_allclose(x.grad.numpy(), x_theirs.grad.numpy(), rtol=0, atol=BOUND)
    for (k, p), q in zip(ours.named_parameters(), theirs.parameters()):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=0, atol=10 * BOUND, err_msg=k)


@pytest.mark.parametrize("name", CELLS)
def test_weights_start_as_pytorchs(name):
    tc.manual_seed(0)
    drawn = np.concatenate([p.numpy().ravel() for p in CELLS[name](50, 16).parameters()])
    assert np.abs(drawn).max() <= 0.25 and np.abs(drawn).max() > 0.24
    assert np.var(drawn) == pytest.approx(0.25 ** 2 / 3, rel=0.1)


@pytest.mark.parametrize("name", CELLS)
def test_renet_is_four_sweeps(name):
    """Down and up each column of patches by cells alone, then right and left along what they saw; patches of 2x3."""
    tc.manual_seed(0)
    layer = nn.ReNet(2, 3, (2, 3), cell=name).double()
    x = np.random.default_rng(0).standard_normal((2, 2, 6, 12))

    def swept(cell, sequence):
        state, found = None, []
        for item in sequence:
            state = cell(tc.tensor(item), state)
            found.append((state[0] if name == "lstm" else state).numpy())
        return found

    for n in range(2):
        patches = x[n].reshape(2, 3, 2, 4, 3).transpose(1, 3, 0, 2, 4).reshape(3, 4, 12)  # I, J, (c, kh, kw)
        seen = np.concatenate([swept(layer.down, patches), swept(layer.up, patches[::-1])[::-1]], 2)
        turned = seen.transpose(1, 0, 2)
        want = np.concatenate([swept(layer.right, turned), swept(layer.left, turned[::-1])[::-1]], 2)  # J, I, 2d
        got = layer(tc.tensor(x)).numpy()[n]
        assert got.shape == (6, 3, 4)
        np.testing.assert_allclose(got, want.transpose(2, 1, 0), rtol=0, atol=BOUND)


def test_every_output_of_renet_sees_every_pixel():
    tc.manual_seed(0)
    layer, x = nn.ReNet(1, 4, 2), tc.tensor(np.random.default_rng(0).random((1, 1, 6, 8), np.float32), requires_grad=True)
    layer(x)[0, :, 1, 2].sum().backward()
    assert x.grad.numpy().all()


def test_an_empty_batch_stays_one():
    assert nn.ReNet(1, 3, (2, 1))(tc.zeros(0, 1, 4, 4)).shape == (0, 6, 2, 4)


def test_bad_sizes_are_told():
    with pytest.raises(ValueError, match=r"patches of 2x2 divide, got shape \(1, 1, 5, 4\)"):
        nn.ReNet(1, 2)(tc.zeros(1, 1, 5, 4))
    with pytest.raises(ValueError, match="rnn, lstm, gru"):
        nn.ReNet(1, 2, cell="mlp")
    with pytest.raises(ValueError, match=r"\(N, 5\), got shape \(2, 4\)"):
        nn.GRUCell(5, 3)(tc.zeros(2, 4))
    with pytest.raises(ValueError, match=r"state \(2, 3\), got shape \(2, 4\)"):
        nn.LSTMCell(5, 3)(tc.zeros(2, 5), (tc.zeros(2, 3), tc.zeros(2, 4)))
    with pytest.raises(TypeError, match="LSTMCell wants a tuple of 2 Tensors as its state, got Tensor"):
        nn.LSTMCell(5, 3)(tc.zeros(2, 5), tc.zeros(2, 3))  # whose two rows are no h and c
    with pytest.raises(TypeError, match="GRUCell wants one Tensor as its state, got tuple"):
        nn.GRUCell(5, 3)(tc.zeros(2, 5), (tc.zeros(2, 3), tc.zeros(2, 3)))


def test_a_state_may_be_a_list_or_learned():
    cell, x = nn.LSTMCell(5, 3), tc.ones(2, 5)
    h = [nn.Parameter(np.ones((2, 3), np.float32)) for _ in range(2)]
    assert cell(x, h)[0].tolist() == cell(x, tuple(h))[0].tolist()
    assert nn.GRUCell(5, 3)(x, h[0]).shape == (2, 3)

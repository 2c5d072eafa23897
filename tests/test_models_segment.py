"""Networks that give every pixel a class: sizes, skips and indices that matter, gradients, and how far they see."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.models import FCN, Context, DilatedNet, SegNet, UNet
from tinyconv.nn import functional as F
from tinyconv.nn import init

NETWORKS = {"fcn": FCN, "unet": UNet, "segnet": SegNet, "dilated": DilatedNet}


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("size", [(16, 24), (17, 23)])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_pixel_gets_a_score_and_every_weight_a_gradient(name, size):
    tc.manual_seed(0)
    model = NETWORKS[name](2, 3, width=4, depth=3)
    labels = np.random.default_rng(1).integers(0, 3, (2, *size))
    y = model(tc.tensor(images(2, 2, *size)))
    assert y.shape == (2, 3, *size)
    F.cross_entropy(y, tc.tensor(labels)).backward()
    for path, p in model.named_parameters():
        assert p.grad is not None and np.isfinite(p.grad.numpy()).all() and p.grad.numpy().any(), path


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_fits_one_picture(name):
    """Thirty steps on one picture, a bright square on noise, of which each pixel's class is known: the loss falls to half."""
    tc.manual_seed(0)
    x, labels = images(1, 1, 16, 16) * 0.2, np.zeros((1, 16, 16), np.int64)
    x[:, :, 4:11, 6:13] += 0.8
    labels[:, 4:11, 6:13] = 1
    model = NETWORKS[name](1, 2, width=4, depth=2)
    optimiser = tc.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(tc.tensor(x)), tc.tensor(labels))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0], losses


def without(model, *parts):
    """The model with the named weights at 0."""
    for name, p in model.named_parameters():
        if name.startswith(parts):
            p.data[...] = 0
    return model


def test_the_skips_of_unet_carry_what_the_bottom_lost():
    """With nothing enlarged, what is left is one skip: the top of the U alone decides, and its field is four layers of 3x3."""
    tc.manual_seed(0)
    model = without(UNet(1, 2, width=4, depth=2), "up.1").eval()
    x = images(1, 1, 32, 32)
    moved = x.copy()
    moved[0, 0, 0, 0] += 1
    change = np.abs(model(tc.tensor(moved)).numpy() - model(tc.tensor(x)).numpy()).max((0, 1))
    assert change[:5, :5].any() and not change[5:].any() and not change[:, 5:].any()


def test_the_skips_of_fcn_are_added_at_their_size():
    """Behind the scores all is linear: the picture is the sum of what each size alone gives, and each gives something: the
    more often it is enlarged, the fewer different values. Bound: roundings of some ten sums in float32."""
    x = tc.tensor(images(1, 1, 16, 16))

    def alone(*kept):
        tc.manual_seed(0)
        model = FCN(1, 2, width=4, depth=3).eval()
        return without(model, *(f"scores.{i}." for i in range(3) if i not in kept))(x).numpy()

    parts, whole = [alone(i) for i in range(3)], alone(0, 1, 2)
    assert all(part.any() for part in parts)
    np.testing.assert_allclose(sum(parts), whole, rtol=0, atol=16 * np.finfo(np.float32).eps * np.abs(whole).max())
    rough = [np.abs(np.diff(part, 2)).mean() / np.abs(part).mean() for part in parts]
    assert rough[0] < rough[1] < rough[2]
    assert [len(FCN(1, 2, depth=3, skips=n).scores) for n in range(3)] == [1, 2, 3]
    assert FCN(1, 2, depth=3, skips=0)(x).shape == (1, 2, 16, 16)
    with pytest.raises(ValueError, match="skips=3"):
        FCN(1, 2, depth=3, skips=3)


def test_enlarging_starts_as_interpolation():
    """A ramp stays a ramp, one step a pixel finer, away from the border."""
    layer = FCN(1, 2, depth=2).last
    ramp = np.broadcast_to(np.arange(6, dtype=np.float32), (1, 2, 6, 6))
    with tc.no_grad():
        row = layer(tc.tensor(ramp)).numpy()[0, 1, 6]
    np.testing.assert_allclose(np.diff(row)[2:-2], 0.5, atol=1e-6)


def test_segnet_puts_maxima_where_they_were():
    """What the deepest unpooling gives is 0 but for one cell in each window: the one with the maximum."""
    tc.manual_seed(0)
    model = SegNet(1, 2, width=4, depth=2).eval()
    seen = {}
    pool, unpool = model.pool.forward, model.unpool.forward

    def watch_pool(x):
        seen.setdefault("x", x.numpy())
        return pool(x)

    def watch_unpool(*args):
        seen["y"] = unpool(*args).numpy()
        return tc.tensor(seen["y"])

    model.pool.forward, model.unpool.forward = watch_pool, watch_unpool
    model(tc.tensor(images(1, 1, 8, 8)))
    windows = [seen[k].reshape(4, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(4, 16, 4) for k in "xy"]
    assert ((windows[1] != 0).sum(-1) <= 1).all() and (windows[1] != 0).any()
    filled = (windows[1] != 0).any(-1)
    np.testing.assert_array_equal(np.abs(windows[1]).argmax(-1)[filled], windows[0].argmax(-1)[filled])


def test_the_context_doubles_what_it_sees_at_constant_parameters():
    """Yu and Koltun (2016), table 1: 3, 5, 9, 17, 33, 65 cells, by 9 C^2 weights and C biases each; sizes stay."""
    with init.skipped():
        rows = [row for row in Context(5, depth=6).summary((5, 80, 80)).rows if row.kind == "Conv2d"]
    assert [row.sees for row in rows] == [(2 ** i + 1,) * 2 for i in range(1, 7)]
    assert {row.parameters for row in rows} == {9 * 25 + 5} and {row.output for row in rows} == {((5, 80, 80),)}


def test_the_context_sees_that_far_and_starts_as_the_identity():
    x = images(1, 2, 21, 21)
    model = Context(2, depth=3)
    np.testing.assert_array_equal(model(tc.tensor(x)).numpy(), x)
    for p in model.parameters():
        p.data[...] = 1
    t = tc.tensor(x, requires_grad=True)
    model(t)[0, 0, 10, 10].backward()
    rows, cols = t.grad.numpy()[0, 0].nonzero()
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (6, 14, 6, 14)  # 9 cells about 10

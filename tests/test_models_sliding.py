"""A classifier slid over an image, window by window and as one convolutional network: the same answers, less work."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn
from tinyconv.models import ModelError, build, fully_convolutional, slide

EPS = np.finfo(np.float32).eps


def images(*shape):
    return tc.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def settled(model, image):
    """The model in evaluation, its running statistics moved by a batch so that they matter."""
    model.train()
    with tc.no_grad():
        model(images(8, *image))
    return model.eval()


def everything():
    """Strides, poolings with rows left over, normalisation on both sides of the flattening, a window that is not square."""
    return nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(1, 2)), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2),
        nn.Sequential(nn.Conv2d(4, 6, 2, dilation=2), nn.Tanh()), nn.MaxPool2d(2, 1), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(6 * 2 * 1, 7), nn.BatchNorm1d(7), nn.Sigmoid(), nn.Linear(7, 3, bias=False))


def averaged():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


CASES = {
    "cnn": (lambda: build("cnn", (1, 28, 28), 10), (1, 28, 28), (41, 52), (4, 4)),
    "lenet5": (lambda: build("lenet5", (1, 32, 32), 10), (1, 32, 32), (32, 45), (4, 4)),
    "everything": (everything, (2, 12, 19), (19, 33), (2, 4)),
    "averaged": (averaged, (1, 7, 9), (12, 10), (1, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_sliding_gives(name):
    """Bound: the same sums in another order. A layer of n products is at most n*eps of the sum of their magnitudes off,
    in practice sqrt(n); 64 eps of the largest answer is that for these widths, and 1e-4 of what a wrong cell would do."""
    make, image, size, step = CASES[name]
    tc.manual_seed(0)
    model = settled(make(), image)
    x = images(2, image[0], *size)
    want = slide(model, x, image, step).numpy()
    with tc.no_grad():
        got = fully_convolutional(model, image)(x).numpy()
    assert want.shape[2:] == tuple((n - w) // s + 1 for n, w, s in zip(size, image[1:], step))
    unread = 2 if name == "everything" else 0  # of 19 columns, so that a window more hangs over the edge
    assert got.shape[2:] == (want.shape[2], (size[1] + unread - image[2]) // step[1] + 1)
    got = got[..., :want.shape[3]]
    np.testing.assert_allclose(got, want, rtol=0, atol=64 * EPS * np.abs(want).max(), strict=True)
    assert np.ptp(want, axis=(2, 3)).max() > 1e-3


def test_sliding_is_the_model_at_each_place():
    """The reference of the test above, against windows cut out by hand."""
    tc.manual_seed(0)
    model, x = settled(averaged(), (1, 7, 9)), images(2, 1, 12, 10)
    y = slide(model, x, (1, 7, 9), (2, 1), batch=3).numpy()
    assert y.shape == (2, 3, 3, 2)
    for n, i, j in np.ndindex(2, 3, 2):
        one = model(x[n:n + 1, :, 2 * i:2 * i + 7, j:j + 9]).numpy()[0]
        np.testing.assert_allclose(y[n, :, i, j], one, atol=16 * EPS)


def test_on_an_image_of_one_window_it_is_the_model():
    model = settled(build("lenet5", (1, 32, 32), 10), (1, 32, 32))
    x = images(3, 1, 32, 32)
    with tc.no_grad():
        got = fully_convolutional(model, (1, 32, 32))(x).numpy()
        assert got.shape == (3, 10, 1, 1)
        np.testing.assert_allclose(got[:, :, 0, 0], model(x).numpy(), atol=64 * EPS)


def test_it_takes_a_fraction_of_the_multiply_adds():
    """LeNet-5 on 256x256: 57 x 57 windows, whose first layer alone each would do again."""
    model = build("lenet5", (1, 32, 32), 10)
    once, windows = model.summary((1, 32, 32)).macs, 57 * 57
    whole = fully_convolutional(model, (1, 32, 32)).summary((1, 256, 256))
    assert whole.rows[-1].output == ((10, 57, 57),)
    assert 5 * whole.macs < once * windows
    # the last layers do what they did; the first does each cell once, where each window did it for itself
    assert whole.macs > windows * (120 * 400 + 120 * 84 + 840)


def test_the_model_keeps_its_own_weights():
    model = build("lenet5", (1, 32, 32), 10)
    before = {name: t.numpy().copy() for name, t in model.state_dict().items()}
    net = fully_convolutional(model, (1, 32, 32))
    for p in net.parameters():
        p.data[...] = 0
    assert model.training and not net.training
    assert all((before[name] == t.numpy()).all() for name, t in model.state_dict().items())


@pytest.mark.parametrize("layer, word", [
    (nn.Conv2d(1, 1, 3, padding=1), "pads by"), (nn.MaxPool2d(2, ceil_mode=True), "ceil_mode"),
    (nn.AdaptiveAvgPool2d(2), "to 2x2"), (nn.Upsample(scale_factor=2), "Upsample"),
    (nn.InstanceNorm2d(1), "InstanceNorm2d"), (nn.Conv2d(1, 1, 3, padding="same"), "pads by"),
])
def test_what_does_not_slide_is_refused_by_name(layer, word):
    model = nn.Sequential(nn.ReLU(), layer, nn.Flatten(), nn.Linear(36, 2))
    with pytest.raises(ModelError, match=rf"^1\b.*{word}"):
        fully_convolutional(model, (1, 6, 6))

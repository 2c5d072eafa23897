"""Decoders: sizes, gradients, what they learn in a moment, and which of them leave a checkerboard."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.data import digits
from tinyconv.models import Autoencoder, Discriminator, Generator, ModelError
from tinyconv.models.decoders import enlarge
from tinyconv.nn import functional as F


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("size, kernel", [(28, 4), (32, 3), (8, 5)])
def test_sizes_and_gradients(size, kernel, upsample):
    tc.manual_seed(0)
    rng = np.random.default_rng(0)
    x = tc.tensor(rng.random((2, 3, size, size), np.float32))
    auto = Autoencoder(3, size, width=4, code=5, kernel_size=kernel, upsample=upsample)
    made = Generator(3, size, noise=7, width=4, kernel_size=kernel, upsample=upsample)
    judge = Discriminator(3, size, width=4)
    assert auto.encoder(x).shape == (2, 5)
    y, images = auto(x), made(tc.tensor(rng.standard_normal((2, 7)).astype(np.float32)))
    assert y.shape == images.shape == x.shape
    assert 0 <= y.numpy().min() and y.numpy().max() <= 1 and np.abs(images.numpy()).max() <= 1
    logits = judge(images)
    assert logits.shape == (2, 1)
    F.mse_loss(y, x).backward()
    F.binary_cross_entropy_with_logits(logits, tc.ones(2, 1)).backward()
    for model in (auto, made, judge):
        for name, p in model.named_parameters():
            assert p.grad is not None and np.isfinite(p.grad.numpy()).all(), name
    assert all(p.grad.numpy().any() for p in made.parameters())  # through the judge into the generator


def test_an_autoencoder_learns_to_describe_digits():
    """A pass over 320 digits of 8x8 by 8 numbers each: closer than their mean image, which describes them all."""
    tc.manual_seed(0)
    x = (digits()[0][:320] / np.float32(16)).astype(np.float32)
    model = Autoencoder(1, 8, width=8, code=8)
    optimiser = tc.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(6):
        for batch in np.split(x, 10):
            optimiser.zero_grad()
            loss = F.mse_loss(model(tc.tensor(batch)), tc.tensor(batch))
            loss.backward()
            optimiser.step()
    with tc.no_grad():
        error = F.mse_loss(model(tc.tensor(x)), tc.tensor(x)).item()
    assert error < 0.7 * x.var(0).mean()


def test_weights_start_as_dcgan_says():
    tc.manual_seed(0)
    model = Generator(1, 28, width=32)
    weight = model.project.weight.numpy()
    assert weight.std() == pytest.approx(0.02, rel=0.05) and abs(weight.mean()) < 1e-3
    assert model.bn1.weight.numpy().mean() == pytest.approx(1, abs=0.02) and not model.bn1.bias.numpy().any()


@pytest.mark.parametrize("upsample, kernel, even", [
    ("transposed", 2, True), ("transposed", 3, False), ("transposed", 4, True), ("transposed", 5, False),
    ("resize", 3, True), ("resize", 4, True), ("resize", 5, True)])
def test_the_checkerboard(upsample, kernel, even):
    """How often cells are covered, by a kernel of ones on an image of ones: the same everywhere inside, or in a pattern of
    the stride. Odena et al. (2016)."""
    layer = enlarge(1, 1, kernel, upsample)
    for p in layer.parameters():
        p.data[...] = 1 if p.ndim == 4 else 0
    y = layer(tc.ones(1, 1, 8, 8)).numpy()[0, 0]
    assert y.shape == (16, 16)
    inside = y[4:12, 4:12]
    assert (np.ptp(inside) == 0) == even
    if not even:  # k = 2m + 1: m and m + 1 taps by turns along each axis
        m = kernel // 2
        assert set(np.unique(inside)) == {m * m, m * (m + 1), (m + 1) ** 2}


def test_sizes_that_do_not_divide_are_told():
    with pytest.raises(ModelError, match="30x30"):
        Generator(1, 30)
    with pytest.raises(ModelError, match="'nearest'"):
        Generator(1, 28, upsample="nearest")

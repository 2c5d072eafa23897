"""What is seen in a trained network: numbers by hand, gradients by differences; and pictures that hold them."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import plot
from tinyconv.data import normalise
from tinyconv.models import build
from tinyconv.nn import Dropout, Flatten, Linear, Sequential
from tinyconv.plot import insight
from tinyconv.train import (
    LrRange,
    TrainError,
    abridged,
    configure,
    confusion,
    layer_maps,
    load,
    lr_range,
    new_model,
    predict,
    saliency,
    worst,
)
from tinyconv.train.insight import Maps
from tinyconv.train.lr_range import centred

SCALE = normalise(scale=16)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 17, (3, 1, 8, 8)).astype(np.uint8)


@pytest.fixture
def model():
    tc.manual_seed(3)
    return build("digits", (1, 8, 8), 10)


def test_confusion_counts_true_classes_down_and_read_ones_across():
    counts = confusion(np.array([0, 1, 1, 2, 2, 2]), np.array([0, 2, 2, 2, 0, 1]), 4)
    assert counts.tolist() == [[1, 0, 0, 0], [0, 0, 2, 0], [1, 1, 1, 0], [0, 0, 0, 0]]


def test_the_worst_are_those_whose_class_was_least_expected():
    p = np.array([[.7, .2, .1], [.05, .9, .05], [.3, .4, .3], [.5, .1, .4], [.1, .1, .8]])
    labels = np.array([0, 0, 0, 1, 2])  # 0 and 4 are read right
    assert worst(p, labels, 9).tolist() == [1, 3, 2]
    assert worst(p, labels, 2).tolist() == [1, 3]
    assert worst(p[[0, 4]], labels[[0, 4]], 9).size == 0


def test_layer_maps_are_what_each_operation_gave(model, images):
    model.train()
    found = layer_maps(model, images[0], SCALE)
    assert model.training
    assert [(m.name, m.maps.shape) for m in found] == [
        ("conv conv1", (16, 8, 8)), ("relu", (16, 8, 8)), ("conv conv2", (32, 8, 8)), ("max_pool", (32, 4, 4)),
        ("relu", (32, 4, 4))]
    w, b = (p.numpy().astype(float) for p in list(model.parameters())[:2])
    x = np.pad(images[0, 0] / 16, 1)
    by_hand = np.zeros((16, 8, 8))
    for o, r, c in np.ndindex(16, 8, 8):
        by_hand[o, r, c] = (x[r:r + 3, c:c + 3] * w[o, 0]).sum() + b[o]
    np.testing.assert_allclose(found[0].maps, by_hand, rtol=0, atol=1e-5)  # float32 sums of ten products of size 1
    assert (found[1].maps == np.maximum(found[0].maps, 0)).all()
    pooled = found[2].maps.reshape(32, 4, 2, 4, 2).max((2, 4))
    assert (found[3].maps == pooled).all()


def test_of_many_layers_those_are_kept_that_convolutions_end_in():
    names = ["batch_norm in", "conv a", "batch_norm b", "relu", "conv c", "conv d", "add", "relu"]
    found = [Maps(name, np.full((1, 2, 2), i)) for i, name in enumerate(names)]
    assert abridged(found, 8) is found
    kept = abridged(found, 7)
    assert [m.name for m in kept] == ["batch_norm in", "conv a to relu", "conv c", "conv d to relu"]
    assert [int(m.maps[0, 0, 0]) for m in kept] == [0, 3, 4, 7]  # each the last before the next convolution
    assert [m.name for m in abridged(found, 3)] == ["batch_norm in", "conv c", "conv d to relu"]
    assert [m.name for m in abridged(found, 1)] == ["batch_norm in"]


def test_the_saliency_of_a_linear_model_is_the_row_of_its_weights(images):
    tc.manual_seed(0)
    linear = Sequential(Dropout(0.5), Flatten(), Linear(64, 10))  # the dropout must be off, and on again
    salient, read = saliency(linear, images, SCALE)
    assert linear.training and all(p.grad is None for p in linear.parameters())
    assert (read == predict(linear, images, SCALE).argmax(1)).all()
    w = linear[2].weight.numpy()
    assert (salient == np.abs(w[read]).reshape(3, 8, 8)).all()  # sums of one term and zeros are exact


def test_the_saliency_of_a_network_agrees_with_differences(model, images):
    salient, read = saliency(model, images, SCALE)
    model.eval()
    x, step = (images / 16).astype(np.float64), 1e-5
    for p in model.parameters():
        p.data = p.data.astype(np.float64)
    for at in ((0, 0), (3, 4), (7, 7)):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[:, 0, at[0], at[1]] += sign * step
            ends.append(model(tc.tensor(moved)).detach().numpy()[range(3), read])
        # float32 rules against differences in float64: some 1e-6 of gradients of size 0.1
        np.testing.assert_allclose(salient[:, at[0], at[1]], np.abs(ends[0] - ends[1]) / (2 * step), rtol=1e-4, atol=1e-6)


# -- the learning-rate range test ----------------------------------------------------------------------------------

QUICK = configure(model="mlp", optimizer="sgd", momentum=0.0, weight_decay=0.0, augment="none", label_smoothing=0.0)


def test_the_rates_grow_by_a_factor_and_the_losses_are_those_of_the_batches():
    data = load(QUICK)
    found = lr_range(new_model(QUICK), data, QUICK, 1e-4, 1e-2, 50)  # 50 of 41 batches an epoch: into the next
    np.testing.assert_allclose(found.rates, 1e-4 * 100 ** (np.arange(50) / 49), rtol=1e-12)
    model, (images, labels) = new_model(QUICK), data.train
    loader = tc.data.Loader(images, labels, batch_size=32, shuffle=True, seed=0, transform=SCALE)
    by_hand = []
    for i, (x, t) in zip(range(41), loader):  # gradient descent, written out
        loss = tc.nn.functional.cross_entropy(model(tc.from_numpy(x)), t)
        by_hand.append(loss.item())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= np.float32(1e-4 * 100 ** (i / 49)) * p.grad.data
    np.testing.assert_allclose(found.losses[:41], by_hand, rtol=1e-5)  # float32, updated in another order
    again = lr_range(new_model(QUICK), data, QUICK, 1e-4, 1e-2, 50)
    assert (again.losses == found.losses).all() and (again.smooth == found.smooth).all()


@pytest.mark.parametrize("high", [1e5, 1e38])  # the loss grows; it becomes infinite or nan
def test_the_range_test_ends_where_the_loss_breaks(high):
    found = lr_range(new_model(QUICK), load(QUICK), QUICK, 1e-3, high, 100)
    assert len(found.rates) < 100
    assert np.isfinite(found.losses).all() and len(found.losses) == len(found.smooth) == len(found.rates)
    if high == 1e5:  # at a factor of 2.6 a step, 1e38 passes by what is useful too fast to tell
        assert 0.01 < found.steepest < 10


def test_the_steepest_is_where_the_loss_falls_fastest_before_its_least():
    rates = np.logspace(-4, 0, 101)
    fall = 2 - 1 / (1 + (0.01 / rates) ** 2)  # steepest in log rate at 0.01
    rise = np.where(rates > 0.3, 50 * (rates - 0.3), 0)
    drop = np.where(rates > 0.8, -90 * (rates - 0.8), 0)  # steeper, but after the least
    assert LrRange(rates, fall, fall + rise + drop).steepest == pytest.approx(0.01, rel=0.1)  # two steps of 1 in 25 a decade
    assert LrRange(rates, rates, rates).steepest is None
    luck = fall + (np.arange(len(rates)) == 0)  # the first batch was a bad one, which is no slope
    assert LrRange(rates, luck, centred(centred(luck))).steepest == pytest.approx(0.01, rel=0.1)


def test_a_centred_mean_leaves_a_line_where_it_is():
    np.testing.assert_allclose(centred(np.arange(30.0)), np.arange(30.0), rtol=1e-14)


def test_a_first_loss_that_is_no_number_is_told():
    model = new_model(QUICK)
    next(model.parameters()).data[:] = np.nan
    with pytest.raises(TrainError, match="the first loss already is no finite number"):
        lr_range(model, load(QUICK), QUICK)


# -- the pictures --------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have been written."""
    figures = []
    monkeypatch.setattr(insight, "write_figure", lambda figure, path: figures.append(figure))
    return figures


def test_the_confusion_matrix_shades_the_mistakes_and_writes_every_count(drawn):
    counts = np.array([[5, 2, 0], [0, 7, 1], [0, 0, 9]])
    plot.confusion_matrix(counts, ("a", "b", "c"), "unused.png", "title")
    (axes,) = drawn[0].axes
    assert {(t.get_position(), t.get_text()) for t in axes.texts} == {
        ((0, 0), "5"), ((1, 0), "2"), ((1, 1), "7"), ((2, 1), "1"), ((2, 2), "9")}
    assert axes.images[0].get_array().tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 0]]
    assert axes.get_ylabel() == "is" and axes.get_xlabel() == "read as" and drawn[0].get_suptitle() == "title"
    with pytest.raises(ValueError, match=r"2 classes want counts of shape \(2, 2\), got \(3, 3\)"):
        plot.confusion_matrix(counts, ("a", "b"), "unused.png")


def test_images_stand_under_their_captions(drawn, images):
    plot.labelled_images(images, ["one", "two", "three"], "unused.png")
    plot.saliency_maps(images, images[:, 0] / 2, ["one", "two", "three"], "unused.png")
    assert [axes.get_title() for axes in drawn[0].axes] == ["one", "two", "three"]
    for axes, image in zip(drawn[0].axes, images):
        assert (axes.images[0].get_array() == image[0]).all()
    assert [axes.get_title() for axes in drawn[1].axes] == ["one", "two", "three", "", "", ""]
    assert (drawn[1].axes[4].images[0].get_array() == images[1, 0] / 2).all()
    with pytest.raises(ValueError, match="there is no image"):
        plot.labelled_images(images[:0], [], "unused.png")
    with pytest.raises(ValueError, match="there is no image"):
        plot.saliency_maps(images[:0], images[:0, 0], [], "unused.png")


def test_layer_maps_draw_sixteen_of_a_layer_and_count_the_rest(drawn, model, images):
    found = layer_maps(model, images[0], SCALE)
    plot.layer_maps(images[0], found, "unused.png")
    (axes,) = drawn[0].axes
    assert len(axes.images) == 1 + 5 * 16
    assert (axes.images[1 + 16 + 3].get_array() == found[1].maps[3]).all()
    words = [t.get_text() for t in axes.texts]
    assert words == ["blue is below 0, red above; each row has its own scale", "image  1x8x8", "conv conv1  16x8x8",
                     "relu  16x8x8", "conv conv2  32x8x8", "max_pool  32x4x4", "relu  32x4x4", "+16", "+16", "+16"]


def test_the_range_test_is_drawn_with_its_choice(drawn):
    rates, losses = np.logspace(-3, 0, 5), np.array([2.0, 1.8, 1.0, 1.2, 9.0])
    plot.range_test(rates, losses, losses, 0.01, "unused.png")
    (axes,) = drawn[0].axes
    assert axes.get_xscale() == "log"
    assert (axes.lines[0].get_xdata() == rates).all() and (axes.lines[1].get_ydata() == losses).all()
    assert axes.lines[2].get_label() == "try 0.01"

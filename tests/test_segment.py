"""Segmentation: scenes that repeat and never share a digit, figures by hand, what void pixels do, and a run that is left."""

import json
import re
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.cli import main
from tinyconv.data import digits, scenes
from tinyconv.data.scenes import SIZE, VOID, WARNED, digits_of
from tinyconv.models import FCN, ModelError, SegNet, UNet
from tinyconv.plot import segmentation, sheet
from tinyconv.train import (
    OBJECTIVES,
    PROBLEMS,
    Data,
    Run,
    TrainError,
    configure,
    fit,
    iou,
    load,
    mean_iou,
    new_model,
    pixel_accuracy,
)
from tinyconv.train.loop import Tally
from tinyconv.train.objective import confusion

ROOM = sys.modules["tinyconv.data.scenes"]  # the file: its function has the same name


@pytest.fixture(autouse=True)
def without_mnist(tmp_path_factory, monkeypatch):
    """An empty folder in its place and an empty cache: scenes of the package's own digits."""
    empty = tmp_path_factory.mktemp("nothing")
    monkeypatch.setenv("TINYCONV_DATA", str(empty))
    monkeypatch.setattr(sys.modules["tinyconv.data.mnist"], "_cache", lambda: empty)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=WARNED)
        yield


def test_scenes_repeat_and_the_first_do_not_depend_on_how_many_follow():
    images, labels = scenes("train", 6, seed=3)
    again = scenes("train", 9, seed=3)
    assert images.shape == (6, 1, SIZE, SIZE) and (images.dtype, labels.dtype) == (np.uint8, np.int64)
    np.testing.assert_array_equal(images, again[0][:6])
    np.testing.assert_array_equal(labels, again[1][:6])
    others = [scenes(part, 6, seed)[0] for part, seed in (("train", 4), ("validation", 3), ("test", 3))]
    assert all((images != other).any((1, 2, 3)).all() for other in others)


def test_no_digit_is_in_two_parts():
    rows = {part: digits_of(part) for part in ("train", "validation", "test")}
    learnt, watched = rows["train"][0], rows["validation"][0]
    assert [train for _, train in rows.values()] == [True, True, False]
    assert sorted([*learnt, *watched]) == list(range(len(digits()[0])))  # each once: of the training digits, none left out
    assert len(rows["test"][0]) == len(digits(train=False)[0])


def test_every_pixel_has_the_class_of_the_digit_that_stands_there(monkeypatch):
    """A stamp that can be told by eye: a plain square of full ink with a faint rim, as a 3, alone in its scene."""
    stamp = np.zeros((1, 10, 10), np.uint8)
    stamp[0, 2:8, 2:8], stamp[0, 3:7, 3:7] = 40, 255
    monkeypatch.setattr(ROOM, "_stamps", lambda part, root: (stamp, np.array([3])))
    images, labels = scenes("train", 20)
    for image, label in zip(images[:, 0], labels):
        assert set(np.unique(label)) == {0, 4, VOID}
        squares = (label == 4).sum() / 16
        assert squares in (1, 2, 3) and (label == VOID).sum() == squares * 20  # none overlaps another
        assert (image[label == 4] == 255).all() and (image[label == VOID] >= 40).all()


def test_it_is_said_that_mnist_is_missing():
    with pytest.warns(UserWarning, match="MNIST is not on this machine"):
        scenes("test", 1)


def test_scenes_of_mnist_are_made_where_it_is(tmp_path, monkeypatch):
    told = []
    images, labels = np.full((12, 1, 28, 28), 200, np.uint8), np.arange(12) % 10
    monkeypatch.setattr(ROOM, "mnist", lambda root, train, download: told.append((root, train, download)) or (images, labels))
    _, found = scenes("validation", 2, root=tmp_path)
    assert (tmp_path, True, False) in told and set(np.unique(found)) <= {0, 1, 2}  # the last two of twelve: 0 and 1


@pytest.mark.parametrize("args, words", [(("trian", 1), "'trian'"), (("train", 0), "count=0")])
def test_scenes_that_make_no_sense_are_told(args, words):
    with pytest.raises(ValueError, match=words):
        scenes(*args)


def test_figures_by_hand():
    """Truth 0 0 0 1 1 2 and one void; found 0 0 1 1 2 2 and anything: IoU 2/3, 1/3, 1/2, and 4 of 6 pixels."""
    truth = np.array([[0, 0, 0, 1], [1, 2, VOID, VOID]])
    found = np.array([[0, 0, 1, 1], [2, 2, 3, 0]])
    counts = confusion(truth, found, 4)
    assert counts.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(iou(counts), [2 / 3, 1 / 3, 1 / 2, np.nan], rtol=1e-15)
    assert mean_iou(counts) == pytest.approx((2 / 3 + 1 / 3 + 1 / 2) / 3) and pixel_accuracy(counts) == pytest.approx(4 / 6)


def test_the_tally_of_batches_is_the_mean_iou_of_them_all():
    """What `right` counts of two batches, added up, is what one confusion matrix of both gives."""
    truth, goal = np.random.default_rng(0).integers(0, 4, (6, 3, 5)), OBJECTIVES["segment"]
    truth[truth == 2], truth[:, 1] = 0, VOID  # a class that does not occur, and pixels that do not count
    logits = np.random.default_rng(1).standard_normal((6, 4, 3, 5)).astype(np.float32)
    logits[:, 2] = -9
    tally = Tally()
    for batch in (slice(0, 4), slice(4, 6)):
        tally.add(0.0, 4, goal.right(logits[batch], None, truth[batch]), 0.0)
    tally.settle()
    assert tally.accuracy == pytest.approx(mean_iou(confusion(truth, logits.argmax(1), 4)), rel=1e-15)
    assert goal.told(tally.accuracy) == f"{tally.accuracy:.3f}"


def test_a_run_that_was_stopped_within_an_epoch_ends_with_the_same_figures(tmp_path):
    """The counts of the classes are part of the checkpoint."""
    config = configure(data="scenes", epochs=1, batch_size=16, validation=8)

    def network():
        tc.manual_seed(0)
        return FCN(1, 11, width=4, depth=2)

    whole = fit(network(), few(), config)
    part = fit(network(), few(), config, store=Run.create(config, tmp_path / "run"), stop=lambda: True)
    assert part.tally.samples == 16 and not part.history
    again = fit(network(), few(), config, store=Run.open(tmp_path / "run"))
    a, b = (replace(t.history[0], seconds=0.0) for t in (whole, again))
    assert a == b and 0 < a.accuracy < 1


def test_void_pixels_carry_no_gradient():
    y = tc.tensor(np.random.default_rng(0).standard_normal((2, 4, 3, 3)), requires_grad=True)
    labels = np.random.default_rng(1).integers(0, 4, (2, 3, 3))
    labels[0, 1], labels[1, :, 2] = VOID, VOID
    OBJECTIVES["segment"].loss(y, y, tc.tensor(labels), 0.0).backward()
    moved = (y.grad.numpy() != 0).any(1)
    np.testing.assert_array_equal(moved, labels != VOID)
    p = np.exp(y.numpy()) / np.exp(y.numpy()).sum(1, keepdims=True)  # the definition: softmax less one, over the counted
    want = (p - np.eye(4)[np.where(labels == VOID, 0, labels)].transpose(0, 3, 1, 2)) / (labels != VOID).sum()
    np.testing.assert_allclose(y.grad.numpy(), np.where((labels != VOID)[:, None], want, 0), rtol=1e-10, atol=1e-15)


def few(count=48):
    problem = PROBLEMS["scenes"]
    return Data(problem, scenes("train", count), scenes("validation", 8), scenes("test", 8))


@pytest.mark.parametrize("network", [UNet, SegNet, FCN])
def test_a_short_training_lowers_the_loss(network):
    """Four epochs of six batches take a quarter off the first epoch's loss."""
    config = configure(data="scenes", epochs=4, batch_size=8, lr=0.02, schedule="constant")
    tc.manual_seed(0)
    training = fit(network(1, 11, width=4, depth=2), few(), config)
    first, last = training.history[0], training.history[-1]
    assert last.loss < 0.75 * first.loss
    assert 0 < last.accuracy < 1 and training.tally.samples == 0


def test_the_score_counts_pixels():
    data = few(8)
    images, labels = data.test

    class Knows(tc.nn.Module):
        """Logits that say background everywhere."""

        def forward(self, x):
            return tc.tensor(np.eye(11, dtype=np.float32)[np.zeros((len(x), SIZE, SIZE), int)].transpose(0, 3, 1, 2).copy())

    score = OBJECTIVES["segment"].score(Knows(), (images, labels), data.problem.transform)
    counted = labels != VOID
    assert score.pixels == pytest.approx((labels == 0).sum() / counted.sum())
    seen = len(np.unique(labels[counted]))
    assert score.accuracy == pytest.approx(score.pixels / seen) and len(score.wrong) == len(images)


def test_tasks_that_the_data_are_not_for_are_told():
    with pytest.raises(ModelError, match="gives a class of each image: scenes takes one that gives a class of each pixel"):
        new_model(configure(data="scenes", model="cnn"))
    with pytest.raises(ModelError, match="the model unet gives a class of each pixel: digits takes"):
        new_model(configure(model="unet"))
    with pytest.raises(TrainError, match="augment='flip'"):
        load(configure(data="scenes", augment="flip"))


def test_an_autoencoder_explains_digits():
    config = configure(model="autoencoder", epochs=4, label_smoothing=0.0, augment="none")
    data = load(config)
    training = fit(new_model(config), data, config)
    score = training.objective.score(training.model, data.test, data.problem.transform)
    x = data.test[0] / 16
    y = training.model.eval()(tc.tensor(x.astype(np.float32))).numpy()
    assert score.accuracy == pytest.approx(1 - np.square(y - x).sum() / np.square(x - x.mean(0)).sum(), rel=1e-5)
    assert score.accuracy > 0.3 and score.loss == pytest.approx(np.square(y - x).mean(), rel=1e-5)


def test_a_run_leaves_pictures_and_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tinyconv.train.problem.LEARN", 32)
    monkeypatch.setattr("tinyconv.train.problem.HELD", 8)
    monkeypatch.chdir(tmp_path)
    assert ended("train", "--data", "scenes", "--model", "fcn", "--epochs", "1", "--validation", "8", "--out", "run") == 0
    outcome = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    counts = np.array(outcome["confusion"])
    assert outcome["accuracy"] == pytest.approx(mean_iou(counts)) and counts.shape == (11, 11)
    assert outcome["pixels"] == pytest.approx(pixel_accuracy(counts))
    assert (tmp_path / "run" / "segmentation.png").read_bytes().startswith(b"\x89PNG")
    text = capsys.readouterr().out
    assert re.search(r"^epoch +loss +mean IoU +validation.*\n +1/1 +\d\.\d+ +0\.\d{3} +0\.\d{3} ", text, re.M)
    assert re.search(rf"held-out mean IoU +{outcome['accuracy']:.3f} \(\d", text) and "tinyconv evaluate run" in text
    assert ended("evaluate", "run") == 0
    assert f"mean IoU {outcome['accuracy']:.3f}" in capsys.readouterr().out
    assert ended("pictures", "run") == 0
    assert capsys.readouterr().out.splitlines() == [
        "run/confusion.png", "run/mistakes.png", "run/layers.png", "saliency.png is not drawn: fcn gives a class of each pixel"]
    assert ended("predict", "run", "image.png") == 2
    assert "predict takes one that reads images" in capsys.readouterr().err


def test_the_command_says_once_and_in_one_line_that_mnist_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tinyconv.train.problem.LEARN", 8)
    monkeypatch.setattr("tinyconv.train.problem.HELD", 8)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert ended("train", "--data", "scenes", "--model", "fcn", "--epochs", "1", "--validation", "8", "--out", "run") == 0
    assert capsys.readouterr().err == f"tinyconv: {WARNED}\n"
    assert ended("train", "--data", "mnist", "--model", "unet") == 2  # refused before anything is looked for
    assert capsys.readouterr().err.startswith("tinyconv: the model unet gives a class of each pixel")


def test_an_autoencoder_shows_the_images_that_it_makes_least_of(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert ended("train", "--model", "autoencoder", "--epochs", "1", "--augment", "none", "--out", "run") == 0
    text = capsys.readouterr().out
    assert re.search(r"^epoch +loss +explained +validation", text, re.M) and (tmp_path / "run/reconstructions.png").exists()
    drawn = {}
    monkeypatch.setattr("tinyconv.plot.sheet", lambda rows, path, *names: drawn.update({path.name: rows}))
    assert ended("pictures", "run") == 0
    assert capsys.readouterr().out.splitlines() == [
        "run/mistakes.png", "run/layers.png", "saliency.png is not drawn: autoencoder gives the image itself"]
    seen, made = drawn["mistakes.png"]
    model, x = Run.open(tmp_path / "run").model().eval(), digits(train=False)[0] / np.float32(16)
    errors = ((x - model(tc.from_numpy(x)).numpy()) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(((seen - made) ** 2).sum((1, 2, 3)), np.sort(errors)[::-1][:8], rtol=1e-4)


def ended(*args):
    with pytest.raises(SystemExit) as end:
        main(list(args))
    return end.value.code or 0


def test_sheets(tmp_path):
    x, labels = scenes("test", 2)
    segmentation(x / 255, labels, np.zeros_like(labels), tmp_path / "a.png", "two")
    sheet([x / 255], tmp_path / "b.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("a.png", "b.png"))
    with pytest.raises(ValueError, match="rows of images"):
        sheet([], tmp_path / "c.png")
    with pytest.raises(ValueError, match="1 rows got 2 names"):
        sheet([x / 255], tmp_path / "c.png", ("a", "b"))

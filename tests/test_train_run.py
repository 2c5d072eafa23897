"""The folder of a run: written whole at any moment, gone on from, read back, and put to work on pictures."""

import errno
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained import QUICK, lines, weights

import tinyconv as tc
from tinyconv import data as room
from tinyconv.data import DataError, digits
from tinyconv.nn import Sequential
from tinyconv.train import (
    PROBLEMS,
    RECIPES,
    Data,
    Run,
    TrainError,
    Training,
    evaluate,
    fit,
    load,
    new_model,
    predict,
    use_threads,
)
from tinyconv.train.checkpoint import read_tensors, read_tree, write_tensors, write_tree
from tinyconv.train.interrupt import Interrupt
from tinyconv.train.picture import read_picture


@pytest.fixture(scope="module")
def data() -> Data:
    return load(QUICK)


# -- a disk that is full, a process that is killed: at any moment ------------------------------------------------------


@pytest.mark.parametrize("fails", range(1, 14))
def test_a_disk_that_fills_at_any_write_leaves_a_run_that_goes_on(data, tmp_path, monkeypatch, fails):
    """The nth file that is written finds no room: config.toml first, then four or five an epoch, checkpoints last."""
    whole = fit(new_model(QUICK), data, replace(QUICK, epochs=3))
    count = iter(range(1, 1000))

    def fsync(number):
        if next(count) == fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(room.files.os, "fsync", fsync)
    config, path = replace(QUICK, epochs=3), tmp_path / "run"
    with pytest.raises(DataError, match=r"^cannot write .*/run/[\w.]+: No space left on device$"):
        fit(new_model(config), data, config, store=Run.create(config, path))
    monkeypatch.undo()
    assert not list(path.glob(".*")), "half a file was left"
    run = Run.open(path) if (path / "config.toml").exists() else Run.create(config, path)
    end = fit(new_model(config), data, config, store=run)
    assert (weights(end) == weights(whole)).all() and lines(end) == lines(whole)
    assert (read_tensors(path / "best.safetensors")[0]["fc1.weight"].shape) == (100, 64)


class Killed(BaseException):
    """Stands in for kill -9: nothing of the run gets to tidy up."""


@pytest.mark.parametrize("moment", np.random.default_rng(0).permutation(np.arange(1, 28))[:12].tolist())
def test_a_run_killed_before_any_step_of_any_write_goes_on_to_the_same_end(data, tmp_path, monkeypatch, moment):
    """A file is flushed, then renamed: of three epochs' 28 such steps, a dozen at random."""
    config, path = replace(QUICK, epochs=3), tmp_path / "run"
    whole = fit(new_model(config), data, config, store=Run.create(config, tmp_path / "whole"))
    count = iter(range(1, 1000))

    def killing(call):
        def before(*args):
            if next(count) == moment:
                raise Killed
            return call(*args)

        return before

    monkeypatch.setattr(room.files.os, "replace", killing(os.replace))
    monkeypatch.setattr(room.files.os, "fsync", killing(os.fsync))
    monkeypatch.setattr(Path, "unlink", lambda *args, **more: None)
    with pytest.raises(Killed):
        fit(new_model(config), data, config, store=Run.create(config, path))
    monkeypatch.undo()
    run = Run.open(path) if (path / "config.toml").exists() else Run.create(config, path)
    end = fit(new_model(config), data, config, store=run)
    assert (weights(end) == weights(whole)).all() and lines(end) == lines(whole)
    for name in ("best.safetensors", "weights.safetensors"):
        assert (path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list(path.glob(".*"))


def test_early_stopping_ends_a_run_that_no_longer_gets_better(data, tmp_path):
    config = replace(QUICK, epochs=40, patience=2, optimizer="sgd", lr=1e-9, schedule="constant")  # it gets nowhere
    run = Run.create(config, tmp_path / "run")
    training = fit(new_model(config), data, config, store=run)
    assert training.done and len(training.history) == training.best.epoch + 2 < 40
    again = fit(new_model(config), data, config, store=Run.open(tmp_path / "run"))  # it is over: nothing is done
    assert len(again.history) == len(training.history)
    assert len(fit(new_model(config), data, replace(config, epochs=1)).history) == 1
    assert len(fit(new_model(config), data, replace(config, epochs=5, patience=0)).history) == 5


# -- the folder ----------------------------------------------------------------------------------------------------


def test_the_folder_of_a_run(data, tmp_path):
    run = Run.create(QUICK, tmp_path / "a" / "run")
    training = fit(new_model(QUICK), data, QUICK, store=run)
    score = evaluate(training.model, data.test, data.problem.transform)
    run.write_metrics(training, score)
    assert sorted(p.name for p in run.path.iterdir()) == [
        "best.safetensors", "checkpoint.safetensors", "config.toml", "metrics.csv", "metrics.json", "weights.safetensors"]
    again = Run.open(run.path)
    assert again.config == QUICK and again.name == "digits-mlp"
    for p, q in zip(again.model().parameters(), training.model.parameters()):
        assert (p.numpy() == q.numpy()).all()
    head, *rows = (run.path / "metrics.csv").read_text().splitlines()
    assert head == "epoch,lr,loss,accuracy,validation_loss,validation_accuracy,seconds"
    assert [float(v) for v in rows[1].split(",")] == list(asdict(training.history[1]).values())
    outcome = __import__("json").loads((run.path / "metrics.json").read_text())
    assert outcome["finished"] and outcome["parameters"] == 64 * 100 + 100 + 1010
    assert outcome["test"]["accuracy"] == score.accuracy and len(outcome["test"]["wrong"]) == round((1 - score.accuracy) * 360)
    assert outcome["config"] == asdict(QUICK) and outcome["epochs"] == [asdict(e) for e in training.history]


def test_the_best_weights_are_kept_apart(data, tmp_path):
    run = Run.create(QUICK, tmp_path / "run")
    training = fit(new_model(QUICK), data, QUICK, store=run)
    kept = read_tensors(run.path / "best.safetensors")[0]
    training.history.append(replace(training.best, epoch=3, validation_accuracy=0.0))
    with tc.no_grad():
        for p in training.model.parameters():
            p.zero_()
    run.save(training)
    assert all((a == kept[name]).all() for name, a in read_tensors(run.path / "best.safetensors")[0].items())
    assert not any(p.numpy().any() for p in run.model().parameters())
    assert any(p.numpy().any() for p in run.model(best=True).parameters())


def test_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(Run.create(c).path) for c in (QUICK, QUICK, RECIPES["digits"])] == [
        os.path.join("runs", name) for name in ("digits-mlp-1", "digits-mlp-2", "digits-1")]


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TrainError, match=r"holds files already: .*--out, or .*--resume"):
        Run.create(QUICK, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainError, match=r"cannot make the folder .*: Not a directory; name another one with --out"):
        Run.create(QUICK, tmp_path / "file" / "run")


def test_a_run_that_has_learnt_nothing_leaves_nothing(tmp_path):
    run = Run.create(QUICK, tmp_path / "new" / "run")
    run.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_before_stays(tmp_path, data):
    Run.create(QUICK, tmp_path).discard()
    assert list(tmp_path.iterdir()) == [] and tmp_path.is_dir()
    run = Run.create(QUICK, tmp_path)
    fit(new_model(QUICK), data, QUICK, store=run)
    run.discard()  # there is a checkpoint
    assert run.checkpoint.exists()


@pytest.mark.parametrize("fails", ["write", "replace"])
def test_a_full_disk_leaves_the_old_file_whole_and_no_half_one(tmp_path, monkeypatch, fails):
    path = tmp_path / "w.safetensors"
    write_tensors(path, {"a": np.arange(3.0)})

    def full(*args):
        raise OSError(28, "No space left on device")

    if fails == "replace":
        monkeypatch.setattr(room.files.os, "replace", full)
    else:
        monkeypatch.setattr(room.files.os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device"):
        write_tensors(path, {"a": np.zeros(100)})
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    assert (read_tensors(path)[0]["a"] == np.arange(3.0)).all()


def test_a_tree_comes_back(tmp_path):
    tree = {"a": {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "t": tc.tensor([1.0, 2.0])},
            "n": [1, 0.1, None, "s", True], "big": 2**100, "groups": [{"lr": np.float64(0.1), "params": [0, 1]}], "empty": {},
            "one": np.array(3)}
    write_tree(tmp_path / "t", tree)
    back = read_tree(tmp_path / "t")
    assert (back["a"]["x"] == tree["a"]["x"]).all() and back["a"]["x"].dtype == np.float32
    assert back["a"]["t"].tolist() == [1.0, 2.0] and back["one"].shape == () and back["one"] == 3
    assert {k: back[k] for k in ("n", "big", "groups", "empty")} == {
        "n": [1, 0.1, None, "s", True], "big": 2**100, "groups": [{"lr": 0.1, "params": [0, 1]}], "empty": {}}


@pytest.mark.parametrize("note", [b'{\\"x\\": {\\"$brray', b'{\\"x\\": {\\"$array\\": \\"/y\\"}}', b'{\\"x\\": ?\\"$array'])
def test_a_damaged_note_beside_whole_arrays_is_told(tmp_path, note):
    """Of {"x": {"$array": "/x"}}: another key, the name of no array, no JSON."""
    write_tree(tmp_path / "t", {"x": np.zeros(3)})
    whole = b'{\\"x\\": {\\"$array\\": \\"/x\\"}}'
    content = (tmp_path / "t").read_bytes()
    assert content.count(whole) == 1
    (tmp_path / "t").write_bytes(content.replace(whole, note + whole[len(note):]))
    if b"brray" in note:
        assert read_tree(tmp_path / "t") == {"x": {"$brray": "/x"}}
    else:
        with pytest.raises(TrainError, match="t is damaged: its note cannot be read"):
            read_tree(tmp_path / "t")


def test_damaged_files_are_told(tmp_path, data):
    run = Run.create(QUICK, tmp_path / "run")
    with pytest.raises(TrainError, match=r"there is no file .*weights\.safetensors"):
        run.model()
    fit(new_model(QUICK), data, QUICK, store=run)
    whole = run.checkpoint.read_bytes()
    run.checkpoint.write_bytes(whole[:-1])
    with pytest.raises(TrainError, match="is damaged or no safetensors file"):
        fit(new_model(QUICK), data, QUICK, store=run)
    write_tensors(run.checkpoint, {"a": np.zeros(2)})
    with pytest.raises(TrainError, match="holds tensors, but no state of a run"):
        fit(new_model(QUICK), data, QUICK, store=run)
    write_tree(run.checkpoint, {"model": {}})
    with pytest.raises(TrainError, match="is no checkpoint of a run: it lacks history, loader, optimiser, random, schedule, t"):
        fit(new_model(QUICK), data, QUICK, store=run)
    run.checkpoint.write_bytes((run.path / "weights.safetensors").read_bytes())
    with pytest.raises(TrainError, match="is no checkpoint of a run"):
        fit(new_model(QUICK), data, QUICK, store=run)
    write_tree(run.checkpoint, {**Training(new_model(QUICK), data, QUICK).state_dict(), "model": {}})
    with pytest.raises(TrainError, match=r"cannot go on from .*: the state does not fit"):
        fit(new_model(QUICK), data, QUICK, store=run)
    weights, _ = read_tensors(run.path / "weights.safetensors")
    name = next(iter(weights))
    weights[name].flat[:2] = np.nan, np.inf
    write_tensors(run.path / "weights.safetensors", weights)
    with pytest.raises(TrainError, match=f"is damaged: 2 of the {weights[name].size:,} numbers of {name} are NaN or infinite"):
        run.model()
    write_tensors(run.path / "weights.safetensors", {"a": np.zeros(2)})
    with pytest.raises(TrainError, match="is not of the model mlp"):
        run.model()
    with pytest.raises(TrainError, match="is no run"):
        Run.open(tmp_path)


# -- a trained network at work -------------------------------------------------------------------------------------


class Fixed(Sequential):
    """Logits that are the first ten pixels."""

    def forward(self, x):
        assert not self.training
        return x.reshape(x.shape[0], -1)[:, :10]


def test_evaluate_by_hand():
    model = Fixed()
    images = np.zeros((1203, 1, 2, 5), np.float32)  # more than two batches
    answers = np.arange(1203) % 10
    images.reshape(1203, 10)[range(1203), answers] = 1
    labels = answers.copy()
    labels[[0, 700, 1202]] = (labels[[0, 700, 1202]] + 1) % 10
    score = evaluate(model, (images, labels), lambda x, rng: x)
    assert score.wrong.tolist() == [0, 700, 1202] and score.count == 1203 and score.accuracy == 1 - 3 / 1203
    right, wrong = np.log(np.e + 9) - 1, np.log(np.e + 9)
    assert score.loss == pytest.approx((1200 * right + 3 * wrong) / 1203, rel=1e-6)
    assert model.training


def test_predict_gives_probabilities(data):
    p = predict(new_model(QUICK), data.test[0], data.problem.transform)
    assert p.shape == (360, 10) and (p > 0).all()
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)


def test_threads_beyond_those_there_are_are_told():
    with pytest.raises(TrainError, match=r"threads=100000: this process has \d+ cores? to use"):
        use_threads(100_000)


def test_the_first_signal_is_a_wish_and_the_second_an_order():
    told = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interrupt(lambda: told.append(1)) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() and told == [1]
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


# -- pictures as input ---------------------------------------------------------------------------------------------

DIGITS = PROBLEMS["digits"]


def grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.round(values).astype(np.uint8))


@pytest.mark.parametrize("light", [False, True])
def test_a_picture_of_the_very_size_is_read_as_it_is(tmp_path, light):
    for i in (0, 100, 359):
        image = digits(train=False)[0][i, 0]
        pixels = image * (255 / 16)
        grey(255 - pixels if light else pixels).save(tmp_path / "d.png")
        assert (read_picture(tmp_path / "d.png", DIGITS)[0, 0] == image).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "transparent"])
def test_a_large_picture_is_framed(tmp_path, mode):
    page = np.full((90, 70), 255.0)
    page[20:60, 30:40] = 0  # an upright bar, off the middle: 40 by 10
    if mode == "transparent":
        picture = Image.fromarray(np.dstack([np.zeros((90, 70, 3)), 255 - page]).astype(np.uint8))
    else:
        picture = grey(page).convert(mode)
    picture.save(tmp_path / "bar.png")
    image = read_picture(tmp_path / "bar.png", PROBLEMS["mnist"])[0, 0]
    expected = np.zeros((28, 28), np.uint8)
    expected[4:24, 12:17] = 255  # 20 by 5; a centre between two columns may go to either
    assert any((image == np.roll(expected, s, 1)).all() for s in (0, -1))


def test_the_centre_of_mass_is_in_the_middle(tmp_path):
    page = np.zeros((100, 100))
    page[10:50, 10:20] = page[40:50, 10:50] = 255  # an L: 40 by 40, heavy at the lower left
    grey(page).save(tmp_path / "l.png")
    image = read_picture(tmp_path / "l.png", PROBLEMS["mnist"])[0, 0].astype(float)
    rows, cols = (image.sum(axis) @ np.arange(28) / image.sum() + 0.5 for axis in (1, 0))
    assert abs(rows - 14) <= 0.5 and abs(cols - 14) <= 0.5


def test_pictures_that_cannot_be_read_are_told(tmp_path):
    grey(np.full((9, 9), 200)).save(tmp_path / "blank.png")
    (tmp_path / "text.png").write_text("no picture")
    grey(np.eye(300) * 255).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:200])
    for name, words in (("blank.png", "is blank"), ("text.png", "no picture that can be read"),
                        ("cut.png", "no picture that can be read"), ("none.png", "there is no file")):
        with pytest.raises(TrainError, match=words):
            read_picture(tmp_path / name, DIGITS)

"""Training: what a run is told, what a step does, that a run repeats itself bit for bit, and goes on where it stopped."""

import errno
import os
import re
import signal
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import tinyconv as tc
from tinyconv import data as room
from tinyconv.data import DataError, digits
from tinyconv.nn import Flatten, Linear, Module, Sequential
from tinyconv.op import Op
from tinyconv.train import (
    PROBLEMS,
    RECIPES,
    Config,
    Data,
    Run,
    TrainError,
    Training,
    configure,
    evaluate,
    fit,
    load,
    new_model,
    predict,
    read_config,
    use_threads,
)
from tinyconv.train.checkpoint import read_tensors, read_tree, write_tensors, write_tree
from tinyconv.train.interrupt import Interrupt
from tinyconv.train.optimise import OPTIMISERS, SCHEDULES
from tinyconv.train.picture import read_picture
from tinyconv.train.problem import augmentation, training_transform

QUICK = configure(model="mlp", epochs=2, threads=0)


@pytest.fixture(scope="module")
def data() -> Data:
    return load(QUICK)


def weights(training: Training) -> np.ndarray:
    return np.concatenate([p.numpy().ravel() for p in training.model.parameters()])


def lines(training: Training) -> list[dict]:
    """The history without the seconds, the one thing that no seed decides."""
    return [{**asdict(e), "seconds": 0} for e in training.history]


# -- what a run is told --------------------------------------------------------------------------------------------


def test_every_problem_has_a_recipe_for_a_model_that_fits():
    assert list(RECIPES) == list(PROBLEMS)
    for name, config in RECIPES.items():
        assert config.data == name
        assert sum(1 for _ in new_model(config).parameters()) > 0
        training_transform(PROBLEMS[name], config)
        assert config.optimizer in OPTIMISERS and config.schedule in SCHEDULES


def test_configure_starts_from_the_recipe_of_the_data_set():
    assert configure() == RECIPES["digits"]
    assert configure(data="mnist", lr=0.5, epochs=None) == replace(RECIPES["mnist"], lr=0.5)


@pytest.mark.parametrize("changes, words", [
    ({"data": "mnits"}, "no data set 'mnits'; did you mean 'mnist'"),
    ({"epoch": 3}, "no setting 'epoch'; did you mean 'epochs'"),
    ({"epochs": 0}, "epochs must be at least 1, got 0"),
    ({"batch_size": 2.5}, "batch_size must be of type int, got 2.5"),
    ({"epochs": True}, "epochs must be of type int, got True"),
    ({"lr": 0.0}, "lr must be above 0, got 0.0"),
    ({"lr": float("nan")}, "lr must be a finite number, got nan"),
    ({"weight_decay": -1}, "weight_decay must be at least 0, got -1.0"),
    ({"label_smoothing": 1.5}, "label_smoothing must be 0 to 1, got 1.5"),
    ({"seed": -1}, "seed must be at least 0, got -1"),
    ({"model": 5}, "model must be of type str, got 5"),
])
def test_settings_that_make_no_sense_are_told(changes, words):
    with pytest.raises(TrainError) as error:
        configure(**changes)
    assert words in str(error.value)


def test_toml_gives_the_config_back(tmp_path):
    config = Config(lr=1e-05, augment='a "quoted" \\ name', seed=2**40, weight_decay=0)
    (tmp_path / "c.toml").write_text(config.to_toml())
    assert configure(**read_config(tmp_path / "c.toml")) == config


def test_a_file_that_is_no_toml_is_told(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"epochs = \xff")
    with pytest.raises(TrainError, match="is no TOML file"):
        read_config(tmp_path / "c.toml")
    with pytest.raises(TrainError, match="cannot read"):
        read_config(tmp_path)


@pytest.mark.parametrize("text, words", [("shfit", "did you mean 'shift'"), ("shift:0", "augment='shift:0'"),
                                         ("flip:2", "augment='flip:2'"), ("shift:x", "augment='shift:x'"),
                                         ("", "no augmentation ''")])
def test_augmentations_that_do_not_exist_are_told(text, words):
    with pytest.raises(TrainError) as error:
        augmentation(text, 8)
    assert words in str(error.value)


def test_augmentations_come_in_the_order_given():
    assert augmentation("none", 8) == []
    image = np.zeros((64, 1, 1, 5), np.uint8)
    image[:, 0, 0, 0] = 16
    out = training_transform(PROBLEMS["digits"], configure(augment="flip, shift:1"))(image, np.random.default_rng(0))
    assert out.dtype == np.float32 and out.max() == 1
    assert {int(row.argmax()) for row in out.reshape(64, 5) if row.any()} == {0, 1, 3, 4}


# -- the samples ---------------------------------------------------------------------------------------------------


def test_the_three_sets_are_parts_of_the_data_and_never_mix(data):
    assert [len(labels) for _, labels in (data.train, data.validation, data.test)] == [1300, 137, 360]
    whole = sorted(row.tobytes() for part in (True, False) for row in digits(part)[0])
    assert sorted(row.tobytes() for images, _ in (data.train, data.validation, data.test) for row in images) == whole
    assert (data.test[0] == digits(train=False)[0]).all()


def test_what_is_held_back_is_stratified_and_drawn_by_the_seed(data):
    assert (np.bincount(data.validation[1]) >= 13).all()  # 137 of ten classes
    again, other = (load(replace(QUICK, seed=seed)).validation[0] for seed in (0, 1))
    assert (again == data.validation[0]).all() and (other != again).any()


def test_holding_back_everything_is_told():
    with pytest.raises(TrainError, match="validation=1437 leaves nothing to train on: digits has 1437"):
        load(configure(validation=1437))


# -- a step, an epoch, a run ---------------------------------------------------------------------------------------


def softmax_regression() -> Sequential:
    tc.manual_seed(0)
    return Sequential(Flatten(), Linear(64, 10))


def test_a_step_is_the_gradient_of_the_mean_loss_by_hand(data):
    config = configure(optimizer="sgd", momentum=0, weight_decay=0, schedule="constant", lr=0.5, label_smoothing=0.0)
    model = softmax_regression()
    training = Training(model, data, config)
    w, b = (p.numpy().astype(float) for p in model.parameters())
    images, labels = next(iter(training.loader))
    training.step(images, labels)
    x = images.reshape(len(images), -1).astype(float)
    z = x @ w.T + b
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    g = (p - np.eye(10)[labels]) / len(labels)  # of the logits
    new_w, new_b = (t.numpy() for t in model.parameters())
    # float32 sums of 32 products of size below 1, and the rounding of the weights themselves: some 1e-6
    np.testing.assert_allclose(new_w, w - 0.5 * g.T @ x, rtol=0, atol=2e-6)
    np.testing.assert_allclose(new_b, b - 0.5 * g.sum(0), rtol=0, atol=2e-6)
    assert training.tally.samples == 32
    assert training.tally.right == (z.argmax(1) == labels).sum()
    assert training.tally.loss == pytest.approx(32 * -np.log(p[range(32), labels]).mean(), rel=1e-5)


def test_an_epoch_sees_every_sample_once_and_writes_its_line(data):
    training = fit(softmax_regression(), data, replace(QUICK, epochs=1))
    (line,) = training.history
    assert training.loader.state_dict()["epoch"] == 1
    assert line.epoch == 1 and 0 < line.accuracy < 1
    score = evaluate(training.model, data.validation, data.problem.transform)
    assert (line.validation_loss, line.validation_accuracy) == (score.loss, score.accuracy)


def test_it_learns(data):
    training = fit(new_model(QUICK), data, replace(QUICK, epochs=6))
    assert training.history[-1].loss < 0.7 * training.history[0].loss
    assert evaluate(training.model, data.test, data.problem.transform).accuracy > 0.7


def test_the_watch_is_told_of_every_batch_and_epoch(data):
    told = []
    watch = SimpleNamespace(begin=lambda t: told.append("begin"), step=lambda t: told.append(t.tally.samples),
                            epoch=lambda t: told.append(f"epoch {len(t.history)}"))
    fit(softmax_regression(), data, replace(QUICK, batch_size=500), watch=watch)
    assert told == ["begin", 500, 1000, 1300, "epoch 1", 500, 1000, 1300, "epoch 2"]


@pytest.mark.parametrize("optimizer", OPTIMISERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimiser_and_schedule_trains(data, optimizer, schedule):
    config = replace(QUICK, optimizer=optimizer, schedule=schedule, lr=0.02, batch_size=100)
    training = fit(softmax_regression(), data, config)
    assert training.history[1].loss < training.history[0].loss
    assert training.lr == pytest.approx({"constant": 0.02, "step": 0.0002}.get(schedule, 0), abs=1e-6)


def test_the_best_epoch_is_the_first_of_equals(data):
    training = Training(softmax_regression(), data, QUICK)
    fit(training.model, data, QUICK)
    line = fit(training.model, data, replace(QUICK, epochs=1)).history[0]
    training.history = [replace(line, epoch=i, validation_accuracy=a, validation_loss=loss)
                        for i, (a, loss) in enumerate([(0.9, 0.1), (0.95, 0.5), (0.95, 0.3), (0.95, 0.3)])]
    assert training.best.epoch == 2


# -- bit for bit ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_run_and_another_seed_another(data):
    a, b = (fit(new_model(QUICK), data, QUICK) for _ in range(2))
    assert (weights(a) == weights(b)).all() and lines(a) == lines(b)
    other = replace(QUICK, seed=1)
    assert (weights(fit(new_model(other), load(other), other)) != weights(a)).any()


def test_the_convolutional_run_repeats_itself_too(data):
    config = replace(QUICK, model="digits", epochs=1)
    a, b = (fit(new_model(config), data, config) for _ in range(2))
    assert (weights(a) == weights(b)).all() and lines(a) == lines(b)


@pytest.mark.parametrize("optimizer, schedule", [("adamw", "one-cycle"), ("sgd", "warmup-cosine"), ("adam", "cosine"),
                                                 ("rmsprop", "step"), ("adagrad", "constant")])
@pytest.mark.parametrize("stop_at", [1, 13, 14, 20])  # in the first epoch of 13 batches, at its end, after it, later
def test_a_run_that_is_stopped_and_goes_on_ends_like_one_that_was_not(data, tmp_path, optimizer, schedule, stop_at):
    config = replace(QUICK, optimizer=optimizer, schedule=schedule, batch_size=100)
    whole = fit(new_model(config), data, config)
    asked = iter(range(1, 1000))
    run = Run.create(config, tmp_path / "run")
    part = fit(new_model(config), data, config, store=run, stop=lambda: next(asked) == stop_at)
    assert not part.done and (weights(part) != weights(whole)).any()
    rest = Run.open(tmp_path / "run")
    end = fit(new_model(replace(config, seed=5)), data, rest.config, store=rest)  # other weights: the checkpoint's count
    assert (weights(end) == weights(whole)).all()
    assert lines(end) == lines(whole)


def test_the_random_state_is_part_of_a_checkpoint(data, tmp_path):
    class Noisy(Sequential):
        def forward(self, x):
            noise = tc.default_generator().random(x.shape, np.float32) if self.training else 0
            return super().forward(x + noise)

    def model():
        tc.manual_seed(3)
        return Noisy(Flatten(), Linear(64, 10))

    config = replace(QUICK, batch_size=100)
    whole = fit(model(), data, config)
    asked = iter(range(1, 1000))
    run = Run.create(config, tmp_path / "run")
    fit(model(), data, config, store=run, stop=lambda: next(asked) == 17)
    assert (weights(fit(model(), data, config, store=run)) == weights(whole)).all()


def test_a_loss_that_is_no_number_stops_before_it_reaches_the_weights(data, tmp_path):
    config = replace(QUICK, optimizer="sgd", lr=1e36, schedule="constant")
    run = Run.create(config, tmp_path / "run")
    model = new_model(config)
    with pytest.raises(TrainError, match=r"the loss became (nan|inf) in epoch 1 at a learning rate of 1e\+36: .*--lr 1e\+35"), \
            np.errstate(all="ignore"):
        fit(model, data, config, store=run)
    assert not run.checkpoint.exists()


class Root(Module):
    """A layer and a root: where what is under it is 0, its gradient is infinite, while the loss is as finite as ever."""

    def __init__(self):
        self.fc = Linear(64, 10)

    def forward(self, x):
        z = self.fc(x.reshape(x.shape[0], -1))
        return z + (z * 0).abs().sum().sqrt()


def test_the_operation_that_broke_the_gradient_is_named_though_the_loss_breaks_a_step_later(data):
    with pytest.raises(TrainError, match=r"the loss became nan in epoch 1 .*: the first operation to give inf was "
                                         r"(div|pow|mul), of .* to \(\), in the backward pass of step 1; try a smaller one"):
        fit(Root(), data, QUICK)


def test_the_operation_is_named_with_the_parameters_that_it_took(data):
    config = replace(QUICK, optimizer="sgd", schedule="constant", lr=1e36)
    with pytest.raises(TrainError) as error:
        fit(new_model(config), data, config)
    assert re.search(r"the first operation to give (nan|inf) was linear, of \(32, 100\), fc2\.weight \(10, 100\), "
                     r"fc2\.bias \(10,\) to \(32, 10\), in step 2;", str(error.value)), error.value


def test_what_no_operation_made_is_named_too(data):
    images = data.train[0].astype(np.float32)
    images[700, 0, 3, 3] = np.nan
    with pytest.raises(TrainError, match=r"the batch of shape \(32, 1, 8, 8\) held nan in step \d+; try"):
        fit(new_model(QUICK), replace(data, train=(images, data.train[1])), QUICK)
    huge = replace(QUICK, optimizer="sgd", lr=3e38, weight_decay=3e38, schedule="constant")
    with pytest.raises(TrainError, match=r"fc1\.weight of shape \(100, 64\), as SGD left it, held (nan|inf) after step 1; try"):
        fit(new_model(huge), data, huge)


def test_nobody_looks_on_when_the_epoch_is_over(data):
    record = Op.record
    with pytest.raises(TrainError):
        fit(Root(), data, QUICK)
    assert Op.record is record


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
    with pytest.raises(TrainError, match="cannot go on from"):
        fit(new_model(QUICK), data, QUICK, store=run)
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
    with pytest.raises(TrainError, match=r"threads=100000: this process has \d+ cores"):
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

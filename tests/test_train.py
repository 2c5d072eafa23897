"""Training: what a run is told, what a step does, and that a run repeats itself bit for bit."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from trained import QUICK, lines, weights

import tinyconv as tc
from tinyconv.data import digits
from tinyconv.nn import Dropout, Flatten, Linear, Module, Sequential
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
    read_config,
)
from tinyconv.train.optimise import OPTIMISERS, SCHEDULES
from tinyconv.train.problem import augmentation, training_transform


@pytest.fixture(scope="module")
def data() -> Data:
    return load(QUICK)


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
    ({"data": {}}, "no data set {}; there are: digits"),
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


def test_a_model_learns_in_training_mode_whoever_evaluates_it(data):
    model = Sequential(Flatten(), Sequential(Linear(64, 10), Dropout())).eval()
    training = Training(model, data, QUICK)
    for images, labels in training.loader:
        assert all(m.training for m in model.modules())
        model.eval()
        training.step(images, labels)


def test_a_model_may_switch_modes_by_a_rule_of_its_own(data):
    class Frozen(Sequential):
        def train(self, mode=True):  # gives nothing back
            super().train(mode)
            self[1].eval()

    model = Frozen(Flatten(), Dropout(), Linear(64, 10))
    training = Training(model, data, QUICK)
    training.step(*next(iter(training.loader)))
    training.close_epoch()
    assert training.model is model and model.training and not model[1].training and training.history


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

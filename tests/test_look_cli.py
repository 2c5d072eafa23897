"""What can be looked at once networks are trained: the table of runs, a vote, pictures, the learning-rate range test."""

import json
import re
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tinyconv.cli import app, reason
from tinyconv.cli.look import told
from tinyconv.data import digits
from tinyconv.train import PROBLEMS, Run, Score, Training, configure, fit, load, new_model, predict
from tinyconv.train import evaluate as measure

TOLD = {"model": "mlp", "epochs": 2, "batch_size": 100}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three runs of two epochs, digits-1, -2 and -10, finished and measured; and one that has only begun."""
    folder = tmp_path_factory.mktemp("runs")
    for number in (1, 2, 10):
        config = configure(**TOLD, seed=number, threads=0)
        run, data = Run.create(config, folder / f"digits-{number}"), load(config)
        training = fit(new_model(config), data, config, store=run)
        run.write_metrics(training, measure(training.model, data.test, data.problem.transform))
    Run.create(configure(data="mnist", lr=0.5), folder / "deep" / "begun")
    return folder


def said(*args) -> str:
    done = CliRunner().invoke(app, [str(a) for a in args])
    assert done.exit_code == 0, done.output + repr(done.exception)
    paths = [str(a) for a in args if isinstance(a, Path)]  # these stand in one piece, however long they are
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if not any(path in line for path in paths))
    return done.output


def refused(*args) -> str:
    """The one line in which a command says no."""
    done = CliRunner().invoke(app, [str(a) for a in args])
    assert isinstance(done.exception, Exception), done.output
    text = reason(done.exception)
    assert text is not None, repr(done.exception)
    return text


def outcome(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


# -- tinyconv runs -------------------------------------------------------------------------------------------------


def test_runs_compares_them_in_a_table(folder):
    text = said("runs", folder)
    lines = [line.split() for line in text.splitlines()]
    rows = {words[0]: words for words in lines if words[0].startswith(("digits-", "deep"))}
    assert list(rows) == ["deep/begun", "digits-1", "digits-2", "digits-10"]  # numbers by their value
    assert rows["deep/begun"][1:] == ["0/3", "-", "-", "-", "-"]
    for number in (1, 2, 10):
        known = outcome(folder / f"digits-{number}")
        best = max(e["validation_accuracy"] for e in known["epochs"])
        words = rows[f"digits-{number}"]
        assert words[1:6] == ["2/2", f"{100 * best:.2f}", "%", f"{100 * known['test']['accuracy']:.2f}", "%"]
        assert words[-1] == f"{known['parameters']:,}"
    assert "mnist cnn: lr=0.5" in " ".join(text.split())
    assert "digits mlp: batch_size=100, seed=10, threads=0" in " ".join(text.split())


def test_the_time_of_an_epoch_is_that_of_most_not_of_the_first_which_compiled(folder, tmp_path):
    run, told = Run.create(configure(**TOLD), tmp_path / "run"), outcome(folder / "digits-1")
    for epochs, shown in (([9.0, 0.03, 0.04], "0.04"), ([9.0, 0.05, 0.03, 0.04, 0.06], "0.05"), ([9.0], "9.00")):
        told["epochs"] = [{**told["epochs"][0], "seconds": seconds} for seconds in epochs]
        (run.path / "metrics.json").write_text(json.dumps(told))
        assert said("runs", tmp_path).splitlines()[1].split()[-2] == shown


def test_runs_leaves_out_what_is_damaged_and_says_so(folder, tmp_path):
    for name, metrics in (("whole", None), ("torn", '{"epochs": ['), ("other", '{"epochs": [{}]}'), ("list", "[]")):
        Run.create(configure(), tmp_path / name)
        if metrics is not None:
            (tmp_path / name / "metrics.json").write_text(metrics)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange/config.toml").write_text("colour = 3\n")
    text = said("runs", tmp_path)
    assert text.count("is left out: ") == 4
    for name in ("torn", "other", "list", "strange"):
        assert f"{tmp_path / name} is left out: " in text
    assert "no setting 'colour'" in text and "whole" in text


def test_a_folder_without_runs_is_told(tmp_path):
    assert refused("runs", tmp_path / "nowhere") == \
        f"there are no runs in {tmp_path / 'nowhere'}: `tinyconv train` makes them"


# -- early stopping ------------------------------------------------------------------------------------------------


def test_a_run_that_stopped_early_says_so(tmp_path):
    text = said("train", "--model", "mlp", "--epochs", "40", "--patience", "2", "--optimizer", "sgd", "--lr", "1e-9",
                "--schedule", "constant", "--threads", "0", "--out", tmp_path / "run")  # it gets nowhere
    epochs = len(outcome(tmp_path / "run")["epochs"])
    assert f"after epoch {epochs} of 40: 2 without a better one" in text
    assert "held-out accuracy" in text and "go on with" not in text


# -- a vote --------------------------------------------------------------------------------------------------------


def test_thousands_are_set_apart():
    score = Score(loss=0.5, count=10_000, wrong=np.arange(1131))
    assert told(score) == ("accuracy", "88.69 %", "1,131 of 10,000 misread")


def test_evaluate_counts_the_votes_of_several_runs(folder):
    paths = [folder / f"digits-{number}" for number in (1, 2, 10)]
    text = said("evaluate", *paths)
    lone = [outcome(path)["test"]["accuracy"] for path in paths]
    for path, accuracy in zip(paths, lone):
        assert f"{100 * accuracy:6.2f} %  {path}\n" in text
    # by hand: the class that two of three name; where all differ, the one of the largest mean probability
    images, labels = load(configure(**TOLD)).test
    p = [predict(Run.open(path).model(), images, PROBLEMS["digits"].transform) for path in paths]
    voted = []
    for i in range(360):
        named = Counter(int(one[i].argmax()) for one in p)
        most = max(named.values())
        voted.append(max((c for c in named if named[c] == most), key=lambda c: sum(one[i, c] for one in p)))
    right = np.mean(np.array(voted) == labels)
    assert f"{100 * right:.2f} % of 360 held-out images of digits read right by a vote of 3" in text


def test_a_vote_across_data_sets_or_with_two_voices_is_refused(folder):
    assert "only runs of one data set vote together" in refused("evaluate", folder / "digits-1", folder / "deep" / "begun")
    assert "is named twice" in refused("evaluate", folder / "digits-1", folder / "digits-2" / ".." / "digits-1")


# -- pictures ------------------------------------------------------------------------------------------------------


def test_pictures_draws_four(folder, tmp_path):
    run = Run.create(configure(**{**TOLD, "model": "digits"}, threads=0), tmp_path / "run")
    data = load(run.config)
    run.save(Training(new_model(run.config), data, run.config))  # untrained, it makes mistakes enough
    text = said("pictures", run.path, "--out", tmp_path / "out" / "deep")
    names = ["confusion.png", "mistakes.png", "layers.png", "saliency.png"]
    warned, drawn = text[:text.index(str(tmp_path / "out"))], text[text.index(str(tmp_path / "out")):]
    assert "learnt little or nothing" in warned
    assert drawn.split() == [str(tmp_path / "out" / "deep" / name) for name in names]
    for name in names:
        with Image.open(tmp_path / "out" / "deep" / name) as picture:
            assert min(picture.size) > 300


def test_of_given_images_layers_and_saliency_are_drawn(folder, tmp_path):
    Image.fromarray((255 - digits(train=False)[0][0, 0] * 15).astype(np.uint8)).save(tmp_path / "7.png")
    text = said("pictures", folder / "digits-1", tmp_path / "7.png", "--out", tmp_path)
    assert text.splitlines()[0] == "layers.png is not drawn: no layer of mlp makes maps"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["7.png", "saliency.png"]
    assert "there is no file" in refused("pictures", folder / "digits-1", tmp_path / "8.png")
    assert "weights.safetensors" in refused("pictures", folder / "deep" / "begun")


def test_a_picture_that_cannot_be_written_is_not_named_as_one_that_was(folder, tmp_path):
    (tmp_path / "mistakes.png").mkdir()
    done = CliRunner().invoke(app, ["pictures", str(folder / "digits-1"), "--out", str(tmp_path)])
    assert "mistakes.png" in (reason(done.exception) or "") and done.stdout.split() == [str(tmp_path / "confusion.png")]


# -- tinyconv lr-range ---------------------------------------------------------------------------------------------


def test_lr_range_names_a_rate_and_draws(tmp_path):
    flags = ("lr-range", "--model", "mlp", "--optimizer", "sgd", "--low", "1e-3", "--high", "1e4", "--out", tmp_path / "r.png")
    text = said(*flags, "--threads", "0")
    found = re.search(r"falls fastest at ([\d.]+): try --lr \1\n", text)
    assert found and 0.02 < float(found[1]) < 2, text  # sgd on digits: slow below, broken above
    assert "where the loss broke" in text
    with Image.open(tmp_path / "r.png") as picture:
        assert min(picture.size) > 300


@pytest.mark.parametrize("flags, words", [
    (["--low", "1", "--high", "0.1"], "rates with 0 < low < high, got 1 and 0.1"),
    (["--low", "0"], "rates with 0 < low < high, got 0 and 10"),
    (["--high", "inf"], "rates with 0 < low < high, got 1e-05 and inf"),
    (["--steps", "9"], "at least 10 steps, got 9"),
    (["--out", "nowhere/r.png"], "there is no folder nowhere to draw r.png in"),
    (["--model", "mpl"], "no model 'mpl'"),
])
def test_a_range_that_makes_no_sense_is_told(flags, words):
    assert words in refused("lr-range", *flags)


# -- a run that was stopped before it had learnt anything ----------------------------------------------------------


def test_weights_of_a_run_without_an_epoch_are_not_called_trained(tmp_path, monkeypatch):
    """Ctrl-C after the first batch: the run says so, and so does whatever reads its weights."""
    from tinyconv.cli import train

    run, image = tmp_path / "run", tmp_path / "image.png"
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(image)
    monkeypatch.setattr(train, "Interrupt", lambda told: nullcontext(lambda: True))
    begun = ["train", "--model", "mlp", "--epochs", "1", "--out", str(run)]
    done = CliRunner().invoke(app, begun)
    assert done.exit_code == 130 and "the trained weights" not in done.output, done.output
    assert "weights that have learnt little or nothing" in done.output
    for args in (["evaluate", run], ["predict", run, image], ["pictures", run, image, "--out", tmp_path]):
        assert "was stopped before the end of its first epoch" in CliRunner().invoke(app, [str(a) for a in args]).stderr, args
    monkeypatch.undo()
    clock = iter(np.arange(1e6, 2e6, 0.5))  # half a second between two looks, long after the machine was started
    monkeypatch.setattr("tinyconv.cli.screen.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    done = CliRunner().invoke(app, ["train", "--resume", str(run)])
    assert done.exit_code == 0 and "the trained weights" in done.output
    (rate,) = re.findall(r"^ +1/1 .* ([\d,]+) +[\d.]+ s$", done.output, re.M)
    batches, batch = divmod(1300, 32)  # the last has 20, the first two are before the clock is read for the second time
    assert int(rate) == round((1300 - 2 * 32) / (0.5 * (batches + bool(batch) - 2)))
    assert CliRunner().invoke(app, ["evaluate", str(run)]).stderr == ""

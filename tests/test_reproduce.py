"""The MNIST table: that its rows are the book's, that a row goes on where it was stopped, and what is made of the results."""

import json
import re
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tinyconv as tc
from tinyconv.cli import app, main
from tinyconv.data import digits
from tinyconv.models import build
from tinyconv.models.nielsen import Scale
from tinyconv.nn import Dropout, Flatten, Linear, Sequential
from tinyconv.reproduce import MNIST_TABLE, collect, find, jobs, learn, markdown, measured, work, write
from tinyconv.train import PROBLEMS, Data, Run, TrainError, Training, vote

BASELINE = MNIST_TABLE["baseline"]


@pytest.fixture(scope="module")
def data() -> Data:
    """Digits of 8x8 in the place of MNIST's: each pixel 3x3, with a border of 2."""
    def grown(images):
        return np.pad(np.kron(images * 15, np.ones((1, 1, 3, 3), np.uint8)), ((0, 0), (0, 0), (2, 2), (2, 2)))

    images, labels = digits()
    return Data(PROBLEMS["mnist"], (grown(images[:300]), labels[:300]), (grown(images[300:400]), labels[300:400]),
                (grown(images[400:500]), labels[400:500]))


# -- the rows ------------------------------------------------------------------------------------------------------


def test_the_rows_have_the_published_accuracies_and_the_book_s_settings():
    assert {name: row.published for name, row in MNIST_TABLE.items()} == {
        "baseline": 97.80, "v1": 98.78, "v2": 99.06, "v3": 99.23, "v4": 99.37, "v5": 99.43, "v6": 99.60, "v7": 99.67}
    settings = {name: (c.lr, c.epochs, c.weight_decay, c.expand) for name, c in
                ((name, row.config) for name, row in MNIST_TABLE.items())}
    assert settings == {
        "baseline": (0.1, 60, 0, 0), "v1": (0.1, 60, 0, 0), "v2": (0.1, 60, 0, 0), "v3": (0.03, 60, pytest.approx(2e-5), 0),
        "v4": (0.03, 60, pytest.approx(4e-6), 1), "v5": (0.03, 60, pytest.approx(4e-6), 1), "v6": (0.03, 40, 0, 1),
        "v7": (0.03, 40, 0, 1)}
    for row in MNIST_TABLE.values():
        c = row.config
        assert (c.batch_size, c.optimizer, c.momentum, c.schedule, c.augment, c.label_smoothing, c.validation, c.split) == (
            10, "sgd", 0, "constant", "none", 0, 10_000, "last")


def test_the_weight_decay_is_the_gradient_of_the_book_s_cost(data):
    """w - lr * d/dw [mean of -log p + lmbda/2 * sum(w*w) / batches], the biases without the second part: by hand."""
    lmbda, batches, lr = 0.1, 5_000, 0.03
    tc.manual_seed(0)
    model = Sequential(Flatten(), Linear(784, 10))
    training = Training(model, data, MNIST_TABLE["v3"].config)
    model[1].weight.data *= 1e4  # so that the second part counts
    w, b = (p.numpy().astype(float) for p in model.parameters())
    images, labels = next(iter(training.loader))
    training.step(images, labels)
    x = images.reshape(10, -1).astype(float)
    z = x @ w.T + b
    p = np.exp(z - z.max(1, keepdims=True))
    g = (p / p.sum(1, keepdims=True) - np.eye(10)[labels]) / 10
    new_w, new_b = (t.numpy() for t in model.parameters())
    moved = w - lr * (g.T @ x + lmbda / batches * w)
    # weights of size 400 in float32 are known to 2e-5; the second part is 2.4e-4 there, ten times as much
    np.testing.assert_allclose(new_w, moved, rtol=0, atol=4e-5)
    assert lr * lmbda / batches * np.abs(w).max() > 2e-4
    np.testing.assert_allclose(new_b, b - lr * g.sum(0), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name, layers", [
    ("nielsen-baseline", {"fc1": (784, 100, 100), "fc2": (100, 10, None)}),
    ("nielsen-v1", {"conv1": (25, 20, 125), "fc1": (20 * 12 * 12, 100, 100), "fc2": (100, 10, None)}),
    ("nielsen-v3", {"conv1": (25, 20, 125), "conv2": (500, 40, 250), "fc1": (640, 100, 100), "fc2": (100, 10, None)}),
    ("nielsen-v5", {"conv1": (25, 20, 125), "conv2": (500, 40, 250), "fc1": (640, 100, 100), "fc2": (100, 100, 100),
                    "fc3": (100, 10, None)}),
    ("nielsen-v6", {"conv1": (25, 20, 125), "conv2": (500, 40, 250), "fc1": (640, 1000, 1000), "fc2": (1000, 1000, 1000),
                    "fc3": (1000, 10, None)}),
])
def test_the_networks_start_as_the_book_s(name, layers):
    """Of each layer: inputs and outputs of a unit, and n_out with weights from N(0, 1/n_out); None where all starts at 0."""
    tc.manual_seed(1)
    model = build(name, (1, 28, 28), 10)
    assert sum(p.numel() for p in model.parameters()) == sum(i * o + o for i, o, _ in layers.values())
    for layer, (_, n_bias, n_out) in layers.items():
        w, b = getattr(model, layer).weight.numpy(), getattr(model, layer).bias.numpy()
        assert len(b) == n_bias
        if n_out is None:
            assert not w.any() and not b.any()
            continue
        # a standard deviation from n draws is off by a share of 1/sqrt(2n): five of those
        assert w.std() == pytest.approx(sqrt(1 / n_out), rel=5 / sqrt(2 * w.size))
        assert b.std() == pytest.approx(1, rel=5 / sqrt(2 * b.size)) and abs(w.mean()) < 5 * sqrt(1 / n_out / w.size)


def test_dropout_is_not_scaled_while_it_learns_and_is_when_it_reads():
    tc.manual_seed(0)
    model, x = Sequential(Dropout(0.25), Scale(0.75)), tc.tensor(np.full((1, 4000), 2.0, np.float32))
    learnt = model(x).numpy()
    assert set(learnt.ravel().tolist()) == {0.0, 2.0}
    assert 0.7 < (learnt > 0).mean() < 0.8  # 0.75 within seven standard deviations
    assert (model.eval()(x).numpy() == 1.5).all()
    v6 = build("nielsen-v6", (1, 28, 28), 10)
    assert [type(layer).__name__ for layer in v6][7:12] == ["Dropout", "Scale", "Linear", "ReLU", "Dropout"]


def test_the_split_is_the_book_s(monkeypatch):
    images = np.arange(60_000, dtype=np.uint16).reshape(-1, 1, 1, 1)
    whole = images, np.arange(60_000) % 10
    monkeypatch.setitem(PROBLEMS, "mnist", replace(PROBLEMS["mnist"], load=lambda folder, train: whole))
    config = replace(BASELINE.config, expand=0)
    found = work.load(config)
    assert (found.train[0].ravel() == np.arange(50_000)).all()
    assert (found.validation[0].ravel() == np.arange(50_000, 60_000)).all()
    with pytest.raises(TrainError, match="expand=1: expand_shifts by pixels=1: it must be 1 to 0 for images of 1x1"):
        work.load(replace(config, expand=1))


def test_the_expanded_set_has_five_of_each(monkeypatch):
    whole = np.ones((60_000, 1, 2, 2), np.uint8), np.arange(60_000) % 10
    monkeypatch.setitem(PROBLEMS, "mnist", replace(PROBLEMS["mnist"], load=lambda folder, train: whole))
    found = work.load(MNIST_TABLE["v4"].config)
    assert len(found.train[0]) == len(found.train[1]) == 250_000 and len(found.validation[0]) == 10_000


# -- votes ---------------------------------------------------------------------------------------------------------


def test_a_vote_by_hand():
    a = np.array([[0.9, 0.1, 0.0], [0.4, 0.3, 0.3], [0.5, 0.3, 0.2]])
    b = np.array([[0.2, 0.8, 0.0], [0.1, 0.6, 0.3], [0.2, 0.7, 0.1]])
    c = np.array([[0.4, 0.6, 0.0], [0.2, 0.1, 0.7], [0.5, 0.4, 0.1]])
    # 1: two to one, although 0 has the larger mean. 2: one each, so the largest mean, of 2. 3: two to one, although 1 has it
    assert vote([a, b, c]).tolist() == [1, 2, 0]
    assert vote([a]).tolist() == a.argmax(1).tolist()


def test_a_vote_comes_after_the_networks_that_it_needs():
    todo = jobs([find("v7"), find("v6")], [0, 1])
    assert [(job.row.name, job.seed) for job in todo] == [
        *(("v6", s) for s in range(5)), ("v7", 0), *(("v6", s) for s in range(5, 10)), ("v7", 1)]


def test_the_vote_of_a_row(data, tmp_path):
    row = replace(MNIST_TABLE["v7"], votes=3, of="baseline", config=BASELINE.config)
    parts = [learn(BASELINE, seed, tmp_path, epochs=1, data=data) for seed in range(3)]
    result = learn(row, 0, tmp_path, epochs=1, data=data)
    read = np.stack([work.predict(Run.open(tmp_path / f"baseline-seed{s}").model(best=True), data.test[0],
                                  data.problem.transform).argmax(1) for s in range(3)])
    named = np.stack([(read == k).sum(0) for k in range(10)], 1)
    sure = named.max(1) > 1  # at least two name the same
    right = (named.argmax(1) == data.test[1])[sure].sum()
    assert right <= result["accuracy"] <= right + (~sure).sum()  # of 100: percent
    assert result["members"] == [part["accuracy"] for part in parts] and result["row"] == "v7"
    (tmp_path / "v7-seed0/result.json").unlink()
    for seed, part in enumerate(parts):  # however nice the tests are themselves
        busy = {"threads": 1, "nice": 3, "load": 2.5} if seed == 1 else {"threads": 0, "nice": 0, "load": 0.1}
        (tmp_path / f"baseline-seed{seed}/result.json").write_text(json.dumps(part | busy))
    beside = learn(row, 0, tmp_path, epochs=1, data=data)  # a sum of seconds of which some were beside other work
    assert [beside[key] for key in ("threads", "nice", "load")] == [1, 3, 2.5]


def test_a_vote_needs_no_weights(data, tmp_path):
    row = replace(MNIST_TABLE["v7"], votes=2, of="baseline", config=BASELINE.config)
    folders = [tmp_path / f"baseline-seed{seed}" for seed in range(2)]
    for seed in range(2):
        learn(BASELINE, seed, tmp_path, epochs=1, data=data)
    result = learn(row, 0, tmp_path, epochs=1, data=data)
    for folder in folders:
        for file in folder.iterdir():
            if file.name not in ("result.json", work.PREDICTIONS):
                file.unlink()
    (tmp_path / "v7-seed0/result.json").unlink()
    assert lasting(learn(row, 0, tmp_path, epochs=1, data=data)) == lasting(result)
    (tmp_path / "v7-seed0/result.json").unlink()
    kept = (folders[1] / work.PREDICTIONS).read_bytes()
    for damaged in (kept[:-50], b"no zip"):
        (folders[1] / work.PREDICTIONS).write_bytes(damaged)
        with pytest.raises(TrainError, match=r"baseline-seed1.*predictions\.npz is damaged"):
            learn(row, 0, tmp_path, epochs=1, data=data)
    (folders[1] / work.PREDICTIONS).write_bytes(kept)
    fewer = replace(data, test=(data.test[0][:50], data.test[1][:50]))
    with pytest.raises(TrainError, match="is of 100 images, the test set has 50"):
        learn(row, 0, tmp_path, epochs=1, data=fewer)


# -- a row at work -------------------------------------------------------------------------------------------------

CHANGING = ("seconds", "when", "load")


def lasting(result: dict) -> dict:
    return {name: value for name, value in result.items() if name not in CHANGING}


def test_a_row_that_is_stopped_goes_on_to_the_same_end(data, tmp_path):
    whole = learn(BASELINE, 1, tmp_path / "whole", epochs=3, data=data)
    moments = iter([False] * 40 + [True] + [False] * 1000)  # in the second of three epochs of 30 batches
    assert learn(BASELINE, 1, tmp_path / "part", epochs=3, data=data, stop=lambda: next(moments)) is None
    assert not (tmp_path / "part/baseline-seed1/result.json").exists()
    rest = learn(BASELINE, 1, tmp_path / "part", epochs=3, data=data)
    assert lasting(rest) == lasting(whole)
    assert len(rest["validation"]) == len(rest["seconds"]) == 3 and rest["book_epochs"] == 60
    files = [(tmp_path / name / "baseline-seed1" / "best.safetensors").read_bytes() for name in ("whole", "part")]
    assert files[0] == files[1]


def test_the_best_epoch_decides(data, tmp_path):
    result = learn(BASELINE, 0, tmp_path, epochs=4, data=data)
    assert result["validation"][result["best_epoch"] - 1] == max(result["validation"])
    best = Run.open(tmp_path / "baseline-seed0").model(best=True)
    read = work.predict(best, data.test[0], data.problem.transform).argmax(1)
    assert result["accuracy"] == pytest.approx(100 * np.mean(read == data.test[1]))


def test_what_is_through_is_not_trained_again(data, tmp_path, monkeypatch):
    result = learn(BASELINE, 0, tmp_path, epochs=1, data=data)
    monkeypatch.setattr(work, "fit", None)
    assert learn(BASELINE, 0, tmp_path, epochs=1, data=data) == result
    with pytest.raises(TrainError, match="holds a result of 1 epochs, not of 60"):
        learn(BASELINE, 0, tmp_path, data=data)
    (tmp_path / "baseline-seed0/result.json").unlink()
    with pytest.raises(TrainError, match=r"told otherwise \(its epochs are 1, these 2\): name another folder with --out"):
        learn(BASELINE, 0, tmp_path, epochs=2, data=data)
    (tmp_path / "baseline-seed0/result.json").write_text("{}")
    with pytest.raises(TrainError, match="is damaged, or no result of a row"):
        learn(BASELINE, 0, tmp_path, epochs=1, data=data)


# -- the record ----------------------------------------------------------------------------------------------------


def result(row: str, seed: int, accuracy: float, **more) -> dict:
    return {"row": row, "seed": seed, "accuracy": accuracy, "epochs": 60, "book_epochs": 60, "seconds": [2.0, 4.0, 3.0],
            "nice": 0, "threads": 0, "when": f"2026-01-0{seed + 1} 10:00", "machine": {"cpu": "A CPU", "cores": 2}, **more}


def results_in(out: Path, *results: dict) -> None:
    for r in results:
        folder = out / f"{r['row']}-seed{r['seed']}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(r))


def test_results_become_a_record_and_a_table(tmp_path):
    results_in(tmp_path, result("v2", 0, 99.1), result("baseline", 1, 97.0, epochs=5), result("v2", 1, 99.0),
               result("v2", 2, 99.02), result("v3", 0, 99.2, nice=19))
    record = collect(tmp_path)
    assert [(r["row"], r["seed"]) for r in record["rows"]] == [("baseline", 1), ("v2", 0), ("v2", 1), ("v2", 2), ("v3", 0)]
    assert record["when"] == "2026-01-03 10:00"
    assert markdown(record).splitlines()[2:] == [
        "| row | network | published | measured | seconds an epoch | |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        "| baseline | 784-100-10, sigmoid | 97.80 | 97.00 | 3.0 | 5 epochs, not the book's 60 |",
        "| v2 | 20C5-P2-40C5-P2-100-10, sigmoid | 99.06 | 99.04 | 3.0 | 3 seeds, 99.00 to 99.10 |",
        "| v3 | the same with ReLU, L2 | 99.23 | 99.20 | 3.0 | timed beside other work |"]
    assert markdown(record).startswith("**MNIST, test accuracy in percent.** A CPU, 2 cores; 2026-01-03.")


def test_a_record_keeps_the_rows_that_only_it_has(tmp_path):
    results_in(tmp_path, result("v2", 0, 99.1))
    path = tmp_path / "machine" / "mnist-table.json"
    write({**collect(tmp_path), "rows": [result("v1", 0, 98.0), result("v2", 0, 1.0)]}, path)
    write(collect(tmp_path), path)
    rows = json.loads(path.read_text())["rows"]
    assert [(r["row"], r["accuracy"]) for r in rows] == [("v1", 98.0), ("v2", 99.1)]
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(TrainError, match=r"bad\.json is no record of this table"):
        write(collect(tmp_path), tmp_path / "bad.json")
    with pytest.raises(TrainError, match="there are no results in"):
        collect(tmp_path / "machine")


def test_several_seeds_are_told_with_their_mean():
    assert measured([result("v2", s, a) for s, a in enumerate((99.0, 99.1, 99.11))]) == (
        "99.07", "3.0", "3 seeds, 99.00 to 99.11")


def test_seconds_are_those_of_the_runs_that_had_all_cores():
    slow = [result("v2", 1, 99.0, threads=1, seconds=[9.0]), result("v2", 2, 99.0, nice=5, seconds=[11.0])]
    assert measured([result("v2", 0, 99.0), *slow])[1:] == ("3.0", "3 seeds, 99.00 to 99.00")
    assert measured(slow)[1:] == ("10.0", "2 seeds, 99.00 to 99.00; timed beside other work")


def test_the_readme_shows_what_was_recorded(tmp_path):
    spec = spec_from_file_location("tables", Path(__file__).parents[1] / "bench" / "tables.py")
    tables = module_from_spec(spec)
    spec.loader.exec_module(tables)
    tables.main(check=True)
    results_in(tmp_path, result("v2", 0, 99.1))
    write(collect(tmp_path), tmp_path / "results" / "a-machine" / "mnist-table.json")
    marks = [mark.replace("bench", kind, 1) for kind in ("bench", "mnist-table") for mark in (tables.BEGIN, tables.END)]
    (tmp_path / "README.md").write_text("\n".join([*marks[:2], "between", *marks[2:]]))
    with pytest.raises(SystemExit, match=r"run python bench/tables\.py"):
        tables.main(True, [tmp_path / "README.md"], tmp_path / "results")
    tables.main(False, [tmp_path / "README.md"], tmp_path / "results")
    text = (tmp_path / "README.md").read_text()
    assert "between" in text and "| v2 | 20C5-P2-40C5-P2-100-10, sigmoid | 99.06 | 99.10 |" in text


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_trains_what_is_missing_and_sets_both_side_by_side(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tinyconv.cli.reproduce.load", lambda config, folder: data)
    args = ["reproduce", "mnist-table", "--rows", "baseline", "--seeds", "0,1", "--epochs", "2", "--record"]
    text = CliRunner().invoke(app, args).output
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"^baseline +784-100-10, sigmoid +97\.80 +\d+\.\d\d +\d+\.\d *$", text, re.M), text
    assert re.search(r"^baseline: 2 seeds, .* to .*; 2 epochs, not the book's 60", text, re.M), text
    assert {p.name for p in Path("runs/mnist-table").iterdir()} == {"baseline-seed0", "baseline-seed1", "mnist-table.json"}
    (path,) = tmp_path.glob("tinyconv-bench/*/mnist-table.json")
    assert [r["seed"] for r in json.loads(path.read_text())["rows"]] == [0, 1]
    monkeypatch.setattr("tinyconv.cli.reproduce.load", None)
    again = CliRunner().invoke(app, args)
    assert again.exit_code == 0 and "images/s" not in again.output


@pytest.mark.parametrize("args, words", [
    (["mnist-tabel"], "there is no table 'mnist-tabel'; did you mean 'mnist-table'?"),
    (["mnist-table", "--rows", "v3,v9"], "there is no row 'v9'"),
    (["mnist-table", "--seeds", "0,x"], "--seeds takes whole numbers with commas, got '0,x'"),
    (["mnist-table", "--epochs", "0"], "--epochs"),
    (["mnist-table", "--threads", "9999"], "threads=9999: this process has"),
])
def test_refusals(tmp_path, monkeypatch, capsys, args, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["reproduce", *args])
    error = capsys.readouterr().err
    assert end.value.code == 2 and words in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

"""`tinyconv train`, `evaluate` and `predict` as a user meets them: the main job, and a run stopped in any way that goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell import FILES, QUICK, ROOT, environment, names, narrow, refusal, tinyconv_

from tinyconv.data import digits
from tinyconv.train import RECIPES, Run


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, str]:
    """`tinyconv train` with no argument, in a folder of its own: that folder, and what was printed."""
    folder = tmp_path_factory.mktemp("main_job")
    done = tinyconv_("train", cwd=folder)
    assert done.stderr == ""
    return folder, done.stdout


def test_train_reads_98_percent_of_the_held_out_digits(trained):
    folder, _text = trained
    assert names(folder) == ["runs"] and names(folder / "runs") == ["digits-1"]
    run = folder / "runs" / "digits-1"
    assert names(run) == FILES
    outcome = json.loads((run / "metrics.json").read_text())
    assert outcome["finished"] and outcome["test"]["count"] == 360
    assert outcome["test"]["accuracy"] >= 0.98
    assert len(outcome["epochs"]) == len((run / "metrics.csv").read_text().splitlines()) - 1 == RECIPES["digits"].epochs
    for name in ("learning_curve.png", "filters.png"):
        with Image.open(run / name) as picture:
            picture.load()
            assert min(picture.size) > 300


def test_train_prints_a_line_an_epoch_and_what_it_leaves(trained):
    _, text = trained
    epochs = re.findall(r"^ *(\d+)/20 +[\d.]+ +[\d.]+ % +[\d.]+ % +[\d,]+ +[\d.]+ s$", text, re.M)
    assert epochs == [str(i) for i in range(1, 21)]
    assert re.search(r"held-out accuracy +\d\d\.\d\d % \(\d of 360 misread\)", text)
    for name in FILES:
        assert name in text
    assert "tinyconv predict runs/digits-1 image.png" in text
    assert narrow(text)


def test_evaluate_gives_the_accuracy_that_train_gave(trained):
    folder, _ = trained
    outcome = json.loads((folder / "runs/digits-1/metrics.json").read_text())
    text = tinyconv_("evaluate", "runs/digits-1", cwd=folder).stdout
    assert re.match(r"\d\d\.\d\d % of 360 held-out images of digits read right by digits\n\d+ misread, loss ", text)
    assert text.startswith(f"{100 * outcome['test']['accuracy']:.2f} % of 360 held-out images")
    assert sum(map(int, re.findall(r"(\d+) of \d+ misread", text))) == len(outcome["test"]["wrong"])
    assert narrow(text)
    assert "held-out images" in tinyconv_("evaluate", "runs/digits-1", "--best", cwd=folder).stdout


def test_bars_that_the_terminal_cannot_show_are_replaced(trained):
    folder, _ = trained
    text = tinyconv_("evaluate", "runs/digits-1", cwd=folder, PYTHONIOENCODING="ascii").stdout
    assert re.search(r"^0  \?{20,} +\d+\.\d\d %", text, re.M)


def test_predict_reads_held_out_digits_from_pictures(trained):
    folder, _ = trained
    images, labels = digits(train=False)
    wrong = json.loads((folder / "runs/digits-1/metrics.json").read_text())["test"]["wrong"]
    chosen = [next(i for i in range(360) if labels[i] == n and i not in wrong) for n in range(10)]
    for n, i in enumerate(chosen):  # as ink on white paper
        Image.fromarray((255 - images[i, 0] * (255 / 16)).astype(np.uint8)).save(folder / f"{n}.png")
    text = tinyconv_("predict", "runs/digits-1", *[f"{n}.png" for n in range(10)], cwd=folder).stdout
    assert re.findall(r"^(\d)\.png: (\d) \(", text, re.M) == [(str(n), str(n)) for n in range(10)]
    assert narrow(text)
    shares = [float(p) for p in re.findall(r"([\d.]+) %$", text.split("1.png")[0].rstrip(), re.M)]
    assert len(shares) == 10 and sum(shares) == pytest.approx(100, abs=0.5)  # ten shares, rounded to a tenth


def test_predict_reads_an_enlarged_picture(trained):
    folder, _ = trained
    images, labels = digits(train=False)
    wrong = json.loads((folder / "runs/digits-1/metrics.json").read_text())["test"]["wrong"]
    i = next(i for i in range(360) if labels[i] == 0 and i not in wrong)
    page = np.full((200, 160), 255, np.uint8)
    page[40:120, 40:120] = np.kron(255 - images[i, 0] * (255 / 16), np.ones((10, 10))).astype(np.uint8)
    Image.fromarray(page).save(folder / "page.png")
    assert tinyconv_("predict", "runs/digits-1", "page.png", cwd=folder).stdout.startswith("page.png: 0 (")


def test_predict_of_a_file_that_is_no_picture(trained, tmp_path):
    folder, _ = trained
    (tmp_path / "x.png").write_text("")
    run = str(folder / "runs" / "digits-1")
    assert "x.png is no picture" in refusal("predict", run, "x.png", cwd=tmp_path)
    assert "there is no file y.png" in refusal("predict", run, "y.png", cwd=tmp_path)


# -- the same run, other ways --------------------------------------------------------------------------------------


def outcome(folder: Path) -> tuple[bytes, list]:
    """The weights of a run, and its metrics without the seconds."""
    rows = [line.rsplit(",", 1)[0] for line in (folder / "metrics.csv").read_text().splitlines()]
    return (folder / "weights.safetensors").read_bytes(), rows


def test_the_same_seed_is_the_same_run_and_flags_go_before_the_file(tmp_path):
    tinyconv_(*QUICK, "--seed", "3", cwd=tmp_path)
    tinyconv_("train", "--config", "run/config.toml", "--out", "again", cwd=tmp_path)
    assert outcome(tmp_path / "again") == outcome(tmp_path / "run")
    tinyconv_("train", "--config", "run/config.toml", "--seed", "4", "--out", "other", cwd=tmp_path)
    assert outcome(tmp_path / "other") != outcome(tmp_path / "run")
    assert Run.open(tmp_path / "other").config.model == "mlp"


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two threads want two cores")
def test_the_number_of_threads_changes_no_bit(tmp_path):
    for threads in ("1", "2"):
        tinyconv_("train", "--epochs", "1", "--threads", threads, "--out", threads, cwd=tmp_path)
    assert outcome(tmp_path / "1") == outcome(tmp_path / "2")


LONG = ("train", "--model", "mlp", "--epochs", "60")


@pytest.fixture(scope="module")
def long_run(tmp_path_factory) -> tuple:
    folder = tmp_path_factory.mktemp("long_run")
    tinyconv_(*LONG, "--out", "whole", cwd=folder)
    return outcome(folder / "whole")


def start(folder: Path, *args: str) -> subprocess.Popen:
    """Start a run, and wait until its first epoch is over."""
    process = subprocess.Popen([sys.executable, "-m", "tinyconv", *args], cwd=folder, env=environment(PYTHONUNBUFFERED="1"),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not re.match(r" *1/", line := process.stdout.readline()):
        assert line or process.poll() is None, process.stderr.read()
    return process


def test_ctrl_c_ends_cleanly_and_the_run_goes_on_to_the_same_end(tmp_path, long_run):
    process = start(tmp_path, *LONG, "--out", "run")
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert names(tmp_path / "run") == FILES
    assert "go on with:  tinyconv train --resume run" in text
    done = json.loads((tmp_path / "run/metrics.json").read_text())
    assert not done["finished"] and done["test"] is None and 1 <= len(done["epochs"]) < 60
    tinyconv_("train", "--resume", "run", cwd=tmp_path)
    assert outcome(tmp_path / "run") == long_run


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_run_killed_at_random_moments_goes_on_to_the_same_end(tmp_path, long_run):
    """Kill -9 while it learns or writes, up to half a second after its first line, which stands there before it begins."""
    rng = np.random.default_rng(7)
    args = (*LONG, "--out", "run")
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-m", "tinyconv", *args], cwd=tmp_path,
                                   env=environment(PYTHONUNBUFFERED="1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        args = ("train", "--resume", "run")
    tinyconv_(*args, cwd=tmp_path)
    assert outcome(tmp_path / "run") == long_run
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="file size limits are POSIX")
def test_a_disk_that_is_full_half_way_is_told_and_the_run_goes_on(tmp_path, long_run):
    """A run that was stopped goes on with no room for its checkpoint, and then with room."""
    process = start(tmp_path, *LONG, "--out", "run")
    while not (tmp_path / "run/checkpoint.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    before = (tmp_path / "run/checkpoint.safetensors").read_bytes()
    code = (f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2},) * 2); "
            "sys.argv = ['tinyconv', 'train', '--resume', 'run']; runpy.run_module('tinyconv', run_name='__main__')")
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "tinyconv: cannot write run/checkpoint.safetensors: File too large\n"
    assert (tmp_path / "run/checkpoint.safetensors").read_bytes() == before
    tinyconv_("train", "--resume", "run", cwd=tmp_path)
    assert outcome(tmp_path / "run") == long_run


@pytest.mark.skipif(os.name == "nt", reason="file size limits are POSIX")
@pytest.mark.parametrize("limit", [100, 8_000])
def test_a_full_disk(tmp_path, limit):
    """A file size limit stands in for the disk: nothing beyond `limit` bytes can be written to a file."""
    code = (f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
            f"sys.argv = ['tinyconv', {', '.join(map(repr, QUICK))}]; runpy.run_module('tinyconv', run_name='__main__')")
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert re.fullmatch(r"tinyconv: cannot write run/[\w.]+: File too large\n", done.stderr), done.stderr
    assert names(tmp_path) == []


def test_resuming_a_finished_run_says_its_outcome_again(tmp_path):
    tinyconv_(*QUICK, cwd=tmp_path)
    before = outcome(tmp_path / "run")
    assert "held-out accuracy" in tinyconv_("train", "--resume", "run", cwd=tmp_path).stdout
    assert outcome(tmp_path / "run") == before


def test_without_matplotlib_it_trains_and_says_how_to_get_the_pictures(tmp_path):
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "matplotlib.py").write_text("raise ImportError\n")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "block"), str(ROOT)])}
    done = tinyconv_(*QUICK, cwd=tmp_path, **env)
    assert done.stderr == "tinyconv: pictures need matplotlib: pip install matplotlib\n"
    assert names(tmp_path / "run") == [name for name in FILES if not name.endswith(".png")]
    assert "filters.png" not in done.stdout

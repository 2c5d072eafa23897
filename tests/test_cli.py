"""The command line as a user meets it: what it prints and leaves, and one line where something is wrong."""

import gzip
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import tinyconv
from tinyconv import registry
from tinyconv.cli import app, main
from tinyconv.data import digits, write_idx
from tinyconv.kernels import gpu
from tinyconv.models import MODELS
from tinyconv.train import RECIPES, Run

ROOT = Path(tinyconv.__file__).parents[1]
FILES = ["best.safetensors", "checkpoint.safetensors", "config.toml", "filters.png", "learning_curve.png", "metrics.csv",
         "metrics.json", "weights.safetensors"]
QUICK = ("train", "--model", "mlp", "--epochs", "2", "--out", "run")


def environment(**more: str) -> dict[str, str]:
    """That of the tests, with the network and the user's data out of reach."""
    plain = {name: value for name, value in os.environ.items() if name not in ("TINYCONV_DATA", "COLUMNS", "FORCE_COLOR")}
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return {**plain, **nowhere, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **more}


def tinyconv_(*args: str, cwd: Path, code: int = 0, **env: str) -> subprocess.CompletedProcess:
    done = subprocess.run([sys.executable, "-m", "tinyconv", *args], cwd=cwd, env=environment(**env), capture_output=True,
                          text=True, timeout=240)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def narrow(text: str) -> bool:
    return max(map(len, text.splitlines())) <= 80


# -- the main job --------------------------------------------------------------------------------------------------


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


# -- looking around ------------------------------------------------------------------------------------------------


def test_help_is_there_before_numba_and_matplotlib(tmp_path):
    code = ("import sys; from tinyconv.cli import main\n"
            "try: main(['--help'])\n"
            "except SystemExit as end: print(end.code, {'numba', 'matplotlib', 'PIL', 'pooch'} & set(sys.modules))")
    text = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True).stdout
    assert text.splitlines()[-1] in ("0 set()", "None set()")
    assert all(f" {command} " in text for command in ("train", "evaluate", "predict", "models", "info"))


@pytest.mark.parametrize("args", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["predict", "--help"], ["models"],
                                  ["models", "vgg16"], ["models", "googlenet-bn"], ["models", "dcgan-generator"], ["info"]])
def test_output_fits_80_columns(args):
    result = CliRunner().invoke(app, args, env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert result.exit_code == 0, result.output
    assert narrow(result.output)


def test_bench_keeps_its_own_flags():
    text = CliRunner().invoke(app, ["bench", "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).output
    assert "tinyconv bench" in text and "--compare" in text and narrow(text)
    assert CliRunner().invoke(app, ["bench", "nonsense"]).exit_code == 2


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert result.output == f"tinyconv {tinyconv.__version__}\n"


def test_models_lists_every_one_with_its_parameters_on_one_line():
    text = CliRunner().invoke(app, ["models"]).output
    assert [line.split()[0] for line in text.split("\n\n")[0].splitlines()] == ["name", *MODELS]
    assert re.search(r"lenet5 +1x32x32 +61,706", text)  # 156 + 2,416 + 48,120 + 10,164 + 850


def test_models_shows_one_layer_by_layer():
    text = CliRunner().invoke(app, ["models", "vgg16"]).output
    assert re.search(r"features\.28 +Conv2d +512x14x14 +2,359,808 +462,422,016 +196x196", text)
    assert "138,357,544 parameters" in text
    text = CliRunner().invoke(app, ["models", "unet", "--image", "3x40x48", "--classes", "5"]).output
    assert re.search(r"head +Conv2d +5x40x48 +85 ", text)
    assert CliRunner().invoke(app, ["models", "vgg"]).exit_code != 0


def test_info_names_the_machine_and_the_kernels():
    text = " ".join(CliRunner().invoke(app, ["info"]).output.split())
    for word in ("numpy", "numba", "processor", "vectors", "threads", "BLAS", "cpu", "kernels"):
        assert word in text
    assert f"devices {'cpu' if gpu.missing() else 'cpu, cuda'} CUDA " in text  # those of this machine, not of the registry
    for op in ("conv", "conv_input_grad", "conv_weight_grad"):
        assert f" {op} {', '.join(k.algorithm for k in registry.kernels(op))} " in text


# -- what is wrong is told in one line -----------------------------------------------------------------------------


def told(text: str) -> bool:
    return text.startswith("tinyconv: ") and text.count("\n") == 1


def refusal(*args: str, cwd: Path, **env: str) -> str:
    """The one line on stderr of a process that cannot do what it is told; nothing is left behind."""
    before = names(cwd)
    done = tinyconv_(*args, cwd=cwd, code=2, **env)
    assert names(cwd) == before
    assert told(done.stderr), done.stderr
    return done.stderr


@pytest.mark.parametrize("args, words", [
    (["train", "--model", "lenet"], "there is no model 'lenet'; did you mean 'lenet5'? There are: perceptron, mlp, digits"),
    (["train", "--model", "unet"], "the model unet gives a class of each pixel"),
    (["trace", "--model", "segnet"], "the model segnet gives a class of each pixel"),
    (["train", "--model", "lenet5"], "the model lenet5 takes images of 32x32, or of 28x28 which it pads; these are 8x8"),
    (["train", "--data", "mnits"], "there is no data set 'mnits'; did you mean 'mnist'?"),
    (["train", "--optimizer", "adamm"], "there is no optimizer 'adamm'; did you mean"),
    (["train", "--schedule", "cos"], "there is no schedule 'cos'"),
    (["train", "--augment", "blur"], "there is no augmentation 'blur'; there are: shift, flip"),
    (["train", "--augment", "shift:8"], "augment='shift:8' moves images of 8 pixels out of sight: at most shift:7"),
    (["train", "--device", "tpu"], 'a device is "cpu", "cuda" or "cuda:0"'),
    (["dcgan", "--data", "digits", "--batch-size", "9999"], "batch_size=9999 makes no batch: digits has 1437 training images"),
    (["draw", "conv", "--input", "5000"], "a grid of 5000x5000 cells is too large to draw cell by cell: at most 48 a side"),
    (["lr-range", "--out", "."], ". is a folder: --out names the picture, such as lr_range.png"),
    (["train", "--epochs", "0"], "epochs must be at least 1, got 0"),
    (["train", "--epochs", "many"], "tinyconv: --epochs: "),
    (["shape", "conv", "--input", "5", "--kernel", "9"], "tinyconv: the kernel does not fit: along the height, input 5"),
    (["draw", "cnov"], "tinyconv: there is no picture of 'cnov'"),
    (["train", "--epoch-count", "3"], "--epoch-count"),
    (["train", "--threads", "9999"], "threads=9999: this process has"),
    (["train", "--validation", "5000"], "leaves nothing to train on"),
    (["train", "--config", "none.toml"], "cannot read none.toml: No such file"),
    (["train", "--resume", "nowhere"], "nowhere is no run"),
    (["train", "--resume", "nowhere", "--epochs", "3"], "--resume goes on with a run as it was told"),
    (["train", "--out", "file/run"], "cannot make the folder file/run: Not a directory"),
    (["train", "--out", "."], "holds files already"),
    (["evaluate", "nowhere"], "nowhere is no run"),
    (["predict", "nowhere", "x.png"], "nowhere is no run"),
    (["predict", "nowhere"], "IMAGE.png"),
    (["trian"], "trian"),
])
def test_refusals(tmp_path, monkeypatch, capsys, args, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as end:
        main(args)
    error = capsys.readouterr().err
    assert end.value.code == 2 and told(error) and words in error, error
    assert "Invalid" not in error and not re.search(r"\w\.$", error)  # of flags and of all else in one style
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("width", [80, 40])
def test_on_a_terminal_a_long_line_breaks_between_words(monkeypatch, capsys, width):
    """Paths and commands stay whole. (In a file it is one line: see test_refusals.)"""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    path = "a-folder/" * 12
    refused = ["shape", "conv", "--input", "5", "--kernel", "9"]
    for args, word in ((refused, "dilation*(kernel-1)+1"), (["evaluate", path], path)):
        with pytest.raises(SystemExit):
            main(args)
        lines = capsys.readouterr().err.splitlines()
        assert lines[0].startswith("tinyconv:") and len(lines) > 1
        assert all(line.startswith("  ") for line in lines[1:])
        assert all(len(line) <= width for line in lines if path.rstrip("/") not in line), lines
        assert any(word.rstrip("/") in line for line in lines)


@pytest.mark.parametrize("args", [[], ["shape"]])
def test_no_command_at_all_is_answered_with_the_help(capsys, args):
    with pytest.raises(SystemExit) as end:
        main(args)
    told = capsys.readouterr()
    assert end.value.code == 2 and "Usage: tinyconv" in told.out + told.err and "tinyconv: " not in told.err


def test_an_unknown_model_and_a_loss_that_explodes_in_a_process_of_their_own(tmp_path):
    assert "did you mean 'lenet5'?" in refusal("train", "--model", "lenet", cwd=tmp_path)
    assert "try a smaller one (--lr 1e+37)" in refusal(*QUICK, "--lr", "1e38", "--optimizer", "sgd", cwd=tmp_path)


def test_settings_of_a_file_are_checked_too(tmp_path):
    (tmp_path / "c.toml").write_text("epoch = 3\n")
    assert "there is no setting 'epoch'; did you mean 'epochs'?" in refusal("train", "--config", "c.toml", cwd=tmp_path)


def test_predict_of_a_file_that_is_no_picture(trained, tmp_path):
    folder, _ = trained
    (tmp_path / "x.png").write_text("")
    run = str(folder / "runs" / "digits-1")
    assert "x.png is no picture" in refusal("predict", run, "x.png", cwd=tmp_path)
    assert "there is no file y.png" in refusal("predict", run, "y.png", cwd=tmp_path)


# -- data files ----------------------------------------------------------------------------------------------------

TRAIN = ("train", "--data", "mnist", "--epochs", "1")


@pytest.fixture(scope="module")
def labels_file(tmp_path_factory) -> bytes:
    """A good train-labels file for MNIST, as far as its form goes."""
    path = tmp_path_factory.mktemp("labels") / "labels.gz"
    write_idx(path, np.arange(60_000, dtype=np.uint32).astype(np.uint8) % 10)
    return path.read_bytes()


@pytest.mark.parametrize("what, words", [
    ("missing", "TINYCONV_DATA is {}/missing, which is no folder"),
    ("truncated", "is cut off"),
    ("damaged", "is damaged"),
    ("no IDX", "is no IDX file"),
    ("few", "expected uint8 of shape (60000,)"),
])
def test_data_files_that_are_wrong(tmp_path, labels_file, what, words):
    folder = tmp_path / "missing"
    work = tmp_path / "work"
    work.mkdir()
    if what != "missing":
        folder.mkdir()
        content = {"truncated": labels_file[:-20], "damaged": labels_file[:-8] + b"\0" * 8, "no IDX": b"hello",
                   "few": gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 3) + b"abc")}[what]
        (folder / "train-labels-idx1-ubyte.gz").write_bytes(content)
    assert words.format(tmp_path) in refusal(*TRAIN, cwd=work, TINYCONV_DATA=str(folder))


def test_no_network(tmp_path):
    (tmp_path / "cache").mkdir()
    done = tinyconv_(*TRAIN, cwd=tmp_path, code=2, XDG_CACHE_HOME=str(tmp_path / "cache"))
    *tried, last = done.stderr.splitlines()
    assert all(line.startswith("downloading http") for line in tried)
    assert last.startswith("tinyconv: cannot download train-labels-idx1-ubyte.gz") and "set TINYCONV_DATA" in last
    assert names(tmp_path) == ["cache"]
    assert list((tmp_path / "cache").rglob("*ubyte*")) == []


def test_a_wrong_checksum_in_the_cache_is_not_trusted(tmp_path, labels_file):
    folder = tmp_path / "cache" / "tinyconv" / "mnist"
    folder.mkdir(parents=True)
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(labels_file)  # good in form, but not MNIST's
    done = tinyconv_(*TRAIN, cwd=tmp_path, code=2, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.stderr.splitlines()[-1].startswith("tinyconv: cannot download")
    assert path.read_bytes() == labels_file and names(folder) == [path.name]


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


# -- the README ----------------------------------------------------------------------------------------------------


def test_the_readme_s_example_runs_and_its_paths_exist():
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[0]) > 90  # percent
    for path in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / path).exists(), path

"""The command line as a user meets it: help and what can be looked up, one line where something is wrong, and the README.

`tinyconv train` and what goes with it: test_train_cli.py.
"""

import gzip
import re
import struct
import subprocess
import sys

import numpy as np
import pytest
from shell import QUICK, ROOT, environment, names, narrow, refusal, tinyconv_, told
from typer.testing import CliRunner

import tinyconv
from tinyconv import registry
from tinyconv.cli import app, main
from tinyconv.data import write_idx
from tinyconv.kernels import gpu
from tinyconv.models import MODELS


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


@pytest.mark.parametrize("args, words", [
    (["train", "--model", "lenet"], "there is no model 'lenet'; did you mean 'lenet5'? There are: perceptron, mlp, digits"),
    (["train", "--model", "unet"], "the model unet gives a class of each pixel"),
    (["trace", "--model", "segnet"], "the model segnet gives a class of each pixel"),
    (["train", "--model", "lenet5"], "the model lenet5 takes images of 32x32, or of 28x28 which it pads; these are 8x8"),
    (["train", "--data", "mnits"], "there is no data set 'mnits'; did you mean 'mnist'?"),
    (["train", "--optimizer", "adamm"], "there is no optimizer 'adamm'; did you mean"),
    (["train", "--optimizer", "adamm", "--momentum", "0.5"], "there is no optimizer 'adamm'; did you mean"),
    (["train", "--momentum", "0.5"], "--momentum is read by sgd and rmsprop; the optimizer is adamw"),
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


# -- the README ----------------------------------------------------------------------------------------------------


def test_the_readme_s_example_runs_and_its_paths_exist():
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[0]) > 90  # percent
    for path in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / path).exists(), path

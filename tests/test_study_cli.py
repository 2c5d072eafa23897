"""`tinyconv shape` and `tinyconv draw` as a user meets them."""

import pytest
from typer.testing import CliRunner

from tinyconv.cli import app, main


def run(*args):
    done = CliRunner().invoke(app, args, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def refused(capsys, *args):
    with pytest.raises(SystemExit) as status:
        main(args)
    assert status.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_shape_of_alexnets_first_layer():
    text = run("shape", "conv", "--input", "227", "--kernel", "11", "--stride", "4", "--channels", "3,96")
    for part in ("output size 55x55", "relationship 5", "= floor((227 - 11)/4) + 1 = 55", "left over nothing",
                 "34,944 = 96*3*11*11 weights + 96 biases", "105,415,200 a sample", "its transpose fills 227 to 230 from 55"):
        assert part in text


def test_shape_says_which_rows_are_never_read():
    assert "2 at the end; of the input itself never read: rows 6, 7" in run("shape", "conv", "--input", "8", "--kernel", "3",
                                                                      "--stride", "3")
    assert "1 at the end, all of it padding" in run("shape", "conv", "--input", "6", "--kernel", "3", "--stride", "2",
                                                    "--padding", "1")


def test_shape_of_transposed_convolutions():
    """Figure 4.7 of the guide, asked for by its size."""
    text = run("shape", "conv-transpose", "--input", "3", "--kernel", "3", "--stride", "2", "--padding", "1",
               "--output-size", "6")
    for part in ("relationship 14", "= 2*(3 - 1) + 1 + 3 - 2*1 = 6", "3 rows with 1 zero between each two: 5",
                 "padding 1 before, 2 after (a = 1 among them)", "0 gives 5, 1 gives 6 (here)"):
        assert part in text


@pytest.mark.parametrize("args, says", [
    (("pool", "--input", "28", "--kernel", "2"), "relationship 7"),
    (("pool", "--input", "8", "--kernel", "3", "--ceil-mode"), "by ceil_mode one that hangs over: 3"),
    (("conv", "--input", "6x8", "--kernel", "3x5", "--padding", "0+1,2"), "width: half (same) padding, unit stride"),
    (("conv", "--input", "7", "--kernel", "3", "--dilation", "2"), "3 taps, 2 apart, span k^ = 5"),
    (("conv", "--input", "5", "--kernel", "3", "--padding", "half"), "relationship 3"),
    (("conv", "--input", "40", "--kernel", "9", "--rank", "1"), "x (1, 1, 40)"),
    (("model", "lenet5"), "61,706 parameters"),
    (("model", "cnn", "--image", "3x32x32", "--classes", "7"), "Sequential of 3x32x32"),
])
def test_shape(args, says):
    assert says in run("shape", *args)


@pytest.mark.parametrize("args, says", [
    (("shape", "conv", "--input", "3", "--kernel", "5"), "the kernel does not fit"),
    (("shape", "conv", "--input", "three", "--kernel", "5"), "--input 'three' should be a number"),
    (("shape", "conv", "--input", "5x5", "--kernel", "3x3x3"), "should be a number"),
    (("shape", "conv", "--input", "5", "--kernel", "3", "--channels", "3,4", "--groups", "2"), "groups"),
    (("shape", "conv-transpose", "--input", "3", "--kernel", "3", "--stride", "2", "--output-size", "99"), "sizes 7 to 8"),
    (("shape", "conv", "--input", "5", "--kernel", "3", "--rank", "0"), "--rank"),
    (("shape", "model", "lenet"), "did you mean 'lenet5'"),
    (("shape", "model", "lenet5", "--image", "32"), "--image '32' should be 3 numbers as in 3x3x3, of at least 1"),
    (("draw", "convolution"), "there is no picture of 'convolution'"),
    (("draw", "conv", "--out", "a.jpg"), "'a.jpg' is none of them"),
    (("draw", "conv", "--steps", "1,99"), "steps 1 to 9"),
    (("draw", "conv", "--out", "nowhere/a.png"), "cannot write"),
])
def test_refusals(args, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in refused(capsys, *args)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["conv", "conv-transpose", "dilated", "max-pool", "average-pool", "unpool", "toeplitz",
                                  "positions"])
def test_draw(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("draw", kind, "--input", "5", "--values", "--steps", "1") == f"{kind}.png"
    assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")


def test_draw_guide(tmp_path):
    paths = run("draw", "guide", "--out", str(tmp_path / "guide"), "--format", "svg").split()
    assert len(paths) == len(list((tmp_path / "guide").iterdir())) == 26
    captions = (tmp_path / "guide" / "4.7-padding-strides-left-over-transposed.svg").read_text()
    assert "relationship 14" in captions  # matplotlib keeps the text of its paths as a comment

"""`tinyconv bench` as a user meets it: what it records and compares, kernels of one's own, and bad input."""

import json
import re
from pathlib import Path

import pytest
from numba.core import config
from typer.testing import CliRunner

from tinyconv.bench.command import bench as command

EXAMPLE = Path(__file__).parents[1] / "bench" / "my_kernel.py"
compiled = pytest.mark.skipif(config.DISABLE_JIT, reason="without the compiler there is no machine to measure")


def run(*args):
    import typer

    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(a) for a in args])


@compiled
def test_the_command_records_and_compares(tmp_path):
    done = run("conv", "--case", "small.half", "--op", "conv", "--library", "none", "--threads", 1, "--rounds", 1,
               "--algorithm", "kn2row,reference", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    path = next(tmp_path.glob("*/last.json"))
    rows = json.loads(path.read_text())["rows"]
    assert {"kn2row", "reference"} < {row["algorithm"] for row in rows} and "kn2row" in done.output
    compared = run("--compare", path, path)
    assert compared.exit_code == 0 and f"{len(rows)} of {len(rows)} rows" in compared.output


@compiled
def test_filters_alone_choose_the_suite(tmp_path):
    done = run("--op", "conv_input_grad", "--case", "small.half", "--algorithm", "reference", "--library", "none",
               "--threads", 1, "--rounds", 1, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    rows = json.loads(next(tmp_path.glob("*/last.json")).read_text())["rows"]
    assert {(row["suite"], row["op"], row["case"]) for row in rows} == {("conv", "conv_input_grad", "small.half")}


@compiled
def test_the_worked_example_is_right_and_timed(tmp_path):
    done = run("--kernel", EXAMPLE, "--case", "small.half", "--library", "none", "--threads", 1, "--rounds", 1,
               "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "conv by 'mine' is right on 36 small cases" in done.output and "it knows no groups" in done.output
    rows = json.loads(next(tmp_path.glob("*/last.json")).read_text())["rows"]
    assert {"mine", "im2col"} <= {row["algorithm"] for row in rows} and {row["op"] for row in rows} == {"conv"}


KERNEL = """
import os, sys
import numpy as np, tinyconv
from tinyconv.kernels.conv.reference import conv as right

@tinyconv.kernel("conv", "mine")
def conv(x, w, dims):
    y = right(x, w, dims)
    {wrong}
    return y
"""


@compiled
@pytest.mark.parametrize(("wrong", "says"), [
    ("y.flat[-1:] += 1", r"first mismatch at \[0, 0, 0, 0\]: 1\.\d+ instead of 0\.\d+ \(1 of 1 elements off"),
    ("y.flat[:1] = np.nan", r"first mismatch at \[0, 0, 0, 0\]: nan instead of 0\.\d+"),
    ("y[..., 0] = y[..., -1] if y.shape[-1] > 1 else y[..., 0]", r"first mismatch at \[\d+, \d+, \d+, 0\]: \S+ instead of"),
    ("y = y.astype(np.float64)", r"returned shape \(1, 1, 1, 1\) of float64, not \(1, 1, 1, 1\) of float32"),
    ("y = y[..., 1:]", r"returned shape \(1, 1, 1, 0\) of float32, not \(1, 1, 1, 1\) of float32"),
    ("y = y.tolist()", "returned list, not an array"),
    ("x[...] = 0", "it wrote to its operands"),
    ("y.nonsense", "it raised AttributeError at line 9: 'numpy.ndarray' object has no attribute 'nonsense'"),
])
def test_a_wrong_kernel_of_ones_own_fails_the_bench(tmp_path, wrong, says):
    """With the first mismatch; nothing is timed, and nothing recorded."""
    (tmp_path / "mine.py").write_text(KERNEL.format(wrong=wrong))
    done = run("--kernel", tmp_path / "mine.py", "--library", "none", "--threads", 1, "--out", tmp_path)
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and re.fullmatch(rf"WRONG conv by 'mine' on \w+ \(float32\): .*{says}.*", said), said
    assert not list(tmp_path.glob("*/last.json"))


@compiled
def test_a_kernel_that_is_wrong_on_a_large_case_alone_is_not_recorded(tmp_path):
    (tmp_path / "mine.py").write_text(KERNEL.format(wrong="y *= 2 if dims.input == (32, 32) else 1"))
    done = run("--kernel", tmp_path / "mine.py", "--case", "lenet.c1:N=1", "--library", "none", "--threads", 1, "--rounds", 1,
               "--out", tmp_path)
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and "WRONG tinyconv mine: conv by 'mine' on lenet.c1:N=1 (float32): first mismatch at" in said
    assert not re.search(r"mine +\d", done.output) and not list(tmp_path.glob("*/last.json"))


@compiled
@pytest.mark.parametrize(("text", "says"), [
    (KERNEL.format(wrong="os.abort()"), "the process of tinyconv ended by SIGABRT"),
    ("import sys; sys.exit(3)", "the process of tinyconv ended with status 3, asked to load"),
    ("def f(:", "mine.py: SyntaxError: invalid syntax (mine.py, line 1)"),
    ("import no_such_thing", "mine.py: ModuleNotFoundError: No module named 'no_such_thing'"),
    ("x = 1", "mine.py: it registers no kernel"),
    (KERNEL.format(wrong="").replace('"mine"', '"im2col"'), "conv has an algorithm 'im2col' already: give yours another name"),
    (KERNEL.format(wrong="").replace('"conv"', '"convv"'), "no operation 'convv'; there are:"),
    (KERNEL.format(wrong="").replace('"conv"', '"max_pool"'), "a kernel of max_pool has no bench here"),
    (KERNEL.format(wrong="").replace('"mine"', '"mine", refuse=lambda dims, dtype: "not today"'),
     "conv by 'mine' refuses every small case: not today"),
    (KERNEL.format(wrong="").replace('"mine"', '"mine", refuse=lambda dims: ""'),
     "conv by 'mine' cannot be asked what it refuses: TypeError"),
    (KERNEL.format(wrong="").replace('"mine"', '"mine", refuse=lambda dims, dtype: dims.groups > 1'),
     "cannot be asked what it refuses: TypeError: it returned False on one_pixel, not \"\" or a sentence that says why not"),
])
def test_a_file_without_a_kernel_to_check_gets_one_clear_error(tmp_path, text, says):
    (tmp_path / "mine.py").write_text(text)
    done = run("--kernel", tmp_path / "mine.py", "--library", "none", "--threads", 1, "--out", tmp_path)
    one_line = "".join(done.output.split())  # wherever a long path has it wrapped
    assert done.exit_code == 2 and "".join(says.split()) in one_line, done.output
    assert not list(tmp_path.glob("*/last.json"))


@compiled
def test_a_file_beside_it_hides_no_module_of_python(tmp_path, monkeypatch):
    """A folder may hold random.py; a kernel may still import what lies beside it."""
    (tmp_path / "random.py").write_text("import tinyconv.nonsense\n")
    (tmp_path / "neighbour.py").write_text("zero = 0\n")
    (tmp_path / "mine.py").write_text("from neighbour import zero\n" + KERNEL.format(wrong="y += zero"))
    monkeypatch.chdir(tmp_path)
    done = run("--kernel", "mine.py", "--case", "small.half", "--library", "none", "--threads", 1, "--rounds", 1,
               "--out", "made")
    assert done.exit_code == 0 and "conv by 'mine' is right on" in done.output, done.output


@compiled
def test_a_folder_that_cannot_be_recorded_in_is_refused_before_anything_is_timed(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("conv", "--case", "small.half", "--library", "none", "--out", tmp_path / "file" / "deeper")
    said = " ".join(done.output.split())
    assert done.exit_code == 2 and said.startswith("tinyconv: cannot record in") and "name another folder with --out" in said
    assert "GFLOP/s" not in said


@pytest.mark.skipif(not config.DISABLE_JIT, reason="the compiler is on")
def test_nothing_is_timed_without_the_compiler():
    done = run("conv", "--case", "small.half", "--library", "none")
    assert done.exit_code == 2 and "unset NUMBA_DISABLE_JIT" in done.output


@compiled
@pytest.mark.parametrize(("args", "says"), [
    (["step"], "there is no suite 'step'; did you mean 'steps'? There are: ladder, conv, pool"),
    (["conv", "--case", "vgg.63"], "there is no case 'vgg.63'; did you mean 'vgg.64'? There are: "),
    (["--case", "vgg.63"], "did you mean 'vgg.64'?"),
    (["pool", "--case", "56.2s"], "there is no case '56.2s'; did you mean '56.2s2'? There are: 56.2s2, "),
    (["steps", "--case", "mnist@11"], "did you mean 'mnist@10'?"),
    (["--op", "conv_input_gard"], "there is no operation 'conv_input_gard'; did you mean 'conv_input_grad'?"),
    (["conv", "--case", "small.hand", "--library", "none", "--algorithm", "smid"],
     "there is no algorithm 'smid'; did you mean 'simd'?"),
    (["conv", "--case", "resnext*"], "nothing to time: no case of conv matches --op * and --case resnext*"),
    (["conv", "--op", "max_pool"], "nothing to time: no case of conv matches --op max_pool"),
    (["growth", "--quick"], "matches --op * and --case * among the few of --quick and --kernel: leave them out"),
    (["--dtype", "float16"], "there is no dtype 'float16'; did you mean 'float64'?"),
    (["--threads", "two"], "--threads takes whole numbers from 1, with commas, not 'two'"),
    (["--threads", "1,0"], "--threads takes whole numbers from 1, with commas, not '0'"),
    (["--compare", "a.json", "b.json"], "a.json cannot be read"),
    (["--library", "theano"], "there is no library 'theano'"),
    (["--kernel", "nowhere.py"], "nowhere.py"),
])
def test_bad_input_gets_one_clear_error(args, says):
    done = run(*args)
    assert done.exit_code == 2 and says in (text := " ".join(done.output.split())), done.output
    assert text.startswith(("tinyconv: ", "Usage: "))  # the latter where typer itself refuses, which cli/ tells in the same way

"""The contest: wrong answers fail it, ours and the other libraries'; turns are fair, and processes that die say why."""

import re
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from time import sleep

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import cases, registry
from tinyconv.bench import nets, startup, suites
from tinyconv.bench.contest import LIBRARIES, OURS, Contest, Contestant, Worker, installed
from tinyconv.bench.run import EAGER
from tinyconv.bench.sides import tinyconv as our_side
from tinyconv.bench.task import SLOTS, Task, conv_case, dims_of, operands

BROKEN = '''
import tinyconv
from tinyconv.kernels.conv import reference

@tinyconv.kernel("conv_input_grad", "tailless")
def conv_input_grad(y, w, dims):
    x = reference.conv_input_grad(y, w, dims)
    x[:, :, -1:] = 0
    return x
'''
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")


@pytest.fixture(scope="module")
def contest():
    """Our worker alone, one thread, two rounds."""
    with Contest([], 1, rounds=2, progress=lambda text: None) as made:
        yield made


@pytest.mark.parametrize("op", SLOTS)
def test_rows_of_a_task(contest, op):
    task = Task("conv", op, "small.ragged")
    chosen, patches, kn2row = contest.run(task, [Contestant(OURS, a) for a in ("auto", "im2col", "kn2row")])[:3] \
        if tc.choose(op, cases.small["ragged"], np.dtype("float32")).algorithm != "im2col" \
        else (None, *contest.run(task, [Contestant(OURS, a) for a in ("auto", "kn2row")]))
    for row in filter(None, (chosen, patches, kn2row)):
        assert 0 < row["low"] <= row["median"] <= row["high"] and len(row["rounds"]) == 2
        assert row["flops"] == cases.small["ragged"].flops and row["threads"] == 1 and row["first"] > 0
    assert kn2row["algorithm"] == "kn2row" and not kn2row["chosen"] and kn2row["scratch"] > 0
    assert contest.failures == []


def test_auto_and_the_algorithm_it_chose_are_one_row(contest):
    name = tc.choose("conv", cases.small["hand"], np.dtype("float32")).algorithm
    rows = contest.run(Task("conv", "conv", "small.hand"), [Contestant(OURS, "auto"), Contestant(OURS, name)])
    assert [(row["algorithm"], row["chosen"]) for row in rows] == [(name, True)]


def test_a_refusal_is_a_row_with_its_reason(contest):
    rows = contest.run(Task("conv", "conv", "vgg.64:N=1"), [Contestant(OURS, "toeplitz")])
    assert "non-zeros, the limit is" in rows[0]["refused"] and "median" not in rows[0]


def test_a_wrong_answer_is_a_failure_and_no_row(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text(BROKEN)
    with Contest([], 1, rounds=1, progress=lambda text: None) as contest:
        assert contest.workers[OURS].ask("load", path=str(path)) == {"kernels": [["conv_input_grad", "tailless"]]}
        rows = contest.run(Task("conv", "conv_input_grad", "small.half"), [Contestant(OURS, a) for a in ("kn2row", "tailless")])
        assert [row["algorithm"] for row in rows] == ["kn2row"]
        assert len(contest.failures) == 1
        assert re.search(r"'tailless'.*first mismatch at \[\d+, \d+, 5, \d+\]: 0.0 instead of -?\d", contest.failures[0])


@needs_torch
def test_pytorch_is_judged_and_agrees():
    """The three maps over small cases and the poolings: PyTorch is asked for the same thing, or the judge would say so."""
    with Contest(["torch"], 1, rounds=1, progress=lambda text: None) as contest:
        refused = {"one_sided", "line_dilated", "dilated_output_padding"}  # uneven padding, and fewer rows than fit
        for name in cases.small:
            for op in SLOTS:
                row, = contest.run(Task("conv", op, f"small.{name}"), [Contestant("torch")])
                assert ("refused" in row) == (name in refused), (name, op, row)
        for op in suites.POOLING:
            rows = contest.run(Task("pool", op, "24.3s1"), [Contestant("torch")])
            assert rows and rows[0]["error"] < 16
        assert contest.failures == []


@pytest.mark.parametrize("library", LIBRARIES[2:])
def test_other_libraries_are_judged_and_agree(library):
    """On what they do not refuse; each is an optional part of the extra "bench"."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    with Contest([library], 1, rounds=1, progress=lambda text: None) as contest:
        cells = [Task("conv", op, f"small.{name}") for name in cases.small for op in SLOTS]
        cells += [Task("pool", op, "24.3s1") for op in suites.POOLING] + [Task("steps", "step", "mnist@2")]
        timed = sum("median" in row for task in cells for row in contest.run(task, [Contestant(library)]))
        assert contest.failures == [] and timed >= 40


@needs_torch
def test_a_foreign_answer_that_is_wrong_is_seen(contest, tmp_path):
    task = Task("conv", "conv", "small.half")
    right = tc.choose("conv", dims_of(task), np.dtype("float32")).fn(*operands(task), dims_of(task))
    np.save(tmp_path / "right.npy", right)
    right[1, 2, 3, 4] += 0.01
    np.save(tmp_path / "wrong.npy", right)
    ask = contest.workers[OURS].ask
    assert ask("judge", task=asdict(task), path=str(tmp_path / "right.npy"))["error"] < 16
    assert "first mismatch at [1, 2, 3, 4]" in ask("judge", task=asdict(task), path=str(tmp_path / "wrong.npy"))["wrong"]


def test_a_step_is_taken_to_pieces():
    """Two convolutions that sleep take no less than they sleep; afterwards nobody stands in for `choose`."""
    slow, fast = 0.02, next(k for k in registry.kernels("conv") if k.algorithm == "im2col").fn

    def sleepy(x, w, dims):
        sleep(slow)
        return fast(x, w, dims)

    registry.register(registry.Kernel("conv", "sleepy", sleepy))
    try:
        parts = our_side.parts(asdict(Task("steps", "step", "mnist@2")))
    finally:
        registry.unregister("sleepy")
    assert {"conv", "conv_weight_grad", "max_pool", "linear", "between"} <= set(parts)
    assert parts["conv"] >= 2 * slow
    assert registry.set_tuner(None) is None


def test_a_training_step_with_a_wrong_gradient_is_seen(contest, tmp_path):
    task = Task("steps", "step", "mnist@2")
    losses = nets.first_losses(task, tc.nn, tc.optim, tc.from_numpy, "float64")
    np.save(tmp_path / "right.npy", losses)
    np.save(tmp_path / "wrong.npy", [losses[0], *[losses[0]] * (nets.LOSSES - 1)])  # as if no step had been taken
    ask = contest.workers[OURS].ask
    assert "error" in ask("judge", task=asdict(task), path=str(tmp_path / "right.npy"))
    assert "where float64 gives" in ask("judge", task=asdict(task), path=str(tmp_path / "wrong.npy"))["wrong"]


def test_a_process_that_dies_says_its_last_words():
    worker = Worker("no_such_library", 1)
    with pytest.raises(RuntimeError, match=r"(?s)the process of no_such_library ended.*No module named"):
        worker.ask("hello")
    worker.process.wait()


def test_a_library_that_is_not_in_turn_is_stopped():
    """Its waiting threads would spin on the cores of the one that is."""
    with Worker(OURS, 1) as worker:
        worker.ask("hello")
        state = Path(f"/proc/{worker.process.pid}/stat")
        if not state.exists():
            pytest.skip("the state of a process is read from Linux's /proc")
        for _ in range(200):
            if state.read_text().rpartition(")")[2].split()[0] == "T":
                break
            sleep(0.01)
        else:
            pytest.fail(f"the process runs on: {state.read_text()}")
        assert worker.ask("hello")["threads"] == 1


def test_what_a_library_prints_does_not_reach_the_replies(tmp_path):
    path = tmp_path / "loud.py"
    path.write_text("print('{not json')\n" + BROKEN)
    with Worker(OURS, 1) as worker:
        assert worker.ask("load", path=str(path))["kernels"]


def test_peak_memory_is_seen(contest):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory is read from Linux's /proc")
    with Worker(OURS, 1, **EAGER) as worker:
        found = worker.ask("memory", task=asdict(Task("memory", "conv", "vgg.64:N=1")), algorithm="kn2row")
    stated = tc.choose("conv", conv_case("vgg.64:N=1"), np.dtype("float32"), algorithm="kn2row").scratch(
        conv_case("vgg.64:N=1"), np.dtype("float32"))
    assert 0.2 * stated < found["peak"] < 2 * stated


def test_libraries_that_are_missing_are_named():
    have, lack = installed(["torch", "jax"])
    assert set(have) | set(lack) == {"torch", "jax"} and all(find_spec(name) for name in have)
    with pytest.raises(ValueError, match="there is no library 'theano'"):
        installed(["theano"])


def test_a_first_result_in_a_fresh_process():
    task = Task("conv", "conv", "small.half")
    for cold in (False, True):
        facts, found = startup.started("first call", task, Contestant(OURS, "kn2row"), 1, 1, cold)
        assert facts["algorithm"] == "kn2row" and found["first call"][0] > 0.01
    refused = startup.started("first call", task, Contestant(OURS, "no_such"), 1, 2, cold=False)
    assert refused == ({"refused": "conv has no algorithm 'no_such'"}, {})
    assert len(startup.seconds_of("import tinyconv", 1, 2)) == 2


def test_what_starting_costs(contest, monkeypatch):
    """A row for each cache, one for what `auto` stands for, and of both calls where those are told apart."""
    monkeypatch.setattr(startup, "CACHES", {"warm": 1, "cold": 1})
    monkeypatch.setattr(startup, "CALLS", 5)
    for case in ("first call", startup.ALONE):
        monkeypatch.setitem(startup.DOES, case, Task("conv", "conv", "small.half"))
    name = tc.choose("conv", cases.small["half"], np.dtype("float32")).algorithm

    def rows(case, *algorithms, quick=True):
        who = [Contestant(OURS, algorithm) for algorithm in algorithms]
        made = startup.rows(Task("startup", "startup", case), who, contest.workers[OURS], quick, lambda text: None)
        return [(row["case"], row["algorithm"], row["chosen"]) for row in made]

    assert rows("import", "auto") == [("import", "", True)]
    assert rows("first call", "auto", name, "kn2row") == [
        ("first call, warm", name, True), ("first call, warm", "kn2row", False)]
    assert [case for case, _, _ in rows(startup.ALONE, "kn2row", quick=False)] == [
        "call 1, warm", "call 5, warm", "call 1, cold", "call 5, cold"]

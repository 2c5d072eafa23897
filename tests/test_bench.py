"""The bench: wrong answers fail it, turns are fair, records and tables say what was measured."""

import json
import re
from dataclasses import asdict
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from numba.core import config
from rich.console import Console
from typer.testing import CliRunner

import tinyconv as tc
from tinyconv import cases, registry
from tinyconv.bench import machine, nets, record, report, startup, suites
from tinyconv.bench.command import bench as command
from tinyconv.bench.contest import LIBRARIES, OURS, Contest, Contestant, Worker, installed, ratio, summary
from tinyconv.bench.run import EAGER
from tinyconv.bench.sides import tinyconv as our_side
from tinyconv.bench.summary import markdown
from tinyconv.bench.task import POOLS, SLOTS, Task, conv_case, dims_of, operands, work
from tinyconv.registry import kernels

EXAMPLE = Path(__file__).parents[1] / "bench" / "my_kernel.py"
BROKEN = '''
import tinyconv
from tinyconv.kernels.conv import reference

@tinyconv.kernel("conv_input_grad", "tailless")
def conv_input_grad(y, w, dims):
    x = reference.conv_input_grad(y, w, dims)
    x[:, :, -1:] = 0
    return x
'''
compiled = pytest.mark.skipif(config.DISABLE_JIT, reason="without the compiler there is no machine to measure")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")


@pytest.fixture(scope="module")
def contest():
    """Our worker alone, one thread, two rounds."""
    with Contest([], 1, rounds=2, progress=lambda text: None) as made:
        yield made


# -- tasks ---------------------------------------------------------------------------------------------------------


def test_operands_are_the_same_in_every_process():
    task = Task("conv", "conv_weight_grad", "lenet.c1:N=2")
    first, second = operands(task), operands(Task(**asdict(task)))
    assert all((a == b).all() and a.dtype == np.float32 for a, b in zip(first, second))
    assert [a.shape for a in first] == [(2, 1, 32, 32), (2, 6, 28, 28)]
    assert not (operands(Task("conv", "conv_weight_grad", "lenet.c1:N=2", "float64"))[0][0] == first[0][0]).all()


@pytest.mark.parametrize(("name", "x", "w"), [
    ("vgg.64:N=1,H=14", (1, 64, 14, 14), (64, 64, 3, 3)),
    ("vgg.64:C=8,k=5", (8, 8, 56, 56), (64, 8, 5, 5)),
    ("depthwise:C=16", (8, 16, 56, 56), (16, 1, 3, 3)),
    ("small.line:H=20", (2, 3, 20), (4, 3, 5)),
])
def test_cases_are_resized_by_name(name, x, w):
    dims = conv_case(name)
    assert (dims.x_shape, dims.w_shape) == (x, w)


@pytest.mark.parametrize(("name", "says"), [
    ("vgg.63", r"no case .vgg.63.; did you mean .vgg.64.\? There are: lenet.c1"),
    ("vgg.64:Q=3", "resized by N, C, O, H and k, each with a whole number, not by 'Q=3'"), ("vgg.64:H=x", "not by 'H=x'"),
    ("vgg.64:N", "not by 'N'")])
def test_unknown_cases_are_named(name, says):
    with pytest.raises(ValueError, match=says):
        conv_case(name)


@pytest.mark.parametrize("name", POOLS)
def test_positions_lie_in_their_windows(name):
    """The positions that pool_scatter is timed with are those of cells of the windows."""
    dims = POOLS[name]
    _, at = operands(Task("pool", "pool_scatter", name))
    for flat_axis, (size, o_size, s, k, (lo, _)) in enumerate(
            zip(dims.input, dims.output, dims.stride, dims.kernel, dims.padding)):
        i = at // dims.input[1] if flat_axis == 0 else at % dims.input[1]
        first = np.arange(o_size).reshape(-1, *(1,) * (1 - flat_axis)) * s - lo
        assert ((i >= np.maximum(first, 0)) & (i < np.minimum(first + k, size))).all()


def test_suites_hold_what_the_project_promises():
    conv = list(suites.tasks("conv"))
    assert {t.case for t in conv} == set(cases.layers) and {t.op for t in conv} == set(SLOTS)
    steps = [t.case for t in suites.tasks("steps")]
    assert steps == ["mnist@10", "mnist@64", "mnist@256", "lenet5@64", "bnnet@32", "autoencoder@64"]
    assert len(list(suites.tasks("pool"))) == 24


def test_filters_choose_tasks():
    chosen = list(suites.tasks("conv", ops="conv_*", names="vgg.*,small.line,vgg.64:N=1,H=14", dtypes=("float64",)))
    assert {t.case for t in chosen} == {"vgg.64", "vgg.128", "vgg.256", "vgg.512", "small.line", "vgg.64:N=1,H=14"}
    assert {t.op for t in chosen} == {"conv_input_grad", "conv_weight_grad"} and {t.dtype for t in chosen} == {"float64"}


def test_a_pattern_may_hold_a_size():
    suites.check_names(["growth"], "*", "mnist.c2:N=*")
    assert {t.case for t in suites.tasks("growth", names="mnist.c2:N=*")} == {f"mnist.c2:N={n}" for n in (1, 4, 16, 64, 256)}
    assert not list(suites.tasks("conv", names="mnist.c2:N=*"))


def test_a_quick_bench_has_a_taste_of_each_suite():
    """In the order in which it is left out where time is short; growth needs more cases than there is time for."""
    few = {suite: list(suites.tasks(suite, quick=True)) for suite in suites.SUITES}
    assert list(few)[:2] == ["ladder", "conv"] and [suite for suite, found in few.items() if not found] == ["growth"]
    assert {task.op for task in few["conv"]} == set(SLOTS)
    case = conv_case(few["ladder"][0].case)
    assert not [k.algorithm for k in kernels("conv") if k.device == "cpu" and k.refuse(case, np.dtype("float32"))
                and k.algorithm != "aot"]  # aot needs a compiler
    for suite, found in few.items():
        assert suite in ("ladder", "growth") or {t.case for t in found} <= {t.case for t in suites.tasks(suite)}


def test_the_work_of_a_task_is_counted_from_its_dims():
    assert work(Task("conv", "conv", "small.hand")) == {"flops": 2 * 4 * 4, "bytes": 4 * (9 + 4 + 4)}
    pool = dims_of(Task("pool", "max_pool", "24.2s2"))
    assert work(Task("pool", "max_pool", "24.2s2"))["bytes"] == pool.bytes() + 8 * np.prod(pool.y_shape)
    convs, linears = (20 * 24 * 24 * 25, 40 * 8 * 8 * 20 * 25), (640 * 100, 100 * 10)
    step = 3 * (sum(convs) + sum(linears)) - convs[0]  # forward and two gradients, none of the images
    assert nets.work(Task("steps", "step", "mnist@10")) == {"flops": 2 * 10 * step}


# -- the contest ---------------------------------------------------------------------------------------------------


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


# -- the machine ---------------------------------------------------------------------------------------------------


@compiled
def test_the_peak_is_measured_on_multiply_adds_that_happen():
    """Each chain runs acc = acc/2 + 1, whose limit is 2, and the chains are added up."""
    out = np.zeros(2)
    machine._spin4(2, 100, out)
    assert out.tolist() == [2.0 * machine.CHAINS] * 2
    assert machine.peak("float32", seconds=0.01) > machine.peak("float64", seconds=0.01) / 2 > 0


# -- figures -------------------------------------------------------------------------------------------------------


def made_up(seconds, **changes):
    row = {"suite": "conv", "op": "conv", "case": "vgg.64", "dtype": "float32", "library": OURS, "algorithm": "im2col",
           "chosen": False, "threads": 2, "flops": 10**9, "bytes": 10**7, "scratch": 10**6, "first": 1.0}
    return {**row, **summary([[s] for s in seconds]), **changes}


def a_record():
    rows = []
    for op in SLOTS:
        rows += [made_up([2e-3] * 4, op=op), made_up([1e-3, 1.1e-3, 1e-3, 1e-3], op=op, algorithm="simd", chosen=True),
                 made_up([3e-3, 2.2e-3, 2e-3, 2e-3], op=op, library="torch", algorithm="")]
        rows.append({**rows[0], "op": op, "algorithm": "fft", "refused": "it is only an example"})
        del rows[-1]["median"]
    return {**record.new("conv"), "rows": rows, "peaks": {"float32@2": 4e11}, "bandwidth": {"2": 2e10},
            "libraries": {OURS: "0.1.0", "torch": "2.13"}}


def test_ratios_are_taken_within_rounds():
    """The machine was twice as slow in the second half: the ratio does not see it."""
    assert ratio(made_up([2, 2, 4, 4, 4]), made_up([1, 1, 2, 2, 2])) == 2.0
    assert summary([[1.0, 3.0], [2.0]]) == {"median": 2.0, "low": 1.5, "high": 2.5, "calls": 3, "rounds": [2.0, 2.0]}


def test_a_mean_is_of_every_line_of_its_table():
    """A step timed on one thread and on two is two lines, though one case."""
    rows = [made_up([seconds] * 3, suite="steps", op="step", case="mnist@10", library=library, threads=threads,
                    chosen=library == OURS)
            for library, threads, seconds in ((OURS, 1, 1.0), ("torch", 1, 4.0), (OURS, 2, 1.0), ("torch", 2, 1.0))]
    peaks = {"float32@1": 4e11, "float32@2": 4e11}
    text = markdown({"steps": {**a_record(), "suite": "steps", "rows": rows, "peaks": peaks}})
    assert "(**4.00**)" in text and "(**1.00**)" in text and "geometric mean |  |  | (**2.00**)" in text


def test_the_table_fits_a_terminal_and_shows_the_gain():
    screen = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for _, table in report.tables(a_record()):
        screen.print(table)
    text = screen.export_text()
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert re.search(r"\*simd +1\.00 ms +\d+% +1000\.0 +250% +2\.00 +2\.00", text)
    assert re.search(r"geometric mean +2\.00 +2\.00", text)


def test_a_chosen_algorithm_that_loses_is_shown_as_such():
    rows = [made_up([2.0] * 3, chosen=True), made_up([1.0] * 3, library="torch", algorithm="")]
    grid = report.grids({**a_record(), "rows": rows})[0]
    assert [line.loses for line in grid.lines] == [True, False] and grid.means[0][-1] == "0.50"


def test_the_roof_is_the_tighter_of_two_bounds():
    full = a_record()
    assert report.roof(made_up([1.0]), full) == 10**9 / 4e11
    assert report.roof(made_up([1.0], flops=10), full) == 10**7 / 2e10


def test_compared_records():
    old, new = a_record(), a_record()
    new["rows"] = [{**row, **{k: row[k] * (0.5 if row["op"] == "conv" else 1.5 if row["op"] == "conv_input_grad" else 1.02)
                              for k in ("median", "low", "high") if k in row}} for row in new["rows"]]
    new["rows"].append(made_up([1.0], case="vgg.128"))
    found, alone = record.compare(old, new)
    verdicts = {(c["op"], c["verdict"]) for c in found}
    assert alone == (0, 1) and found[0]["verdict"] == "faster"
    assert verdicts == {("conv", "faster"), ("conv_input_grad", "slower"), ("conv_weight_grad", "same")}
    noisy = {"rows": [{**made_up([1.0] * 4), "low": 0.5, "high": 2.5}]}
    assert record.compare(noisy, {"rows": [made_up([2.0] * 4)]})[0][0]["verdict"] == "same"
    elsewhere = {**new, "machine": {**new["machine"], "cpu": "another"}}
    said = report.compared(old, elsewhere, found, alone)
    assert any("two machines" in line for line in said) and "1 rows are in the new one alone" in said
    assert not any("two machines" in line for line in report.compared(old, new, found, (0, 0)))
    assert "the other libraries came out 1.09 times as fast: so much is the machine's doing" in said  # cbrt(2 / 1.5 / 1.02)


def test_records_are_written_whole(tmp_path):
    record.save(a_record(), tmp_path / "new" / "conv.json")
    assert record.load(tmp_path / "new" / "conv.json")["rows"] == a_record()["rows"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["conv.json"]
    for text, says in (("{", "cannot be read"), ("[1]", "it has no"), ('{"rows": []}', "it has no machine, suite"),
                       (json.dumps({**a_record(), "rows": 3}), "and rows"),
                       (json.dumps({**a_record(), "rows": [1]}), "and rows")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=rf"bad\.json.*{says}"):
            record.load(tmp_path / "bad.json")


def test_the_page_needs_nothing_else(tmp_path):
    page = pytest.importorskip("tinyconv.bench.page")
    pytest.importorskip("matplotlib", reason="the page is drawn by matplotlib")
    written = page.draw(a_record(), tmp_path, "conv")
    assert [p.name for p in written] == ["conv-gains.png", "conv-roofline.png", "conv.html"]
    text = (tmp_path / "conv.html").read_text()
    assert text.count("<svg") == 2 and "it is only an example" in text and "vgg.64" in text
    assert not re.search(r"(src|href)=[\"']?(https?:|/)", text.replace("xlink:href=\"#", ""))


def test_pictures_of_ladders_and_growth(tmp_path):
    page = pytest.importorskip("tinyconv.bench.page")
    pytest.importorskip("matplotlib", reason="the pictures are drawn by matplotlib")
    rows = [made_up([seconds], suite="growth", case=f"vgg.64:N={n}", algorithm=name, chosen=name == "simd")
            for n in (1, 2, 4) for name, seconds in (("simd", n * 1e-3), ("im2col", n * 2e-3), ("direct", n * 1e-2))]
    figures = dict(page.figures({**a_record(), "rows": rows}))
    assert set(figures) == {"roofline", "ladder", "growth"}
    lines = figures["growth"].axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["conv chosen", "conv im2col", "conv direct"]
    assert [list(line.get_xdata()) for line in lines] == [[1, 2, 4]] * 3 and list(lines[0].get_ydata()) == [1, 2, 4]
    bars = figures["ladder"].axes[0].containers
    assert [bar.get_label() for bar in bars] == ["direct", "im2col", "simd"]  # slowest first
    assert [round(patch.get_width()) for patch in bars[2]] == [1000, 500, 250]  # GFLOP/s


def test_tables_of_a_readme_are_those_recorded(tmp_path):
    """Generated, checked, and seen to be stale after an edit; losses are shown in their place."""
    spec = spec_from_file_location("tables", EXAMPLE.with_name("tables.py"))
    tables = module_from_spec(spec)
    spec.loader.exec_module(tables)
    full = a_record()
    full["rows"][0:3] = [made_up([1e-3] * 4), made_up([2e-3] * 4, algorithm="simd", chosen=True),
                         made_up([1e-3] * 4, library="torch", algorithm="")]
    record.save(full, tmp_path / "results" / "a-machine" / "conv.json")
    record.save(full, tmp_path / "results" / "a-machine" / "last.json")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    with pytest.raises(SystemExit, match=r"run python bench/tables\.py"):
        tables.main(True, [readme], tmp_path / "results")
    tables.main(False, [readme], tmp_path / "results")
    tables.main(True, [readme], tmp_path / "results")
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert f"{full['machine']['cpu']}, {full['machine']['cores']} cores" in text and text.count("vgg.64") == 7
    assert "| `conv` | 2 | 1 | 0.50 (0.50, vgg.64) | 0.50 (0.50, vgg.64) | 125% |" in text
    assert "| vgg.64 | 2 | 2.00 ms (0.50) | 1.00 ms (**2.00**) | 1.00 ms (**2.00**) |" in text
    with pytest.raises(ValueError, match="no marks"):
        tables.replaced("no marks", tmp_path / "results")
    record.save(full, tmp_path / "results" / "a-machine" / "ladder.json")
    named = tables.replaced(f"{tables.BEGIN.replace(':', ' ladder:')}\nold\n{tables.END}", tmp_path / "results")
    assert "old" not in named and "**Every algorithm.**" in named and "Layers" not in named
    assert "| `im2col` | **1.00 ms** | 2.00 ms | 2.00 ms |" in named and "| PyTorch | **1.00 ms** | 2.10 ms |" in named


# -- the command ---------------------------------------------------------------------------------------------------


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
])
def test_a_file_without_a_kernel_to_check_gets_one_clear_error(tmp_path, text, says):
    (tmp_path / "mine.py").write_text(text)
    done = run("--kernel", tmp_path / "mine.py", "--library", "none", "--threads", 1, "--out", tmp_path)
    assert done.exit_code == 2 and says in " ".join(done.output.split()), done.output
    assert not list(tmp_path.glob("*/last.json"))


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

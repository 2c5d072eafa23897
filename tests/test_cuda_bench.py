"""The CUDA bench without a card: rehearsed in the simulator, its clock on a stand-in for CuPy, and all that can go wrong."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench import cuda, cuda_work
from bench.cuda_table import lines
from tinyconv.bench import record
from tinyconv.bench.task import SLOTS
from tinyconv.kernels import gpu

TESTS = Path(__file__).parent


def bench(simulated, *options):
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": str(int(simulated))}
    return subprocess.run([sys.executable, "-m", "bench.cuda", *options], env=env, cwd=TESTS.parent, capture_output=True,
                          text=True, timeout=1200)


@pytest.mark.skipif(not gpu.missing(), reason="CUDA can be used here")
def test_it_says_in_one_sentence_what_it_needs():
    done = bench(False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"the CUDA bench needs a GPU: {gpu.missing()}\n"


@pytest.mark.parametrize("options, sentence", [
    (("--layers", "vgg.65"), "no layer 'vgg.65'; there are: lenet.c1, "), (("--batches", "64,x"), "whole numbers"),
    (("--batches", "0"), "1 image or more, got 0"),
])
def test_options_that_make_no_sense_are_refused(options, sentence, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.cuda", *options])
    with pytest.raises(SystemExit) as caught:
        cuda.main()
    assert caught.value.code == 2 and sentence in capsys.readouterr().err


def test_it_can_be_rehearsed(tmp_path):
    """Every line of it but the events, on tiny problems: answers judged, rows made and recorded, the table written."""
    done = bench(True, "--rehearse", "--out", str(tmp_path), "--seconds", "1100")
    table = done.stdout.split("\n")
    assert done.returncode == 0 and table[0].startswith("the simulator, "), done.stderr[-2000:]
    assert "FAILED" not in done.stdout and "not reached" not in done.stdout
    rec = record.load(tmp_path / "the-simulator" / "cuda.json")
    torch = bool(rec["machine"]["torch"])
    assert bool(rec["machine"]["notes"]) != torch and all(note in table for note in rec["machine"]["notes"])
    assert sum(line.startswith("step of ") for line in table) == (6 if torch else 4)  # by calls, as a graph, by PyTorch
    for op in SLOTS:
        assert any(line.startswith(f"{op}: ") and "geometric mean of 3" in line for line in table)
        assert sum(line.startswith(f"{op}: ") and "x cuda_winograd on the geometric mean of 1" in line for line in table) == 1
        found = {(row["case"], row["algorithm"]) for row in rec["rows"] if row["op"] == op}
        assert found >= {("hand@2", f"cuda_{name}") for name in ("tiled", "im2col", "shared", "naive")}
        assert {case for case, name in found if name == "cuda_winograd"} == {"half@2"}
        assert ("depthwise_twice@2", "cuda_depthwise") in found and (("hand@2", "cudnn") in found) == torch
    assert [sum(line.startswith(case) for line in table) for case in ("hand@2", "half@2")] == [len(SLOTS), 2 * len(SLOTS)]
    assert sum(line.startswith("half@2            winograd ") for line in table) == len(SLOTS)


# what can go wrong: a process that stands for the worker

SCRIPT = """
import json, os, sys, time
for job in map(str.strip, sys.stdin):
    kind = job.split("@")[0].split()[-1]
    row = {"op": "step", "case": job, "library": "tinyconv", "algorithm": "graph", "median": 1e-3}
    print(json.dumps({"machine": {"card": "None Such 1"}} if job == "card" else {"row": row}), flush=True)
    if kind == "crashes": os._exit(3)
    if kind == "hangs": time.sleep(1000)
    if kind == "babbles": print("<html>", flush=True); time.sleep(1000)
    print(json.dumps({"done": job, "well": kind != "sickens"}), flush=True)
"""


def run(jobs, seconds=60.0, patience=30.0):
    rec, saved = {**record.new("cuda"), "machine": {}}, []
    cuda.run(rec, jobs, seconds, lambda r: saved.append(json.dumps(r)), (sys.executable, "-c", SCRIPT), patience)
    assert json.loads(saved[-1]) == rec  # the last save holds all there is
    return rec, len(saved)


def test_a_job_that_ends_its_process_is_a_failure_and_the_others_go_on():
    jobs = ["card", "layer fine@2", "layer crashes@2", "layer sickens@2", "layer babbles@2", "step fine@2"]
    rec, saves = run(jobs)
    assert [row["case"] for row in rec["rows"]] == jobs[1:] and saves >= len(jobs) + 3 and rec["left"] == []
    assert {row["case"]: row["why"] for row in rec["failures"]} == {
        "crashes@2": "its process ended with status 3", "sickens@2": "it left the GPU unusable for its process",
        "babbles@2": "its process answers what is no JSON"}
    table = list(lines(rec))
    assert table[0].startswith("None Such 1, ") and "peak and bandwidth were not measured" in table[0]
    assert "FAILED layer crashes@2 by the bench: its process ended with status 3" in table


def test_the_time_is_kept_whatever_a_job_does():
    began = time.monotonic()
    rec, _ = run(["card", "step fine@1", "layer hangs@2", "step fine@3", "slow fine@4"], seconds=4.0)
    assert time.monotonic() - began < 30  # what the interpreter needs to start, and not the 1000 seconds of the job
    assert [row["why"] for row in rec["failures"]] == ["it was still at work when its time was up"]
    assert rec["left"] == ["step fine@3", "slow fine@4"] and len(rec["rows"]) == 2
    assert list(lines(rec))[-1] == "not reached in the time given, 2 of 5 jobs: step fine@3, slow fine@4"


def test_a_job_that_hangs_costs_its_own_time_only():
    rec, _ = run(["layer hangs@2", "step fine@3"], patience=3.0)
    assert [row["case"] for row in rec["rows"]] == ["layer hangs@2", "step fine@3"] and len(rec["failures"]) == 1


def test_what_matters_most_comes_first():
    jobs = cuda.plan(["a", "b"], [64, 256])
    assert jobs == ["card", "layer a@64", "layer b@64", "step mnist@64", "step lenet5@64", "step mnist@256", "step lenet5@256",
                    "layer a@256", "layer b@256", "slow a@64", "slow b@64"]


# the worker

class Gpu:
    """CuPy's names that the clock uses, and a device on which every call takes a millisecond."""

    __version__ = "0"

    def __init__(self):
        self.now, self.fills, outer = 0.0, 0, self
        self.empty = lambda size, dtype: SimpleNamespace(fill=lambda value: setattr(outer, "fills", outer.fills + 1))

        class Event:
            def record(self):
                self.at = outer.now

        facts = {"name": b"None Such 1", "major": 9, "minor": 0, "multiProcessorCount": 2, "totalGlobalMem": 3,
                 "l2CacheSize": 4}
        runtime = SimpleNamespace(deviceSynchronize=lambda: None, getDevice=lambda: 0, getDeviceProperties=lambda i: facts,
                                  driverGetVersion=lambda: 13000, runtimeGetVersion=lambda: 13000)
        self.cuda = SimpleNamespace(Event=Event, runtime=runtime,
                                    get_elapsed_time=lambda start, stop: 1000 * (stop.at - start.at))

    def call(self):
        self.now += 1e-3


def test_the_clock_of_a_card(monkeypatch):
    card = Gpu()
    monkeypatch.setattr(gpu, "xp", lambda: card)
    clock = cuda_work.DeviceClock()
    assert clock.card()["card"] == "None Such 1" and clock.card()["capability"] == "9.0"
    cold = clock.times(card.call, 0.02)
    assert len(cold) == 20 and card.fills == 40 and np.allclose(cold, 1e-3)
    assert len(clock.times(card.call, 10.0)) == 40 and len(clock.times(card.call, 0.0, 2)) == 2
    fills = card.fills
    assert np.allclose(clock.times(card.call, 0.0, burst=20), 1e-3) and card.fills == fills  # in a row, the cache as it is
    assert cuda_work.record_of([1.0, 2.0, 3.0, 4.0]) == {"median": 3.0, "low": 2.0, "high": 4.0, "calls": 4}


def torch_with(available, cudnn):
    flags = SimpleNamespace(allow_tf32=True, benchmark=False, is_available=lambda: cudnn, version=lambda: 91000)
    return SimpleNamespace(__version__="9.9", cuda=SimpleNamespace(is_available=lambda: available), backends=SimpleNamespace(
        cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=True)), cudnn=flags))


@pytest.mark.parametrize("torch, sentence", [
    (None, "PyTorch is not installed (pip install torch)"), (torch_with(False, True), "sees no GPU"),
    (torch_with(True, False), "comes without cuDNN"), (torch_with(True, True), ""),
])
def test_without_pytorch_or_cudnn_there_is_a_sentence(torch, sentence, monkeypatch):
    if torch is None:
        monkeypatch.setattr(sys, "path", [])
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(gpu, "simulated", lambda: False)
    cuda_work.pytorch.cache_clear()
    try:
        found, why = cuda_work.pytorch()
        assert sentence in why and (found is None) == bool(sentence) and bool(why) == bool(sentence)
        if found:
            assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    finally:
        cuda_work.pytorch.cache_clear()


def test_answers_that_are_wrong_or_do_not_come_are_failures_by_name():
    """In the simulator, in a process of its own: one kernel gives nonsense, one raises, the others have their rows."""
    code = """
from bench import cuda_work as work
from tinyconv import registry
ladder = {k.algorithm: k for k in registry.kernels("conv") if k.device == "cuda"}
def nonsense(x, w, dims): return ladder["cuda_shared"].fn(x, w, dims) + 1
def breaks(x, w, dims): raise MemoryError("no room\\nat all")
object.__setattr__(ladder["cuda_tiled"], "fn", nonsense)
object.__setattr__(ladder["cuda_naive"], "fn", breaks)
found = []
work.serve(iter(["layer hand@2\\n", "slow hand@2\\n", "layer nothing@2\\n", "dance\\n"]), found.append)
failed = [f["failure"] for f in found if "failure" in f]
assert [(f["op"], f["algorithm"], f["why"]) for f in failed] == [
    ("conv", "cuda_tiled", failed[0]["why"]), ("conv", "cuda_naive", "MemoryError: no room at all"),
    ("layer", "the bench", failed[2]["why"]), ("dance", "the bench", "ValueError: no job 'dance'")], failed
assert "wrong: off by 1, where" in failed[0]["why"] and "no layer 'nothing'" in failed[2]["why"]
assert [f["done"] for f in found if "done" in f] == ["layer hand@2", "slow hand@2", "layer nothing@2", "dance"]
assert sum("row" in f and f["row"]["library"] == "tinyconv" for f in found) == 10
work.healthy = lambda: False
found.clear()
work.serve(iter(["dance\\n", "dance\\n"]), found.append)
assert found[-1] == {"done": "dance", "well": False} and len(found) == 2
"""
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=TESTS.parent, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]

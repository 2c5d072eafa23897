"""The compiled convolution: every vector level of this CPU and every tile against the definition, on integers, where sums
are exact whatever their order.

What is special to it: levels forced one by one, guard pages around every array, sanitizers, what Cython checks before C
runs. Layouts, NaN, adjoints and thread counts of the best level are tried by test_kernels_conv.py, as for every kernel.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numba
import numpy as np
import pytest

import tinyconv
from tinyconv import cases, registry
from tinyconv.dims import ConvDims, conv_dims
from tinyconv.kernels import compiled
from tinyconv.kernels.conv import aot, reference
from tinyconv.kernels.geometry import lift

HERE, HOUSE = Path(__file__).parent, Path(tinyconv.__file__).parents[1]
MAPS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}
F32 = np.dtype("float32")
LEVELS = compiled.levels()

built = pytest.mark.skipif(aot._aot is None, reason="the extension is not built here: python setup.py build_ext --inplace")
every_map = pytest.mark.parametrize("name", MAPS)

edges = {
    "maps_of_one": conv_dims((5, 17, 1, 1), (19, 17, 1, 1)),
    "kernel_is_input": conv_dims((3, 17, 5, 4), (18, 17, 5, 4)),
    "batch_1": conv_dims((1, 17, 9, 11), (33, 17, 3, 3), padding=1),
    "one_channel": conv_dims((3, 1, 28, 28), (20, 1, 5, 5)),
    "one_output": conv_dims((2, 17, 20, 33), (1, 17, 3, 3), padding=1),
    "17_images": conv_dims((17, 5, 6, 6), (7, 5, 3, 3), padding=1, stride=2),
    "stride_4": conv_dims((2, 3, 37, 41), (16, 3, 7, 7), stride=4, padding=2),
    "stride_over_padding": conv_dims((1, 2, 1, 3), (3, 2, 1, 1), stride=(1, 9), padding=((0, 0), (5, 1))),
    "groups_of_17": conv_dims((2, 34, 8, 8), (34, 17, 3, 3), padding=1, groups=2),
    "wide_kernel": conv_dims((2, 3, 3, 29), (17, 3, 2, 13)),
    "far_channels": conv_dims((1, 65, 32, 33), (66, 65, 1, 1)),
}


@pytest.fixture(params=LEVELS or ["none"])
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every vector level that this CPU has, in turn."""
    if aot._aot is None:
        pytest.skip("the extension is not built here: python setup.py build_ext --inplace")
    monkeypatch.setenv("TINYCONV_AOT_LEVEL", request.param)
    return request.param


@pytest.fixture
def threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def operands(dims: ConvDims, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Small integers: their products and sums are exact in float32, in any order."""
    rng = np.random.default_rng(0)
    return {k: rng.integers(-3, 4, s).astype(dtype) for k, s in zip("xwy", (dims.x_shape, dims.w_shape, dims.y_shape))}


def run(module, name: str, a: dict[str, np.ndarray], dims: ConvDims) -> np.ndarray:
    return getattr(module, name)(*(a[slot] for slot in MAPS[name]), dims)


def check(name: str, dims: ConvDims, dtype: str = "float32") -> None:
    a = operands(dims, dtype)
    got, want = run(aot, name, a, dims), run(reference, name, a, dims)
    assert got.dtype == want.dtype and got.shape == want.shape and got.flags.c_contiguous
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_map
def test_small_cases_and_edges_equal_the_definition(name: str, dtype: str, level: str) -> None:
    for dims in (*cases.small.values(), *edges.values()):
        check(name, dims, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_map
def test_every_tile(name: str, dtype: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tile there is, by its number, wherever it can be used: whole, cut and strided rows, many and few channels."""
    make, taken, wanted = aot._aot.Conv, set(), [0]

    def forced(*args: object) -> object:
        task = make(*args, *wanted)
        taken.add(task.tile)
        return task

    monkeypatch.setattr(aot._aot, "Conv", forced)
    kinds = [("channels", i) for i in range(8 if wide(level) else 6)]
    kinds += [("rows", i) for i in range(7 if wide(level) and name != "conv_weight_grad" else 6)]
    for wanted[0] in range(len(kinds)):
        for dims in (cases.small["ragged"], cases.small["dilated_stride"], edges["one_channel"], edges["groups_of_17"],
                     edges["stride_4"], edges["wide_kernel"]):
            check(name, dims, dtype)
    assert taken == set(kinds)


def wide(level: str) -> bool:
    """Whether there are 32 vector registers, for larger tiles."""
    return level in ("avx512", "neon")


@pytest.mark.parametrize("dims", [cases.small["ragged"], edges["one_channel"], cases.small["wide"], edges["17_images"],
                                  cases.small["grouped"], cases.small["pointwise"]])
def test_bias_and_relu_in_the_store(dims: ConvDims, level: str) -> None:
    a, bias = operands(dims), np.arange(-dims.O, dims.O, 2, dtype="float32") * 20
    want = reference.conv(a["x"], a["w"], dims) + bias.reshape(-1, *[1] * dims.rank)
    np.testing.assert_array_equal(aot.conv(a["x"], a["w"], dims, bias=bias), want)
    np.testing.assert_array_equal(aot.conv(a["x"], a["w"], dims, bias=bias, relu=True), np.maximum(want, 0))
    a["x"][:] = np.nan
    assert np.isnan(aot.conv(a["x"], a["w"], dims, relu=True)).any()


@every_map
def test_nan_and_infinity_reach_what_they_should_and_nothing_else(name: str, level: str) -> None:
    many = conv_dims((3, 17, 9, 11), (18, 17, 3, 3))
    few = conv_dims((2, 1, 9, 22), (2, 1, 3, 2))  # whose rows end in a vector of which only a part counts
    # tiles multiply padding too, and 0 * inf is NaN: the weights of an input gradient, which pads y, are left out
    for dims in (many, few):
        for value in (np.nan, np.inf):
            for slot in "xy" if name == "conv_input_grad" else "xwy":
                a = operands(dims)
                a[slot][(0,) * a[slot].ndim] = value
                a[slot][(-1,) * a[slot].ndim] = value
                with np.errstate(invalid="ignore"):
                    want = run(reference, name, a, dims)
                np.testing.assert_array_equal(run(aot, name, a, dims), want)


def test_cells_that_no_window_reads_do_not_reach_a_gradient(level: str) -> None:
    """The stride leaves columns over: what stands in them is no part of any sum."""
    for dims in (conv_dims((2, 1, 5, 12), (1, 1, 2, 3), stride=(1, 4)), conv_dims((2, 3, 6, 23), (17, 3, 3, 3), stride=(2, 3))):
        a = operands(dims)
        want = {name: run(reference, name, a, dims) for name in ("conv", "conv_weight_grad")}
        a["x"][..., (dims.output[-1] - 1) * dims.stride[-1] + dims.kernel[-1]:] = np.nan
        for name in want:
            np.testing.assert_array_equal(run(aot, name, a, dims), want[name])


@pytest.mark.parametrize("dims", [cases.layers["mnist.c1"], cases.layers["mnist.c2"], cases.small["ragged"],
                                  cases.small["dilated_stride"], cases.small["depthwise"]])
def test_the_same_bits_for_any_number_of_threads_and_every_run(dims: ConvDims, level: str, threads: None,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aot, "ALONE", 0)
    rng = np.random.default_rng(3)
    a = {k: rng.standard_normal(s, "float32") for k, s in zip("xwy", (dims.x_shape, dims.w_shape, dims.y_shape))}
    for name in MAPS:
        results = []
        for count in {1, numba.config.NUMBA_NUM_THREADS}:
            numba.set_num_threads(count)
            results += [run(aot, name, a, dims).tobytes() for _ in range(2)]
        assert len(set(results)) == 1, name


@built
def test_threads_are_those_of_numba(monkeypatch: pytest.MonkeyPatch, threads: None) -> None:
    """As many as set_num_threads says, at the address that Numba's own loops call; without that address, one."""
    assert aot.pool_of_threads(), "Numba no longer exports numba_parallel_for: the compiled convolution runs on one thread"
    dims, seen = edges["batch_1"], []

    class Spy:
        partial, bytes = False, 64

        def __init__(self, *args: object) -> None: ...

        def run(self, *args: object) -> None:
            seen.append(args[-1])

    monkeypatch.setattr(aot._aot, "Conv", Spy)
    for count in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(count)
        run(aot, "conv", operands(dims), dims)
    assert seen == [1, numba.config.NUMBA_NUM_THREADS]


@built
def test_without_a_pool_it_runs_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aot, "pool_of_threads", lambda: 0)
    for name in MAPS:
        check(name, edges["batch_1"])


@built
def test_calls_from_several_threads_do_not_meet(threads: None) -> None:
    """Each has its own scratch. (One thread of Numba's each: its workqueue layer allows no more at a time.)"""
    dims, wrong = edges["batch_1"], []
    a = operands(dims)
    want = {name: run(reference, name, a, dims) for name in MAPS}

    def often() -> None:
        numba.set_num_threads(1)
        for _ in range(20):
            wrong.extend(name for name in MAPS if (run(aot, name, a, dims) != want[name]).any())

    workers = [threading.Thread(target=often) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_scratch_may_hold_anything(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leftovers of an earlier call are overwritten before they are read into a sum that is kept."""
    fresh = aot.scratch

    def poisoned(label: str, size: int, dtype: np.dtype) -> np.ndarray:
        buffer = fresh(label, size, dtype)
        buffer[...] = 255  # NaN, in floats of either size
        return buffer

    monkeypatch.setattr(aot, "scratch", poisoned)
    for case in ("ragged", "grouped", "depthwise_twice", "volume_stride", "leftover", "pointwise", "wide", "output_padding"):
        for name in MAPS:
            check(name, cases.small[case])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_close_to_the_exact_sum_on_real_numbers(dtype: str, level: str) -> None:
    """|error| <= T * eps * sum of magnitudes, T terms in any order (Higham, Accuracy and Stability, (3.5))."""
    dims = edges["batch_1"]
    rng = np.random.default_rng(5)
    a = {k: rng.standard_normal(s).astype(dtype) for k, s in zip("xwy", (dims.x_shape, dims.w_shape, dims.y_shape))}
    for name in MAPS:
        exact = run(reference, name, {k: v.astype(np.longdouble) for k, v in a.items()}, dims)
        sizes = run(reference, name, {k: np.abs(v).astype("float64") for k, v in a.items()}, dims)
        terms = dims.macs / exact.size + 1
        assert (np.abs(run(aot, name, a, dims) - exact) <= terms * np.finfo(dtype).eps * sizes).all()


# -- what is said, and what is checked before C runs ----------------------------------------------------------------


def test_a_missing_extension_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aot, "_aot", None)
    monkeypatch.setattr(compiled, "_aot", None)
    assert compiled.levels() == ()
    for op in MAPS:
        with pytest.raises(ValueError, match="the compiled extension is missing: install a C compiler and reinstall tinyconv"):
            registry.choose(op, edges["far_channels"], F32, algorithm="aot")


@built
def test_a_level_that_is_not_here_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCONV_AOT_LEVEL", "avx4096")
    with pytest.raises(ValueError, match=r"TINYCONV_AOT_LEVEL is 'avx4096'; this CPU has (baseline|neon)"):
        run(aot, "conv", operands(edges["batch_1"]), edges["batch_1"])


@built
def test_sizes_types_and_memory_are_checked_before_c_runs() -> None:
    dims = lift(edges["batch_1"])
    x, w, y = (np.zeros(prod(s), F32) for s in (dims.x_shape, dims.w_shape, dims.y_shape))
    task = aot._aot.Conv(dims, aot.FORWARD, 0, 4)
    memory = np.zeros(task.bytes + 128, np.uint8)
    memory = memory[-memory.ctypes.data % 64:][:task.bytes]
    task.run(x, w, None, False, y, memory, 0, 1)
    with pytest.raises(ValueError, match="1682, 5049 and 3267 numbers, not 1683, 5049 and 3267"):
        task.run(x[1:], w, None, False, y, memory, 0, 1)
    with pytest.raises(ValueError, match="not 1683, 5049 and 3267"):
        task.run(x, w, None, False, y[1:], memory, 0, 1)
    with pytest.raises(ValueError, match="a bias of 32 numbers for conv of 33"):
        task.run(x, w, y[:32], False, y, memory, 0, 1)
    with pytest.raises(ValueError, match="it takes"):
        task.run(x, w, None, False, y, memory[:-1], 0, 1)
    with pytest.raises(ValueError, match="from a multiple of 64 on"):
        task.run(x, w, None, False, y, np.zeros(task.bytes + 128, np.uint8)[1 + -memory.ctypes.data % 64:], 0, 1)
    with pytest.raises(ValueError, match="numbers of 8 bytes for a plan of 4"):
        task.run(*(a.astype(np.float64) for a in (x, w)), None, False, y.astype(np.float64), memory, 0, 1)
    with pytest.raises(ValueError, match="no map 3"):
        aot._aot.Conv(dims, 3, 0, 4)
    with pytest.raises(ValueError, match="at level 9"):
        aot._aot.Conv(dims, 0, 9, 4)
    with pytest.raises(ValueError, match="nothing to sum"):
        aot._aot.Conv(lift(cases.small["empty_batch"]), 0, 0, 4)


# -- nothing outside an array is touched ----------------------------------------------------------------------------

GUARDED = """
import os, sys
from tinyconv.kernels.conv import aot
sys.path.insert(0, sys.argv[1])
import test_kernels_aot_conv as t
from guarded import Guarded, guarded, kept
aot.np = Guarded()
aot.scratch = lambda name, size, dtype: guarded(size, dtype, at_end)
assert t.LEVELS
for level in t.LEVELS:
    os.environ["TINYCONV_AOT_LEVEL"] = level
    for at_end in (True, False):
        for dims in [*t.cases.small.values(), *t.edges.values()]:
            a = t.operands(dims)
            for name in t.MAPS:
                b = {k: guarded(v.shape, v.dtype, at_end) for k, v in a.items()}
                for k in b:
                    b[k][...] = a[k]
                assert (t.run(aot, name, b, dims) == t.run(t.reference, name, a, dims)).all(), name
            kept.clear()
print("untouched")
"""


@built
@pytest.mark.skipif(not hasattr(os, "fork"), reason="guard pages are set by mprotect, which this system lacks")
def test_nothing_outside_an_array_is_touched(tmp_path: Path) -> None:
    """Every operand, result and buffer lies against pages that may not be read or written: a step outside is a crash."""
    script = tmp_path / "guarded.py"
    script.write_text(GUARDED)
    done = subprocess.run([sys.executable, str(script), str(HERE)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HOUSE), *sys.path])})
    assert done.returncode == 0 and "untouched" in done.stdout, f"exit {done.returncode}: {done.stderr[-2000:]}"

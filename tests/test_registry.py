"""The registry: what is chosen, what is pinned, what is said, kernels of one's own, and what an import loads."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import tinyconv
from tinyconv import registry
from tinyconv.dims import conv_dims
from tinyconv.registry import Kernel

DIMS = conv_dims((1, 2, 5, 5), (3, 2, 3, 3))
F32 = np.dtype("float32")


def too_small(dims: object, dtype: np.dtype) -> str:
    return "" if dtype.itemsize >= 8 else f"it wants 8 bytes a number, {dtype} has {dtype.itemsize}"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Kernel]]:
    """Operations of the test's own, on an empty registry: "toy" with four rungs, "other" with one."""
    monkeypatch.setattr(registry, "_ladders", {})
    monkeypatch.setattr(registry, "_providers", {})
    monkeypatch.setattr(registry, "_chosen", {})

    def slow(a, b, dims):
        """The slow one: by hand."""

    def fast(a, b, dims):
        """The fast one: by magic."""

    rungs = [Kernel("toy", "slow", slow), Kernel("toy", "fast", fast), Kernel("toy", "wide", fast, refuse=too_small),
             Kernel("toy", "shy", fast, automatic=False), Kernel("toy", "fast", fast, device="cuda")]
    registry.register(*rungs, Kernel("other", "only", slow))
    yield {f"{k.algorithm}.{k.device}": k for k in rungs}


def test_the_highest_rung_that_does_not_refuse_is_taken(toy: dict) -> None:
    assert registry.choose("toy", DIMS, np.dtype("float64")) is toy["wide.cpu"]
    assert registry.choose("toy", DIMS, F32) is toy["fast.cpu"]
    assert registry.choose("toy", DIMS, F32, device="cuda") is toy["fast.cuda"]


def test_a_name_takes_that_kernel_automatic_or_not(toy: dict) -> None:
    assert registry.choose("toy", DIMS, F32, algorithm="slow") is toy["slow.cpu"]
    assert registry.choose("toy", DIMS, F32, algorithm="shy") is toy["shy.cpu"]


def test_use_pins_for_the_block_and_the_inner_pin_wins(toy: dict) -> None:
    chosen = lambda op="toy": registry.choose(op, DIMS, F32).algorithm  # noqa: E731
    with registry.use("slow"):
        assert chosen() == "slow" and chosen("other") == "only"  # an operation without it chooses as ever
        with registry.use("shy"):
            assert chosen() == "shy"
        assert chosen() == "slow"
        assert registry.choose("toy", DIMS, F32, algorithm="fast").algorithm == "fast"  # a name beats a pin
        with pytest.raises(RuntimeError), registry.use("shy"):
            raise RuntimeError
        assert chosen() == "slow"
    assert chosen() == "fast"


def test_use_takes_several_names_the_first_that_an_operation_has(toy: dict) -> None:
    with registry.use("only", "slow"):
        assert registry.choose("toy", DIMS, F32).algorithm == "slow"
        assert registry.choose("other", DIMS, F32).algorithm == "only"


def test_a_pin_holds_in_its_own_thread_only(toy: dict) -> None:
    seen = []
    with registry.use("slow"):
        worker = threading.Thread(target=lambda: seen.append(registry.choose("toy", DIMS, F32).algorithm))
        worker.start()
        worker.join()
    assert seen == ["fast"]


def test_prefer_is_taken_where_it_can_be(toy: dict) -> None:
    assert registry.choose("toy", DIMS, F32, prefer="slow") is toy["slow.cpu"]
    assert registry.choose("toy", DIMS, F32, prefer="wide") is toy["fast.cpu"]  # it refuses
    assert registry.choose("toy", DIMS, F32, prefer="nowhere") is toy["fast.cpu"]
    with registry.use("shy"):
        assert registry.choose("toy", DIMS, F32, prefer="slow") is toy["slow.cpu"]
        assert registry.choose("toy", DIMS, F32, prefer="wide") is toy["shy.cpu"]


def test_unknown_names_are_told_what_there_is(toy: dict) -> None:
    with pytest.raises(ValueError, match="no operation 'tow'; there are: other, toy"):
        registry.choose("tow", DIMS, F32)
    with pytest.raises(ValueError, match="no algorithm 'fats' for toy on cpu; there are: slow, fast, wide, shy"):
        registry.choose("toy", DIMS, F32, algorithm="fats")
    with pytest.raises(ValueError, match="no algorithm 'slow' for toy on cuda; there are: fast"):
        registry.choose("toy", DIMS, F32, device="cuda", algorithm="slow")
    with pytest.raises(ValueError, match="no algorithm 'fats'; there are: fast, only, shy, slow, wide"), registry.use("fats"):
        pass
    with pytest.raises(ValueError, match=r"no kernel takes other of .* in float32 on cuda: there is none"):
        registry.choose("other", DIMS, F32, device="cuda")


def test_a_refusal_is_passed_on(toy: dict) -> None:
    with pytest.raises(ValueError, match=r"toy by 'wide' refuses ConvDims\(.*\) in float32: it wants 8 bytes a number, "
                                         "float32 has 4"):
        registry.choose("toy", DIMS, F32, algorithm="wide")
    with registry.use("wide"):
        with pytest.raises(ValueError, match="it wants 8 bytes a number"):
            registry.choose("toy", DIMS, F32)
        assert registry.choose("toy", DIMS, np.dtype("float64")).algorithm == "wide"
    registry.unregister("slow")
    registry.unregister("fast")
    with pytest.raises(ValueError, match=r"no kernel takes toy of .* in float32 on cpu: wide: it wants 8 bytes a number"):
        registry.choose("toy", DIMS, F32)


def test_choices_are_remembered_until_a_kernel_comes_or_goes(toy: dict) -> None:
    asked = []

    def refuse(dims, dtype):
        asked.append(dims)
        return ""

    registry.register(Kernel("toy", "new", toy["fast.cpu"].fn, refuse=refuse))
    assert [registry.choose("toy", DIMS, F32).algorithm for _ in range(3)] == ["new"] * 3
    assert len(asked) == 1
    registry.unregister("new")
    assert registry.choose("toy", DIMS, F32).algorithm == "fast"


def test_choices_that_are_remembered_are_bounded(toy: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_CHOSEN_MAX", 3)
    for size in range(3, 20):
        registry.choose("toy", conv_dims((1, 1, size), (1, 1, 3)), F32)
        assert len(registry._chosen) <= 3


def test_registering_a_name_again_replaces_it(toy: dict) -> None:
    again = Kernel("toy", "slow", toy["fast.cpu"].fn)
    registry.register(again)
    assert [k.algorithm for k in registry.kernels("toy") if k.device == "cpu"] == ["fast", "wide", "shy", "slow"]
    assert registry.choose("toy", DIMS, F32) is again


def test_table_shows_the_ladder_and_what_is_taken(toy: dict) -> None:
    assert registry.table("toy").split("\n") == [
        "  toy                slow           cpu   The slow one: by hand.",
        "  toy                fast           cpu   The fast one: by magic.",
        "  toy                wide           cpu   The fast one: by magic.",
        "  toy                shy            cpu   The fast one: by magic.",
        "  toy                fast           cuda  The fast one: by magic."]
    lines = registry.table("toy", DIMS).split("\n")
    assert [line[0] for line in lines] == [" ", "*", "-", " ", " "]
    assert lines[2].endswith("cpu   it wants 8 bytes a number, float32 has 4")
    assert [line[0] for line in registry.table("toy", DIMS, "float64").split("\n")] == [" ", " ", "*", " ", " "]
    assert {line.split()[0] for line in registry.table().split("\n")} == {"toy", "other"}


# the real ladders


def test_a_kernel_of_ones_own_gets_a_name_and_runs_when_named() -> None:
    @tinyconv.kernel("conv", "mine", refuse=lambda dims, dtype: "" if dims.rank == 2 else "it is for images")
    def conv_mine(x, w, dims):
        """Mine: all ones."""
        return np.ones(dims.y_shape, x.dtype)

    try:
        assert registry.choose("conv", DIMS, F32).algorithm != "mine"
        mine = registry.choose("conv", DIMS, F32, algorithm="mine")
        assert mine.fn is conv_mine and mine.summary == "Mine: all ones." and not mine.exact and mine.bound > 0
        with tinyconv.use("mine"):
            assert registry.choose("conv", DIMS, F32) is mine
        assert "mine           cpu   Mine: all ones." in tinyconv.table("conv")
        with pytest.raises(ValueError, match=r"'mine' refuses .*: it is for images"):
            registry.choose("conv", conv_dims((1, 1, 5), (1, 1, 3)), F32, algorithm="mine")
    finally:
        registry.unregister("mine")
    with pytest.raises(ValueError, match="no algorithm 'mine'"):
        registry.choose("conv", DIMS, F32, algorithm="mine")


def test_a_kernel_of_ones_own_may_be_taken_unasked() -> None:
    tinyconv.kernel("conv", "eager", automatic=True)(lambda x, w, dims: None)
    try:
        assert registry.choose("conv", DIMS, F32).algorithm == "eager"
    finally:
        registry.unregister("eager")


def test_a_kernel_for_an_unknown_operation_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no operation 'convolve'; there are: .*conv, conv_input_grad, conv_weight_grad"):
        tinyconv.kernel("convolve", "mine")


def test_every_ladder_starts_with_the_definition_and_every_rung_has_a_summary() -> None:
    for op in registry.ops():
        ladder = registry.kernels(op)
        assert ladder[0].algorithm == "reference"
        assert len({(k.algorithm, k.device) for k in ladder}) == len(ladder)
        for k in ladder:
            assert k.op == op and len(k.summary) > 10, f"{op} by {k.algorithm} says nothing of itself"
            assert k.exact or k.bound > 0, f"{op} by {k.algorithm} is not exact and states no bound"


def test_importing_tinyconv_loads_no_toolchain() -> None:
    code = ("import sys, tinyconv\n"
            "heavy = {'numba', 'llvmlite', 'torch', 'scipy', 'cupy', 'matplotlib', 'rich', 'typer'} & set(sys.modules)\n"
            "assert not heavy, heavy\n"
            "tinyconv.registry.kernels('conv')\n"
            "assert 'numba' in sys.modules\n")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

"""Autotune: what is measured, how often, and what is kept on disk. The clock is the test's own, so nothing is timed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tinyconv
from tinyconv import registry, tuning
from tinyconv.dims import ConvDims, conv_dims, pool_dims
from tinyconv.kernels import jit
from tinyconv.registry import Kernel

F32 = np.dtype("float32")
COSTS = {"definition": 9.0, "slow": 5.0, "quick": 1.0, "fancy": 1.5}  # seconds of a call, by the test's clock


class Toy:
    """Kernels of an operation "conv" that let the clock run on, and how often each was called."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, dict.fromkeys(COSTS, 0)

    def kernel(self, name: str, refuse=registry.accepts_all) -> Kernel:
        def fn(x: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
            """A toy."""
            assert x.shape == dims.x_shape and w.shape == dims.w_shape
            self.calls[name] += 1
            self.now += COSTS[name] * (100 if self.calls[name] == 1 else 1)  # the first call compiles
            return np.zeros(dims.y_shape, x.dtype)

        return Kernel("conv", name, fn, refuse=refuse)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    made = Toy()
    monkeypatch.setattr(registry, "_ladders", {})
    monkeypatch.setattr(registry, "_providers", {})
    monkeypatch.setattr(registry, "_chosen", {})
    monkeypatch.setattr(jit, "FOLDER", tmp_path / "jit-0")
    monkeypatch.setattr(tuning, "clock", lambda: made.now)
    registry.register(*(made.kernel(name) for name in COSTS))
    yield made
    registry.set_tuner(None)


def dims(N: int = 8, size: int = 6) -> ConvDims:
    return conv_dims((N, 2, size, size), (3, 2, 3, 3))


def chosen(d: ConvDims, dtype: str = "float32") -> str:
    return registry.choose("conv", d, np.dtype(dtype)).algorithm


def test_off_by_default_and_by_the_rules(toy):
    assert chosen(dims()) == "fancy" and sum(toy.calls.values()) == 0


def test_the_fastest_is_taken_and_each_shape_measured_once(toy):
    tinyconv.autotune(True)
    assert chosen(dims()) == "quick"
    counts = dict(toy.calls)
    assert counts["definition"] == 0 and counts["slow"] == 2  # far behind: seen once, and none below it
    assert [chosen(dims()) for _ in range(3)] == ["quick"] * 3 and toy.calls == counts
    tinyconv.autotune(False)
    assert chosen(dims()) == "fancy" and toy.calls == counts


def test_a_block_restores_what_held_before(toy):
    with tinyconv.autotune(True):
        assert chosen(dims()) == "quick"
        with tinyconv.autotune(False):
            assert chosen(dims()) == "fancy"
        assert chosen(dims()) == "quick"
        with pytest.raises(RuntimeError), tinyconv.autotune(False):
            raise RuntimeError
        assert chosen(dims()) == "quick"
    assert chosen(dims()) == "fancy"


def test_batches_that_vary_start_no_search_each(toy):
    tinyconv.autotune(True)
    for N in (8, 7, 5, 6):
        chosen(dims(N))
        assert toy.calls["fancy"] == 2
    chosen(dims(9))
    assert toy.calls["fancy"] == 4


def test_dtype_threads_and_the_candidates_are_part_of_the_key(toy, monkeypatch):
    tinyconv.autotune(True)
    threads = 1
    monkeypatch.setattr(tuning.Tuner, "threads", lambda self: threads)
    chosen(dims())
    chosen(dims(), "float64")
    assert toy.calls["fancy"] == 4
    threads = 2
    chosen(dims())
    assert toy.calls["fancy"] == 6
    with registry.use(avoid="slow"):
        chosen(dims())
    assert toy.calls["fancy"] == 8


def test_pins_names_and_refusals_are_obeyed(toy):
    tinyconv.autotune(True)
    assert registry.choose("conv", dims(), F32, algorithm="slow").algorithm == "slow"
    with registry.use("definition"):
        assert chosen(dims()) == "definition"
    with registry.use(avoid="quick"):
        assert chosen(dims()) == "fancy"
    registry.register(toy.kernel("quick", lambda d, dtype: "not today"))
    assert chosen(dims()) == "fancy"
    assert sum(toy.calls[name] for name in ("definition",)) == 0


def test_what_has_no_work_or_no_choice_is_not_measured(toy):
    tinyconv.autotune(True)
    chosen(dims(N=0))
    registry.register(Kernel("avg_pool", "a", lambda x, d: x), Kernel("avg_pool", "b", lambda x, d: x))
    assert registry.choose("avg_pool", pool_dims((1, 1, 4, 4), 2), F32).algorithm == "b"
    with registry.use(avoid=("definition", "slow", "quick")):
        assert chosen(dims()) == "fancy"
    assert sum(toy.calls.values()) == 0


def test_choices_outlive_the_process_on_disk(toy, tmp_path):
    tinyconv.autotune(True)
    chosen(dims())
    file, = tmp_path.glob("autotune-*.json")
    assert list(json.loads(file.read_text())["choices"].values()) == ["quick"]
    counts = dict(toy.calls)
    tinyconv.autotune(True)  # as another process would: nothing but the file is known
    assert chosen(dims()) == "quick" and toy.calls == counts
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


def test_a_table_of_other_kernels_does_not_count(toy, tmp_path, monkeypatch):
    tinyconv.autotune(True)
    chosen(dims())
    counts = dict(toy.calls)
    monkeypatch.setattr(jit, "fingerprint", lambda: "another source")
    tinyconv.autotune(True)
    chosen(dims())
    assert toy.calls["quick"] > counts["quick"]


@pytest.mark.parametrize("text", ["{", "[]", '{"choices": {}}', '{"kernels": "FINGERPRINT", "choices": {"a": 1}}'])
def test_a_table_that_cannot_be_read_is_started_anew_with_one_warning(toy, tmp_path, text):
    tuning.table().write_text(text.replace("FINGERPRINT", jit.fingerprint()))
    tinyconv.autotune(True)
    with pytest.warns(RuntimeWarning, match="started anew") as seen:
        assert chosen(dims()) == "quick" and chosen(dims(size=7)) == "quick"
    assert len(seen) == 1
    assert len(json.loads(tuning.table().read_text())["choices"]) == 2


def test_the_table_is_bounded_and_the_oldest_go(toy, monkeypatch):
    monkeypatch.setattr(tuning, "MOST", 3)
    tinyconv.autotune(True)
    for size in range(4, 12):
        chosen(dims(size=size))
    kept = json.loads(tuning.table().read_text())["choices"]
    assert len(kept) == 3 and all(f"input=({size}, {size})" in name for size, name in zip((9, 10, 11), kept))


def test_what_no_folder_can_keep_lasts_as_long_as_the_process(toy, monkeypatch):
    monkeypatch.setattr(jit, "FOLDER", None)
    tinyconv.autotune(True)
    assert chosen(dims()) == "quick"
    counts = dict(toy.calls)
    registry._chosen.clear()
    assert chosen(dims()) == "quick" and toy.calls == counts


def test_real_kernels_are_chosen_and_right(monkeypatch, tmp_path):
    monkeypatch.setattr(jit, "FOLDER", tmp_path / "jit-0")
    d = conv_dims((3, 4, 7, 9), (5, 4, 3, 3), padding=1)
    rng = np.random.default_rng(0)
    a = {k: rng.integers(-3, 4, s).astype("float32") for k, s in zip("xwy", (d.x_shape, d.w_shape, d.y_shape))}
    with tinyconv.autotune(True):
        for op, slots in tuning.SLOTS.items():
            define = next(k for k in registry.kernels(op) if k.algorithm == "reference").fn
            args = [a[slot] for slot in slots]
            np.testing.assert_array_equal(registry.choose(op, d, F32).fn(*args, d), define(*args, d))
    assert len(json.loads(tuning.table().read_text())["choices"]) == 3

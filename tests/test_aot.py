"""The compiled extension: what it checks, what is said where it is missing, and an install without a compiler.

Its numbers at the best vector level are checked with those of every other pooling kernel, in test_kernels_pool.py, those at
each level here, between pages that may not be touched.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from tinyconv import registry
from tinyconv.dims import adaptive_dims, conv_dims, pool_dims
from tinyconv.kernels.geometry import lift
from tinyconv.kernels.pool import aot

ROOT = Path(__file__).parent.parent
DIMS = pool_dims((2, 3, 6, 8), 2)
F32 = np.dtype("float32")
OPS = ("max_pool", "pool_gather", "pool_scatter", "avg_pool", "avg_pool_adjoint")

built = pytest.mark.skipif(aot._aot is None, reason="the extension is not built here: python setup.py build_ext --inplace")


@pytest.mark.parametrize("op", OPS)
def test_a_missing_extension_is_a_refusal(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aot, "_aot", None)
    monkeypatch.setattr(registry, "_chosen", {})
    assert registry.choose(op, DIMS, F32).algorithm == "direct"
    with pytest.raises(ValueError, match="the compiled extension is missing: install a C compiler and reinstall tinyconv"):
        registry.choose(op, DIMS, F32, algorithm="aot")


@built
def test_it_refuses_what_it_cannot_do() -> None:
    assert aot.refuse(DIMS, F32) == aot.refuse_max(DIMS, F32) == ""
    assert "adaptive" in aot.refuse(adaptive_dims((1, 1, 7, 5), (3, 2)), F32)
    assert "not int64" in aot.refuse(DIMS, np.dtype("int64"))
    huge = pool_dims((1, 1, 1 << 16, 1 << 15), 2)
    assert "2147483648 cells" in aot.refuse_max(huge, F32) and aot.refuse(huge, F32) == ""


@built
@pytest.mark.parametrize("run", [
    lambda x, y, at, dims, level=0: aot._aot.max_pool(x, y, at, dims, level, 0, 1),
    lambda x, y, at, dims, level=0: aot._aot.pool_gather(x, y, at, dims, level, 0, 1),
    lambda x, y, at, dims, level=0: aot._aot.pool_scatter(y, x, at, dims, level, 0, 1),
    lambda x, y, at, dims, level=0: aot._aot.sum_pool(x, y, dims, level, 0, 1),
    lambda x, y, at, dims, level=0: aot._aot.sum_pool_adjoint(y, x, dims, level, 0, 1),
], ids=["max_pool", "pool_gather", "pool_scatter", "sum_pool", "sum_pool_adjoint"])
def test_sizes_and_types_are_checked_before_c_runs(run) -> None:
    x, y, at = np.zeros(2 * 3 * 6 * 8, F32), np.zeros(2 * 3 * 3 * 4, F32), np.zeros(2 * 3 * 3 * 4, np.int64)
    run(x, y, at, lift(DIMS))
    with pytest.raises(ValueError, match="287 numbers for 6 planes of 1 x 6 x 8"):
        run(x[:-1], y, at, lift(DIMS))
    with pytest.raises(ValueError, match="71 numbers for 6 planes of 1 x 3 x 4"):
        run(x, y[:-1], at, lift(DIMS))
    with pytest.raises(ValueError, match="Buffer dtype mismatch"):
        run(x, y.astype(np.float64), at, lift(DIMS))
    with pytest.raises(ValueError, match="no vector level 9; this CPU has"):
        run(x, y, at, lift(DIMS), 9)


@built
def test_places_are_as_many_as_windows() -> None:
    x, y, at = np.zeros(2 * 3 * 6 * 8, F32), np.zeros(2 * 3 * 3 * 4, F32), np.zeros(2 * 3 * 3 * 4 - 1, np.int64)
    with pytest.raises(ValueError, match="71 numbers for 6 planes of 1 x 3 x 4"):
        aot._aot.pool_gather(x, y, at, lift(DIMS), 0, 0, 1)
    with pytest.raises(ValueError, match="71 numbers for 6 planes of 1 x 3 x 4"):
        aot._aot.max_pool(x, y, at, lift(DIMS), 0, 0, 1)


EVERY_LEVEL = """
import os, sys
import numpy as np
from tinyconv import registry
from tinyconv.dims import PoolDims
from tinyconv.kernels.compiled import levels
from tinyconv.kernels.pool import aot, reference
sys.path.insert(0, sys.argv[1])
import pooled as t
from guarded import Guarded, guarded, kept
aot.np = Guarded()
aot.plain = lambda a, shape: guard(a).reshape(shape)
def guard(a):
    copy = guarded(a.shape, a.dtype, t.at_end)
    copy[...] = a
    return copy
def same(got, want):
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(got, want)) if isinstance(got, tuple) \
        else np.array_equal(got, want, equal_nan=True)
rng = np.random.default_rng(5)
assert levels()
for op in sys.argv[2:]:
    for name, dims in t.CASES.items():
        if not isinstance(dims, PoolDims):
            continue
        for dtype in ("float32", "float64"):
            for arrays, keywords in t.calls(op, dims, dtype, rng):
                want, sums = getattr(reference, op)(*arrays, dims, **keywords), {}
                for level in levels():
                    os.environ["TINYCONV_AOT_LEVEL"] = level
                    for t.at_end in (True, False):
                        got = getattr(aot, op)(*arrays, dims, **keywords)
                        if op == "avg_pool_adjoint":  # ninths in another order: the same at every level, near the definition
                            size = getattr(reference, op)(abs(arrays[0]), dims, **keywords)
                            assert (abs(got - want) <= 32 * np.finfo(dtype).eps * size).all(), (level, op, name)
                            assert sums.setdefault("bits", got.tobytes()) == got.tobytes(), (level, op, name)
                        else:
                            assert same(got, want), (level, op, name, dtype)
                    kept.clear()
print("untouched")
"""


@built
@pytest.mark.skipif(not hasattr(os, "fork"), reason="guard pages are set by mprotect, which this system lacks")
def test_every_level_equals_the_definition_and_touches_nothing_outside(tmp_path: Path) -> None:
    """All of the family, every case, on integers with ties; a step outside an array is a crash."""
    script = tmp_path / "every_level.py"
    script.write_text(EVERY_LEVEL)
    done = subprocess.run([sys.executable, str(script), str(Path(__file__).parent), *OPS], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])})
    assert done.returncode == 0 and "untouched" in done.stdout, f"exit {done.returncode}: {done.stderr[-2000:]}"


@built
def test_a_level_that_is_not_here_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYCONV_AOT_LEVEL", "avx4096")
    with pytest.raises(ValueError, match=r"TINYCONV_AOT_LEVEL is 'avx4096'; this CPU has (baseline|neon)"):
        aot.max_pool(np.zeros(DIMS.x_shape, F32), DIMS)


def test_rank_is_lifted_without_copies() -> None:
    image = conv_dims((2, 4, 8, 9), (6, 2, 3, 3), (1, 2), ((1, 0), (0, 2)), groups=2)
    volume = lift(image)
    assert volume.x_shape == (2, 4, 1, 8, 9) and volume.w_shape == (6, 2, 1, 3, 3) and volume.y_shape == (2, 6, 1, 7, 5)
    assert volume.stride == (1, 1, 2) and volume.padding == ((0, 0), (1, 0), (0, 2)) and volume.groups == 2
    assert lift(volume) is volume and hash(lift(image)) == hash(volume)
    assert lift(pool_dims((2, 3, 6), 2)).output == (1, 1, 3)


def test_the_install_goes_on_without_a_compiler_and_says_so(tmp_path: Path) -> None:
    if importlib.util.find_spec("Cython") is None or importlib.util.find_spec("setuptools") is None or os.name == "nt":
        pytest.skip("building wants Cython, setuptools and a system where CC names the compiler")
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc", ignore=shutil.ignore_patterns("_*.c"))
    (tmp_path / "tinyconv" / "kernels").mkdir(parents=True)
    run = subprocess.run([sys.executable, "setup.py", "build_ext", "--inplace"], cwd=tmp_path, capture_output=True, text=True,
                         env={**os.environ, "CC": "/bin/false"})
    assert run.returncode == 0, run.stderr
    assert "tinyconv.kernels._aot was NOT built" in run.stderr and "install a C compiler and reinstall" in run.stderr
    assert list((tmp_path / "tinyconv" / "kernels").iterdir()) == []


def test_same_bits_on_any_number_of_threads():
    """Planes are shared out, and each is one thread's: 70 of them in 32 parts, ragged."""
    rng, dims, before = np.random.default_rng(3), pool_dims((7, 10, 31, 29), 3, 2, 1), numba.get_num_threads()
    x, y = (rng.standard_normal(shape).astype("f4") for shape in (dims.x_shape, dims.y_shape))
    assert x.size > aot.ALONE
    results = []
    try:
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            results.append([*aot.max_pool(x, dims), aot.avg_pool(x, dims), aot.avg_pool_adjoint(y, dims)])
    finally:
        numba.set_num_threads(before)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other))

"""The compiled kernels under the address and undefined-behaviour sanitizers (make sanitize).

The extension is built anew with them, in a folder of its own, and every small case, map, dtype and vector level runs
through it in a process where malloc puts forbidden zones around every array. One is then broken on purpose, and seen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import tinyconv

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.sweep  # it takes a minute, most of it to build
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FLAGS = ("-std=c11", "-O0", "-g", "-fPIC", "-ffp-contract=fast")

EVERY_CASE = """
import importlib.util, os, sys
import numpy as np
spec = importlib.util.spec_from_file_location("tinyconv.kernels._aot", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module  # before the package would import its own
spec.loader.exec_module(module)
from tinyconv import cases
from tinyconv.kernels.compiled import levels
from tinyconv.kernels.conv import aot, reference
from tinyconv.kernels.pool import aot as pool_aot, reference as pool_reference
assert aot._aot is pool_aot._aot is module
rng = np.random.default_rng(0)
def fresh(shape, dtype):
    return rng.integers(-3, 4, shape).astype(dtype)
def lend(name, size, dtype):  # fresh, so that what another case left behind is no room to step into
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start:start + size]
aot.scratch = lend
for level in levels():
    os.environ["TINYCONV_AOT_LEVEL"] = level
    for name, dims in cases.pools.items():
        for dtype in ("float32", "float64"):
            x, y = fresh(dims.x_shape, dtype), fresh(dims.y_shape, dtype)
            top, at = pool_reference.max_pool(x, dims)
            for op, arrays in (("max_pool", (x,)), ("pool_gather", (x, at)), ("pool_scatter", (y, at))):
                got, want = (getattr(module, op)(*arrays, dims) for module in (pool_aot, pool_reference))
                assert (np.asarray(got) == np.asarray(want)).all(), (level, name, op)
            pool_aot.avg_pool(x, dims), pool_aot.avg_pool_adjoint(y, dims)
    for name, dims in cases.small.items():
        for dtype in ("float32", "float64"):
            a = {k: fresh(s, dtype) for k, s in zip("xwy", (dims.x_shape, dims.w_shape, dims.y_shape))}
            for op, slots in (("conv", "xw"), ("conv_input_grad", "yw"), ("conv_weight_grad", "xy")):
                pair = a[slots[0]], a[slots[1]]
                assert (getattr(aot, op)(*pair, dims) == getattr(reference, op)(*pair, dims)).all(), (level, name, op)
print("clean")
"""


@pytest.fixture(scope="module")
def compiler() -> list[str]:
    """The C compiler's command, if it has the sanitizers; a skip that says what is missing, if not."""
    command = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0]
    if sys.platform != "linux" or not shutil.which(command):
        pytest.skip(f"the sanitizers are preloaded, which wants Linux, and a C compiler ({command})")
    pytest.importorskip("Cython", reason="the extension is built from csrc/_aot.pyx by Cython")
    probe = subprocess.run([command, *SANITIZE, "-x", "c", "-", "-o", os.devnull], input="int main(void) { return 0; }",
                           capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"{command} has no address and undefined sanitizers: {probe.stderr.strip().splitlines()[-1]}")
    return [command]


@pytest.fixture(scope="module")
def objects(compiler: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The objects of the extension; Cython's own code, which is not ours to check, without the sanitizers."""
    folder = tmp_path_factory.mktemp("sanitized")
    glue = folder / "_aot.c"
    subprocess.run([sys.executable, "-m", "cython", "-3", str(ROOT / "csrc/_aot.pyx"), "-o", str(glue)], check=True)
    made = {name: folder / f"{name}.o" for name in ("_aot", *(c.stem for c in (ROOT / "csrc").glob("[a-z]*.c")))}
    building = []
    for name, path in made.items():
        source = glue if name == "_aot" else ROOT / "csrc" / f"{name}.c"
        flags = ("-O0", "-fPIC") if name == "_aot" else (*FLAGS, *SANITIZE)
        building.append(subprocess.Popen([*compiler, *flags, *includes(), "-c", str(source), "-o", str(path)]))
    assert [process.wait() for process in building] == [0] * len(made)
    return made


def includes() -> list[str]:
    return [f"-I{ROOT / 'csrc'}", f"-I{sysconfig.get_paths()['include']}"]


def run(compiler: list[str], objects: dict[str, Path], folder: Path) -> subprocess.CompletedProcess:
    """Link the extension and run every case through it, the sanitizers' runtime loaded before anything else."""
    target = folder / f"_aot{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run([*compiler, "-shared", *SANITIZE, *map(str, objects.values()), "-o", str(target)], check=True)
    runtimes = [subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
                for name in ("libasan.so", "libubsan.so")]
    script = folder / "every_case.py"
    script.write_text(EVERY_CASE)
    env = {**os.environ, "LD_PRELOAD": ":".join(runtimes), "PYTHONMALLOC": "malloc", "NUMBA_DISABLE_JIT": "1",
           "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1",
           "PYTHONPATH": os.pathsep.join([str(Path(tinyconv.__file__).parents[1]), *sys.path])}
    return subprocess.run([sys.executable, str(script), str(target)], capture_output=True, text=True, env=env)


def test_every_kernel_is_clean(compiler: list[str], objects: dict[str, Path], tmp_path: Path) -> None:
    done = run(compiler, objects, tmp_path)
    assert done.returncode == 0 and "clean" in done.stdout, f"exit {done.returncode}: {done.stderr[-4000:]}"


def test_one_step_beyond_a_row_is_seen(compiler: list[str], objects: dict[str, Path], tmp_path: Path) -> None:
    """The same with a kernel that reads one number too many: the check above can fail."""
    for name in ("pool.c", "pool_level.h", "pool_template.h", "levels.h", "tinyconv.h"):
        shutil.copy(ROOT / "csrc" / name, tmp_path)
    template = tmp_path / "pool_template.h"
    text = template.read_text()
    assert text.count("for (int64_t o = 0; o < n; o++)") == 2
    template.write_text(text.replace("for (int64_t o = 0; o < n; o++)", "for (int64_t o = 0; o <= n; o++)"))
    subprocess.run([*compiler, *FLAGS, *SANITIZE, "-c", str(tmp_path / "pool.c"), "-o", str(tmp_path / "pool.o")], check=True)
    done = run(compiler, {**objects, "pool": tmp_path / "pool.o"}, tmp_path)
    assert done.returncode != 0 and "heap-buffer-overflow" in done.stderr

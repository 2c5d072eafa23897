"""The one way kernels are compiled: Numba with the house's flags, cached on disk so that a process pays once, ever.

Numba's cache looks only at the file a function stands in, not at what it calls, so a stale kernel could survive an
upgrade. Here the cache folder is named by a fingerprint of every source file of the kernels: an edit anywhere starts a
fresh one. Where no folder can be written, kernels compile in memory, and the import succeeds all the same.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config as _config

from . import host

config: Any = _config  # its attributes are made at run time, which a type checker cannot see

# nnan and ninf stay off: they would delete every test for NaN and infinity
FASTMATH = {"contract", "reassoc", "nsz"}
KEPT = 4  # cache folders of other versions of the source that are left in place

# An idle thread of GNU OpenMP spins, by default 300,000 rounds. Where other processes want the cores, it keeps them from the
# very thread it waits for; where it sleeps too soon, every kernel waits for it to wake. A training step of 4.5 ms on two idle
# cores, and with three busy processes beside it, took 4.5 and 45 ms at 300,000 rounds, 4.6 and 22 at 100,000, 4.9 and 20 at
# 10,000. It is read when the first parallel kernel runs.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "100000")


def njit(fn: Callable | None = None, *, inner: bool = False, **options: Any) -> Any:
    """`numba.njit` with the house's flags and its cache; `@njit`, or `@njit(inner=True)`.

    inner: compiled code alone calls it, or invoke.py by its address. It gets no entry for Python, which takes every argument
    apart and is often longer to compile than the function: a call from Python would crash. And it is inlined: else a caller
    that was just compiled would call it as it was compiled alone, one from the cache a copy that was optimised once more,
    and sums would differ in their last bits from one process to the next.
    """
    if fn is None:
        return lambda f: njit(f, inner=inner, **options)
    options = {"fastmath": FASTMATH, "nogil": True, "no_cfunc_wrapper": True, "no_cpython_wrapper": inner, "forceinline": inner,
               **options}
    if FOLDER is None:
        return numba.njit(**options)(fn)
    before, config.CACHE_DIR = config.CACHE_DIR, str(FOLDER)  # read once, where the function is decorated
    try:
        return numba.njit(cache=True, **options)(fn)
    finally:
        config.CACHE_DIR = before


def fingerprint() -> str:
    """A hash of the source of every kernel, of Numba's version, and of the vector width that tiles are drawn for."""
    here = Path(__file__).parent
    digest = hashlib.sha256(f"{numba.__version__} {host.VECTOR_BYTES}".encode())
    for path in sorted(here.rglob("*.py")):
        digest.update(path.relative_to(here).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path | None:
    """The folder of compiled kernels: in NUMBA_CACHE_DIR, else the user's cache; None where neither can be written."""
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "tinyconv" / f"jit-{fingerprint()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return None
        os.utime(folder)
        others = sorted((p for p in folder.parent.glob("jit-*") if p != folder), key=lambda p: p.stat().st_mtime)
    except OSError:
        return None
    for old in others[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


FOLDER = None if config.DISABLE_JIT else cache_folder()

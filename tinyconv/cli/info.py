"""`tinyconv info` and `tinyconv models`: what this machine has, and what networks there are."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from rich.table import Table

from .. import __version__, registry
from ..models import MODELS
from .screen import console

PACKAGES = ("numpy", "numba", "llvmlite", "safetensors", "pooch", "rich", "typer", "matplotlib", "pillow")
VECTORS = {"avx512f": ("AVX-512", 512), "avx2": ("AVX2", 256), "avx": ("AVX", 256), "neon": ("NEON", 128),
           "sse2": ("SSE2", 128)}


def info() -> None:
    """Versions, processor, vector width, threads, BLAS, devices, and the kernels of every operation."""
    out = console()
    table = Table.grid(padding=(0, 2))
    for name, value in _facts():
        table.add_row(f"[bold]{name}[/]", value)
    out.print(table)
    out.print("\n[bold]kernels[/], slowest first")
    ladders = Table.grid(padding=(0, 2))
    for op in registry.ops():
        ladders.add_row(f"  {op}", ", ".join(k.algorithm for k in registry.kernels(op)))
    out.print(ladders)


def _facts() -> Iterator[tuple[str, str]]:
    import numba

    yield "tinyconv", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield "packages", ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    yield "processor", _processor()
    yield "vectors", _vectors()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "threads", f"{numba.get_num_threads()} for kernels, {cores} cores for this process"
    yield "BLAS", _blas()
    devices = sorted({k.device for op in registry.ops() for k in registry.kernels(op)})
    yield "devices", ", ".join(devices)
    built = find_spec("tinyconv.kernels._aot") is not None
    yield "C kernels", "built" if built else "not built: no C compiler was found when tinyconv was installed"
    yield "compiled", _cache()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _vectors() -> str:
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    for flag, (name, bits) in VECTORS.items():
        if features.get(flag):
            return f"{name}: {bits} bits, {bits // 32} float32 at a time ({binding.get_host_cpu_name()})"
    return f"unknown ({binding.get_host_cpu_name()})"


def _blas() -> str:
    from threadpoolctl import threadpool_info

    found = [f"{lib['internal_api']} {lib['version'] or ''}, {lib['num_threads']} threads"
             for lib in threadpool_info() if lib["user_api"] == "blas"]
    return "; ".join(dict.fromkeys(found)) or "unknown"


def _cache() -> str:
    from ..kernels.jit import FOLDER

    if FOLDER is None:
        return "in memory only: no cache folder can be written"
    return f"{sum(1 for _ in FOLDER.rglob('*.nbc'))} kernels in {FOLDER}"


def models() -> None:
    """A table of the networks, with the size of the images they were drawn for and their parameters for ten classes."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, right in (("name", False), ("image", False), ("parameters", True), ("network", False)):
        table.add_column(name, justify="right" if right else "left", no_wrap=not right and name != "network")
    for a in MODELS.values():
        parameters = sum(p.numel() for p in a.build(a.image, 10).parameters())
        table.add_row(a.name, "x".join(map(str, a.image)), f"{parameters:,}", a.summary)
    console().print(table)

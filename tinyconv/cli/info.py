"""`tinyconv info` and `tinyconv models`: what this machine has, and what networks there are."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from rich.markup import escape
from rich.table import Table

from .. import __version__, registry
from ..models import MODELS
from ..nn import init
from .screen import console

PACKAGES = ("numpy", "numba", "llvmlite", "safetensors", "pooch", "rich", "typer", "matplotlib", "pillow")


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
    from llvmlite import binding

    from ..bench.machine import cpu_name
    from ..kernels import gpu
    from ..kernels.host import REGISTERS, VECTOR_BYTES

    yield "tinyconv", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield "packages", ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    yield "processor", f"{cpu_name()} (to the compiler: {binding.get_host_cpu_name()})"
    yield "vectors", f"{8 * VECTOR_BYTES} bits, {VECTOR_BYTES // 4} float32 at a time, {REGISTERS} registers"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "threads", f"{numba.get_num_threads()} for kernels, {cores} cores for this process"
    yield "BLAS", _blas()
    yield "devices", "cpu" if gpu.missing() else "cpu, cuda"
    yield "CUDA", _cuda()
    built = find_spec("tinyconv.kernels._aot") is not None
    yield "C kernels", "built" if built else "not built; a C compiler and a new install would add them"
    yield "compiled", _cache()


def _cuda() -> str:
    """The GPU, or which of package, driver and GPU is missing, and what would install it."""
    from ..kernels import gpu

    if gpu.simulated():
        return "simulated by Numba on this CPU: it shows whether kernels are right, not how fast they are"
    return escape(gpu.missing() or gpu.card())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


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
    """A table of the networks, with what they were drawn for and their parameters for it."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name, right in (("name", False), ("input", False), ("parameters", True), ("network", False)):
        table.add_column(name, justify="right" if right else "left", no_wrap=not right and name != "network")
    with init.skipped():  # only their number matters
        for a in MODELS.values():
            parameters = sum(p.numel() for p in a.new().parameters())
            table.add_row(a.name, "x".join(map(str, a.sample)), f"{parameters:,}", a.summary)
    out = console()
    out.print(table)
    out.print("\n`tinyconv models NAME` shows one layer by layer.", style="dim")

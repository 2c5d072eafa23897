"""The one file that knows CUDA: numba-cuda compiles the kernels, CuPy holds the arrays and launches.

A kernel takes flat arrays and numbers: `x[i]`, with no shape and no bounds. On a GPU `x` is a bare pointer, which costs one
register where an array costs seven, and `launch` costs microseconds. Kernels are written with `cuda` from here:

    @jit
    def twice(x, y, n):                                                  launch(twice, cells(n), THREADS, x, y, n)
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        if i < n: y[i] = x[i] + x[i]

With NUMBA_ENABLE_CUDASIM=1 Numba's simulator runs the same bodies on NumPy arrays: it proves indices and synchronisation.
Nothing here is imported before it is used, and what is missing is a sentence. Read next: conv/cuda_naive.py, gpu_graph.py.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, wraps
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import CellType, FunctionType
from typing import Any

import numpy as np
from numba import types

from . import gpu_simulator
from .gpu_simulator import DeviceArray
from .jit import FOLDER, config

EACH = 256  # threads of a block where each has an element
MOST, GRID = 2**31 - 2**10, 65535  # what an int32 counts to, less the threads of a block; blocks along a grid's last two axes
LEAST_CC = (7, 5)  # the oldest compute capability that CUDA 13 compiles for
int32: Any = types.int32  # of all indices: Numba's sum of two int32 is an int64, so sums are wrapped again, int32(i + j)
uint32: Any = types.uint32  # where one divides, or tests both ends at once
INSTALL = "pip install 'tinyconv[cuda]' (CUDA 13) or 'tinyconv[cuda12]'"


# what is there

def simulated() -> bool:
    """Whether kernels run in Numba's simulator: NUMBA_ENABLE_CUDASIM=1 was set before Numba was first imported."""
    return bool(config.ENABLE_CUDASIM)


@cache
def missing() -> str:
    """"" where CUDA can be used, or is simulated; else which of package, driver and GPU is missing, and the remedy."""
    if simulated():
        return ""
    for package, name in (("numba_cuda", "numba-cuda"), ("cupy", "CuPy")):
        if find_spec(package) is None:
            return f"the package {name} is not installed: {INSTALL} adds it"
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver was found: install the driver of your GPU from nvidia.com"
    count, release = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(release))
    if release.value < 1000 * (wants := _toolkit()):
        return (f"the NVIDIA driver is for CUDA {release.value // 1000}.{release.value % 1000 // 10}, and the packages for "
                f"{wants}: update the driver" + (", or pip install 'tinyconv[cuda12]'" if wants > 12 else ""))
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "the NVIDIA driver sees no GPU: check nvidia-smi, and CUDA_VISIBLE_DEVICES"
    if (cc := _capability(driver)) < LEAST_CC:
        return f"the GPU has compute capability {cc[0]}.{cc[1]}, and {LEAST_CC[0]}.{LEAST_CC[1]} is the least: use a newer card"
    return ""


def _toolkit() -> int:
    """The CUDA that CuPy was built for, 12 or 13; 0 where its name does not tell."""
    for release in (13, 12):
        try:
            version(f"cupy-cuda{release}x")
        except PackageNotFoundError:
            continue
        return release
    return 0


def _capability(driver: Any) -> tuple[int, int]:
    device, value, found = ctypes.c_int(), ctypes.c_int(), []
    driver.cuDeviceGet(ctypes.byref(device), 0)
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        found.append(value.value)
    return found[0], found[1]


def card() -> str:
    """Name, compute capability and memory of the GPU, and the packages that drive it."""
    cupy = xp()
    found, cc = cupy.cuda.runtime.getDeviceProperties(0), cupy.cuda.Device(0).compute_capability
    return (f"{found['name'].decode()}, compute capability {cc[:-1]}.{cc[-1]}, {found['totalGlobalMem'] / 2**30:.0f} GiB, "
            f"CuPy {cupy.__version__}, numba-cuda {version('numba-cuda')}")


def refuse(dims: Any, dtype: np.dtype) -> str:
    """The refusal of kernels on CUDA: what is missing here, and what no kernel takes."""
    if why := missing():
        return why
    if dtype not in (np.float32, np.float64):
        return f"it takes float32 and float64, not {np.dtype(dtype)}"
    return ""


# arrays

@cache
def xp() -> Any:
    """The namespace of device arrays: CuPy, or what stands for it in the simulator. Raises RuntimeError without CUDA."""
    if why := missing():
        raise RuntimeError(f"CUDA cannot be used: {why}")
    return gpu_simulator.Namespace() if simulated() else import_module("cupy")


def is_device(a: Any) -> bool:
    """Whether `a` is an array on the device. Never imports CuPy: who holds such an array has imported it."""
    if isinstance(a, np.ndarray):
        return isinstance(a, DeviceArray)
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(a, cupy.ndarray)


def to_device(a: Any) -> Any:
    """A copy on the device; `a` itself where it is there already."""
    return a if is_device(a) else xp().array(a)


def to_host(a: Any) -> np.ndarray:
    """A copy on the host, once the device has worked it out; `a` itself where it is there already."""
    if not is_device(a):
        return a
    return a.get()


def flat(a: Any) -> Any:
    """`a` as a kernel takes it: contiguous, itself where it is."""
    return xp().ascontiguousarray(a)


held: list[Any] | None = None  # what the Graph at work has been given: gpu_graph.py


def remembered(maxsize: int) -> Callable[[Callable], Any]:
    """lru_cache for what lies on the device. A Graph holds what it was given, which it reads though the cache may forget."""
    def decorate(make: Callable) -> Any:
        cached = lru_cache(maxsize)(make)

        @wraps(make)
        def given(*args: Any) -> Any:
            found = cached(*args)
            if held is not None:
                held.append(found)
            return found

        given.cache_clear = cached.cache_clear  # type: ignore[attr-defined]
        return given
    return decorate


@remembered(1024)
def table(numbers: tuple[int, ...]) -> Any:
    """Numbers as an int32 array on the device, copied there once: a geometry that a kernel reads."""
    return xp().array(numbers, dtype=np.int32)


def constant(a: np.ndarray) -> Any:
    """An array of the host on the device, copied there once for all that equal it: to be read and not written."""
    return _constant(a.tobytes(), a.dtype.str, a.shape)


@remembered(1024)
def _constant(data: bytes, dtype: str, shape: tuple[int, ...]) -> Any:
    return xp().array(np.frombuffer(data, dtype).reshape(shape))


# kernels

class _Cuda:
    """`numba.cuda`, imported when a kernel is first compiled."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("numba.cuda"), name)


cuda = _Cuda()


class Function:
    """A function for the device: a kernel, which `launch` starts, or a helper, which is inlined into its callers.

    threads, blocks: the threads of its blocks, and how many blocks a multiprocessor should hold at once, where a thread
    wants many registers: its 65,536 are shared out among them all.
    """

    def __init__(self, fn: Callable, helper: bool = False, threads: int = 0, blocks: int = 1) -> None:
        self.fn, self.helper, self.threads, self.blocks = fn, helper, threads, blocks
        self._bound: Any = None
        self._loaded: dict[tuple, Any] = {}
        self.__doc__, self.__name__ = fn.__doc__, fn.__name__

    def __call__(self, *args: Any) -> Any:
        raise TypeError(f"{self.__name__} runs on the device: launch({self.__name__}, grid, block, ...)")

    @property
    def bound(self) -> Any:
        """The function with numba.cuda in place of `cuda`, and what Numba made of its helpers in place of those."""
        if self._bound is None:
            f = self.fn
            world = {name: self._bind(f.__globals__[name]) for name in f.__code__.co_names if name in f.__globals__}
            cells = tuple(CellType(self._bind(c.cell_contents)) for c in f.__closure__ or ())
            copy = FunctionType(f.__code__, world, f.__name__, f.__defaults__, cells)
            copy.__qualname__, copy.__module__ = f.__qualname__, f.__module__
            if self.helper and simulated():
                self._bound = copy
            elif self.helper:
                self._bound = cuda.jit(device=True, inline="always")(copy)
            elif simulated():
                gpu_simulator.teach()
                self._bound = cuda.jit(copy)
            else:
                self._bound = copy
        return self._bound

    def _bind(self, value: Any) -> Any:
        if value is cuda:
            return gpu_simulator.Caller() if self.helper and simulated() else import_module("numba.cuda")
        return value.bound if isinstance(value, Function) and value.helper else value


def jit(fn: Callable | None = None, *, threads: int = 0, blocks: int = 1) -> Any:
    """A kernel: `@jit`, or `@jit(threads=256, blocks=2)` where a thread wants many registers."""
    return Function(fn, threads=threads, blocks=blocks) if fn else lambda f: Function(f, threads=threads, blocks=blocks)


def helper(fn: Callable) -> Any:
    """A function that kernels call, inlined into them."""
    return Function(fn, helper=True)


def real(dtype: Any) -> Any:
    """Numba's type for float32 or float64: real(dtype)(0) is a zero, cuda.shared.array(n, real(dtype)) an array."""
    return {"float32": types.float32, "float64": types.float64}[np.dtype(dtype).name]


def threads(on_gpu: int, in_simulator: int = 4) -> int:
    """A number of threads, shrunk in the simulator, so that small problems have blocks with an edge."""
    return in_simulator if simulated() else on_gpu


def cells(n: int, block: int) -> int:
    """How many blocks of this size cover n cells."""
    return -(-n // block)


def launch_each(kernel: Function, out: Any, *args: Any) -> None:
    """Start a kernel on `out`, its number of elements and these arguments, with a thread for every element."""
    block = threads(EACH)
    launch(kernel, cells(out.size, block), block, out, out.size, *args)


def launch(kernel: Function, grid: int | tuple[int, ...], block: int | tuple[int, ...], *args: Any) -> None:
    """Start a kernel on CuPy's current stream. Arrays must be C-contiguous; a Python int is an int32.

    Nothing is waited for. A grid with no blocks starts nothing.
    Raises: ValueError for an array that is strided, an int beyond 32 bits and a grid beyond CUDA's, TypeError for what is no
    array on the device and no number.
    """
    grid, block = _three(grid), _three(block)
    if 0 in grid:
        return
    if grid[0] > MOST or max(grid[1:]) > GRID:
        raise ValueError(f"{kernel.__name__}: a grid of {grid} blocks is beyond CUDA's ({MOST}, {GRID}, {GRID})")
    values = [_argument(kernel, a) for a in args]
    if simulated():
        kernel.bound[grid, block](*values)
        return
    cupy = xp()
    key = (cupy.cuda.runtime.getDevice(), *(v.dtype if hasattr(v, "data") and v.ndim else type(v) for v in values))
    found = kernel._loaded.get(key)
    if found is None:
        found = kernel._loaded[key] = _load(kernel, values)
    found(grid, block, tuple(values))


def _three(sizes: int | tuple[int, ...]) -> tuple[int, ...]:
    sizes = sizes if isinstance(sizes, tuple) else (sizes,)
    return (*sizes, 1, 1)[:3]


def _argument(kernel: Function, a: Any) -> Any:
    if is_device(a):
        if not a.flags.c_contiguous:
            raise ValueError(f"{kernel.__name__} wants contiguous arrays, got strides {a.strides} for shape {a.shape}")
        return np.asarray(a).reshape(-1) if isinstance(a, DeviceArray) else a if a.ndim else a.reshape(1)
    if isinstance(a, (int, np.integer)):
        if not -MOST <= a <= MOST:
            raise ValueError(f"{kernel.__name__} counts with 32 bits, up to {MOST:,}, got {a:,}: split the batch")
        return np.int32(a)
    if isinstance(a, np.floating):
        return a
    raise TypeError(f"{kernel.__name__} takes arrays on the device and numbers, got {type(a).__name__}")


# from Python to machine code

@dataclass(frozen=True)
class Binary:
    """A kernel compiled for one compute capability, and what it takes of a multiprocessor."""

    name: str
    ptx: str
    code: bytes
    registers: int
    shared: int
    spilled: int  # bytes a thread writes to and reads from memory for want of registers, its stack included


def signature(values: tuple[Any, ...] | list[Any]) -> tuple[Any, ...]:
    """Numba's types of a kernel's arguments: pointers for arrays, and the numbers as they are."""
    kinds = [types.CPointer if getattr(v, "ndim", 0) else (lambda t: t) for v in values]
    return tuple(kind(getattr(types, v.dtype.name)) for kind, v in zip(kinds, values))


@cache
def build(kernel: Function, sig: tuple[Any, ...], cc: tuple[int, int]) -> Binary:
    """Compile a kernel for a compute capability, as (9, 0). No GPU and no driver is needed, only numba-cuda."""
    from cuda.bindings import nvjitlink

    ptx, _ = cuda.compile(kernel.bound, sig, device=False, abi="numba", cc=cc, output="ptx",
                          launch_bounds=(kernel.threads, kernel.blocks) if kernel.threads else None)
    options = [f"-arch=sm_{cc[0]}{cc[1]}", "-verbose"]
    linker = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(linker, nvjitlink.InputType.PTX, ptx.encode(), len(ptx), kernel.__name__)
        nvjitlink.complete(linker)
        code = bytearray(nvjitlink.get_linked_cubin_size(linker))
        nvjitlink.get_linked_cubin(linker, code)
        log = bytearray(nvjitlink.get_info_log_size(linker))
        nvjitlink.get_info_log(linker, log)
    finally:
        nvjitlink.destroy(linker)
    text = log.decode()

    def largest(pattern: str) -> int:
        return max(map(int, re.findall(pattern, text)), default=0)

    spilled = largest(r"(\d+) bytes stack frame") + largest(r"(\d+) bytes spill stores") + largest(r"(\d+) bytes spill loads")
    return Binary(re.findall(r"\.entry (\w+)\(", ptx)[0], ptx, bytes(code), largest(r"[Uu]sed (\d+) registers"),
                  largest(r"(\d+) bytes smem"), spilled)


def compile_ptx(kernel: Function, sig: tuple[Any, ...], cc: tuple[int, int]) -> str:
    """The PTX of a kernel, as text to read."""
    return build(kernel, sig, cc).ptx


def _text(kernel: Function) -> tuple[Any, ...]:
    """All that a kernel's machine code follows from: its own code, its constants, and those of its helpers."""
    f = kernel.fn
    values = [*(f.__globals__[name] for name in f.__code__.co_names if name in f.__globals__),
              *(c.cell_contents for c in f.__closure__ or ())]
    return (f.__module__, f.__qualname__, f.__code__.co_code.hex(), f.__code__.co_consts,
            [_text(v) if isinstance(v, Function) else getattr(v, "__name__", repr(v)) for v in values])


def _load(kernel: Function, values: list[Any]) -> Any:
    """The kernel for these arguments on the current device, compiled, or read from the cache on disk."""
    cupy = xp()
    major_minor = cupy.cuda.Device().compute_capability
    cc, sig = (int(major_minor[:-1]), int(major_minor[-1])), signature(values)
    key = repr((_text(kernel), kernel.threads, kernel.blocks, sig, cc, version("numba-cuda")))
    path = FOLDER and FOLDER / f"{kernel.__name__}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.cubin"
    if path and path.exists():
        name, _, code = path.read_bytes().partition(b"\n")
    else:
        made = build(kernel, sig, cc)
        name, code = made.name.encode(), made.code
        if path:
            part = path.with_name(f"{path.name}.{id(kernel):x}.part")
            part.write_bytes(name + b"\n" + code)
            part.replace(path)
    module = cupy.cuda.function.Module()
    module.load(code)
    return module.get_function(name.decode())

"""What stands for a GPU where there is none: arrays of their own kind, and CuPy's namespace on top of NumPy's.

A DeviceArray is a NumPy array that knows it is not the host's: results of NumPy's functions on it are DeviceArrays again.
What CuPy refuses is refused, so that it is found without a GPU: mixing with a host array, keywords that CuPy lacks, in a CUDA
graph a copy from the host and cuBLAS, and what nobody has yet seen CuPy do. Reductions give arrays of no dimensions, as
CuPy's do. Source: CuPy 14.2, cupy/_core/core.pyx and _kernel.pyx, cupy/cuda/memory.pyx.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
from numba.core import types
from numba.np.numpy_support import as_dtype

BARRIER = 100  # seconds: longer than any block takes, on a busy machine too
CREATORS = frozenset({
    "array", "asarray", "ascontiguousarray", "empty", "zeros", "ones", "full", "arange", "linspace", "eye", "empty_like",
    "zeros_like", "ones_like", "full_like",
})
UPLOADS = frozenset({"array", "asarray"})
# NumPy's functions that CuPy was seen to take over, with the keywords that are used here; `where` and `initial` it never has
SEEN = frozenset({
    "argmax", "argmin", "argsort", "broadcast_to", "clip", "concatenate", "dot", "einsum", "flip", "full_like", "max", "min",
    "ndim", "ones_like", "repeat", "where", "zeros_like",
})
BLAS = frozenset({"matmul", "dot", "einsum"})
recording = False  # whether a CUDA graph is being recorded: see gpu_graph.py


def _refuse(what: str) -> None:
    raise TypeError(f"{what}: CuPy refuses it, or was not yet seen to do it")


def _refuse_recording(what: str) -> None:
    if recording:
        raise RuntimeError(f"{what} cannot be recorded in a CUDA graph")


def _refuse_keywords(name: str, kwargs: dict[str, Any], allowed: frozenset[str] | None = None) -> None:
    """What CuPy's ufuncs take is `allowed`; its other functions take most, but not these two."""
    for keyword in kwargs:
        if keyword in ("where", "initial") if allowed is None else keyword not in allowed:
            _refuse(f"{name}({keyword}=)")


class DeviceArray(np.ndarray):
    """A NumPy array that plays one on the device."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if any(map(_on_host, (*inputs, *(out or ())))):
            raise TypeError(f"{ufunc.__name__} was given arrays on the host and on the device")
        if method != "__call__":
            _refuse(f"{ufunc.__name__}.{method}")
        _refuse_keywords(ufunc.__name__, kwargs, frozenset({"dtype", "casting"}))
        if ufunc.__name__ in BLAS:
            _refuse_recording(f"{ufunc.__name__}, which is cuBLAS's,")
        if out:
            if len(out) != 1:
                _refuse(f"{ufunc.__name__} with {len(out)} arrays in out=")
            kwargs["out"] = tuple(a if a is None else a.view(np.ndarray) for a in out)
        plain = [a.view(np.ndarray) if isinstance(a, DeviceArray) else a for a in inputs]
        result = getattr(ufunc, method)(*plain, **kwargs)
        if isinstance(result, tuple):
            return tuple(o if o is not None else on_device(r) for o, r in zip(out or (None,) * len(result), result))
        return out[0] if out and out[0] is not None else None if result is None else on_device(result)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if np.ndarray in types:
            raise TypeError(f"{func.__name__} was given arrays on the host and on the device")
        if func.__name__ not in SEEN:
            _refuse(f"numpy.{func.__name__}")
        _refuse_keywords(func.__name__, kwargs)
        if func.__name__ in BLAS:
            _refuse_recording(f"{func.__name__}, which is cuBLAS's,")
        return _kept(func(*_plain(args), **_plain(kwargs)))

    def __setitem__(self, key: Any, value: Any) -> None:
        if _on_host(value) and value.ndim:
            raise TypeError("an array on the host was written into one on the device")
        _check_key(key)
        super().__setitem__(key, value)

    def __getitem__(self, key: Any) -> Any:
        _check_key(key)
        return _kept(super().__getitem__(key))

    def get(self) -> np.ndarray:
        """A copy on the host, as CuPy's arrays give it."""
        _refuse_recording("a copy to the host")
        return np.array(self)


def _method(name: str) -> Any:
    """A method of NumPy's arrays that goes round its ufuncs, whose keywords CuPy's do not have."""
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_keywords(name, kwargs)
        return _kept(getattr(self.view(np.ndarray), name)(*map(_plain, args), **kwargs))

    return method


for _name in ("sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "argmax", "argmin"):
    setattr(DeviceArray, _name, _method(_name))


def _on_host(a: Any) -> bool:
    return isinstance(a, np.ndarray) and not isinstance(a, DeviceArray)


def _check_key(key: Any) -> None:
    """An index on the host is copied to the device."""
    if any(isinstance(k, list) or _on_host(k) for k in (key if isinstance(key, tuple) else (key,))):
        _refuse_recording("an index on the host, which is copied,")


def on_device(a: Any) -> DeviceArray:
    """The same memory as a DeviceArray; a number becomes an array of no dimensions."""
    return np.asarray(a).view(DeviceArray)


def _plain(args: Any) -> Any:
    """Arguments with the arrays in them as NumPy's own."""
    if isinstance(args, (tuple, list)):
        return type(args)(map(_plain, args))
    if isinstance(args, dict):
        return {name: _plain(a) for name, a in args.items()}
    return args.view(np.ndarray) if isinstance(args, DeviceArray) else args


def _kept(result: Any) -> Any:
    """What a function of NumPy gave, on the device: arrays and numbers are, all else (shapes, truths) stays as it is."""
    if isinstance(result, (tuple, list)):
        return type(result)(map(_kept, result))
    return on_device(result) if isinstance(result, (np.ndarray, np.number, np.bool_)) else result


class Namespace:
    """NumPy's functions, where those that make arrays make DeviceArrays."""

    ndarray = DeviceArray

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if name not in CREATORS:
            return found

        def make(*args: Any, **kwargs: Any) -> DeviceArray:
            if args and _on_host(args[0]) and name == "ascontiguousarray":
                _refuse(f"{name} of an array on the host")
            if args and name in UPLOADS and not isinstance(args[0], DeviceArray) and np.ndim(args[0]):
                _refuse_recording("a copy from the host")
            return on_device(found(*args, **kwargs))

        return make

    @staticmethod
    def asnumpy(a: Any) -> np.ndarray:
        """A copy on the host."""
        return np.array(a)


def _check(index: Any, size: int) -> None:
    """Raise IndexError for an index outside, a negative one included: NumPy counts it from the end, a GPU goes astray."""
    if not 0 <= index < size:
        raise IndexError(f"a kernel reached for element {index} of an array of {size}")


class Bounded(np.ndarray):
    """A flat array in shared memory or in registers, whose ends are watched."""

    def __getitem__(self, i: Any) -> Any:
        _check(i, self.shape[0])
        return super().__getitem__(i)

    def __setitem__(self, i: Any, value: Any) -> None:
        _check(i, self.shape[0])
        super().__setitem__(i, value)


class Caller:
    """`cuda` of the kernel that runs: the simulator puts it in place of the kernel's own, and of no helper's."""

    def __getattr__(self, name: str) -> Any:
        from numba.cuda.simulator import kernel

        return getattr(kernel._get_kernel_context(), name)


def teach() -> None:
    """Give Numba's simulator what it lacks: `alignment=` of shared arrays, a barrier that does not poll, and watched ends.

    Alignment means nothing on a host, and is left out. The simulator keeps asking each thread of a block whether it waits,
    and Python lets it ask for 5 ms before a thread may run; at a barrier of `threading` the threads wait for each other. A
    thread that never comes is an error, after BARRIER seconds.
    """
    from numba.cuda.simulator import kernel, kernelapi
    from numba.cuda.simulator.cudadrv.devicearray import FakeWithinKernelCUDAArray as Argument

    def shared(self: Any, shape: Any, dtype: Any, alignment: int | None = None) -> np.ndarray:
        """One array for each source line and block, whichever thread comes first; not a number until written."""
        caller = sys._getframe(1)
        dtype = as_dtype(dtype) if isinstance(dtype, types.Type) else dtype
        fresh = np.full(shape, np.nan if np.dtype(dtype).kind == "f" else -1, dtype).view(Bounded)
        return self._allocations.setdefault((caller.f_code.co_filename, caller.f_lineno), fresh)

    def local(self: Any, shape: Any, dtype: Any) -> np.ndarray:
        dtype = as_dtype(dtype) if isinstance(dtype, types.Type) else dtype
        return np.empty(shape, dtype).view(Bounded)

    def get(self: Any, i: Any) -> Any:
        _check(i, len(self._item))
        return self._item[i]

    def put(self: Any, i: Any, value: Any) -> None:
        _check(i, len(self._item))
        self._item[i] = value

    def run(self: Any, block: Any, *args: Any) -> None:
        """Run a block: all its threads, from start to end."""
        points = list(np.ndindex(*self._block_dim))
        self.barrier = threading.Barrier(len(points))

        def body() -> None:
            try:
                self._f(*args)
            except Exception:
                self.barrier.abort()  # the others need not wait for this one
                raise

        threads = [kernel.BlockThread(body, self, block, p, self._debug) for p in points]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        errors = (t.exception for t in threads if t.exception)
        for error in sorted(errors, key=lambda e: isinstance(e[0], threading.BrokenBarrierError)):  # the cause first
            raise error[0].with_traceback(error[1])

    patches: list[tuple[Any, str, Any]] = [
        (kernelapi.FakeCUDAShared, "array", shared), (kernelapi.FakeCUDALocal, "array", local),
        (Argument, "__getitem__", get), (Argument, "__setitem__", put), (kernel.BlockManager, "run", run),
        (kernel.BlockThread, "syncthreads", lambda self: self._manager.barrier.wait(BARRIER)),
    ]
    for owner, name, better in patches:
        setattr(owner, name, better)

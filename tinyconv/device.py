"""Where arrays live: on the "cpu", NumPy's, or on "cuda", CuPy's.

One text serves both: NumPy's functions hand over to CuPy's where an argument is CuPy's (NEP 13 and NEP 18), so np.exp(x) of
an array on the GPU runs on the GPU. Only what makes an array from nothing, or brings one along from the host, has to ask.
There is one GPU to a process, "cuda:0"; which card that is, CUDA_VISIBLE_DEVICES says. Of all here only `to_host` waits for
it. Read next: kernels/gpu.py, what knows CuPy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

NAMES = {"cpu": "cpu", "cuda": "cuda", "cuda:0": "cuda"}


def kind(a: Any) -> str:
    """Where an array lives, in the registry's word: "cpu" or "cuda"."""
    return "cpu" if type(a) is np.ndarray else _kind(a)


def _kind(a: Any) -> str:
    from .kernels import gpu

    return "cuda" if gpu.is_device(a) else "cpu"


def device_of(a: Any) -> str:
    """Where an array lives, in PyTorch's words: "cpu" or "cuda:0"."""
    return "cpu" if kind(a) == "cpu" else "cuda:0"


def kind_named(device: Any) -> str:
    """"cpu" or "cuda", of "cpu", "cuda" or "cuda:0", or of PyTorch's device object of that name.

    Raises: ValueError for another name, RuntimeError that says what is missing for a GPU that cannot be used.
    """
    name = str(device)
    if name not in NAMES:
        raise ValueError(f'a device is "cpu", "cuda" or "cuda:0" (which card that is, CUDA_VISIBLE_DEVICES says), got {name!r}')
    if NAMES[name] == "cuda":
        from .kernels import gpu

        if why := gpu.missing():
            raise RuntimeError(f"device {name!r} cannot be used: {why}")
    return NAMES[name]


def is_named(value: Any) -> bool:
    """Whether `value` names a device rather than a dtype."""
    return (isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda")) or type(value).__name__ == "device"


def put(a: Any, where: str) -> Any:
    """An array on "cpu" or "cuda": itself where it lives there already, else a copy."""
    if kind(a) == where:
        return a
    from .kernels import gpu

    return gpu.to_device(a) if where == "cuda" else gpu.to_host(a)


def like(x: Any, a: Any) -> Any:
    """The array `a` where x lives."""
    return a if type(x) is np.ndarray and type(a) is np.ndarray else put(a, kind(x))


def constant(x: Any, a: np.ndarray) -> Any:
    """The array `a`, made on the host, where x lives: copied there once for all that equal it, so to be read and not written.

    A step that is recorded as a CUDA graph may copy nothing from the host, and what its first runs copied is there.
    """
    if kind(x) == "cpu":
        return a
    from .kernels import gpu

    return gpu.constant(a)


def to_host(a: Any) -> np.ndarray:
    """`a` as an array of NumPy's; of one on the GPU it waits for a copy."""
    return a if type(a) is np.ndarray else np.asarray(put(a, "cpu"))


def namespace(where: str) -> Any:
    """What makes arrays from nothing on "cpu" or "cuda": NumPy, or CuPy."""
    if where == "cpu":
        return np
    from .kernels import gpu

    return gpu.xp()


def mixed(name: str, arrays: Iterable[Any]) -> str:
    """The sentence for operands of an operation that live apart; "" where they live together."""
    found = [device_of(a) for a in arrays]
    if len(set(found)) < 2:
        return ""
    return (f"{name} of operands on {' and '.join(dict.fromkeys(found))}: they must be on one device; "
            f'.to("{found[0]}") moves a tensor there')


def same_device(name: str, *arrays: Any) -> None:
    """Raise RuntimeError where operands of an operation live apart."""
    first = type(arrays[0])
    for a in arrays:
        if type(a) is not first and (why := mixed(name, arrays)):
            raise RuntimeError(why)

"""What the host's vector unit looks like: bytes in a register, and how many registers there are.

Register tiles are shaped by these two numbers. They are asked of LLVM, which is what compiles the tiles. A width can be
forced by TINYCONV_VECTOR_BYTES (a power of two): a wider one than the host's is right but slow, LLVM splits it.
"""

from __future__ import annotations

import os
import platform

import llvmlite.binding as llvm


def vector_unit(machine: str, features: frozenset[str]) -> tuple[int, int]:
    """(bytes of a vector register, number of them) of a machine with these features.

    >>> vector_unit("x86_64", frozenset({"sse2", "avx", "avx2", "fma"}))
    (32, 16)
    """
    if "avx512f" in features:
        return 64, 32
    if "avx2" in features:
        return 32, 16
    if machine.lower() in ("aarch64", "arm64"):
        return 16, 32
    return 16, 16


def _ask() -> tuple[int, int]:
    try:
        features = frozenset(name for name, on in llvm.get_host_cpu_features().items() if on)
    except RuntimeError:  # LLVM cannot tell on this host: the width that every one has
        features = frozenset()
    width, registers = vector_unit(platform.machine(), features)
    forced = os.environ.get("TINYCONV_VECTOR_BYTES")
    if forced:
        width, registers = int(forced), 32 if int(forced) == 64 else 16
    return width, registers


VECTOR_BYTES, REGISTERS = _ask()

"""The rules along one dimension, and the arguments of a convolution or pooling made plain: ints, pairs and words.

Read next: conv.py, pool.py, the records that are made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]

AXES = ("depth", "height", "width")


def output_size(i: int, k: int, s: int = 1, lo: int = 0, hi: int = 0, d: int = 1) -> int:
    """Output positions along one dimension: floor((i + lo + hi - d*(k-1) - 1) / s) + 1.

    Args: input i, kernel k, stride s, padding lo before and hi after, dilation d (1 is dense); all in cells.
    Returns: the size, or a number below 1 where the kernel does not fit. Source: the guide, relationship 15.

    >>> output_size(227, 11, s=4)
    55
    >>> output_size(5, 3, s=2, lo=1, hi=1)
    3
    """
    return (i + lo + hi - d * (k - 1) - 1) // s + 1


def transposed_size(o: int, k: int, s: int = 1, lo: int = 0, hi: int = 0, d: int = 1, a: int = 0) -> int:
    """Size along one dimension of the x that a transposed convolution fills: s*(o-1) + a + d*(k-1) + 1 - lo - hi.

    Args: y size o, kernel k, stride s, padding lo and hi, dilation d, output padding a, all of the forward convolution.
    Source: the guide, relationship 14 (with a dilation added).

    >>> transposed_size(2, 3, s=2, lo=1, hi=1), transposed_size(2, 3, s=2, lo=1, hi=1, a=1)
    (3, 4)
    """
    return s * (o - 1) + a + d * (k - 1) + 1 - lo - hi


def freeze(value: Any) -> Any:
    """Lists and arrays as tuples, all the way down, so that the dims of a call can be looked up."""
    try:
        hash(value)
    except TypeError:
        value = value.tolist() if hasattr(value, "tolist") else value
        return tuple(map(freeze, value)) if isinstance(value, (list, tuple)) else value
    return value


def per_axis(name: str, value: int | Sequence[int], rank: int, least: int = 1) -> Ints:
    """`value` as one int for each of `rank` dimensions; TypeError or ValueError names the argument.

    >>> per_axis("stride", 2, 3)
    (2, 2, 2)
    """
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * rank
    if len(values) == 1 and rank > 1:
        values *= rank
    if len(values) != rank:
        raise ValueError(f"{name}={value!r} gives {len(values)} numbers for {rank} spatial dimension(s)")
    for v in values:
        if isinstance(v, bool) or not hasattr(v, "__index__"):
            raise TypeError(f"{name} must be an int or {rank} ints, got {value!r}")
        if v < least:
            raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return tuple(int(v) for v in values)


def resolve_padding(padding: Padding, size: Ints, kernel: Ints, stride: Ints, dilation: Ints) -> Pairs:
    """`padding` as a (before, after) pair for each dimension; the words are those of `conv_dims`.

    >>> resolve_padding("same", (5, 5), (2, 3), (1, 1), (1, 1))
    ((0, 1), (1, 1))
    """
    rank = len(size)
    reach = tuple(d * (k - 1) for k, d in zip(kernel, dilation))  # cells a window spans beyond its first
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * rank
        if padding == "half":
            return tuple(((r + 1) // 2, (r + 1) // 2) for r in reach)
        if padding == "full":
            return tuple((r, r) for r in reach)
        if padding == "same":
            total = (max((-(-i // s) - 1) * s + r + 1 - i, 0) for i, s, r in zip(size, stride, reach))
            return tuple((t // 2, t - t // 2) for t in total)
        raise ValueError(f'padding must be ints, pairs, or one of "valid", "same", "half", "full", got {padding!r}')
    if isinstance(padding, Sequence) and any(isinstance(p, Sequence) for p in padding):
        if len(padding) != rank or not all(isinstance(p, Sequence) and len(p) == 2 for p in padding):
            raise ValueError(f"padding={padding!r}: per-side padding is one (before, after) pair for each of {rank} "
                             "spatial dimension(s)")
        return tuple((int(lo), int(hi)) for lo, hi in (per_axis("padding", p, 2, least=0) for p in padding))  # type: ignore[arg-type]
    if isinstance(padding, Sequence) and len(padding) == 2 and rank == 1:
        raise ValueError(f"padding={padding!r} for 1 spatial dimension: write ({tuple(padding)},) for (before, after)")
    return tuple((p, p) for p in per_axis("padding", padding, rank, least=0))  # type: ignore[arg-type]


def check_output(out: Ints, size: Ints, kernel: Ints, s: Ints, pads: Pairs, d: Ints) -> None:
    """Raises ValueError, with the rule and its numbers, for the first dimension that has no output."""
    for axis, o in enumerate(out):
        if o < 1:
            i, k, (lo, hi) = size[axis], kernel[axis], pads[axis]
            name = AXES[axis - len(out)]
            raise ValueError(
                f"the kernel does not fit: along the {name}, input {i} + padding {lo}+{hi} = {i + lo + hi} is smaller than "
                f"dilation*(kernel-1)+1 = {d[axis]}*({k}-1)+1 = {d[axis] * (k - 1) + 1}, so the output size "
                f"floor((i + p - d*(k-1) - 1)/s) + 1 = {o}: it must be at least 1; use a smaller kernel or dilation, "
                "or more padding")


def positive(name: str, values: Ints) -> None:
    """Raises ValueError for a size below 1."""
    if min(values) < 1:
        raise ValueError(f"{name} must be at least 1 in every dimension, got {values}")

"""Shapes, bytes, times, norms and choices in words, for the tree, the graph and the page."""

from __future__ import annotations

from collections.abc import Sequence

from .recorder import Choice, Pull, Step, Value

SPACE = "\u00a0"  # between a number and its unit, which no line break parts
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def size(count: int) -> str:
    """Bytes: "600 B", "18.4 KiB"."""
    return next((f"{count / unit:.1f}{SPACE}{name}" for unit, name in UNITS if count >= unit), f"{count}{SPACE}B")


def duration(seconds: float) -> str:
    """Time: "85 us", "1.9 ms"."""
    number, unit = (seconds * 1e6, "us") if seconds < 1e-3 else (seconds * 1e3, "ms") if seconds < 1 else (seconds, "s")
    return f"{number:.0f}{SPACE}{unit}" if unit == "us" else f"{number:.3g}{SPACE}{unit}"


def by(shape: Sequence[int]) -> str:
    """Sizes as in 1x6x28x28; a single number is "scalar"."""
    return "x".join(map(str, shape)) or "scalar"


def norm(value: Value) -> str:
    """The L2 norm, or what stands in its way."""
    return " and ".join(f"{n:,} {what}" for n, what in ((value.nan, "NaN"), (value.inf, "inf")) if n) or f"{value.norm:.3g}"


def call(step: Step) -> str:
    """An operation with its operands by slot: "conv(x=image, w=c1.weight)"."""
    return f"{step.op}({', '.join(f'{o.slot}={o.source}' for o in step.operands)})"


def title(pull: Pull) -> str:
    """The operation whose rules are pulled, with its number."""
    return f"{pull.op} #{pull.step}" if pull.step else f"{pull.op} (from before the trace)"


def reasons(choice: Choice) -> list[tuple[list[str], str]]:
    """Why not the others: the algorithms that share a reason, and the reason, in the order of the ladder."""
    grouped: dict[str, list[str]] = {}
    for algorithm, why in choice.others:
        grouped.setdefault(why, []).append(algorithm)
    return [(names, why) for why, names in grouped.items()]

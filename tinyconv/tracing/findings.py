"""What is wrong with a trace: the first operation that made a NaN or an infinity, gradients that vanish or explode.

A gradient is judged by its L2 norm, beside the norm of the cotangent that its backward pass began with: a loss begins with 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, prod

from .recorder import Event, Fill, Pull, Step, Sweep, Value, walk

VANISHING = 1e-6
EXPLODING = 1e4


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind, the operation to look at (or the tensor), and a sentence."""

    kind: str  # "nan", "infinity", "vanishing", "exploding" or "zero"
    where: str
    text: str

    def __str__(self) -> str:
        return self.text


def findings(events: list[Event], steps: dict[int, Step], vanishing: float = VANISHING,
             exploding: float = EXPLODING) -> list[Finding]:
    """All that is wrong, the first cause first."""
    found = list(_not_finite(events, steps))
    for event in events:
        if isinstance(event, Sweep) and event.norm > 0 and isfinite(event.norm):
            found += _norms(event, vanishing, exploding)
    return found


def _not_finite(events: list[Event], steps: dict[int, Step]) -> Iterator[Finding]:
    """The first infinity, and the first NaN, which may have come of it."""
    seen: set[str] = set()
    for event in walk(events):
        if isinstance(event, Step):
            inputs = [(f"{o.source} in slot {o.slot}", o.value, o.source.step) for o in event.operands]
            where, result = f"{event.op} #{event.number}", event.out
        elif isinstance(event, Fill) and not event.events:  # one kernel, which left no steps
            inputs = []
            where, result = f"the gradient {event.rule}" + f" of {event.source}", event.value
        else:
            continue
        for kind, count in (("nan", result.nan), ("infinity", result.inf)):
            if count and kind not in seen:
                seen.update({kind} if kind == "infinity" else {"nan", "infinity"})
                yield _origin(kind, where, result, inputs)


def _origin(kind: str, where: str, result: Value, inputs: list[tuple[str, Value, int | None]]) -> Finding:
    what = "NaN" if kind == "nan" else "infinity"
    bad = [(name, value, step) for name, value, step in inputs if not value.finite]
    count = result.nan if kind == "nan" else result.inf
    made = f"{count:,} of {prod(result.shape):,} values of its result, of shape {result.shape}"
    for name, value, step in bad:
        if step is None:
            return Finding(kind, name, f"{name} held {value.nan:,} NaN and {value.inf:,} infinite values before any operation; "
                                       f"{where} was the first to read it")
    cause = "its operands were finite" if not bad else f"{bad[0][0]} held {bad[0][1].inf:,} infinite"
    return Finding(kind, where, f"{where} made the first {what}: {made}; {cause}")


def _norms(sweep: Sweep, vanishing: float, exploding: float) -> Iterator[Finding]:
    begun = f"the {sweep.norm:.3g} that the backward pass began with"
    ratios = [(pull, pull.g.norm / sweep.norm) for pull in sweep.pulls]
    for pull in sweep.pulls:
        zero = [f for f in pull.fills if f.value.norm == 0 and f.value.bytes]
        if pull.g.norm and zero:
            yield Finding("zero", name(pull), f"{name(pull)} lets no gradient through: that of {zero[0].source} is 0 "
                                              "everywhere")
            break
    for kind, says, bound, off in (
            ("vanishing", "below", vanishing, [(p, r) for p, r in ratios if 0 < r < vanishing]),
            ("exploding", "above", exploding, [(p, r) for p, r in ratios if exploding < r < float("inf")])):
        if off:
            first, worst = off[0], (min if kind == "vanishing" else max)(off, key=lambda pair: pair[1])
            yield Finding(kind, name(first[0]), (
                f"{kind} gradients: from {name(first[0])} on their norm is {says} {bound:g} of {begun}, at {len(off)} of "
                f"{len(ratios)} operations; {'least' if kind == 'vanishing' else 'most'} at {name(worst[0])}, "
                f"{worst[0].g.norm:.2g}"))


def name(pull: Pull) -> str:
    """The operation that a pull belongs to, with its number."""
    return f"{pull.op} #{pull.step}" if pull.step else f"{pull.op} (before the trace)"

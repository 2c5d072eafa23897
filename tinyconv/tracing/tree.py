"""A trace as a tree of text: operations, backward passes, and under each gradient the operations that made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import wrap

from .findings import Finding
from .recorder import Choice, Event, Fill, Pull, Step, Sweep, walk
from .words import SPACE, by, call, duration, norm, reasons, size, title

Print = Callable[[str, str, str], None]  # a text, the stem before its first line, and before the lines after that


def tree(events: Sequence[Event], found: Sequence[Finding], width: int = 80) -> str:
    """The trace in lines of at most `width` columns; a name that is longer stands alone."""
    lines: list[str] = []

    def put(text: str, first: str, rest: str) -> None:
        lines.extend(wrap(text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False,
                          break_on_hyphens=False))

    steps = [event for event in events if isinstance(event, Step)]
    sweeps = [event for event in events if isinstance(event, Sweep)]
    put(f"{len(steps)} operations in {duration(sum(s.seconds for s in steps))}, {size(sum(s.bytes for s in steps))} of results"
        + (f"; {len(sweeps)} backward in {duration(sum(s.seconds for s in sweeps))}" if sweeps else ""), "", "")
    if sweeps:
        put("In a gradient rule g is the cotangent of the result; in a map of a form it stands in the slot that the operation "
            "filled. |g| is its L2 norm.", "", "")
    _events(events, "", put)
    _kernels(events, put)
    lines.append("")
    for finding in found:
        put(f"{finding}.", "! ", "  ")
    if not found:
        lines.append("No NaN or infinity, no gradient that vanishes or explodes.")
    return "\n".join(lines).replace(SPACE, " ")


def _branch(stem: str, last: bool) -> tuple[str, str]:
    return (stem + "└─ ", stem + "   ") if last else (stem + "├─ ", stem + "│  ")


def _events(events: Sequence[Event], stem: str, put: Print) -> None:
    for i, event in enumerate(events):
        first, rest = _branch(stem, i == len(events) - 1)
        if isinstance(event, Step):
            _step(event, first, rest, put)
        else:
            _sweep(event, first, rest, put)


def _step(step: Step, first: str, rest: str, put: Print) -> None:
    scratch = sum(c.scratch for c in step.choices)
    put(f"{step.number} {call(step)} {step.meta}".rstrip() + f": {by(step.out.shape)} {step.out.dtype}, "
        f"{size(step.bytes) if step.bytes else 'a view'}, {duration(step.seconds)}"
        + "".join(f", by {c.kernel.algorithm}" for c in step.choices) + (f" with {size(scratch)} of scratch" if scratch else "")
        + ("" if step.out.finite else f"; {norm(step.out)}"), first, rest + "  ")


def _sweep(sweep: Sweep, first: str, rest: str, put: Print) -> None:
    put(f"backward from {', '.join(map(str, sweep.start))}: {len(sweep.pulls)} nodes, {duration(sweep.seconds)}", first, rest)
    for i, pull in enumerate(sweep.pulls):
        _pull(pull, *_branch(rest, i == len(sweep.pulls) - 1 and not sweep.added), put)
    _events(sweep.added, rest, put)


def _pull(pull: Pull, first: str, rest: str, put: Print) -> None:
    put(f"{title(pull)}  g {by(pull.g.shape)}, |g| {norm(pull.g)}, {duration(pull.seconds)}"
        + "".join(f", {c.kernel.op} by {c.kernel.algorithm}" for c in pull.choices), first, rest)
    for i, fill in enumerate(pull.fills):
        _fill(fill, *_branch(rest, i == len(pull.fills) - 1), put)


def _fill(fill: Fill, first: str, rest: str, put: Print) -> None:
    put(f"{fill.rule}  for {fill.source}, {by(fill.value.shape)}, |g| {norm(fill.value)}"
        + (", added to what it had" if fill.added else ""), first, rest)
    _events([*fill.events, *fill.added], rest, put)


def _kernels(events: Sequence[Event], put: Print) -> None:
    """Each kernel that was taken, for which operations, and why not the others."""
    used: dict[tuple, tuple[Choice, list[str]]] = {}
    for event in walk(events):
        if isinstance(event, Step | Pull):
            for choice in event.choices:
                number = event.number if isinstance(event, Step) else event.step
                key = (choice.kernel, tuple(choice.others))
                used.setdefault(key, (choice, []))[1].append(f"#{number}" if number else event.op)
    if used:
        put("kernels, and why not the others", "", "")
    for i, (choice, where) in enumerate(used.values()):
        first, rest = _branch("", i == len(used) - 1)
        put(f"{choice.kernel.op} by {choice.kernel.algorithm}: {', '.join(where)}", first, rest)
        why = reasons(choice)
        for j, (names, text) in enumerate(why):
            put(f"{', '.join(names)}: {text}", *_branch(rest, j == len(why) - 1))
